"""The processor's own count of the instructions that a cgroup executes, user and kernel, on hosts that have one.

What `perf stat --for-each-cgroup` does: one event a CPU, opened on the cgroup's folder, which counts whatever of the
group and of those below it runs there (perf_event_open(2), PERF_FLAG_PID_CGROUP).
"""

from __future__ import annotations

import ctypes
import os
import platform
import struct
from collections.abc import Iterable
from functools import cache
from pathlib import Path
from typing import Final

from bench.errors import HostError

_SYSCALL: Final = {"x86_64": 298, "aarch64": 241}
_PID_CGROUP, _CLOEXEC = 1 << 2, 1 << 3
_SIZE: Final = 64  # of the first version of struct perf_event_attr, which all kernels take
_ENABLED, _RUNNING = 1 << 0, 1 << 1

#: (type, config) of perf_event_attr. CPU_TIME is software and everywhere: ns of the group's processes.
INSTRUCTIONS: Final = (0, 1)
CPU_TIME: Final = (1, 1)


class Counter:
    """Counts from its making on. Use as a context manager."""

    def __init__(self, group: Path, event: tuple[int, int] = INSTRUCTIONS) -> None:
        """group: a folder of the hierarchy that perf_event is in. Raises HostError where it cannot count."""
        self._events: list[int] = []
        folder = os.open(group, os.O_RDONLY | os.O_DIRECTORY)
        try:
            for cpu in sorted(_online()):
                self._events.append(_open(event, folder, cpu, _PID_CGROUP))
        except HostError:
            self.close()
            raise
        finally:
            os.close(folder)

    def read(self) -> int:
        """Raises HostError where the processor had to share its counter, so that the count is not whole."""
        total = 0
        for event in self._events:
            count, enabled, running = struct.unpack("QQQ", os.read(event, 24))
            if running < enabled:
                raise HostError("the processor's counter of instructions was taken away meanwhile")
            total += count
        return total

    def close(self) -> None:
        while self._events:
            os.close(self._events.pop())

    def __enter__(self) -> Counter:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def home(folders: Iterable[Path]) -> Path:
    """That of a group's folders which lies in the hierarchy that perf_event is in. Raises HostError without one."""
    mounts = [line.split(" ") for line in Path("/proc/self/mounts").read_text().splitlines()]
    v1 = [
        Path(folder)
        for _, folder, kind, options, *_ in mounts
        if kind == "cgroup" and "perf_event" in options.split(",")
    ]
    v2 = [Path(folder) for _, folder, kind, *_ in mounts if kind == "cgroup2"]
    for folder in folders:
        if any(folder.is_relative_to(mount) for mount in v1 or v2):
            return folder
    raise HostError(
        "cages are not in the cgroup hierarchy that perf_event is in", hint="mount perf_event as the others"
    )


def _online() -> set[int]:
    found: set[int] = set()
    for part in Path("/sys/devices/system/cpu/online").read_text().strip().split(","):
        first, _, last = part.partition("-")
        found.update(range(int(first), int(last or first) + 1))
    return found


def _open(event: tuple[int, int], target: int, cpu: int, flags: int) -> int:
    kind, config = event
    number = _SYSCALL.get(platform.machine())
    if number is None:
        raise HostError(f"no counters are known for {platform.machine()}")
    attributes = struct.pack("IIQQQQQIIQ", kind, _SIZE, config, 0, 0, _ENABLED | _RUNNING, 0, 0, 0, 0)
    buffer = ctypes.create_string_buffer(attributes, _SIZE)
    libc = ctypes.CDLL(None, use_errno=True)
    opened = libc.syscall(number, buffer, target, cpu, -1, ctypes.c_ulong(flags | _CLOEXEC))
    if opened < 0:
        raise HostError(os.strerror(ctypes.get_errno()))
    return int(opened)


@cache
def missing() -> str | None:
    """Why this host's processor counts no instructions for us, found by asking it to; None where it does."""
    try:
        os.close(_open(INSTRUCTIONS, 0, -1, 0))
    except HostError as error:
        return f"this host has no hardware counter of instructions ({error})"
    return None
