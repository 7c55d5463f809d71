"""The init is told to halt → every process reaped and the cage empty and removed."""

from __future__ import annotations

import time

from bench.session import Session


def measure(session: Session) -> None:
    instance = session.boot()
    with session.counting_cpu("teardown.cpu"):
        session.stop(instance)
        instance.marks["gone"] = time.monotonic_ns()
    session.add("teardown", [(instance.marks["gone"] - instance.marks["stopping"]) / 1e9])
