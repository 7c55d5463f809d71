"""The runs of this host: a record of each, which proves what is its own, and a folder for as long as it lives.

A record is written, and held locked, before anything else of a run is made, and is removed when all of that is gone. It
lies where only the run's user can write, and outlives a reboot as folders on disks do. A run lives as long as its
record is locked: the kernel releases the lock with its holder, and tells of it in every namespace that sees the file.
What no dead run's record proves is never touched: a run whose record is not here (in a container) may well be alive.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import json
import os
import re
import secrets
import signal
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import files, home, interrupts, mounts
from bench.errors import HostError

_RECORD = re.compile(r"([0-9a-f]{8})\.json\Z")
#: A record that is just being written.
_NEW = ".new-"
_RECORD_LIMIT = 1 << 16
#: struct flock: type, whence, start, length, pid. Open file description locks, which a fork does not share by pid.
_FLOCK = struct.Struct("hhqqi4x")
#: The host's own PID namespace, which sees the processes of all others (PROC_PID_INIT_INO).
_HOSTS_PIDS = 0xEFFFFFFC
#: Of the place of runs' folders.
_HINT = "remove it, or, as an ordinary user, set XDG_RUNTIME_DIR to a folder of your own"
_TRIES = 10


def top() -> Path:
    """/run/tare for root; for others a folder of their own."""
    if os.geteuid() == 0:
        return Path("/run/tare")
    runtime = os.environ.get("XDG_RUNTIME_DIR")
    return Path(runtime) / "tare" if runtime and Path(runtime).is_dir() else Path(f"/tmp/tare-{os.geteuid()}")


def records() -> Path:
    """Where the records of this user's runs lie: on this machine, and still there after a reboot.

    Anybody can make a folder in /var/tmp before us: it is for users without a home alone.
    """
    if os.geteuid() == 0:
        return Path("/var/lib/tare")
    with contextlib.suppress(HostError):
        return home.state() / f"runs-{_machine()}"
    return Path(f"/var/tmp/tare-{os.geteuid()}")


def _machine() -> str:
    """What tells this machine from others that have the same home folders, by a network: machines that were made from
    one image have one machine-id, but not one name."""
    names = []
    for file in ("/etc/machine-id", "/proc/sys/kernel/hostname"):
        with contextlib.suppress(OSError):
            names.append(Path(file).read_text(errors="replace").strip())
    return hashlib.sha256(f"tare {' '.join(names)}".encode()).hexdigest()[:16]


def cache_folder() -> Path:
    """Where Tare keeps what can be made again. Raises HostError."""
    return home.cache()


@dataclass(frozen=True)
class Run:
    """id: 8 hex digits; pid, born, space: the owner, its start time in clock ticks and its PID namespace; uid: its
    user; boot: of which boot of this machine; groups: the cgroups that the owner was in."""

    id: str
    folder: Path
    pid: int
    born: int
    what: str
    started: str
    uid: int
    boot: str = ""
    space: int = 0
    groups: tuple[str, ...] = ()

    @property
    def alive(self) -> bool:
        return _is_held(_record(self.id))

    @property
    def of_this_boot(self) -> bool:
        """Whether its processes, cgroups and mounts can be there at all."""
        return self.boot == _boot()

    @property
    def visible(self) -> bool:
        """Whether its processes can be seen from here: from a container, only those of a run in there."""
        return _pid_namespace() in (self.space, _HOSTS_PIDS)

    def signal(self, number: signal.Signals) -> None:
        """Send its owner a signal, where that is a process that can be told from here."""
        if not self.of_this_boot or self.space != _pid_namespace():
            return
        with contextlib.suppress(ProcessLookupError):
            held = os.pidfd_open(self.pid)
            try:
                if birth(self.pid) == self.born:
                    signal.pidfd_send_signal(held, number)
            finally:
                os.close(held)


def birth(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot.

    None where there is none, or one that only waits to be reaped.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    except (OSError, IndexError):
        return None


def _boot() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _pid_namespace() -> int:
    return Path("/proc/self/ns/pid").stat().st_ino


def _own_groups() -> tuple[str, ...]:
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    return tuple(sorted({line.split(":", 2)[2] for line in lines}))


def runs() -> list[Run]:
    """This user's runs that have a record, dead ones too. Raises HostError where others could have made it."""
    place = records()
    try:
        _check(place, _records_hint())
        there = sorted(place.iterdir())
    except (FileNotFoundError, NotADirectoryError):
        return []
    except OSError as error:
        raise HostError(f"cannot read the runs in {place}: {error.strerror}", hint=_records_hint()) from error
    found = []
    for file in there:
        if (match := _RECORD.match(file.name)) and (lines := _read(file)) is not None:
            found.append(_as_run(match[1], lines))
    return found


