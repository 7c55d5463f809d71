"""The four views of memory: the host's MemAvailable, the cage's charge, the processes' PSS, the guest's own word."""

from __future__ import annotations

import contextlib
import ctypes
import time
from collections.abc import Iterable
from pathlib import Path

#: The kernel counts free pages per CPU in batches, so that some noise always is.
_CALM = 256 << 10
_SYS_KCMP, _KCMP_VM = 312, 1
_libc = ctypes.CDLL(None, use_errno=True)


def available() -> int:
    """MemAvailable of the host, bytes."""
    return meminfo(Path("/proc/meminfo").read_text())["MemAvailable"]


def settled(limit: float = 2.0) -> int:
    """MemAvailable once the host has stopped giving back what ended processes had, or after limit seconds."""
    deadline = time.monotonic() + limit
    last = [available()]
    while time.monotonic() < deadline:
        time.sleep(0.02)
        last = [*last[-4:], available()]
        if len(last) == 5 and max(last) - min(last) <= _CALM:
            break
    return last[-1]


def meminfo(text: str) -> dict[str, int]:
    """The lines of a /proc/meminfo in kB, as bytes."""
    found = {}
    for line in text.splitlines():
        name, _, rest = line.partition(":")
        words = rest.split()
        if len(words) == 2 and words[1] == "kB" and words[0].isdigit():
            found[name] = int(words[0]) * 1024
    return found


def guest_used(text: str) -> int:
    """MemTotal − MemAvailable as a guest's own /proc/meminfo has it, bytes."""
    fields = meminfo(text)
    return fields["MemTotal"] - fields["MemAvailable"]


def pss(pids: Iterable[int]) -> int:
    """Proportional set size of some processes, bytes, each address space counted once.

    UML's helper processes share its kernel's address space: summed naively, every page of it counts three times.
    """
    total = 0
    for pid in distinct_address_spaces(pids):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
                    break
    return total


def distinct_address_spaces(pids: Iterable[int]) -> list[int]:
    """One pid for each address space among those given (kcmp(2), KCMP_VM)."""
    kept: list[int] = []
    for pid in pids:
        if not any(_libc.syscall(_SYS_KCMP, pid, other, _KCMP_VM, 0, 0) == 0 for other in kept):
            kept.append(pid)
    return kept
