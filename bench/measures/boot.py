"""requested → READY, by phases, with the CPU cost."""

from __future__ import annotations

from bench.backends.base import Guest
from bench.session import Session

PHASES = (
    ("launch", "requested", "spawned"),
    ("setup", "spawned", "kernel"),
    ("kernel", "kernel", "init"),
    ("init", "init", "ready"),
)


def measure(session: Session) -> None:
    record(session, "boot", "linux")


def record(session: Session, metric: str, guest: Guest) -> None:
    session.boot(guest)
    marks = session.marks
    session.add(metric, [(marks["ready"] - marks["requested"]) / 1e9])
    for phase, start, end in PHASES:
        if start not in marks or end not in marks:
            continue
        # A container's kernel mark is its init's: it has no such phase.
        if phase != "kernel" or marks[start] != marks[end]:
            session.add(f"{metric}.{phase}", [(marks[end] - marks[start]) / 1e9])
    if session.boot_cpu is not None:
        session.add(f"{metric}.cpu", [session.boot_cpu])
