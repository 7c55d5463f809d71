"""The cage: one cgroup per instance, alike for every family, in which all its host processes live.

Layout, in every hierarchy used:  tare-<run>/<slot>/<instance>.  The slot's group adds its instances up, which is how a
density ramp reads a thousand of them at once. cgroup v1 (also the hybrid layout) and v2 both work; where neither can
be had the run goes on as `uncaged`.
"""

from __future__ import annotations

import contextlib
import errno
import os
import time
from dataclasses import dataclass
from pathlib import Path

from bench import process
from bench.errors import HostError, InstanceError

#: The beginning of the name of a run's group; the run's id follows.
PREFIX = "tare-"
V1_CONTROLLERS = ("cpu", "cpuacct", "cpuset", "memory", "pids")
#: Where it is mounted on its own, instructions are counted there (see bench.counters).
V1_COUNTER = "perf_event"
V2_CONTROLLERS = ("cpu", "cpuset", "memory", "pids")
#: The longest time between two ticks of a kernel's clock (CONFIG_HZ=100).
_TICK = 0.010
#: The kernel sums up what it charges to groups every 2 s at the latest (FLUSH_TIME of its memory controller).
_SUMMED = 2.5
#: The parts of "kernel" in a v2 memory.stat before Linux 5.18.
_KERNEL = ("slab", "kernel_stack", "pagetables", "sec_pagetables", "percpu", "vmalloc")


@dataclass(frozen=True)
class Cpus:
    """Which CPUs instances run on and which the harness keeps to; disjoint where there are enough of them."""

    caged: frozenset[int]
    harness: frozenset[int]


def divide_cpus(wanted: int) -> Cpus:
    """The last `wanted` CPUs for instances, the others for the harness. Raises HostError when there are too few."""
    usable = sorted(os.sched_getaffinity(0))
    if wanted > len(usable):
        raise HostError(
            f"the envelope asks for {wanted} CPUs and this host has {len(usable)}", hint="lower envelope.cpus"
        )
    caged = usable[-wanted:]
    return Cpus(frozenset(caged), frozenset(usable[:-wanted] or usable))


def cpu_list(cpus: frozenset[int]) -> str:
    return ",".join(str(cpu) for cpu in sorted(cpus))


@dataclass(frozen=True)
class CageMemory:
    """Bytes charged to a cgroup and everything below it. file: page cache and shmem; shmem: what of that is shared
    memory and tmpfs, which the host cannot take back."""

    total: int
    anon: int
    file: int
    kernel: int
    shmem: int

    @property
    def adds_up(self) -> bool:
        """Whether the parts make up the total, but for what CPUs are charged ahead (256 KiB for a group, of a few)."""
        rest = abs(self.total - self.anon - self.file - self.kernel)
        return rest <= max((os.cpu_count() or 1) << 20, self.total >> 6)


class Hierarchy:
    """The mounted cgroup hierarchies that cages are made in.

    mounts: controller → mount of the hierarchies that processes enter; others: further v1 hierarchies, in which
    runtimes make groups of their own below the path they are given, so that the path must be there and go again.
    """

    version: int

    def __init__(self, mounts: dict[str, Path], others: list[Path] | None = None) -> None:
        self.mounts = mounts
        self.entered = list(dict.fromkeys(mounts.values()))
        self.all = list(dict.fromkeys([*self.entered, *(others or [])]))

    def describe(self) -> str:
        raise NotImplementedError

    def prepare(self) -> None:
        """Raises OSError where this user may make no groups."""
        for mount in self.all:
            if not os.access(mount, os.W_OK):
                readonly = os.statvfs(mount).f_flag & os.ST_RDONLY
                number = errno.EROFS if readonly else errno.EACCES
                raise OSError(number, os.strerror(number))

    def open(self, path: str) -> None:
        """Let a run's group have groups in it. Raises OSError."""
        raise NotImplementedError


class HierarchyV1(Hierarchy):
    version = 1

    def describe(self) -> str:
        return "v1 hybrid" if Path("/sys/fs/cgroup/unified").is_dir() else "v1"

    def open(self, path: str) -> None:
        cpuset = self.mounts["cpuset"]
        for name in ("cpus", "mems"):
            (cpuset / path / f"cpuset.{name}").write_text((cpuset / f"cpuset.{name}").read_text())
        (cpuset / path / "cgroup.clone_children").write_text("1")


class HierarchyV2(Hierarchy):
    version = 2

    def describe(self) -> str:
        return "v2"

    def prepare(self) -> None:
        super().prepare()
        enable_v2(self.all[0])

    def open(self, path: str) -> None:
        """Its children are let have controllers as it is made."""


def enable_v2(group: Path) -> None:
    """Let groups below this one have controllers.

    Beside a systemd this is safe in the root group too: the kernel does not let it take away again, as it likes to do,
    what groups below have handed on.
    """
    (group / "cgroup.subtree_control").write_text(" ".join(f"+{name}" for name in V2_CONTROLLERS))


