"""Instances started one after another; what each further one costs in memory, by four views, and what adds up to it;
how many fit within limits of memory, of their start's time and of how long their work takes.

The marginal cost is the Theil–Sen slope over the ramp (the median of all pairwise slopes), never total ÷ N, so that
what the first instance pays for all (page cache, the runtime's own files) does not count as everyone's.
"""

from __future__ import annotations

import itertools
import statistics
from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass

from bench import ksm, limits, memory, workloads
from bench.backends.base import Instance
from bench.errors import HostError, InstanceError, TareError
from bench.session import Session
from bench.workloads import Reading

#: Seconds to wait at most, before the ramp for what earlier slots still give back, and at each point of it.
_BEFORE, _SETTLE = 2.0, 0.3
VIEWS = ("memavailable", "cage", "pss", "guest")


def measure(session: Session) -> None:
    scenario = session.scenario
    memory.settle(_BEFORE)
    ramp = _Ramp(session, _Start(memory.spare(), memory.kernel(), ksm.saved()))
    while len(ramp.instances) < scenario.instances and session.stop_reason is None:
        own = 0 if session.backend.memory_by_cage else session.memory_size
        if memory.available() < scenario.memory_reserve + own:
            session.stop_reason = "memory reserve"
        elif limits.files_left() < limits.PER_INSTANCE:
            session.stop_reason = f"open files: this host lets a process have {limits.most_open_files()} (ulimit -Hn)"
        else:
            ramp.grow()
        if len(ramp.instances) % scenario.step == 0:
            ramp.look()
    ramp.look()
    session.stop_reason = session.stop_reason or "n"
    _conclude(session, ramp.boots, ramp.fitting)


class _Ramp:
    """Instances so far, their boots in seconds, and how many of them kept within the scenario's limits."""

    def __init__(self, session: Session, start: _Start) -> None:
        self.session = session
        self.start = start
        self.instances: list[Instance] = []
        self.boots: list[float] = []
        self.fitting = 0
        self._looked = 0
        self._slow = False

    def grow(self) -> None:
        """One more instance. That it does not start is what a ramp is there to find out, but for the first."""
        session, limit = self.session, self.session.scenario.boot_limit
        try:
            instance = session.provision()
            instance.start(session.deadline())
            session.attach(instance)
        except (TareError, OSError) as error:
            if not self.instances:
                raise
            session.stop_reason = f"instance {len(self.instances) + 1}: {error}"
            return
        self.instances.append(instance)
        self.boots.append((instance.marks["ready"] - instance.marks["requested"]) / 1e9)
        if len(self.instances) == 1:
            session.marks = instance.marks
            session.interrogate(instance)
        if limit is not None and self.boots[-1] > limit:
            session.stop_reason = f"boot latency {self.boots[-1]:.3g} s > {limit:g} s"
            self._slow = True
        elif session.scenario.tenant is None:
            self.fitting = len(self.instances)

    def look(self) -> None:
        """A point of the ramp, where there is none yet of these instances."""
        session, count = self.session, len(self.instances)
        if self._looked == count:
            return
        hung, p99 = False, None
        if session.scenario.tenant:
            ksm.settle()
            try:
                p99 = _work(session, self.instances, self._looked)
            except InstanceError as error:
                if not self._looked:
                    raise
                hung, session.stop_reason = True, f"a tenant of {count}: {error}"
            else:
                self._judge(p99)
        ksm.settle()
        try:
            point = _look(session, self.instances, self.start, self.boots[-1], ask=not hung)
        except (TareError, OSError) as error:
            if not session.ramp:
                raise
            session.stop_reason = f"at {count} instances: {error}"
        else:
            session.ramp.append(point | {"p99": p99})
        self._looked = count

    def _judge(self, p99: float) -> None:
        limit = self.session.scenario.p99_limit
        if limit is not None and p99 > limit:
            self.session.stop_reason = f"p99 {p99:.3g} s > {limit:g} s"
        elif not self._slow:
            self.fitting = len(self.instances)


