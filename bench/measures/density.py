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

from bench import ksm, memory, workloads
from bench.backends.base import Instance
from bench.errors import InstanceError
from bench.session import Session
from bench.workloads import Reading

#: Seconds to wait at a point of the ramp for the memory of what just started to be counted.
_SETTLE = 0.3
VIEWS = ("memavailable", "cage", "pss", "guest")


def measure(session: Session) -> None:
    scenario = session.scenario
    start = _Start(memory.settled(), memory.kernel())
    instances: list[Instance] = []
    boots: list[float] = []
    fitting = 0
    while len(instances) < scenario.instances:
        if memory.available() < scenario.memory_reserve + (
            0 if session.backend.memory_by_cage else session.memory_size
        ):
            session.stop_reason = "memory reserve"
            break
        try:
            instance = session.provision()
            instance.start(session.deadline())
            session.attach(instance)
        except InstanceError as error:
            if not instances:
                raise
            # That one more does not start is what a ramp is there to find out.
            session.stop_reason = f"instance {len(instances) + 1}: {error}"
            break
        instances.append(instance)
        boot = (instance.marks["ready"] - instance.marks["requested"]) / 1e9
        boots.append(boot)
        if len(instances) == 1:
            session.marks = instance.marks
            session.interrogate(instance)
        if scenario.boot_limit is not None and boot > scenario.boot_limit:
            session.stop_reason = f"boot latency {boot:.3g} s > {scenario.boot_limit:g} s"
        last = len(instances) == scenario.instances or session.stop_reason is not None
        looked = len(instances) % scenario.step == 0 or last
        if looked:
            p99 = _work(session, instances) if scenario.tenant else None
            ksm.settle()
            session.ramp.append(_look(session, instances, start, boot) | {"p99": p99, "ksm": ksm.saved()})
        if session.stop_reason:
            break
        if looked or not scenario.tenant:
            fitting = len(instances)
    session.stop_reason = session.stop_reason or "n"
    _conclude(session, boots, fitting)


def _work(session: Session, instances: list[Instance]) -> float | None:
    """Have every tenant do its work at the same time; the worst p99 of any, seconds.

    Why the ramp ends here is noted: that is more than the limit, or a tenant did not come to its end.
    """
    workload = workloads.load(session.scenario.tenant or "")
    limit = session.scenario.p99_limit

    def one(instance: Instance) -> list[Reading]:
        return workloads.check(workload, instance.call(workload.argv, session.deadline()))

    try:
        with ThreadPoolExecutor(len(instances)) as pool:
            told = [reading for readings in pool.map(one, instances) for reading in readings]
    except InstanceError as error:
        if len(instances) <= session.scenario.step:
            raise
        session.stop_reason = f"a tenant of {len(instances)}: {error}"
        return None
    found = [reading.value for reading in told if reading.metric.endswith("p99")]
    if not found:
        raise InstanceError(f"{workload.name} tells no p99: a tenant's must")
    if limit is not None and max(found) > limit:
        session.stop_reason = f"p99 {max(found):.3g} s > {limit:g} s"
    return max(found)


@dataclass(frozen=True)
class _Start:
    """Before the first instance, bytes: what the host could spare, and what its kernel held."""

    spare: int
    kernel: int


def _look(session: Session, instances: list[Instance], start: _Start, boot: float) -> dict[str, float | None]:
    """One point of the ramp: cumulative bytes at this many instances."""
    memory.settled(_SETTLE)
    cage = session.group_memory()  # may wait for the kernel's sums, and the rest belongs to the same moment
    delta = start.spare - memory.spare()
    kernel = memory.kernel() - start.kernel
    shares = [memory.pss(instance.pids()) for instance in instances]
    pss = None if None in shares else sum(share for share in shares if share is not None)
    # Last, because asking a guest makes it touch memory.
    guest: int | None = None
    if not session.backend.memory_by_cage:
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
