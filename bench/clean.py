"""Removes what dead runs left: processes, mounts, cgroups, network devices, shared memory, libvirt domains, folders.

A run is dead when its owner is. Only what bears a dead run's id is touched: what Tare makes has it in its cgroup path,
in its name or in its environment. An ordinary user touches nothing of other users.
"""

from __future__ import annotations

import contextlib
import errno
import os
import re
import signal
import sys
import time
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path

from bench import cage, disk, kernels, ksm, mounts, process, state
from bench.backends import base
from bench.backends.base import NAME_PREFIX
from bench.errors import HostError, TareError

_ID = re.compile(r"[0-9a-f]{8}\Z")
_LIMIT = 10.0
#: The beginning of the name of what a batch job keeps on its node; the run's id follows.
JOB_FOLDERS = Path("/var/tmp/tare-job-")


@dataclass(frozen=True)
class Removed:
    """kind: process, mount, cgroup, network device, shared memory, setting, libvirt domain, runtime's file, folder."""

    kind: str
    name: str


def clean() -> list[Removed]:
    """Take away everything of dead runs; what was there. Raises TareError if something resists."""
    removed: list[Removed] = []
    removed += _processes()
    domains, kept = _domains()
    removed += domains
    removed += _mounts()
    removed += _cgroups()
    removed += _devices()
    removed += _shared_memory()
    removed += _switches()
    removed += _runtimes_files()
    removed += _folders(kept)
    removed += _folders_on_disk()
    removed += [Removed("folder", str(folder)) for folder in kernels.clean()]
    _remove_empty_tops()
    return removed


def release(identity: str) -> list[str]:
    """Remove the ending run's groups, with what still lives in them, and what a killed worker could not.

    Never raises: says what could not be removed.
    """
    resisted = []
    deadline = time.monotonic() + _LIMIT
    for top in _cgroup_tops():
        pids = _kill_group(top / identity, deadline)
        if pids:
            resisted.append(f"processes {sorted(pids)} in {top / identity} cannot be killed")
        try:
            _remove_groups(top / identity, time.monotonic() if pids else deadline)
        except TareError as error:
            resisted.append(str(error))
    mounts.remove_tree(disk.folder(identity))
    try:
        ksm.restore(state.top() / identity / ksm.NOTE)
    except HostError as error:
        resisted.append(str(error))
    try:
        _runtimes_files(identity)
    except OSError as error:
        resisted.append(str(error))
    _remove_empty_tops()
    return resisted


def _kill_group(folder: Path, deadline: float) -> set[int]:
    """SIGKILL what is in a group and below it; those that outlive the deadline."""
    while pids := _members(folder) - {os.getpid()}:
        for pid in pids:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
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


def _remove_empty_tops() -> None:
    """The folders that hold runs, where there is none any more."""
    for top in [*_cgroup_tops(), state.top()]:
        with contextlib.suppress(OSError):
            top.rmdir()


def _dead(identity: str, uid: int) -> bool:
    """Whether nobody lives who can have made what bears this id and belongs to uid.

    Asked anew each time, after its trace was found: a run may start while another's leftovers are removed.
    """
    return bool(_ID.match(identity)) and identity not in state.living(uid) and not state.answers(identity, uid)


def _left(path: Path, identity: str) -> bool:
    """Whether something is a dead run's, and ours to remove."""
    try:
        uid = path.lstat().st_uid
    except OSError:
        return False
    return os.geteuid() in (0, uid) and _dead(identity, uid)


def _cgroup_tops() -> list[Path]:
    """Every group that holds runs' groups: ours, and what a container runtime made of our path beside PID 1's group."""
    mounts = [line.split(" ") for line in Path("/proc/self/mounts").read_text().splitlines()]
    tops: list[Path] = []
    for folder in dict.fromkeys(folder for _, folder, kind, *_ in mounts if kind in ("cgroup", "cgroup2")):
        for inner, below, _ in os.walk(folder):
            if cage.ROOT in below:
                tops.append(Path(inner, cage.ROOT))
                below.remove(cage.ROOT)
    return tops


def _dead_groups() -> list[Path]:
    found: list[Path] = []
    for top in _cgroup_tops():
        with contextlib.suppress(OSError):
            found += [folder for folder in top.iterdir() if folder.is_dir() and _left(folder, folder.name)]
    return found


def _processes() -> list[Removed]:
    """Those in a dead run's cgroups, and those whose environment bears its id."""
    removed: dict[int, Removed] = {}
    beyond: set[int] = set()
    deadline = time.monotonic() + _LIMIT
    while found := _find_processes() - beyond:
        for pid in found:
            name = _command(pid)
            try:
                os.kill(pid, signal.SIGKILL)
                removed.setdefault(pid, Removed("process", f"{pid} {name}"))
            except ProcessLookupError:
                pass
            except PermissionError:
                beyond.add(pid)
        if time.monotonic() > deadline:
            raise TareError(f"processes {sorted(found)} of a dead run cannot be killed")
        time.sleep(0.01)
    return list(removed.values())


