"""What runs have on this host while they live: one folder each, named by the run's id, with its owner's pid in it."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path


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
    """id: 8 hex digits; born: the owner's start time in clock ticks, which tells a reused pid apart."""

    id: str
    folder: Path
    pid: int
    born: int
    what: str
    started: str

    @property
    def alive(self) -> bool:
        return birth(self.pid) == self.born


def birth(pid: int) -> int | None:
    """Start time of a process in clock ticks since boot.

    None where there is none, or one that only waits to be reaped.
    """
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return None if fields[0] in ("Z", "X") else int(fields[19])
    except (OSError, IndexError):
        return None


def living() -> set[str]:
    """The ids of all runs on this host whose owners live, other users' too as far as this one may look."""
    tops = {top(), Path("/run/tare"), *Path("/run/user").glob("*/tare"), *Path("/tmp").glob("tare-*")}
    return {run.id for folder in tops for run in _runs(folder) if run.alive}


def runs() -> list[Run]:
    """This user's runs that have a folder, dead ones too. A folder without a readable owner is a dead run's."""
    return _runs(top())


def _runs(above: Path) -> list[Run]:
    found = []
    folders: list[Path] = []
    with contextlib.suppress(OSError):
        folders = sorted(above.iterdir())
    for folder in folders:
        owner: object = None
        with contextlib.suppress(OSError, ValueError):
            owner = json.loads((folder / "owner.json").read_text())
        if not isinstance(owner, dict):
            owner = {}
        pid, born = owner.get("pid"), owner.get("born")
        found.append(
            Run(
                folder.name,
                folder,
                pid if isinstance(pid, int) else 0,
                born if isinstance(born, int) else -1,
                str(owner.get("what", "a run that died early")),
                str(owner.get("started", "?")),
            )
        )
    return found


@contextlib.contextmanager
def enter(what: str) -> Iterator[Run]:
    """A new run's folder, for as long as the block lasts. what: shown to whoever has to wait for this run."""
    identity = secrets.token_hex(4)
    folder = top() / identity
    started = datetime.now(UTC).strftime("%Y-%m-%d %H:%M:%S UTC")
    run = Run(identity, folder, os.getpid(), birth(os.getpid()) or 0, what, started)
    _make(folder, json.dumps({"pid": run.pid, "born": run.born, "what": what, "started": started}))
    try:
        yield run
    finally:
        shutil.rmtree(folder, ignore_errors=True)
        with contextlib.suppress(OSError):
            top().rmdir()


def _make(folder: Path, owner: str) -> None:
    """The folder appears with its owner in it, so that nobody takes it for a dead run's."""
    for attempt in range(10):
        # Another run that ends removes the top when it is empty, at any moment.
        folder.parent.mkdir(mode=0o711, parents=True, exist_ok=True)
        try:
            new = Path(tempfile.mkdtemp(prefix=".new-", dir=folder.parent))
            (new / "owner.json").write_text(owner)
            new.rename(folder)
            return
        except FileNotFoundError:
            if attempt == 9:
                raise
