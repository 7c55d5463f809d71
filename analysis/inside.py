"""What work costs inside: system calls, scheduler, memory, disk, network, applications, each against the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from analysis.estimate import Estimate, Interval
from analysis.load import Loaded
from analysis.words import listed, show, show_ratio
from bench.text import clean

#: In this order on the page; others come behind.
_ORDER = ("system calls", "scheduler", "processor", "memory", "disk", "network", "applications")
#: Of a metric's two figures per run: CPU seconds are in the table of every metric.
_NOT_DRAWN = ".cpu"


@dataclass(frozen=True)
class Row:
    """One metric of a tool. costs: by arm, how many times what it is for the baseline, above 1 where it is worse; base:
    the baseline's own figure, as text."""

    metric: str
    base: str
    costs: dict[str, Interval]


@dataclass(frozen=True)
class Area:
    """Metrics of one kind of work. summaries: what their tools do."""

    name: str
    rows: list[Row]
    summaries: list[str]


def areas(loaded: Loaded, found: list[Estimate]) -> list[Area]:
    """Those in which an arm stands to the baseline; found: of all metrics."""
    known: dict[str, Mapping[str, object]] = {}
    for campaign in loaded.campaigns:
        known |= campaign.plan.get("workloads") or {}
    rows: dict[str, dict[str, Row]] = {}
    for estimate in found:
        tool = estimate.metric.partition(".")[0]
        if tool not in known or estimate.metric.endswith(_NOT_DRAWN):
            continue
        area = clean(known[tool].get("area") or "other")
        row = rows.setdefault(area, {}).setdefault(estimate.metric, Row(estimate.metric, "", {}))
        if estimate.arm == loaded.baseline:
            rows[area][estimate.metric] = Row(row.metric, show(estimate.median, estimate.unit), row.costs)
        elif estimate.ratio:
            row.costs[estimate.arm] = estimate.ratio if estimate.better == "lower" else _inverse(estimate.ratio)
    place = {name: number for number, name in enumerate(_ORDER)}
    made = []
    for name in sorted(rows, key=lambda area: place.get(area, len(place))):
        there = [row for row in rows[name].values() if row.costs]
        tools = dict.fromkeys(row.metric.partition(".")[0] for row in there)
        if there:
            made.append(Area(name, there, [clean(known[tool].get("summary") or tool) for tool in tools]))
    return made


def _inverse(ratio: Interval) -> Interval:
    return Interval(1 / ratio.point, 1 / ratio.high, 1 / ratio.low, ratio.count)


def sentence(loaded: Loaded, area: Area) -> str:
    """Each arm's cost against the baseline's, from its least to its greatest among the area's metrics."""
    base = loaded.arms[loaded.baseline].label if loaded.baseline in loaded.arms else "the baseline"
    parts = []
    for name, arm in loaded.arms.items():
        costs = [row.costs[name] for row in area.rows if name in row.costs]
        if not costs:
            continue
        told = [cost for cost in costs if cost.bounded and not cost.low <= 1 <= cost.high]
        low, high = min(cost.point for cost in costs), max(cost.point for cost in costs)
        if any(cost.bounded for cost in costs) and not told:
            parts.append(f"{arm.label} as much")
        elif show_ratio(low) == show_ratio(high):
            parts.append(f"{arm.label} {show_ratio(low)}")
        else:
            parts.append(f"{arm.label} {show_ratio(low)} to {show_ratio(high)}")
    return f"Against {base}, {area.name} cost {listed(parts)}."
