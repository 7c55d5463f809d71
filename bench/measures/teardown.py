"""The init is told to halt → the runtime or VMM has ended, with its own tidying up, and every process is reaped.

That nothing else is left is checked after the clock has stopped: a slot that leaves something is a failed slot.
"""

from __future__ import annotations

from bench.session import Session


def measure(session: Session) -> None:
    instance = session.boot()
    with session.counting_cpu("teardown.cpu"):
        session.stop(instance)
    if "exited" in instance.marks:
        # What follows is the management layer taking note.
        session.add("teardown.exit", [(instance.marks["exited"] - instance.marks["stopping"]) / 1e9])
    session.add("teardown", [(instance.marks["gone"] - instance.marks["stopping"]) / 1e9])
