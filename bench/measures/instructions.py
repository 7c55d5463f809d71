"""Instructions of a boot, and of each run of a workload. Counted, not timed.

Where the backend counts, they are the guest's alone: from the machine's switching on to READY by phases (`setup` is the
firmware and what loads the kernel), and between two answers of the init for a run of a workload. Elsewhere they are
those that the host's processor counts in the cage, if it does: they include the host kernel's, and do not repeat.
"""

from __future__ import annotations

import itertools

from bench import counters, workloads
from bench.backends.base import Backend, Counts
from bench.errors import InstanceError
from bench.session import Session

counts = True


def impossible(backend: type[Backend]) -> str | None:
    """Why arms of this backend cannot be counted."""
    if backend.family == "hypervisor" and not backend.counts:
        return "its guest's instructions cannot be told from its own (qemu-icount counts a guest's)"
    return None


def lacking(backend: type[Backend]) -> str | None:
    """Why arms of this backend cannot be counted on this host."""
    return None if backend.counts else counters.missing()


def measure(session: Session) -> None:
    if session.backend.counts:
        _by_emulator(session)
    else:
        _by_processor(session)


def _by_emulator(session: Session) -> None:
    runs = session.scenario.warmups + session.scenario.values
    chosen = [workloads.load(name) for name in session.scenario.workloads]
    asked = [workload for workload in chosen for _ in range(runs)]
    instance = session.boot(requests=[workload.argv for workload in asked])
    if instance.counts is None:
        raise InstanceError("this instance has counted nothing")
    for workload, reply in zip(asked, instance.replies, strict=False):
        workloads.check(workload, reply)
    _add_boot(session, instance.counts)
    answers = [instance.counts.ready, *instance.counts.answers]
    counted = [end - start for start, end in itertools.pairwise(answers)]
    for place, workload in enumerate(chosen):
        _add(session, workloads.metric("spawn", workload), counted[place * runs : (place + 1) * runs])


def _add_boot(session: Session, counted: Counts) -> None:
    session.add("boot.instructions", [float(counted.ready)], unit="instruction")
    marks = itertools.pairwise([0, counted.kernel, counted.init, counted.ready])
    for phase, (start, end) in zip(("setup", "kernel", "init"), marks, strict=True):
        session.add(f"boot.{phase}.instructions", [float(end - start)], unit="instruction")


def _by_processor(session: Session, event: tuple[int, int] = counters.INSTRUCTIONS) -> None:
    chosen = [workloads.load(name) for name in session.scenario.workloads]
    if session.group is None:
        raise InstanceError("instructions are counted in cages, and there are none here")
    with counters.Counter(counters.home(session.group.folders), event) as counter:
        ready: list[int] = []
        instance = session.boot(at_ready=lambda: ready.append(counter.read()))
        if ready:  # else another measure has booted it
            session.add("boot.instructions", [float(ready[0])], unit="instruction")
        doors = [("spawn", instance.call)] + (
            [("exec", instance.exec)] if session.backend.door and not session.backend.shut() else []
        )
        for (door, run), workload in itertools.product(doors, chosen):
            runs = []
            for _ in range(session.scenario.warmups + session.scenario.values):
                before = counter.read()
                workloads.check(workload, run(workload.argv, session.deadline()))
                runs.append(counter.read() - before)
            _add(session, workloads.metric(door, workload), runs)


def _add(session: Session, metric: str, runs: list[int]) -> None:
    """One count a run, the warm-ups first."""
    values = [float(count) for count in runs]
    warmups = session.scenario.warmups
    session.add(f"{metric}.instructions", values[warmups:], unit="instruction", warmups=values[:warmups])
