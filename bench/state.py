"""What runs have on this host while they live: one folder each, named by the run's id, with its owner's pid in it."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import re
import secrets
import socket
import stat
import struct
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import mounts
from bench.errors import HostError

_OWNER = "owner.json"
_OWNER_LIMIT = 4096
#: A folder that the process with this pid is just making,
_NEW = re.compile(r"\.new-(\d+)-")
#: which takes no longer than this many seconds.
_NEW_LIMIT = 60.0
#: A run answers here as long as it lives, also to who sees neither its folder nor its owner: a host's `clean` sees what
#: a container's run started.
_ADDRESS = "\0tare-run-"
#: Who asks stays in the queue: nobody accepts. A full queue is an answer too.
_ASKERS = 4096
_CREDENTIALS = struct.Struct("3i")
_HINT = "remove it, or, as an ordinary user, set XDG_RUNTIME_DIR to a folder of your own"


def top() -> Path:
    """/run/tare for root; for others a folder of their own."""
    if os.geteuid() == 0:
        return Path("/run/tare")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "tare" if runtime and Path(runtime).is_dir() else Path(f"/tmp/tare-{os.geteuid()}")


def cache_folder() -> Path:
    """Where Tare keeps what can be made again: $XDG_CACHE_HOME/tare."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "tare"


@dataclass(frozen=True)
class Run:
    """id: 8 hex digits; born: the owner's start time in clock ticks, which tells a reused pid apart; uid: its user."""

    id: str
    folder: Path
    pid: int
    born: int
    what: str
    started: str
    uid: int

    @property
    def alive(self) -> bool:
        return birth(self.pid) == self.born and _user(self.pid) == self.uid


def birth(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot.

    None where there is none, or one that only waits to be reaped.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    except (OSError, IndexError):
        return None


def _user(pid: int) -> int | None:
    try:
        return int(Path(f"/proc/{pid}/status").read_text().partition("\nUid:")[2].split()[1])
    except (OSError, IndexError):
        return None


def living(uid: int) -> set[str]:
    """The ids of the living runs, as far as this user may look, that can have made what belongs to `uid`.

    Only root's runs make what is root's; a user believes himself and root. So nobody keeps another's leftovers by a
    run of the same id.
    """
    own = os.geteuid()
    found = set()
    for folder in {top(), Path("/run/tare"), *Path("/run/user").glob("*/tare"), *Path("/tmp").glob("tare-*")}:
        with contextlib.suppress(OSError):
            user = folder.lstat().st_uid
            if user == 0 or (uid != 0 and own in (0, user)):
                found |= {run.id for run in _runs(folder) if run.uid == user and run.alive}
    return found


def answers(identity: str, uid: int) -> bool:
    """Whether a run of this id, which `uid` or root began, lives on this host beyond what this process can see."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(_ADDRESS + identity)
        if answer != 0:
            return answer == errno.EAGAIN
        _, user, _ = _CREDENTIALS.unpack(probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
        return user in (0, uid)


def runs() -> list[Run]:
    """This user's runs that have a folder, dead ones too. A folder without a readable owner is a dead run's.

    Raises HostError where others could have made them.
    """
    try:
        _check(top())
    except FileNotFoundError:
        return []
    return _runs(top())


def stillborn() -> list[Path]:
    """Folders of this user's runs that were killed while they made them."""
    found = []
    for folder in top().glob(".new-*"):
        match = _NEW.match(folder.name)
        with contextlib.suppress(OSError):
            if match and birth(int(match[1])) is None and time.time() - folder.lstat().st_mtime > _NEW_LIMIT:
                found.append(folder)
    return found


def _runs(above: Path) -> list[Run]:
    found = []
    folders: list[Path] = []
    with contextlib.suppress(OSError):
        folders = sorted(above.iterdir())
    for folder in folders:
        with contextlib.suppress(OSError):
            uid = folder.lstat().st_uid
            owner = _read_owner(folder, uid)
            pid, born = owner.get("pid"), owner.get("born")
            found.append(
                Run(
                    folder.name,
                    folder,
                    pid if isinstance(pid, int) else 0,
                    born if isinstance(born, int) else -1,
                    str(owner.get("what", "a run that died early")),
                    str(owner.get("started", "?")),
                    uid,
                )
            )
    return found


def _read_owner(folder: Path, uid: int) -> dict[str, Any]:
    """What a run says of its owner; nothing where it was not the folder's user who wrote it, in a small plain file.

    Anyone can make folders where ours are looked for, with pipes, links and devices in them.
    """
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError, ValueError, RecursionError):
        inside = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
        stack.callback(os.close, inside)
        file = os.open(_OWNER, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC, dir_fd=inside)
        stack.callback(os.close, file)
        facts = os.fstat(file)
        if stat.S_ISREG(facts.st_mode) and facts.st_size <= _OWNER_LIMIT:
            owner = json.loads(os.read(file, _OWNER_LIMIT))
            if isinstance(owner, dict) and os.fstat(inside).st_uid == facts.st_uid == uid:
                return owner
    return {}


@contextlib.contextmanager
def enter(what: str) -> Iterator[Run]:
    """A new run's folder, for as long as the block lasts. what: shown to whoever has to wait for this run."""
    identity = secrets.token_hex(4)
    folder = top() / identity
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    run = Run(identity, folder, os.getpid(), birth(os.getpid()) or 0, what, started, os.geteuid())
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as answering:
        answering.bind(_ADDRESS + identity)
        answering.listen(_ASKERS)
        _make(folder, json.dumps({"pid": run.pid, "born": run.born, "what": what, "started": started}))
        try:
            yield run
        finally:
            mounts.remove_tree(folder)
            with contextlib.suppress(OSError):
                top().rmdir()


def _make(folder: Path, owner: str) -> None:
    """The folder appears with its owner in it, so that nobody takes it for a dead run's."""
    above = folder.parent
    for attempt in range(10):
        # Another run that ends removes the top when it is empty, at any moment.
        try:
            # Ordinary users may look for a run of root's by its name, and at nothing else.
            above.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            _check(above)
            new = Path(tempfile.mkdtemp(prefix=f".new-{os.getpid()}-", dir=above))
        except FileNotFoundError:
            if attempt == 9:
                raise
            continue
        except OSError as error:
            raise HostError(f"cannot make a folder in {above}: {error.strerror}", hint=_HINT) from error
        try:
            _check(above)  # it stays what it is now, with something in it
            (new / _OWNER).write_text(owner)
            new.rename(folder)
            return
        except BaseException:
            mounts.remove_tree(new)
            raise


def _check(folder: Path) -> None:
    """Raises HostError unless nobody but this user can have put anything into a folder, OSError where it is not."""
    found = folder.lstat()
    if not stat.S_ISDIR(found.st_mode):
        fault = "is no folder"
    elif found.st_uid != os.geteuid():
        fault = f"belongs to uid {found.st_uid}"
    elif found.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        fault = "can be written by others"
    else:
        return
    raise HostError(f"{folder} {fault}: what is in it cannot be trusted", hint=_HINT)