def _as_run(identity: str, lines: list[Any]) -> Run:
    """What a record says; of one that is damaged, what its name says."""
    known = lines[0] if lines and isinstance(lines[0], dict) else {}

    def word(key: str, default: str) -> str:
        return known[key] if isinstance(known.get(key), str) else default

    def number(key: str) -> int:
        return known[key] if isinstance(known.get(key), int) else -1

    folder, groups = Path(word("folder", "/")), known.get("groups")
    return Run(
        identity,
        folder if folder.is_absolute() and folder.name == identity else top() / identity,
        number("pid"),
        number("born"),
        word("what", "a run"),
        word("started", "?"),
        os.geteuid(),
        word("boot", ""),
        number("space"),
        tuple(group for group in groups if isinstance(group, str)) if isinstance(groups, list) else (),
    )


def _read(file: Path) -> list[Any] | None:
    """The lines of a record, as far as they are whole; None of what is no file of this user's."""
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return None
    try:
        facts = os.fstat(opened)
        if not stat.S_ISREG(facts.st_mode) or facts.st_uid != os.geteuid():
            return None
        lines: list[Any] = []
        with contextlib.suppress(OSError, ValueError, RecursionError):
            for line in os.read(opened, _RECORD_LIMIT).splitlines():
                lines.append(json.loads(line))
        return lines
    finally:
        os.close(opened)


def _record(identity: str) -> Path:
    return records() / f"{identity}.json"


