"""The init inside runs the workload: request on the channel → exit status back. Every family has it."""

from __future__ import annotations

from bench import workloads
from bench.session import Session


def measure(session: Session) -> None:
    workload = workloads.load(session.scenario.workload)
    instance = session.boot()
    workloads.repeat(session, "spawn", workload, instance.call)
    session.add("channel", [instance.channel.ping(session.deadline()) for _ in range(session.scenario.values)])
