"""Whom the kernel ends first where this host's memory runs out: instances, not the harness that would tell of it."""

from __future__ import annotations

import contextlib
from pathlib import Path

#: oom_score_adj of every process of an instance, and of the harness's own.
INSTANCE, HARNESS = 500, -500


def spare_harness() -> None:
    """Make this process, and what it starts from now on, a late choice: where it may, as few containers' root can."""
    with contextlib.suppress(OSError):
        Path("/proc/self/oom_score_adj").write_text(str(HARNESS))


def offer(pid: int) -> None:
    """Make a process an early choice, if it is still there."""
    with contextlib.suppress(OSError):
        Path(f"/proc/{pid}/oom_score_adj").write_text(str(INSTANCE))
