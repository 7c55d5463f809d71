"""The init is told to halt → every process reaped and everything that the runtime or VMM had made is gone."""

from __future__ import annotations

from bench.session import Session


def measure(session: Session) -> None:
    instance = session.boot()
    with session.counting_cpu("teardown.cpu"):
        session.stop(instance)
    session.add("teardown", [(instance.marks["gone"] - instance.marks["stopping"]) / 1e9])
