"""How busy a host is beside what is measured: its load, what its hypervisor took of its CPUs (steal), and how long work
waited for CPU, disk and memory (PSI, where the kernel has it). Read between slots, never inside a timed window."""

from __future__ import annotations

import re
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

RESOURCES = ("cpu", "io", "memory")
_MICROSECONDS = 1e6
_STEAL = 7  # place among the times in the first line of /proc/stat; 8 and 9 are guests', which user times include
_TIMES = 8


@dataclass(frozen=True)
class Pressure:
    """A moment. load: the average over the last minute; steal, ticks: CPU time since boot, of all CPUs together.

    waited: seconds since boot in which some task waited, by resource. None or absent where the kernel does not tell.
    """

    when: float
    load: float | None
    steal: int | None = None
    ticks: int | None = None
    waited: dict[str, float] = field(default_factory=dict)


def now(proc: Path = Path("/proc")) -> Pressure:
    """As /proc has it at this moment."""
    load = re.match(r"\d+(?:\.\d+)?", _read(proc / "loadavg"))
    steal, ticks = _times(_read(proc / "stat"))
    waited = {}
    for resource in RESOURCES:
        if found := re.search(r"^some .*\btotal=(\d+)", _read(proc / "pressure" / resource), re.MULTILINE):
            waited[resource] = int(found[1]) / _MICROSECONDS
    return Pressure(time.monotonic(), float(load[0]) if load else None, steal, ticks, waited)


def between(first: Pressure, last: Pressure) -> dict[str, Any]:
    """A journal line's `load`: {"before", "after": load average, "steal": share of all CPU time, "pressure": {resource:
    share of the time in which some task waited for it}}; null, or absent in `pressure`, where it is not known."""
    steal = None
    if first.steal is not None and last.steal is not None and first.ticks is not None and last.ticks is not None:
        # A time so short that no tick fell into it tells nothing.
        steal = _share(last.steal - first.steal, last.ticks - first.ticks)
    passed = last.when - first.when
    waited = {
        name: _share(last.waited[name] - start, passed) for name, start in first.waited.items() if name in last.waited
    }
    return {
        "before": first.load,
        "after": last.load,
        "steal": steal,
        "pressure": {name: share for name, share in waited.items() if share is not None},
    }


def _share(part: float, whole: float) -> float | None:
    return round(min(max(part / whole, 0.0), 1.0), 4) if whole > 0 else None


def _times(text: str) -> tuple[int | None, int | None]:
    """Steal and the sum of all times, in ticks."""
    words = text.partition("\n")[0].split()
    if len(words) <= _TIMES or words[0] != "cpu" or not all(word.isdigit() for word in words[1:]):
        return None, None
    times = [int(word) for word in words[1 : 1 + _TIMES]]
    return times[_STEAL], sum(times)


def _read(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""
