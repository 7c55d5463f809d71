"""Instructions of a boot by phases, and of each run of the workload by the init inside. Counted, not timed.

What is counted is the guest's: from the machine's switching on to READY (`setup` is the firmware and what loads the
kernel), and for a run of the workload what lies between two answers of the init, warm-ups apart.
"""

from __future__ import annotations

from itertools import pairwise

from bench import workloads
from bench.errors import InstanceError
from bench.session import Session

counts = True


def measure(session: Session) -> None:
    workload = workloads.load(session.scenario.workload)
    warmups = session.scenario.warmups
    instance = session.boot(requests=[workload.argv] * (warmups + session.scenario.values))
    counted = instance.counts
    if counted is None:
        raise InstanceError("this instance counts no instructions")
    for reply in instance.replies:
        workloads.check(workload, reply)
    phases = pairwise([0, counted.kernel, counted.init, counted.ready])
    session.add("boot.instructions", [float(counted.ready)], unit="instruction")
    for phase, (start, end) in zip(("setup", "kernel", "init"), phases, strict=True):
        session.add(f"boot.{phase}.instructions", [float(end - start)], unit="instruction")
    runs = [float(end - start) for start, end in pairwise([counted.ready, *counted.answers])]
    session.add(
        f"{workloads.metric('spawn', workload)}.instructions",
        runs[warmups:],
        unit="instruction",
        warmups=runs[:warmups],
    )
