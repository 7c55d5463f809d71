"""How many files this process may have open: a login's soft limit is 1,024, and a ramp of 170 containers has more."""

from __future__ import annotations

import contextlib
import resource
from pathlib import Path

#: Open files kept for what a process needs beside its instances.
RESERVE = 64
#: What an instance holds open at most: five pipes, its pidfd, a cgroup's files, a link and a disk.
PER_INSTANCE = 16
#: What one holds open as a rule.
TYPICAL = 6


def raise_open_files() -> None:
    """Raise the soft limit of open files to the hard one, as far as the kernel lets us."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    with contextlib.suppress(OSError, ValueError):
        resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def most_open_files() -> int:
    """The hard limit of open files."""
    return resource.getrlimit(resource.RLIMIT_NOFILE)[1]


def files_left() -> int:
    """How many more files this process may open before it comes to its reserve."""
    soft, _ = resource.getrlimit(resource.RLIMIT_NOFILE)
    return soft - sum(1 for _ in Path("/proc/self/fd").iterdir()) - RESERVE
