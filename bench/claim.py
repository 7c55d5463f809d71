"""A results folder has one controller at a time, also where several machines see it.

Its lock is the kernel's (which NFS carries to other clients) and is gone with the controller. Where a lock is not
carried, the note that lies in the folder as long as it is held tells of a controller on another machine.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import json
import os
import socket
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import files
from bench.errors import FileError, HostError, RecordError, remedy
from bench.results import now
from bench.shape import Needed, fault

NOTE = ".controller"
_FLAGS = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_SHAPE = {"host": Needed(str), "boot_id": str, "pid": Needed(int), "since": Needed(str)}


@contextlib.contextmanager
def claimed(folder: Path, *, anyway: bool = False) -> Iterator[None]:
    """The folder, for as long as the block lasts.

    anyway: also where a controller on another machine has not given it back. Raises HostError where somebody else has
    it, RecordError where it cannot be written.
    """
    note = folder / NOTE
    fd = _locked(note)
    try:
        before = _read(note)
        if before and before["boot_id"] != _boot_id() and before["host"] != socket.gethostname() and not anyway:
            raise HostError(
                f"{folder} is held by {_told(before)}, on another machine",
                hint="wait for it to end; where it is dead, --anyway takes the folder over",
            )
        _write(fd, note)
        try:
            yield
        finally:
            with contextlib.suppress(OSError):
                note.unlink()
    finally:
        os.close(fd)


def _locked(note: Path) -> int:
    """The locked descriptor of the note, which is made where there is none."""
    while True:
        try:
            fd = os.open(note, _FLAGS, 0o644)
        except OSError as error:
            raise _refused("write", note, error) from error
        try:
            if not stat.S_ISREG(os.fstat(fd).st_mode):
                raise RecordError(f"cannot write {note}: it is not a file", hint="remove it")
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            with contextlib.suppress(FileNotFoundError):
                if note.stat().st_ino == os.fstat(fd).st_ino:
                    return fd
        except BlockingIOError as error:
            os.close(fd)
            before = _read(note)
            raise HostError(
                f"{note.parent} is followed by another tare{f' ({_told(before)})' if before else ''}",
                hint="wait for it to end",
            ) from error
        except OSError as error:
            os.close(fd)
            raise _refused("lock", note, error) from error
        except RecordError:
            os.close(fd)
            raise
        os.close(fd)  # who had it has removed it


def _read(note: Path) -> dict[str, Any] | None:
    """Who wrote it; None where nobody has, or died while he did."""
    with contextlib.suppress(FileError):
        found = files.read_json(note, limit=files.WRITTEN)
        if isinstance(found, dict) and not fault(found, _SHAPE):
            return {"boot_id": None} | found
    return None


def _told(before: dict[str, Any]) -> str:
    return f"pid {before['pid']} on {before['host']} since {before['since']}"


def _write(fd: int, note: Path) -> None:
    owner = {"host": socket.gethostname(), "boot_id": _boot_id(), "pid": os.getpid(), "since": now()}
    try:
        os.ftruncate(fd, 0)
        files.write_all(fd, (json.dumps(owner) + "\n").encode())
        os.fsync(fd)
        files.sync_folder(note.parent)
    except OSError as error:
        raise _refused("write", note, error) from error


def _refused(what: str, note: Path, error: OSError) -> RecordError:
    why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
    return RecordError(f"cannot {what} {note}: {why}", hint=remedy(error, "see to that folder"))


def _boot_id() -> str | None:
    with contextlib.suppress(FileError):
        return files.read_text(Path("/proc/sys/kernel/random/boot_id")).strip()
    return None