def detect() -> Hierarchy:
    """The hierarchies of this host. Raises HostError with the reason where cages cannot be made."""
    v1: dict[str, Path] = {}
    v2: Path | None = None
    others: list[Path] = []
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, options, *_ = line.split(" ")
        if kind == "cgroup":
            others.append(Path(folder))
            for name in options.split(","):
                if name in (*V1_CONTROLLERS, V1_COUNTER):
                    v1.setdefault(name, Path(folder))
        elif kind == "cgroup2" and v2 is None:
            v2 = Path(folder)
    hierarchy: Hierarchy
    if set(V1_CONTROLLERS) <= v1.keys():
        hierarchy = HierarchyV1(v1, others)
    elif v2 is not None and set(V2_CONTROLLERS) <= set((v2 / "cgroup.controllers").read_text().split()):
        hierarchy = HierarchyV2({"unified": v2})
    else:
        raise HostError(
            "no usable cgroup hierarchy (cpu, cpuset, memory, pids)", hint="mount cgroup v2 at /sys/fs/cgroup"
        )
    try:
        hierarchy.prepare()
    except OSError as error:
        raise HostError(f"cannot make cgroups: {error.strerror}", hint=_remedy(error, hierarchy.all[0])) from error
    return hierarchy


def _remedy(error: OSError, mount: Path) -> str:
    """What would let cages be made in a mounted hierarchy, from what the kernel said when it did not."""
    if os.geteuid() != 0:
        return "run as root for cages"
    if error.errno == errno.EBUSY:
        # The root of a cgroup namespace is an ordinary v2 group: with processes in it, it hands on no controllers.
        return f"in this container: mkdir {mount}/own && xargs -rn1 <{mount}/cgroup.procs >{mount}/own/cgroup.procs"
    return f"give this container a {mount} that it may write to"


class Group:
    """One group, in every hierarchy. Used for a run and for a slot; Cage is the leaf."""

    def __init__(self, hierarchy: Hierarchy, path: str) -> None:
        self.hierarchy = hierarchy
        self.path = f"{PREFIX}{path}"
        self.folders = [mount / self.path for mount in hierarchy.all]
        for folder in self.folders:
            folder.mkdir(exist_ok=True)
            if hierarchy.version == 2:
                enable_v2(folder)
        if "/" not in path:
            hierarchy.open(self.path)

    def _file(self, controller: str, name: str) -> Path:
        return self.hierarchy.mounts.get(controller, self.hierarchy.entered[0]) / self.path / name

    def cpu_seconds(self) -> float:
        """CPU time charged to the group so far: without what threads ran since the last tick, where they run on."""
        if self.hierarchy.version == 1:
            return int(self._file("cpuacct", "cpuacct.usage").read_text()) / 1e9
        return _stat(self._file("cpu", "cpu.stat"))["usage_usec"] / 1e6

    def settled_cpu_seconds(self, limit: float = _TICK) -> float:
        """CPU time used in the group so far.

        The kernel charges a thread when it stops running, and at each tick: of a container that has just said that it
        is ready, nothing might be charged yet. So the group may come to rest, for as long as a tick at most.
        """
        deadline = time.monotonic() + limit
        while time.monotonic() < deadline and any(map(_runs, self.pids())):
            time.sleep(0.0002)
        return self.cpu_seconds()

    def memory(self, limit: float = _SUMMED) -> CageMemory:
        """What the memory controller charges to the group.

        The total is exact at once, its parts are summed up over CPUs and groups every two seconds or when the kernel
        thinks that enough has changed: parts that do not make up the total are read again, for limit seconds at most.
        """
        deadline = time.monotonic() + limit
        while not (found := self._memory()).adds_up and time.monotonic() < deadline:
            time.sleep(0.05)
        return found

    def _memory(self) -> CageMemory:
        """v1 counts kernel memory in its total, as v2 does."""
        stat = _stat(self._file("memory", "memory.stat"))
        if self.hierarchy.version == 1:
            total = int(self._file("memory", "memory.usage_in_bytes").read_text())
            kernel = _number(self._file("memory", "memory.kmem.usage_in_bytes"))
            return CageMemory(total, stat["total_rss"], stat["total_cache"], kernel, stat["total_shmem"])
        total = int(self._file("memory", "memory.current").read_text())
        kernel = stat.get("kernel", sum(stat.get(name, 0) for name in _KERNEL))
        return CageMemory(total, stat["anon"], stat["file"], kernel + stat.get("sock", 0), stat["shmem"])

    def pids(self) -> list[int]:
        """Host pids in the group and below it."""
        return sorted(_pids(str(self.folders[0])))

    def kill(self, deadline: float) -> None:
        """SIGKILL everything inside until nothing is left. Raises InstanceError if something outlives the deadline."""
        while pids := self.pids():
            process.kill_members(self.pids)
            for pid in pids:
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, os.WNOHANG)
            if time.monotonic() > deadline:
                raise InstanceError(f"processes {pids} cannot be killed")
            time.sleep(0.001)

    def remove(self, deadline: float) -> None:
        """Remove the group and all below it, waiting for the kernel to let go of it."""
        for folder in self.folders:
            try:
                folder.rmdir()
            except OSError:  # something is below it or still leaving it
                for path, _, _ in os.walk(folder, topdown=False):
                    _remove(Path(path), deadline)


