"""The runtime's own door (`crun exec`, `lxc-attach`, …) runs a workload: its client's start → its exit status."""

from __future__ import annotations

from bench import workloads
from bench.session import Session

needs_door = True


def measure(session: Session) -> None:
    chosen = [workloads.load(name) for name in session.scenario.workloads]
    instance = session.boot()
    for workload in chosen:
        workloads.repeat(session, instance, "exec", workload, instance.exec)
