"""Files: written whole and lasting or not at all, and read so that no size and no kind of file can hold Tare up.

Imports only the standard library, because the agent and the worker need this module on hosts that have nothing more.
"""

from __future__ import annotations

import contextlib
import ctypes
import errno
import gzip
import io
import json
import os
import secrets
import select
import stat
import tomllib
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Any, Final

from bench.errors import FileError, MissingFile
from bench.units import show_size

#: The most that is read of a file that people write by hand.
WRITTEN: Final = 1 << 20
#: The most that is read of a file that Tare writes in one go: a plan, facts.
SMALL: Final = 32 << 20
#: The most that is read of results of other tools, as they lie on the disk and unpacked.
LARGE: Final = 128 << 20
#: Lies in each folder of a cache in which something is just being made: nothing else is removed there as unfinished.
UNFINISHED: Final = ".tare-unfinished"

_libc = ctypes.CDLL(None, use_errno=True)
_CHUNK = 1 << 20
#: Records are five or six levels deep.
_DEEPEST = 50
#: What a number that was measured cannot be above, and what 64 bits hold.
_MOST = 2**63 - 1
_GZIP = b"\x1f\x8b"
_OPEN_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC


def write(path: Path, content: bytes | str, *, mode: int = 0o644, within: Path | None = None) -> None:
    """Put a file at `path`: its content is on the disk before its name is, and its name is when this returns.

    A power cut leaves what was there before, or all of the new. within: see writing(). Raises OSError.
    """
    with writing(path, mode=mode, within=within) as file:
        file.write(content.encode() if isinstance(content, str) else content)


