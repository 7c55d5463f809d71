"""requested → READY of a machine whose only guest is a boot sector.

The hypervisor and its firmware, without any Linux.
"""

from __future__ import annotations

from bench.measures import boot
from bench.session import Session

guest = "firmware"


def measure(session: Session) -> None:
    boot.record(session, "firmware", "firmware")
