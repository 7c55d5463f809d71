"""What a measure works with: the instances of one slot, their cages, and the samples taken."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

from bench import disk, link, memory, mounts, seen
from bench.backends.base import LOAD_DRIVERS, NAME_PREFIX, Backend, Guest, GuestKernel, Instance, Order, Rootfs
from bench.cage import Cage, CageMemory, Cpus, Group, Hierarchy
from bench.errors import InstanceError

Unit = Literal["second", "byte", "integer", "instruction", "operation/s", "byte/s", "ratio"]


@dataclass(frozen=True)
class Sample:
    """One metric of one slot. values and warmups are in `unit`; warm-ups take no part in any estimate.

    clock: how long a second of the host's was on the instance's clock, over all values; None where nobody looked.
    """

    metric: str
    values: list[float]
    unit: Unit = "second"
    warmups: list[float] = field(default_factory=list)
    better: Literal["lower", "higher"] = "lower"
    clock: float | None = None


@dataclass(frozen=True)
class Scenario:
    """How a slot measures: the parameters of its measures. Times in seconds, sizes in bytes.

    tenant: a workload that every instance of a ramp has to do; p99_limit: what it may take, 99 times in a hundred; ksm:
    same-page merging; cache: the page cache before the first start. None leaves things as they are.
    """

    measures: tuple[str, ...]
    workloads: tuple[str, ...] = ("true",)
    neighbours: tuple[str, ...] = ()
    warmups: int = 1
    values: int = 5
    timeout: float = 60.0
    instances: int = 10
    step: int = 1
    boot_limit: float | None = None
    memory_reserve: int = 512 << 20
    tenant: str | None = None
    p99_limit: float | None = None
    ksm: Literal["on", "off"] | None = None
    cache: Literal["warm", "cold"] | None = None


@dataclass(frozen=True)
class Place:
    """Where the instances of a slot live. hierarchy is None where no cgroup can be had."""

    run: str
    slot: str
    folder: Path
    hierarchy: Hierarchy | None
    cpus: Cpus


class Session:
    """One slot: makes instances, remembers them, and takes every one of them away again.

    samples, marks, seen, memory, ramp, unfinished (metric → why it did not come to its end): what the slot's journal
    line will say.
    """

    def __init__(
        self,
        backend: Backend,
        scenario: Scenario,
        place: Place,
        rootfs: Rootfs,
        memory_size: int,
        kernel: GuestKernel | None,
        disk_size: int | None = None,
        links: link.Links | None = None,
    ) -> None:
        """memory_size: each instance's, bytes; disk_size: of its data disk, links: to their peers; None where instances
        have none."""
        self.backend = backend
        self.scenario = scenario
        self.place = place
        self.rootfs = rootfs
        self.memory_size = memory_size
        self.kernel = kernel
        self.disk_size = disk_size
        self.links = links
        self._hierarchy = place.hierarchy if backend.cageable else None
        self.group = Group(self._hierarchy, f"{place.run}/{place.slot}") if self._hierarchy else None
        self.samples: list[Sample] = []
        self.marks: dict[str, int] = {}
        self.seen: dict[str, object] = {}
        self.memory: dict[str, int | None] = {}
        self.ramp: list[dict[str, float | None]] = []
        self.stop_reason: str | None = None
        self.unfinished: dict[str, str] = {}
        self.boot_cpu: float | None = None
        self.memory_limit: int | None = None
        self._alive: list[Instance] = []
        self._images: dict[str, Path] = {}
        self._made = 0
        self._main: Instance | None = None
        #: What the last instance has its link by, and what that does.
        self._linked: tuple[str | None, str | None] = (None, None)

    def deadline(self) -> float:
        """The end of one step (a boot, a command, a teardown) that starts now."""
        return time.monotonic() + self.scenario.timeout

    def prepare(self) -> None:
        """Bring the page cache into the state that the scenario asks for. Raises HostError."""
        if self.scenario.cache == "cold":
            memory.drop_caches()
        if self.scenario.cache == "warm":
            first = self.provision()
            first.start(self.deadline())
            self.attach(first)
            self.kill(first)

    def provision(
        self, guest: Guest = "linux", requests: Sequence[Sequence[str]] = (), processes: int | None = None
    ) -> Instance:
        """A new instance in a cage of its own, not yet started. requests: see Order; processes: the most that its cage
        may have."""
        self._made += 1
        name = f"{NAME_PREFIX}{self.place.run}-{self.place.slot}-{self._made}"
        folder = self.place.folder / name
        folder.mkdir(parents=True)
        limit = self.memory_size if self.backend.memory_by_cage else None
        cage = None
        if self._hierarchy:
            path = f"{self.place.run}/{self.place.slot}/{self._made}"
            cage = Cage(self._hierarchy, path, self.place.cpus, limit, processes)
        image, data = self._disk(name, folder) if guest == "linux" else (None, None)
        order = Order(
            name=name,
            folder=folder,
            rootfs=self.rootfs,
            cpus=len(self.place.cpus.caged),
            memory=self.memory_size,
            kernel=self.kernel,
            guest=guest,
            disk=image,
            data=data,
            link=self.links.new() if self.links and guest == "linux" else None,
            requests=requests,
            cpu_set=self.place.cpus.caged,
        )
        try:
            instance = self.backend.provision(order, cage)
        except BaseException:
            self._undo(order, cage)
            raise
        self._alive.append(instance)
        return instance

    def _undo(self, order: Order, cage: Cage | None) -> None:
        """Of an instance that never was."""
        mounts.remove_tree(order.folder)
        if self.links and order.link:
            self.links.remove(order.link)
        if cage:
            cage.remove(time.monotonic() + 10)
        if image := self._images.pop(order.name, None):
            disk.remove(image)

    def _disk(self, name: str, folder: Path) -> tuple[Path | None, Path | None]:
        """The image of an instance's data disk, for its kernel; the folder with it mounted, for who has none."""
        if self.disk_size is None:
            return None, None
        image = disk.folder(self.place.run) / f"{name}.ext4"
        disk.make(image, self.disk_size)
        self._images[name] = image
        if self.backend.kernel:
            return image, None
        disk.mount(image, folder / "data")
        return None, folder / "data"

    def attach(self, instance: Instance) -> None:
        """Complete an instance that has just started: the disk of a guest at /data, where others have it already; its
        link."""
        if instance.loads:
            instance.call(LOAD_DRIVERS, self.deadline())
        if instance.disk:
            reply = instance.call(disk.attach(instance.disk), self.deadline())
            disk.check_attached(reply.status, reply.output)
        own = instance.order.link
        if self.links and own:
            if instance.interface:
                reply = instance.call(link.attach(own, instance.interface.name), self.deadline())
                link.check_attached(reply.status, reply.output)
                self._linked = (instance.interface.kind, self.links.join_guest(own, instance.interface.behind))
            else:
                self._linked = ("veth", self.links.join_container(own, instance.pids()))

    def boot(
        self,
        guest: Guest = "linux",
        requests: Sequence[Sequence[str]] = (),
        at_ready: Callable[[], None] = lambda: None,
    ) -> Instance:
        """The slot's own instance, started on first use; notes its marks, its boot's CPU cost and what it sees.

        requests: see Order; at_ready: called at READY, before anything is asked of the instance.
        """
        if self._main is not None and self._main.order.guest != guest:
            raise InstanceError(f"this slot's instance is a {self._main.order.guest} guest, not a {guest} one")
        if self._main is None:
            instance = self.provision(guest, requests)
            before = self.cpu(instance)
            self.marks = instance.marks
            instance.start(self.deadline())
            at_ready()
            if before is not None and instance.cpu_at_ready is not None:
                self.boot_cpu = instance.cpu_at_ready - before
            self._main = instance
            self.attach(instance)
            self.memory = self.look_at_memory(instance)
            if guest == "linux":
                self.memory["guest"] = self.interrogate(instance)
        return self._main

    def interrogate(self, instance: Instance) -> int | None:
        """Note what an instance sees and is held to; the memory that a guest says it uses, bytes."""
        self.seen = seen.parse(instance.call(seen.ARGV, self.deadline()).output)
        self.seen["link_device"], self.seen["link"] = self._linked
        used = self.seen.pop("memory_used")
        if self.backend.memory_by_cage:
            self.memory_limit = instance.cage.memory_limit() if instance.cage else None
            return None
        return used if isinstance(used, int) else None

    def look_at_memory(self, instance: Instance) -> dict[str, int | None]:
        """cage (total, anon, file, kernel), PSS, MemAvailable and, of a domain, what it was given: bytes, now.

        None is what nobody can tell.
        """
        found: dict[str, int | None] = {
            "memavailable": memory.available(),
            "pss": memory.pss(instance.pids()),
            "guest": None,
        }
        if (allotted := instance.allotted()) is not None:
            found["domain"] = allotted
        if instance.cage:
            found.update(_cage_fields(instance.cage.memory()))
        return found

    def group_memory(self) -> dict[str, int | None]:
        """The cage view of all the slot's instances together."""
        if self.group is None:
            return dict.fromkeys(("cage", "cage_anon", "cage_file", "cage_kernel", "cage_shmem"))
        return dict(_cage_fields(self.group.memory()))

    def cpu(self, instance: Instance) -> float | None:
        return instance.cage.settled_cpu_seconds() if instance.cage else None

    @contextlib.contextmanager
    def counting_cpu(self, metric: str, times: int = 1) -> Iterator[None]:
        """Adds the CPU seconds that the slot's cages use inside the block, ÷ times, as a sample."""
        before = self.group.settled_cpu_seconds() if self.group else None
        yield
        if self.group and before is not None:
            self.add(metric, [(self.group.settled_cpu_seconds() - before) / times])

    def add(
        self,
        metric: str,
        values: list[float],
        *,
        unit: Unit = "second",
        warmups: list[float] | None = None,
        higher: bool = False,
        clock: float | None = None,
    ) -> None:
        self.samples.append(Sample(metric, values, unit, warmups or [], "higher" if higher else "lower", clock))

    def stop(self, instance: Instance) -> None:
        """The orderly end of an instance and of its cage. Raises InstanceTimeout."""
        deadline = self.deadline()
        instance.stop(deadline)
        self._forget(instance)

    def kill(self, instance: Instance) -> None:
        """The forced end of an instance and of its cage, if it is still there. Raises InstanceError."""
        if instance in self._alive:
            instance.kill(time.monotonic() + 10)
            self._forget(instance)

    def _forget(self, instance: Instance) -> None:
        if instance.cage:
            instance.cage.remove(time.monotonic() + 10)
        if image := self._images.pop(instance.order.name, None):
            disk.remove(image)
        if self.links and instance.order.link:
            self.links.remove(instance.order.link)
        self._alive.remove(instance)
        if instance is self._main:
            self._main = None

    def release(self, *, by_force: bool) -> float | None:
        """Take everything away; CPU seconds of the whole slot. Raises InstanceError on a leak.

        by_force: do not ask instances that may be hanging.
        """
        leaks = []
        for instance in [] if by_force else self._alive:
            instance.ask_to_end()
        for instance in reversed(self._alive[:]):
            try:
                if not by_force:
                    with contextlib.suppress(InstanceError):
                        instance.dismiss(time.monotonic() + 10)
                instance.kill(time.monotonic() + 10)
                self._forget(instance)
            except InstanceError as error:
                leaks.append(str(error))
        used = None
        if self.group:
            used = self.group.cpu_seconds()
            try:
                self.group.kill(time.monotonic() + 10)
                self.group.remove(time.monotonic() + 10)
            except InstanceError as error:
                leaks.append(str(error))
        if leaks:
            raise InstanceError("left behind: " + "; ".join(leaks))
        return used

    def console(self) -> str:
        """The last words of the instances still there."""
        return "\n".join(text for instance in self._alive[-1:] if (text := instance.console()))


def _cage_fields(found: CageMemory) -> dict[str, int]:
    return {
        "cage": found.total,
        "cage_anon": found.anon,
        "cage_file": found.file,
        "cage_kernel": found.kernel,
        "cage_shmem": found.shmem,
    }
