"""The init inside runs a workload: request on the channel → exit status back. Every family has it."""

from __future__ import annotations

from bench import workloads
from bench.session import Session


def measure(session: Session) -> None:
    chosen = [workloads.load(name) for name in session.scenario.workloads]
    instance = session.boot()
    for workload in chosen:
        workloads.repeat(session, instance, "spawn", workload, instance.call)
    session.add("channel", [instance.channel.ping(session.deadline()) for _ in range(session.scenario.values)])
