"""Instructions of a boot, and of each run of the workload. Counted, not timed.

Where the backend counts, they are the guest's alone: from the machine's switching on to READY by phases (`setup` is the
firmware and what loads the kernel), and between two answers of the init for a run of the workload. Elsewhere they are
those that the host's processor counts in the cage, if it does: they include the host kernel's, and do not repeat.
"""

from __future__ import annotations

from itertools import pairwise

from bench import counters, workloads
from bench.backends.base import Backend, Counts
from bench.errors import InstanceError
from bench.session import Session

counts = True


def impossible(backend: type[Backend]) -> str | None:
    """Why arms of this backend cannot be counted on this host."""
    if backend.counts:
        return None
    if backend.family == "hypervisor":
        return "its guest's instructions cannot be told from its own (qemu-icount counts a guest's)"
    return counters.missing()


def measure(session: Session) -> None:
    if session.backend.counts:
        _by_emulator(session)
    else:
        _by_processor(session)


def _by_emulator(session: Session) -> None:
    workload = workloads.load(session.scenario.workload)
    runs = session.scenario.warmups + session.scenario.values
    instance = session.boot(requests=[workload.argv] * runs)
    if instance.counts is None:
        raise InstanceError("this instance has counted nothing")
    for reply in instance.replies:
        workloads.check(workload, reply)
    _add_boot(session, instance.counts)
    answers = [instance.counts.ready, *instance.counts.answers]
    _add(session, workloads.metric("spawn", workload), [end - start for start, end in pairwise(answers)])


def _add_boot(session: Session, counted: Counts) -> None:
    session.add("boot.instructions", [float(counted.ready)], unit="instruction")
    marks = pairwise([0, counted.kernel, counted.init, counted.ready])
    for phase, (start, end) in zip(("setup", "kernel", "init"), marks, strict=True):
        session.add(f"boot.{phase}.instructions", [float(end - start)], unit="instruction")


def _by_processor(session: Session, event: tuple[int, int] = counters.INSTRUCTIONS) -> None:
    workload = workloads.load(session.scenario.workload)
    if session.group is None:
        raise InstanceError("instructions are counted in cages, and there are none here")
    with counters.Counter(counters.home(session.group.folders), event) as counter:
        ready: list[int] = []
        instance = session.boot(at_ready=lambda: ready.append(counter.read()))
        if ready:  # else another measure has booted it
            session.add("boot.instructions", [float(ready[0])], unit="instruction")
        for door, run in [("spawn", instance.call)] + ([("exec", instance.exec)] if session.backend.door else []):
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