def _is_held(file: Path) -> bool:
    try:
        opened = os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        return False
    try:
        asked = fcntl.fcntl(opened, fcntl.F_OFD_GETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        kind: int = _FLOCK.unpack(asked)[0]
        return kind != fcntl.F_UNLCK
    finally:
        os.close(opened)


def _hold(opened: int) -> bool:
    try:
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, _FLOCK.pack(fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
    except OSError as error:
        if error.errno in (errno.EAGAIN, errno.EACCES):
            return False
        raise
    return True


@contextlib.contextmanager
def claimed(run: Run) -> Iterator[bool]:
    """Whether a run is dead and its leftovers are this process's to remove, for as long as the block lasts."""
    with _claimed(_record(run.id)) as ours:
        yield ours


@contextlib.contextmanager
def _claimed(file: Path) -> Iterator[bool]:
    try:
        opened = os.open(file, os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError:
        yield False
        return
    try:
        ours = _hold(opened)
        if ours:
            try:
                ours = os.path.samestat(os.fstat(opened), file.lstat())
            except FileNotFoundError:  # whoever had it claimed has removed all of it
                ours = False
        yield ours
    finally:
        os.close(opened)


def forget(identity: str) -> None:
    """Remove the record of a run of which nothing is left."""
    _record(identity).unlink(missing_ok=True)
    _drop_records()


def forget_unfinished() -> None:
    """Remove the records of runs that were killed while they wrote them, and had made nothing else."""
    for file in records().glob(f"{_NEW}*"):
        with _claimed(file) as ours:
            if ours:
                file.unlink(missing_ok=True)
    _drop_records()


def _drop_records() -> None:
    with contextlib.suppress(OSError):
        records().rmdir()


def note(identity: str, kind: str, text: str) -> None:
    """Write into a run's record, before it is made, what only a worker knows of, and what outlives a reboot.

    Raises OSError.
    """
    file = os.open(_record(identity), os.O_RDWR | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        line = json.dumps([kind, text]).encode() + b"\n"
        if line not in os.read(file, _RECORD_LIMIT).splitlines(keepends=True):
            os.write(file, line)
            os.fsync(file)
    finally:
        os.close(file)


def notes(identity: str, kind: str) -> list[str]:
    """What note() wrote down of this kind."""
    lines = _read(_record(identity)) or []
    pairs = [line for line in lines[1:] if isinstance(line, list) and len(line) == 2]
    return [text for found, text in pairs if found == kind and isinstance(text, str)]


@contextlib.contextmanager
def enter(what: str, end: Callable[[Run], bool] = lambda run: True) -> Iterator[Run]:
    """A new run: its record, and its folder for as long as the block lasts. what: shown to whoever waits for this run.

    end: takes away what the run has made elsewhere, when the block has ended, and tells whether all of it is gone: if
    not, the record stays, and the next clean-up goes on.
    """
    identity = secrets.token_hex(4)
    folder = top() / identity
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    pid = os.getpid()
    own = (birth(pid) or 0, what, started, os.geteuid(), _boot(), _pid_namespace(), _own_groups())
    run = Run(identity, folder, pid, *own)
    held = _write(run)
    try:
        _make(folder)
    except BaseException:
        forget(identity)
        os.close(held)
        raise
    try:
        yield run
    finally:
        with interrupts.held():
            whole = False
            try:
                whole = end(run)
            finally:
                mounts.remove_tree(folder)
                with contextlib.suppress(OSError):
                    top().rmdir()
                if whole and not folder.exists():
                    forget(identity)
                os.close(held)


def _write(run: Run) -> int:
    """The descriptor by which a run's record is held, which is locked before it has its name. Raises HostError."""
    place = records()
    try:
        for attempt in range(_TRIES):
            with contextlib.suppress(FileNotFoundError):  # the last run that ends removes the place, at any moment
                place.mkdir(mode=0o700, parents=True, exist_ok=True)
                _check(place, _records_hint())
                held = _write_once(run, place / f"{_NEW}{run.id}-{attempt}")
                if held is not None:
                    return held
    except OSError as error:
        hint = _room(error, place) or _records_hint(error)
        raise HostError(f"cannot write down a run in {place}: {error.strerror}", hint=hint) from error
    raise HostError(f"cannot write down a run in {place}: it is removed again and again", hint="try again")


def _write_once(run: Run, new: Path) -> int | None:
    """As _write(); None where it was taken for one whose writer was killed, before it was locked. Raises OSError."""
    known = {key: value for key, value in asdict(run).items() if key not in ("id", "uid")}
    content = json.dumps(known | {"folder": str(run.folder)}).encode() + b"\n"
    held = os.open(new, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
    try:
        if _hold(held):
            os.write(held, content)
            os.fsync(held)
            new.rename(_record(run.id))
            files.sync_folder(new.parent)
            return held
    except FileNotFoundError:
        pass
    except BaseException:
        new.unlink(missing_ok=True)
        _record(run.id).unlink(missing_ok=True)
        os.close(held)
        _drop_records()
        raise
    os.close(held)
    return None


def _records_hint(error: OSError | None = None) -> str:
    """What to do where there can be no records. error: of the system, where there is one."""
    if os.geteuid() != 0:
        return "set XDG_STATE_HOME to a folder of your own, on a disk of this machine"
    if error and error.errno == errno.EROFS:
        return f"mount what {records().parent} lies on for writing"
    return f"remove {records()}, which must be a folder that only root can write to"


def _room(error: OSError, folder: Path) -> str | None:
    return f"make room in {folder.parent}" if error.errno in (errno.ENOSPC, errno.EDQUOT) else None


def _make(folder: Path) -> None:
    """A run's folder. Raises HostError."""
    above = folder.parent
    for attempt in range(_TRIES):
        # Another run that ends removes the top when it is empty, at any moment.
        try:
            # Ordinary users may look for a run of root's by its name, and at nothing else.
            above.mkdir(mode=0o711 if os.geteuid() == 0 else 0o700, parents=True, exist_ok=True)
            _check(above, _HINT)
            folder.mkdir(mode=0o700)
        except FileNotFoundError as error:
            if attempt == _TRIES - 1:
                raise HostError(f"{above} is removed again and again", hint="try again") from error
            continue
        except OSError as error:
            hint = _room(error, above) or _HINT
            raise HostError(f"cannot make a folder in {above}: {error.strerror}", hint=hint) from error
        return


def is_own(folder: Path) -> bool:
    """Whether nobody but this user can have put a folder where it is, or anything into it."""
    try:
        _check(folder, _HINT)
        _check(folder.parent, _HINT)
    except (OSError, HostError):
        return False
    return True


def _check(folder: Path, hint: str) -> None:
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
    raise HostError(f"{folder} {fault}: what is in it cannot be trusted", hint=hint)
