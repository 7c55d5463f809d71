"""The runtime's own door (`crun exec`, `lxc-attach`, …) runs the workload: its client's start → its exit status."""

from __future__ import annotations

from bench import workloads
from bench.session import Session

needs_door = True


def measure(session: Session) -> None:
    workload = workloads.load(session.scenario.workload)
    instance = session.boot()
    workloads.repeat(session, "exec", workload, instance.exec)
