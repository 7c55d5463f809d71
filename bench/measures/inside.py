"""What tools inside say of themselves: system calls, scheduler, memory, disk, network, an application.

Each run is wrapped in two looks at the instance's own clock, as every figure here is only as good as that.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

from bench import workloads
from bench.backends.base import Instance
from bench.session import Session
from bench.workloads import Reading, Workload, _clock

#: The tiny one's `date` knows no nanoseconds, and none of the tools is there.
rootfs = "debian"


@dataclass(frozen=True)
class _Run:
    """host, instance: the seconds it took by either's clock."""

    readings: dict[str, Reading]
    host: float
    instance: float


def measure(session: Session) -> None:
    chosen = [workloads.load(name) for name in session.scenario.workloads]
    instance = session.boot()
    for workload in chosen:
        with workloads.ready(session, instance, workload) as at_hand:
            _repeat(session, instance, at_hand)


def _repeat(session: Session, instance: Instance, workload: Workload) -> None:
    """Warm-ups, then values: what each printed about itself, and its CPU cost."""
    scenario, true = session.scenario, workloads.load("true")
    warmups = [_run(session, instance, workload) for _ in range(scenario.warmups)]
    nothing = [_run(session, instance, true)]
    with session.counting_cpu(f"{workload.name}.cpu", scenario.values):
        runs = [_run(session, instance, workload) for _ in range(scenario.values)]
    nothing.append(_run(session, instance, true))
    clock = _clock.ratio(_seconds(runs), _seconds(nothing))
    for name, reading in runs[0].readings.items():
        values, before = ([run.readings[name].value for run in some] for some in (runs, warmups))
        session.add(
            f"{workload.name}.{name}", values, unit=reading.unit, warmups=before, higher=reading.higher, clock=clock
        )


def _seconds(runs: list[_Run]) -> list[tuple[float, float]]:
    return [(run.host, run.instance) for run in runs]


def _run(session: Session, instance: Instance, workload: Workload) -> _Run:
    looks: list[float] = []

    def parse(output: str) -> list[Reading]:
        timed = _clock.split(output)
        looks.append(timed.seconds)
        return workload.parse(timed.output)

    reply = instance.call(_clock.wrapped(workload.argv), session.deadline())
    readings = workloads.check(replace(workload, parse=parse), reply)
    return _Run({reading.metric: reading for reading in readings}, reply.seconds, looks[0])