def _find_processes() -> set[int]:
    found: set[int] = set()
    for folder in _dead_groups():
        found |= _members(folder)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            with contextlib.suppress(OSError):
                match = re.search(rb"(?:^|\0)TARE_RUN=([0-9a-f]{8})\0", (entry / "environ").read_bytes())
                if match and _left(entry, match[1].decode()) and not _zombie(entry):
                    found.add(int(entry.name))
            with contextlib.suppress(OSError):
                # libvirt empties the environment of the QEMU that it asks for its capabilities.
                words = (entry / "cmdline").read_bytes().split(b"\0")
                match = re.search(rb"/tare/([0-9a-f]{8})/", b" ".join(words[1:])) if b"qemu" in words[0] else None
                if match and _left(entry, match[1].decode()) and not _zombie(entry):
                    found.add(int(entry.name))
    return found


def _zombie(entry: Path) -> bool:
    return (entry / "stat").read_text().rpartition(")")[2].split()[0] in ("Z", "X")


def _command(pid: int) -> str:
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return "?"


def _mounts() -> list[Removed]:
    removed = []
    prefix = f"{state.top()}/"
    points = [line.split(" ")[1] for line in Path("/proc/self/mounts").read_text().splitlines()]
    for point in reversed(points):
        if point.startswith(prefix) and _dead(point.removeprefix(prefix).split("/")[0], os.geteuid()):
            process.run([process.require("umount", "mount"), "--lazy", point])
            removed.append(Removed("mount", point))
    return removed


def _cgroups() -> list[Removed]:
    removed = []
    deadline = time.monotonic() + _LIMIT
    for folder in _dead_groups():
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


def _devices() -> list[Removed]:
    """Network devices are named tare-<id>…, cut to 15 characters. Only root makes them."""
    removed = []
    for device in Path("/sys/class/net").glob(f"{NAME_PREFIX}*") if os.geteuid() == 0 else []:
        if _dead(device.name.removeprefix(NAME_PREFIX)[:8], 0):
            process.run([process.require("ip", "iproute2"), "link", "delete", device.name])
            removed.append(Removed("network device", device.name))
    return removed


def _shared_memory() -> list[Removed]:
    removed = []
    for file in Path("/dev/shm").glob(f"{NAME_PREFIX}*"):
        if _left(file, file.name.removeprefix(NAME_PREFIX)[:8]):
            if file.is_dir() and not file.is_symlink():
                mounts.remove_tree(file)
            else:
                file.unlink(missing_ok=True)
            removed.append(Removed("shared memory", str(file)))
    return removed


def _runtimes_files(own: str | None = None) -> list[Removed]:
    """What container runtimes keep outside an instance's folder of dead runs, or of one that ends.

    See Backend.leftovers.
    """
    removed = []
    for name in base.names():
        for identity, path in base.load(name).leftovers():
            if identity == own if own else _left(path, identity):
                if path.is_dir() and not path.is_symlink():
                    mounts.remove_tree(path)
                else:
                    path.unlink(missing_ok=True)
                removed.append(Removed("runtime's file", str(path)))
                _remove_mirrored_top(path.parent)
    return removed


def _remove_mirrored_top(folder: Path) -> None:
    """LXC mirrors the folder of our runs, /run/tare, below one of its own."""
    with contextlib.suppress(OSError):
        for name in reversed(state.top().parts[1:]):
            if folder.name != name:
                return
            folder.rmdir()
            folder = folder.parent


def _domains() -> tuple[list[Removed], set[str]]:
    """Domains that a dead run started by a libvirt daemon; those of the embedded driver are just processes.

    Also the runs whose daemon cannot be asked: their folders stay, for they say which domains to remove.
    """
    removed: list[Removed] = []
    kept: set[str] = set()
    for run in state.runs():
        if not _dead(run.id, run.uid):
            continue
        for note in run.folder.glob("*/backend/uri"):
            from bench.backends import _libvirt

            try:
                uri = note.read_text()
                removed += [Removed("libvirt domain", name) for name in _libvirt.destroy_leftovers(uri, run.id)]
            except (HostError, OSError) as error:
                kept.add(run.id)
                sys.stderr.write(f"tare: {run.folder} stays until its libvirt domains can be removed: {error}\n")
    return removed, kept


def _switches() -> list[Removed]:
    """What a dead run has switched on this host is put back."""
    dead = (run for run in state.runs() if os.geteuid() == 0 and _dead(run.id, run.uid))
    return [Removed("setting", "KSM") for run in dead if ksm.restore(run.folder / ksm.NOTE)]


def _folders(kept: Collection[str] = ()) -> list[Removed]:
    removed = []
    dead = [run.folder for run in state.runs() if run.id not in kept and _dead(run.id, run.uid)]
    for folder in dead + state.stillborn():
        mounts.remove_tree(folder)
        removed.append(Removed("folder", str(folder)))
    return removed


def _folders_on_disk() -> list[Removed]:
    removed = []
    for place in (JOB_FOLDERS, disk.FOLDERS):
        for folder in place.parent.glob(f"{place.name}*"):
            if folder.is_dir() and not folder.is_symlink() and _left(folder, folder.name.removeprefix(place.name)):
                mounts.remove_tree(folder)
                removed.append(Removed("folder", str(folder)))
    return removed