def _work(session: Session, instances: list[Instance], known: int) -> float:
    """Have every tenant do its work at the same time; the worst p99 of any, seconds.

    known: how many of them have worked before; the others do so once by themselves, as their servers have yet to start.
    """
    workload = workloads.load(session.scenario.tenant or "")

    def one(instance: Instance) -> list[Reading]:
        return workloads.check(workload, instance.call(workload.argv, session.deadline()))

    for instance in instances[known:]:
        one(instance)
    with ThreadPoolExecutor(len(instances)) as pool:
        told = [reading for readings in pool.map(one, instances) for reading in readings]
    found = [reading.value for reading in told if reading.metric.endswith("p99")]
    if not found:
        raise HostError(f"{workload.name} tells no p99: a tenant's must", hint="redis_serving, redis or nginx does")
    return max(found)


@dataclass(frozen=True)
class _Start:
    """Before the first instance, bytes: what the host could spare, what its kernel held, what merged pages saved."""

    spare: int
    kernel: int
    merged: int


def _look(
    session: Session, instances: list[Instance], start: _Start, boot: float, *, ask: bool
) -> dict[str, float | None]:
    """One point of the ramp: cumulative bytes at this many instances. ask: whether guests can be asked."""
    memory.settle(_SETTLE)
    cage = session.group_memory()  # may wait for the kernel's sums, and the rest belongs to the same moment
    delta = start.spare - memory.spare()
    kernel = memory.kernel() - start.kernel
    shares = [memory.pss(instance.pids()) for instance in instances]
    pss = None if None in shares else sum(share for share in shares if share is not None)
    # Last, because asking a guest makes it touch memory.
    guest: int | None = None
    if ask and not session.backend.memory_by_cage:
        replies = (instance.call(["cat", "/proc/meminfo"], session.deadline()) for instance in instances)
        guest = sum(memory.guest_used(reply.output.decode(errors="replace")) for reply in replies)
    rams = [instance.ram() for instance in instances]
    ram = None if None in rams else sum(each for each in rams if each is not None)
    return {
        "n": len(instances),
        "boot": boot,
        "memavailable": delta,
        **cage,
        "pss": pss,
        "guest": guest,
        "ram": ram,
        "vmm": None if ram is None or pss is None else max(pss - ram, 0),
        "kernel": kernel,
        "ksm": ksm.saved() - start.merged,
        "residual": _unexplained(delta, kernel, cage),
    }


def _unexplained(delta: int, kernel: int, cage: Mapping[str, int | None]) -> int | None:
    """What the host lost beyond what its kernel took, for the cages and for whatever it charges to nobody, and what it
    cannot take back from the cages; their page cache it can."""
    held = [cage[part] for part in ("cage_anon", "cage_shmem")]
    return None if None in held else delta - kernel - sum(each for each in held if each is not None)


def _conclude(session: Session, boots: list[float], fitting: int) -> None:
    """fitting: the most instances that kept within the scenario's limits."""
    session.add("density.boot", boots)
    session.add("density.n", [float(fitting)], unit="integer", higher=True)
    for view in VIEWS:
        points = [(point["n"], point[view]) for point in session.ramp]
        known = [(n, value) for n, value in points if n is not None and value is not None]
        if len(known) >= 3:
            session.add(f"density.{view}", [theil_sen(known)], unit="byte")
    if session.ramp and (residual := session.ramp[-1]["residual"]) is not None:
        session.add("density.residual", [residual], unit="byte")


def theil_sen(points: list[tuple[float, float]]) -> float:
    """The median slope over all pairs of points with different x."""
    return statistics.median(
        (y2 - y1) / (x2 - x1) for (x1, y1), (x2, y2) in itertools.combinations(points, 2) if x1 != x2
    )
