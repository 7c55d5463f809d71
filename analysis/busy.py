"""How busy the host was while it measured, as far as its campaign noted it."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from analysis.caution import Caution
from analysis.load import Campaign, Loaded
from analysis.words import digits, plural, show_share
from bench.results import Record

#: Measures whose own work is at most a few processes; others make load that is none of somebody else's.
_LIGHT: Final = frozenset({"boot", "exec", "spawn", "teardown", "firmware"})
# Judgements, not measurements: on an idle machine all of these are next to nothing.
_BUSY_SHARE: Final = 0.7  # load average for each CPU, from which on a host is called busy
_STEAL, _WORST_STEAL = 0.01, 0.05
_WAITING: Final = {"cpu": 0.5, "memory": 0.05, "io": 0.25}  # shares of the time, from which on others do it too
_NAMES: Final = {"cpu": "a CPU", "io": "disks"}


@dataclass(frozen=True)
class Strain:
    """What a campaign noted of its host. loads: (block, load average before it); steal: share of all CPU time that the
    hypervisor took, and the block with the most of it; waited: by resource, the share of the time in which some task
    waited for it. None and empty where nothing was noted."""

    loads: list[tuple[int, float]]
    steal: float | None
    worst: tuple[int, float] | None
    waited: dict[str, float]


def strain(campaign: Campaign) -> Strain:
    """From the journal's lines; blocks in the order in which they ran."""
    lines = [record for record in campaign.records if isinstance(record.get("load"), dict)]
    loads: dict[int, float] = {}
    stolen: dict[int, list[tuple[float, float]]] = {}
    waited: dict[str, list[tuple[float, float]]] = {}
    for record in lines:
        noted, block, seconds = record["load"], record.get("block") or 0, _number(record.get("wall_s")) or 0.0
        if (before := _number(noted.get("before"))) is not None:
            loads.setdefault(block, before)
        if (steal := _number(noted.get("steal"))) is not None:
            stolen.setdefault(block, []).append((steal, seconds))
        shares = noted.get("pressure")
        for name, share in (shares if isinstance(shares, dict) else {}).items():
            if name in _WAITING and (known := _number(share)) is not None:
                waited.setdefault(name, []).append((known, seconds))
    by_block = {block: _mean(each) for block, each in stolen.items()}
    return Strain(
        list(loads.items()),
        _mean(pair for each in stolen.values() for pair in each) if stolen else None,
        max(by_block.items(), key=lambda item: item[1]) if by_block else None,
        {name: _mean(each) for name, each in waited.items()},
    )


def cautions(loaded: Loaded) -> list[Caution]:
    """A sentence for each campaign whose host was busy, or is a machine of somebody else's."""
    found = []
    for campaign in loaded.campaigns:
        whose = f" ({campaign.folder.name})" if len(loaded.campaigns) > 1 else ""
        noted = strain(campaign)
        if said := _busy(campaign, noted):
            found.append(
                Caution(f"Busy host{whose}: {said}. Times are longer and scatter more than on an idle one.", "facts")
            )
        host = campaign.facts.get("host") or {}
        if host.get("virtualised") and not campaign.emulated:
            found.append(
                Caution(f"Virtual host{whose}: this host is a virtual machine itself, and {_steal(noted)}.", "facts")
            )
        elif noted.steal is not None and (said := _much_steal(noted)):
            found.append(Caution(f"Steal{whose}: {said}.", "facts"))
    return found


def _busy(campaign: Campaign, noted: Strain) -> str:
    host = campaign.facts.get("host") or {}
    cores = _number(host.get("cores"))
    parts = []
    if cores:
        limit = max(_BUSY_SHARE * cores, min(_own(campaign), cores))
        cpus = plural(int(cores), "CPU")
        start = first_load(host)
        if start is not None and start > _BUSY_SHARE * cores:  # the campaign itself had not begun
            parts.append(f"its load average was {digits(start, 2)} on {cpus} when the campaign began")
        high = [load for _, load in noted.loads if load > limit]
        if high and _light(campaign):
            of = f"{len(high)} of its {plural(len(noted.loads), 'block')}"
            parts.append(
                f"before {of} the load average was above {digits(limit, 2)} on {cpus}, at most {digits(max(high), 2)}"
            )
    for name, share in noted.waited.items():
        if share >= _WAITING[name] and _light(campaign):
            parts.append(f"tasks waited for {_NAMES.get(name, name)} {show_share(share)} of the time")
    return "; ".join(parts)


def _own(campaign: Campaign) -> float:
    """How many CPUs the campaign keeps busy itself: an instance's, and the harness's."""
    return (_number((campaign.plan.get("envelope") or {}).get("cpus")) or 1.0) + 1.0


def _light(campaign: Campaign) -> bool:
    measures = {
        measure
        for by_arm in (campaign.plan.get("measures") or {}).values()
        for each in by_arm.values()
        for measure in each
    }
    return bool(measures) and measures <= _LIGHT


def _steal(noted: Strain) -> str:
    if noted.steal is None:
        return "what its neighbours took of its CPUs (steal) was not recorded"
    return (
        _much_steal(noted) or f"its hypervisor took {show_share(noted.steal)} of its CPU time (steal) while slots ran"
    )


def _much_steal(noted: Strain) -> str:
    """The share that was taken, where that is enough to matter."""
    if noted.steal is None or noted.worst is None or (noted.steal < _STEAL and noted.worst[1] < _WORST_STEAL):
        return ""
    block, most = noted.worst
    return (
        f"its hypervisor took {show_share(noted.steal)} of its CPU time (steal) while slots ran, "
        f"{show_share(most)} in block {block}"
    )


def facts(campaign: Campaign) -> Record:
    """What was noted, as lines among a report's facts."""
    noted = strain(campaign)
    found: Record = {}
    if noted.loads:
        loads = [load for _, load in noted.loads]
        found["load average before a block"] = f"{digits(min(loads), 2)} to {digits(max(loads), 2)}"
    if noted.steal is not None:
        found["steal while slots ran"] = show_share(noted.steal)
    found |= {f"pressure on {name} while slots ran": show_share(share) for name, share in noted.waited.items()}
    return found


def first_load(host: Record) -> float | None:
    """The load average of the last minute, of /proc/loadavg as facts have it."""
    match = re.match(r"\s*(\d+(?:\.\d+)?)", str(host.get("load") or ""))
    return float(match[1]) if match else None


def _mean(pairs: Iterable[tuple[float, float]]) -> float:
    """Weighted by the seconds; the plain mean where those are none."""
    known = list(pairs)
    seconds = sum(weight for _, weight in known)
    if seconds <= 0:
        return sum(share for share, _ in known) / len(known)
    return sum(share * weight for share, weight in known) / seconds


def _number(value: Any) -> float | None:
    good = isinstance(value, int | float) and not isinstance(value, bool) and value == value and value >= 0
    return float(value) if good else None
