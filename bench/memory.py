"""The four views of memory: the host's MemAvailable, the cage's charge, the processes' PSS, the guest's own word."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import mmap
import os
import re
import time
from collections.abc import Callable, Iterable
from pathlib import Path

from bench.errors import HostError

#: The kernel counts free pages per CPU in batches, so that some noise always is.
_CALM = 256 << 10
#: Seconds between two looks, and longer than a hypervisor holds a batch of free pages.
_PAUSE, _REPORTING = 0.005, 0.5
_KERNEL = ("SUnreclaim", "KernelStack", "PageTables", "SecPageTables", "Percpu")
_SPARE = {"MemFree": 1, "Cached": 1, "Buffers": 1, "Shmem": -1, "KReclaimable": 1}
_CPU_LISTS = re.compile(r"^ +count: +(\d+)$", re.MULTILINE)
_SYS_KCMP, _KCMP_VM = 312, 1
_libc = ctypes.CDLL(None, use_errno=True)


def available() -> int:
    """MemAvailable of the host, bytes."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    raise HostError("this kernel does not tell MemAvailable", hint="Linux 3.14 or later is needed")


def drop_caches() -> None:
    """Forget every clean page of files, and what the kernel remembers of names; what is dirty is written first."""
    os.sync()
    try:
        Path("/proc/sys/vm/drop_caches").write_text("3")
    except OSError as error:
        raise HostError(f"the page cache cannot be dropped: {error.strerror}", hint="only root can") from error


def kernel() -> int:
    """What the host's kernel holds and cannot give back, whoever it is charged to, bytes."""
    fields = meminfo(Path("/proc/meminfo").read_text())
    return sum(fields.get(name, 0) for name in _KERNEL)


def spare() -> int:
    """What the host could give, bytes: what is free, the page cache of files, and what the kernel can reclaim.

    That is MemAvailable with what it leaves out: free pages that each CPU keeps on a list of its own, tens of megabytes
    after something large has ended; page cache on its way to the lists by which it is reclaimed, as much again where it
    comes in large folios; and of page cache half, up to a limit, which matters where there is little.

    It is the most that is seen in half a second: where the host is a guest itself, its hypervisor may have up to
    128 MiB of free pages out for a look, for a fifth of a second in two, and they are free all the same (free page
    reporting).
    """
    end = time.monotonic() + _REPORTING
    most = _spare()
    while time.monotonic() < end:
        time.sleep(_PAUSE)
        most = max(most, _spare())
    return most


def settle(limit: float) -> None:
    """Wait until the host has stopped giving back what ended processes had, for limit seconds at most."""
    deadline = time.monotonic() + limit
    last = [_spare()]
    while time.monotonic() < deadline:
        time.sleep(_PAUSE)
        last = [*last[-4:], _spare()]
        if len(last) == 5 and max(last) - min(last) <= _CALM:
            break


def _spare() -> int:
    lists = _CPU_LISTS.findall(Path("/proc/zoneinfo").read_text())
    fields = meminfo(Path("/proc/meminfo").read_text())
    return sum(map(int, lists)) * mmap.PAGESIZE + sum(fields.get(name, 0) * sign for name, sign in _SPARE.items())


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


def pss(pids: Iterable[int]) -> int | None:
    """Proportional set size of some processes, bytes, each address space counted once; None where that cannot be told.

    It cannot where there are none: what runs without being a process of this host has memory all the same.

    UML's helper processes share its kernel's address space: summed naively, every page of it counts three times.
    """
    total = 0
    apart = distinct_address_spaces(pids)
    if not apart:
        return None
    for pid in apart:
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/smaps_rollup").read_text().splitlines():
                if line.startswith("Pss:"):
                    total += int(line.split()[1]) * 1024
                    break
    return total


def resident(pids: Iterable[int], chosen: Callable[[int, str], bool]) -> int:
    """PSS of some of the mappings of processes, bytes, each address space counted once. chosen: by size and path."""
    total = 0
    for pid in distinct_address_spaces(pids) or []:
        with contextlib.suppress(OSError):
            counts = False
            for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
                words = line.split(maxsplit=5)
                if "-" in words[0] and not words[0].endswith(":"):
                    first, _, last = words[0].partition("-")
                    counts = chosen(int(last, 16) - int(first, 16), words[5] if len(words) > 5 else "")
                elif counts and words[0] == "Pss:":
                    total += int(words[1]) << 10
    return total


def distinct_address_spaces(pids: Iterable[int]) -> list[int] | None:
    """One pid for each address space among those given (kcmp(2), KCMP_VM); None if the kernel will not compare."""
    kept: list[int] = []
    for pid in pids:
        results = [_libc.syscall(_SYS_KCMP, pid, other, _KCMP_VM, 0, 0) for other in kept]
        if -1 in results and ctypes.get_errno() != errno.ESRCH:
            return None
        if 0 not in results:
            kept.append(pid)
    return kept
