"""Removes what dead runs left: processes, mounts, cgroups, libvirt's and Docker's things, settings, folders.

A run is dead when its record is there (see bench.state) and nobody holds it. Only what that record proves is touched:
what bears the run's id at a place where Tare puts it, and belongs to the run's user. No name alone proves anything.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from bench import cage, disk, kernels, ksm, mounts, process, state
from bench.backends import base
from bench.backends._command import RUN_VARIABLE
from bench.errors import TareError
from bench.text import one_line

_LIMIT = 10.0
#: The beginning of the name of what a batch job keeps on its node; the run's id follows.
JOB_FOLDERS = Path("/var/tmp/tare-job-")


@dataclass(frozen=True)
class Removed:
    """kind: process, mount, cgroup, setting, libvirt domain, Docker's, runtime's file, folder."""

    kind: str
    name: str


def _tell(text: str) -> None:
    sys.stderr.write(one_line(f"tare: {text}") + "\n")


def clean(warned: Callable[[str], None] = _tell) -> list[Removed]:
    """Take away everything of dead runs; what was there.

    warned: told what resists, which stays on record for the next time: no run waits for it.
    """
    removed: list[Removed] = []
    for run in state.runs():
        if run.of_this_boot and not run.visible:
            continue  # it is for who sees its processes
        with state.claimed(run) as ours:
            if ours:
                removed += _remove(run, warned)
    state.forget_unfinished()
    return removed + [Removed("folder", str(folder)) for folder in kernels.clean()]


def _remove(run: state.Run, warned: Callable[[str], None]) -> list[Removed]:
    removed: list[Removed] = []
    kept: list[str] = []
    if run.of_this_boot:
        removed += _attempt(kept, partial(_processes, told=removed), run)
        removed += _attempt(kept, _domains, run)
        removed += _attempt(kept, partial(_cgroups, patience=0.0 if kept else _LIMIT), run)
        removed += _attempt(kept, _switches, run)
        removed += _attempt(kept, _runtimes_files, run)
    removed += _attempt(kept, _of_docker, run)
    if not kept:  # or its folder says what else is to be removed
        removed += _folders(run, kept)
    if kept:
        warned(f"the rest of a dead run stays until it can be removed: {'; '.join(kept)}")
    else:
        state.forget(run.id)
    return removed


def _attempt(kept: list[str], remove: Callable[[state.Run], list[Removed]], run: state.Run) -> list[Removed]:
    """What was removed; kept: why not, where something resists or a daemon cannot be asked."""
    try:
        return remove(run)
    except (TareError, OSError) as error:
        kept.append(str(error))
        return []


def release(run: state.Run) -> list[str]:
    """Remove the ending run's groups, with what still lives in them, and what a killed worker could not.

    Never raises: says what could not be removed.
    """
    resisted = []
    deadline = time.monotonic() + _LIMIT
    for folder in _groups(run):
        pids = _kill_group(folder, deadline)
        if pids:
            resisted.append(f"processes {sorted(pids)} in {folder} cannot be killed")
        try:
            _remove_groups(folder, time.monotonic() if pids else deadline)
        except TareError as error:
            resisted.append(str(error))
    mounts.remove_tree(disk.folder(run.id))
    for remove in (_switches, _runtimes_files, _of_docker):
        _attempt(resisted, remove, run)
    return resisted


def _kill_group(folder: Path, deadline: float) -> set[int]:
    """SIGKILL what is in a group and below it; those that outlive the deadline."""

    def members() -> set[int]:
        return _members(folder) - {os.getpid()}

    while pids := members():
        process.kill_members(members)
        if time.monotonic() > deadline:
            return pids
        time.sleep(0.005)
    return set()


def _members(folder: Path) -> set[int]:
    found = set()
    for inner, _, _ in os.walk(folder):
        with contextlib.suppress(OSError):
            for pid in Path(inner, "cgroup.procs").read_text().split():
                with contextlib.suppress(OSError):
                    if not _zombie(Path("/proc", pid)):
                        found.add(int(pid))
    return found


def _belongs(path: Path, run: state.Run) -> bool:
    """Whether something is the run's user's."""
    try:
        return path.lstat().st_uid == run.uid
    except OSError:
        return False


def _cgroup_mounts() -> list[Path]:
    lines = [line.split(" ") for line in Path("/proc/self/mounts").read_text().splitlines()]
    return list(dict.fromkeys(Path(folder) for _, folder, kind, *_ in lines if kind in ("cgroup", "cgroup2")))


def _groups(run: state.Run) -> list[Path]:
    """A run's groups: ours, and what a container runtime made of our path beside its own group or PID 1's."""
    beside = {"/", *run.groups}
    with contextlib.suppress(OSError):
        beside |= {line.split(":", 2)[2] for line in Path("/proc/1/cgroup").read_text().splitlines()}
    places = [(mount, group.lstrip("/")) for mount in _cgroup_mounts() for group in sorted(beside)]
    found = dict.fromkeys(mount / group / f"{cage.PREFIX}{run.id}" for mount, group in places if ".." not in group)
    return [folder for folder in found if folder.is_dir() and _belongs(folder, run)]


def _processes(run: state.Run, *, told: list[Removed] | None = None) -> list[Removed]:
    """Those in a dead run's cgroups, and those whose environment bears its id. told: gets those that ended where others
    do not. Raises TareError."""
    removed: dict[int, Removed] = {}
    beyond: set[int] = set()
    deadline = time.monotonic() + _LIMIT

    def members() -> set[int]:
        return _find_processes(run) - beyond

    while found := members():
        names = {pid: _command(pid) for pid in found}
        killed, refused = process.kill_members(members)
        beyond |= refused
        for pid in killed - refused:
            removed.setdefault(pid, Removed("process", f"{pid} {names.get(pid, '?')}"))
        if time.monotonic() > deadline:
            if told is not None:
                told += [each for pid, each in removed.items() if pid not in found]
            raise TareError(f"processes {sorted(found)} of a dead run cannot be killed")
        time.sleep(0.01)
    return list(removed.values())


def _find_processes(run: state.Run) -> set[int]:
    found: set[int] = set()
    for folder in _groups(run):
        found |= _members(folder)
    for entry in Path("/proc").iterdir():
        with contextlib.suppress(OSError):
            if entry.name.isdigit() and _may_be_of(entry, run) and _is_of(entry, run) and not _zombie(entry):
                found.add(int(entry.name))
    return found - {os.getpid()}


def _may_be_of(entry: Path, run: state.Run) -> bool:
    """What root's run starts may have become another user."""
    return run.uid == 0 or _belongs(entry, run)