class Cage(Group):
    """The group of one instance, with its CPUs, no swap and, for families that need it, its memory limit (bytes)."""

    def __init__(
        self, hierarchy: Hierarchy, path: str, cpus: Cpus, memory: int | None, processes: int | None = None
    ) -> None:
        super().__init__(hierarchy, path)
        self.cpus = cpus
        self._file("cpuset", "cpuset.cpus").write_text(cpu_list(cpus.caged))
        if memory is not None:
            name = "memory.limit_in_bytes" if hierarchy.version == 1 else "memory.max"
            self._file("memory", name).write_text(str(memory))
        self._deny_swap(memory)
        if processes is not None:
            self._file("pids", "pids.max").write_text(str(processes))
        self.entrance = self._leaf("launch", hierarchy.entered)

    def _deny_swap(self, memory: int | None) -> None:
        """What an instance takes is this host's memory: what it holds would else depend on the host's swap, and who
        takes too much would fill that first. Kernels without swap lack the files."""
        if self.hierarchy.version == 2:
            _write_there(self._file("memory", "memory.swap.max"), "0")
            return
        _write_there(self._file("memory", "memory.swappiness"), "0")
        if memory is not None:
            _write_there(self._file("memory", "memory.memsw.limit_in_bytes"), str(memory))

    def _leaf(self, name: str, mounts: list[Path]) -> list[Path]:
        """Where processes go in these hierarchies: a v2 group that has children may hold none itself."""
        folders = [mount / self.path for mount in mounts]
        if self.hierarchy.version == 1:
            return folders
        leaves = [folder / name for folder in folders]
        for leaf in leaves:
            leaf.mkdir(exist_ok=True)
        return leaves

    def doors(self, leaf: str = "launch", *, everywhere: bool = False) -> list[str]:
        """Files into which a process writes "0" to enter.

        everywhere: also in the v1 hierarchies of which nothing is read here. leaf: of no matter for v1. In v2 nspawn
        and LXC make groups of their own below the one that they are started in, and so close it to all others: what
        comes later must ask for another one.

        The first migration after a pause waits for an RCU grace period (several ms), those right after it do not. Since
        every instance enters its cage just before its start, no runtime pays that for a migration of its own, and
        none is luckier than another. (v1's `tasks` would not wait, and leave it to whoever migrates next.)
        """
        mounts = self.hierarchy.all if everywhere else self.hierarchy.entered
        return [str(folder / "cgroup.procs") for folder in self._leaf(leaf, mounts)]

    def memory_limit(self) -> int:
        """The limit in force, bytes, as the kernel tells it; a very large number where there is none."""
        name = "memory.limit_in_bytes" if self.hierarchy.version == 1 else "memory.max"
        text = self._file("memory", name).read_text().strip()
        return 2**63 - 1 if text == "max" else int(text)

    def take(self, pid: int) -> None:
        """Move another process with all its threads into the cage."""
        for folder in self.entrance:
            (folder / "cgroup.procs").write_text(str(pid))


def _pids(folder: str) -> set[int]:
    found: set[int] = set()
    with contextlib.suppress(OSError):
        found.update(map(int, Path(folder, "cgroup.procs").read_text().split()))
        with os.scandir(folder) as entries:
            for entry in entries:
                if entry.is_dir(follow_symlinks=False):
                    found |= _pids(entry.path)
    return found


def _runs(pid: int) -> bool:
    """Whether a thread of the process runs, or waits for a CPU."""
    try:
        threads = [entry.path for entry in os.scandir(f"/proc/{pid}/task")]
        return any(Path(thread, "stat").read_text().rpartition(")")[2].split()[0] == "R" for thread in threads)
    except OSError:  # it is gone
        return False


def _remove(folder: Path, deadline: float) -> None:
    while True:
        try:
            folder.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                raise InstanceError(f"cgroup {folder} cannot be removed: {error.strerror}") from error
            time.sleep(0.0005)


def _write_there(file: Path, text: str) -> None:
    """Into a file that not every kernel has."""
    with contextlib.suppress(FileNotFoundError), file.open("r+") as opened:
        opened.write(text)


def _stat(path: Path) -> dict[str, int]:
    pairs = (line.split() for line in path.read_text().splitlines())
    return {pair[0]: int(pair[1]) for pair in pairs if len(pair) == 2}


def _number(path: Path) -> int:
    try:
        return int(path.read_text())
    except OSError:
        return 0