@contextlib.contextmanager
def writing(path: Path, *, mode: int = 0o644, within: Path | None = None) -> Iterator[IO[bytes]]:
    """As write(), for content that comes in parts. Where the block raises, what was there before stays.

    within: a folder above `path` whose content others may have made. No symbolic link below it is followed, and none
    is replaced. Raises OSError.
    """
    with _folder(path.parent, within) as folder:
        _refuse_others(path, folder, links=within is not None)
        partial = f".{secrets.token_hex(8)}.partial"
        fd = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=folder)
        try:
            with open(fd, "w+b") as file:  # noqa: PTH123 # of a descriptor
                yield file
                file.flush()
                os.fsync(file.fileno())
            os.rename(partial, path.name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(partial, dir_fd=folder)
            raise
        _sync(folder)


def write_all(fd: int, content: bytes | memoryview) -> None:
    """Write to a pipe, a terminal or whatever a descriptor is, also where somebody has set it not to wait.

    Raises OSError.
    """
    rest = memoryview(content).cast("B")
    while rest:
        try:
            rest = rest[os.write(fd, rest) :]
        except BlockingIOError:
            select.select([], [fd], [])


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk. Raises OSError."""
    fd = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        _sync(fd)
    finally:
        os.close(fd)


def make_folder(path: Path, *, within: Path | None = None) -> None:
    """A folder, where it is not there yet, whose name is on the disk. within: see writing(). Raises OSError."""
    with _folder(path.parent, within) as above:
        try:
            os.mkdir(path.name, dir_fd=above)
        except FileExistsError:
            os.close(_step(above, path.name, path, follow=within is None))
        else:
            _sync(above)


def publish(made: Path, final: Path) -> None:
    """Rename a file, or a folder of files, to its final place once all of it is on the disk. Raises OSError."""
    fd = os.open(made, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        # A system's tree has thousands of files, and some that its maker cannot open.
        if made.is_dir() and _libc.syncfs(fd) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(made))
        _sync(fd)
    finally:
        os.close(fd)
    made.rename(final)
    sync_folder(final.parent)


@contextlib.contextmanager
def _folder(folder: Path, within: Path | None) -> Iterator[int]:
    """The descriptor of a folder that is there. within: see writing()."""
    parts = folder.relative_to(within).parts if within is not None else ()
    if ".." in parts:
        raise OSError(errno.EINVAL, f"leads out of {within}", str(folder))
    fd = os.open(folder if within is None else within, _OPEN_FOLDER)
    try:
        for part in parts:
            inner = _step(fd, part, folder)
            os.close(fd)
            fd = inner
        yield fd
    finally:
        os.close(fd)


def _step(above: int, name: str, path: Path, *, follow: bool = False) -> int:
    """The descriptor of a folder in another one. path: what an error names."""
    try:
        return os.open(name, _OPEN_FOLDER | (0 if follow else os.O_NOFOLLOW), dir_fd=above)
    except NotADirectoryError as error:
        raise OSError(errno.ENOTDIR, "is a symbolic link or no folder", str(path)) from error


def _refuse_others(path: Path, folder: int, *, links: bool) -> None:
    """Only regular files are replaced, and links where they are no way out of a folder."""
    with contextlib.suppress(FileNotFoundError):
        mode = os.stat(path.name, dir_fd=folder, follow_symlinks=False).st_mode
        if stat.S_ISLNK(mode) and links:
            raise OSError(errno.ELOOP, "is a symbolic link", str(path))
        if not stat.S_ISREG(mode) and not stat.S_ISLNK(mode):
            raise OSError(errno.EINVAL, f"is {_kind(mode)}, not a file", str(path))


def _sync(folder: int) -> None:
    try:
        os.fsync(folder)
    except OSError as error:
        if error.errno != errno.EINVAL:  # of a file system that has folders always on the disk, or never
            raise


def opened(path: Path, *, limit: int = SMALL) -> io.BufferedReader:
    """A regular file of at most `limit` bytes, to be read.

    A pipe or a device is refused without waiting for it. Raises MissingFile where there is none, and FileError.
    """
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
    except FileNotFoundError as error:
        raise MissingFile(f"{path}: no such file") from error
    except OSError as error:
        raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    except ValueError as error:  # a NUL in it, or what no name can hold
        raise FileError(f"{str(path)!r} is no name of a file") from error
    found = os.fstat(fd)
    if stat.S_ISREG(found.st_mode) and found.st_size <= limit:
        return open(fd, "rb")  # noqa: PTH123 # of a descriptor
    os.close(fd)
    if not stat.S_ISREG(found.st_mode):
        raise FileError(f"{path}: is {_kind(found.st_mode)}, not a file")
    raise FileError(f"{path}: {show_size(found.st_size)} is too large: at most {show_size(limit)} are read")


def read(path: Path, *, limit: int = SMALL) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises as opened()."""
    with opened(path, limit=limit) as file:
        try:
            content = file.read(limit + 1)
        except OSError as error:
            raise FileError(f"{path}: cannot be read: {error.strerror}") from error
    if len(content) > limit:  # it grew, or is of a file system that tells no sizes
        raise FileError(f"{path}: is too large: at most {show_size(limit)} are read")
    return content


def _kind(mode: int) -> str:
    kinds = {stat.S_IFDIR: "a directory", stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket"}
    return kinds.get(stat.S_IFMT(mode), "a device")


def read_text(path: Path, *, limit: int = SMALL) -> str:
    """As read(), of text in UTF-8."""
    try:
        return read(path, limit=limit).decode()
    except UnicodeDecodeError as error:
        raise FileError(f"{path}: not a text file in UTF-8") from error


def read_json(path: Path, *, limit: int = SMALL) -> Any:
    """As read(), of JSON, whatever it holds. Raises as parse_json() too."""
    return parse_json(read(path, limit=limit), str(path))


def parse_json(content: bytes, name: str) -> Any:
    """name: what an error calls it. Raises FileError, also for what is nested deeper than records are, and for numbers
    that are no measurements: endless ones, and those beyond 64 bits."""
    try:
        found = _JSON.decode(content.decode())
    except RecursionError as error:
        raise FileError(f"{name}: not JSON that can be read: nested too deeply") from error
    except ValueError as error:
        raise FileError(f"{name}: not JSON: {_short(str(error))}") from error
    for level in _levels(found, name):
        numbers = [value for value in level if type(value) is int or type(value) is float]
        if numbers and not -_MOST <= min(numbers) <= max(numbers) <= _MOST:
            odd = next(value for value in numbers if not abs(value) <= _MOST)
            raise FileError(f"{name}: not JSON: a number is out of range: {_short(str(odd))}")
    return found


def read_toml(path: Path) -> dict[str, Any]:
    """As read(), of TOML. Raises as parse_toml() too."""
    return parse_toml(read_text(path, limit=WRITTEN), str(path))


def parse_toml(text: str, name: str) -> dict[str, Any]:
    """As parse_json()."""
    try:
        found = tomllib.loads(text)
    except RecursionError as error:
        raise FileError(f"{name}: not TOML that can be read: nested too deeply") from error
    except ValueError as error:  # TOMLDecodeError, and numbers of thousands of digits
        raise FileError(f"{name}: not valid TOML: {_short(str(error))}") from error
    for _ in _levels(found, name):
        pass
    if key := _beyond(found):
        raise FileError(f"{name}: {key}: expected a whole number or a fraction that 64 bits hold")
    return found


def _beyond(value: Any) -> str | None:
    """The key of the first number that is endless or needs more than 64 bits."""
    if isinstance(value, dict | list):
        for key, each in value.items() if isinstance(value, dict) else enumerate(value):
            if (inner := _beyond(each)) is not None:
                return f"{ascii(key)[1:-1] if isinstance(key, str) else key}{'.' if inner else ''}{inner}"
    elif isinstance(value, int | float) and not abs(value) <= _MOST:
        return ""
    return None


def _refuse(constant: str) -> float:
    raise ValueError(f"a number is out of range: {constant}")


_JSON = json.JSONDecoder(parse_constant=_refuse)


def _levels(found: Any, name: str) -> Iterator[list[Any]]:
    """The values inside, level by level. Raises FileError where whoever walks through them would go too deep."""
    level = [found] if type(found) in (dict, list) else []
    for _ in range(_DEEPEST):
        inside: list[Any] = []
        for each in level:
            inside += each.values() if type(each) is dict else each
        if not inside:
            return
        yield inside
        level = [each for each in inside if type(each) in (dict, list)]
    raise FileError(f"{name}: nested too deeply: more than {_DEEPEST} levels")


def _short(text: str) -> str:
    """An error's own words quote what may be of any length."""
    return text if len(text) <= 200 else f"{text[:200]}…"


def is_gzip(content: bytes) -> bool:
    return content[:2] == _GZIP


def gunzip(content: bytes, name: str, *, limit: int = LARGE) -> bytes:
    """What was compressed, of at most `limit` bytes. name: what an error calls it. Raises FileError."""
    unpacked = io.BytesIO()
    try:
        with gzip.GzipFile(fileobj=io.BytesIO(content)) as stream:
            while part := stream.read(_CHUNK):
                if unpacked.tell() + len(part) > limit:
                    raise FileError(f"{name}: unpacks to more than {show_size(limit)}, which is too large")
                unpacked.write(part)
    except (EOFError, zlib.error, gzip.BadGzipFile) as error:
        raise FileError(f"{name}: not a whole gzip file: {error}") from error
    return unpacked.getvalue()