def _is_of(entry: Path, run: state.Run) -> bool:
    """Raises OSError."""
    mark = f"{RUN_VARIABLE}={run.id}".encode()
    if mark in (entry / "environ").read_bytes().split(b"\0"):
        return True
    # libvirt empties the environment of the QEMU that it asks for its capabilities.
    words = (entry / "cmdline").read_bytes().split(b"\0")
    inside = os.fsencode(run.folder) + b"/"
    asked = (place for option, place in itertools.pairwise(words) if option == b"-pidfile")
    return any(place.startswith(inside) for place in asked) and _belongs(entry, run)


def _zombie(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "?"


def _cgroups(run: state.Run, *, patience: float) -> list[Removed]:
    removed = []
    deadline = time.monotonic() + patience
    for folder in _groups(run):
        _remove_groups(folder, deadline)
        removed.append(Removed("cgroup", str(folder)))
    return removed


def _remove_groups(folder: Path, deadline: float) -> None:
    """A group and all below it, waiting for the kernel to let go of them. Raises TareError."""
    for inner, _, _ in os.walk(folder, topdown=False):
        while True:
            try:
                Path(inner).rmdir()
            except FileNotFoundError:
                pass
            except OSError as error:
                if error.errno == errno.EBUSY and time.monotonic() < deadline:
                    time.sleep(0.005)
                    continue
                raise TareError(f"cgroup {inner} cannot be removed: {error.strerror}") from error
            break


def _runtimes_files(run: state.Run) -> list[Removed]:
    """What container runtimes keep of a run outside its folder. See Backend.leftovers."""
    removed = []
    for name in base.names():
        for path in base.load(name).leftovers(run):
            if _belongs(path, run):
                _remove_path(path)
                removed.append(Removed("runtime's file", str(path)))
                _remove_mirrored_top(path.parent, run)
    return removed


def _remove_path(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        mounts.remove_tree(path)
    else:
        path.unlink(missing_ok=True)


def _remove_mirrored_top(folder: Path, run: state.Run) -> None:
    """LXC mirrors the folder of our runs, /run/tare, below one of its own."""
    with contextlib.suppress(OSError):
        for name in reversed(run.folder.parent.parts[1:]):
            if folder.name != name:
                return
            folder.rmdir()
            folder = folder.parent


def _domains(run: state.Run) -> list[Removed]:
    """Domains that a dead run started by a libvirt daemon; those of the embedded driver are just processes.

    Raises TareError, OSError where a daemon cannot be asked.
    """
    removed: list[Removed] = []
    for note in run.folder.glob("*/backend/uri"):
        from bench.backends import _libvirt

        names = _libvirt.destroy_leftovers(note.read_text(), run.id)
        removed += [Removed("libvirt domain", name) for name in names]
    return removed


def _of_docker(run: state.Run) -> list[Removed]:
    """Containers and images that a run made by the user's own Docker. Raises TareError where that cannot be asked."""
    from bench.backends import docker

    hosts = state.notes(run.id, docker.NOTE)
    return [Removed(kind, name) for host in hosts for kind, name in docker.remove_leftovers(host, run.id)]


def _switches(run: state.Run) -> list[Removed]:
    """What a dead run has switched on this host is put back."""
    return [Removed("setting", "KSM")] if run.uid == 0 and ksm.restore(run.folder / ksm.NOTE) else []


def _folders(run: state.Run, kept: list[str]) -> list[Removed]:
    places = [JOB_FOLDERS.with_name(f"{JOB_FOLDERS.name}{run.id}"), disk.folder(run.id)]
    if state.is_own(run.folder):
        places.insert(0, run.folder)
    removed = []
    for place in places:
        if place.is_dir() and not place.is_symlink() and _belongs(place, run):
            mounted = mounts.below(place)
            mounts.remove_tree(place)
            removed += [Removed("mount", str(each)) for each in mounted if each not in mounts.below(place)]
            if place.exists():
                kept.append(f"{place} cannot be removed whole")
            else:
                removed.append(Removed("folder", str(place)))
    with contextlib.suppress(OSError):
        run.folder.parent.rmdir()
    return removed
