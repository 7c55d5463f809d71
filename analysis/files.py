"""The files that Tare writes for people: whole or not there, and nothing but regular files replaced."""

from __future__ import annotations

import errno
import os
import stat
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final

from bench import files
from bench.errors import RecordError, remedy

#: Seconds that a pipe may take to be opened by its reader.
_READER_LIMIT: Final = 10.0
_MOST_LINKS: Final = 40  # as many as Linux follows in one path


@contextmanager
def replacing(path: Path, *, within: Path | None = None) -> Iterator[IO[bytes]]:
    """Gives a file to fill, then puts it at `path`. Raises RecordError where it cannot be written.

    within: a folder above `path`, below which no symbolic link is followed or replaced.
    """
    try:
        if within is None:
            path.parent.mkdir(parents=True, exist_ok=True)
        else:
            within.mkdir(parents=True, exist_ok=True)
            for above in reversed(path.relative_to(within).parents[:-1]):
                files.make_folder(within / above, within=within)
        with files.writing(path, within=within) as file:
            yield file
    except OSError as error:
        raise _cannot_write(path, error) from error


def put(path: Path, content: bytes) -> None:
    """Write a file that the user named. Raises RecordError.

    A regular file is replaced as a whole, through symbolic links that lead to it. A device, a pipe or one of this
    process's own descriptors (/dev/stdout, >(…)) is written to.
    """
    try:
        if (own := _own_descriptor(path)) is not None:
            for stream in (sys.stdout, sys.stderr):  # or what was printed before would come after
                stream.flush()
            _write(own, content)
        elif (mode := _mode(path)) is None or stat.S_ISREG(mode):
            target = Path(os.path.realpath(path))
            target.parent.mkdir(parents=True, exist_ok=True)
            files.write(target, content)
        elif stat.S_ISDIR(mode) or stat.S_ISBLK(mode):
            raise OSError(errno.EISDIR, "it is a folder" if stat.S_ISDIR(mode) else "it is a disk")
        else:
            with _opened(path) as fd:
                _write(fd, content)
    except OSError as error:
        raise _cannot_write(path, error) from error


def _cannot_write(path: Path, error: OSError) -> RecordError:
    if isinstance(error, FileExistsError):  # by mkdir
        error = NotADirectoryError(errno.ENOTDIR, "a file is where a folder should be")
    return RecordError(f"cannot write {path}: {error.strerror or error}", hint=remedy(error, "write elsewhere"))


def _mode(path: Path) -> int | None:
    """Of what a path leads to; None where there is nothing."""
    try:
        return path.stat().st_mode
    except FileNotFoundError:
        return None


def _own_descriptor(path: Path) -> int | None:
    """The descriptor of this process that a path names, by whatever links; None of any other file.

    Opened by its path, a regular file would be begun anew, and lose what is printed into it.
    """
    for _ in range(_MOST_LINKS):
        if path.name.isdecimal() and os.path.realpath(path.parent) == f"/proc/{os.getpid()}/fd":
            return int(path.name)
        if not path.is_symlink():
            break
        path = path.parent / path.readlink()
    return None


@contextmanager
def _opened(path: Path) -> Iterator[int]:
    """A pipe or device, once somebody reads it."""
    until = time.monotonic() + _READER_LIMIT
    while True:
        try:
            fd = os.open(path, os.O_WRONLY | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC)
            break
        except OSError as error:
            if error.errno != errno.ENXIO or not stat.S_ISFIFO(path.stat().st_mode):
                raise
            if time.monotonic() > until:
                raise OSError(errno.ENXIO, f"nobody has read this pipe for {_READER_LIMIT:g} s") from error
            time.sleep(0.05)
    try:
        os.set_blocking(fd, True)
        yield fd
    finally:
        os.close(fd)


def _write(fd: int, content: bytes) -> None:
    with suppress(BrokenPipeError):  # its reader has had enough
        files.write_all(fd, content)
