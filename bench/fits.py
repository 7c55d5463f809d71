"""What of a plan does not fit this machine, as far as that can be told before anything is started."""

from __future__ import annotations

import os
import shutil
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import disk, limits, memory, units
from bench.plan import Estimate


def misfits(made: Mapping[str, Any], cost: Estimate) -> list[str]:
    """A sentence for each thing that this machine has too little of."""
    return [*_processors(made), *_memory(made, cost), *_room(made, cost), *_open_files(made)]


def _processors(made: Mapping[str, Any]) -> list[str]:
    wanted, there = made["envelope"]["cpus"], len(os.sched_getaffinity(0))
    return [f"envelope.cpus = {wanted}, and this machine has {there}"] if wanted > there else []


def _memory(made: Mapping[str, Any], cost: Estimate) -> list[str]:
    wanted = made["envelope"]["memory"]
    total = memory.meminfo(Path("/proc/meminfo").read_text())["MemTotal"]
    if wanted > total:
        return [f"envelope.memory = {units.show_size(wanted)}, and this machine has {units.show_size(total)}"]
    if cost.memory > (available := memory.available()):
        needed, there = units.show_size(cost.memory), units.show_size(available)
        return [f"its instances take about {needed} of memory at once, and {there} are available"]
    return []


def _room(made: Mapping[str, Any], cost: Estimate) -> list[str]:
    if not made["envelope"].get("disk"):
        return []
    place = disk.FOLDERS.parent
    free = shutil.disk_usage(place).free - disk.RESERVE
    if cost.disk <= free:
        return []
    needed, there = units.show_size(cost.disk), units.show_size(max(free, 0))
    return [f"its data disks take about {needed} in {place} at once, and {there} can be had there"]


def _open_files(made: Mapping[str, Any]) -> list[str]:
    ramps = [
        made["scenarios"][scenario]["instances"]
        for scenario, by_arm in made["measures"].items()
        if any("density" in measures for measures in by_arm.values())
    ]
    most = limits.most_open_files()
    fit = (most - limits.RESERVE) // limits.TYPICAL
    if not ramps or max(ramps) <= fit:
        return []
    return [
        f"a ramp of {max(ramps)} instances needs about {max(ramps) * limits.TYPICAL + limits.RESERVE} open files, and "
        f"a process may have {most} here (ulimit -Hn): it ends at about {fit}"
    ]
