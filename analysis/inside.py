"""What work costs inside: system calls, scheduler, memory, disk, network, applications, each against the baseline."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from analysis.estimate import Estimate, Interval
from analysis.load import Loaded
from analysis.words import listed, show_known, show_range, show_times, span
from bench.text import clean

#: In this order on the page; others come behind.
_ORDER = ("system calls", "scheduler", "processor", "memory", "disk", "network", "applications")
#: Of a metric's two figures per run: CPU seconds are in the table of every metric.
_NOT_DRAWN = ".cpu"
_CLOCK_MARGIN: Final = 0.02  # how far an instance's clock may be from the host's before the report says so
_FEW: Final = 2  # metrics that a sentence names


@dataclass(frozen=True)
class Row:
    """One metric of a tool. better: "higher" or "lower"; costs: by arm, how many times worse than for the baseline it
    is, below 1 where it is better; base: the baseline's own figure, as text; values: each arm's; off: arms whose clock
    was off."""

    metric: str
    better: str
    base: str = ""
    costs: dict[str, Interval] = field(default_factory=dict)
    values: dict[str, str] = field(default_factory=dict)
    off: frozenset[str] = frozenset()

    def stands(self, arm: str) -> str:
        """`17× worse`, `7.0× better`, `no measurable difference`; nothing where there is no ratio."""
        return stands(self.costs[arm]) if arm in self.costs else ""

    def interval(self, arm: str) -> str:
        """The interval of that, the same way round."""
        cost = self.costs.get(arm)
        return "" if cost is None else show_range(cost if _alike(cost) or cost.point >= 1 else inverse(cost))


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
    off = clocks(loaded)
    rows: dict[str, dict[str, Row]] = {}
    for estimate in found:
        tool = estimate.metric.partition(".")[0]
        if tool not in known or estimate.metric.endswith(_NOT_DRAWN):
            continue
        area = clean(known[tool].get("area") or "other")
        wrong = frozenset(arm for arm, metrics in off.items() if estimate.metric in metrics)
        new = Row(estimate.metric, estimate.better, off=wrong)
        row = rows.setdefault(area, {}).setdefault(estimate.metric, new)
        value = show_known(estimate.known, estimate.unit)
        if estimate.arm == loaded.baseline:
            rows[area][estimate.metric] = Row(row.metric, row.better, value, row.costs, row.values, wrong)
        else:
            row.values[estimate.arm] = value
            if estimate.ratio:
                row.costs[estimate.arm] = estimate.ratio if estimate.better == "lower" else inverse(estimate.ratio)
    place = {name: number for number, name in enumerate(_ORDER)}
    made = []
    for name in sorted(rows, key=lambda area: place.get(area, len(place))):
        there = [row for row in rows[name].values() if row.costs]
        tools = dict.fromkeys(row.metric.partition(".")[0] for row in there)
        if there:
            made.append(Area(name, there, [clean(known[tool].get("summary") or tool) for tool in tools]))
    return made


def clocks(loaded: Loaded) -> dict[str, dict[str, float]]:
    """By arm and metric, what a second of the host's was on the instance's clock, where it was off; its worst slot."""
    found: dict[str, dict[str, float]] = {}
    for record in loaded.records:
        for sample in record.get("samples") or []:
            ratio, arm, metric = sample.get("clock"), str(record.get("arm")), str(sample["metric"])
            if record.get("status") == "ok" and ratio is not None and abs(ratio - 1) > _CLOCK_MARGIN:
                of_arm = found.setdefault(arm, {})
                of_arm[metric] = max(of_arm.get(metric, 1.0), float(ratio), key=lambda seen: abs(seen - 1))
    return found


def inverse(ratio: Interval) -> Interval:
    return Interval(1 / ratio.point, 1 / ratio.high, 1 / ratio.low, ratio.count)


def stands(cost: Interval) -> str:
    """A cost in words, whichever way the tool counts."""
    if _alike(cost):
        return "no measurable difference"
    return f"{show_times(cost)} worse" if cost.point >= 1 else f"{show_times(inverse(cost))} better"


def _alike(cost: Interval) -> bool:
    return cost.bounded and cost.low <= 1 <= cost.high


def sentence(loaded: Loaded, area: Area) -> str:
    """How each arm stands to the baseline over the area's metrics, from its best to its worst."""
    base = loaded.arms[loaded.baseline].label if loaded.baseline in loaded.arms else "the baseline"
    alike, parts = [], []
    for name, arm in loaded.arms.items():
        costs = {row.metric: row.costs[name] for row in area.rows if name in row.costs}
        told = {metric: cost for metric, cost in costs.items() if not _alike(cost)}
        if costs and not told:
            alike.append(arm.label)
        elif told:
            # What does not differ must be said, or what does would speak for it.
            rest = f" in {len(told)} of {len(costs)} metrics" if _FEW < len(told) < len(costs) else ""
            parts.append(f"{arm.label} {_costs(told, len(costs))}{rest}")
    if alike:
        parts.insert(0, f"{listed(alike)} no measurable difference")
    return f"Against {base}, {area.name}: {'; '.join(parts)}." if parts else ""


def _costs(told: dict[str, Interval], of: int) -> str:
    if len(told) <= _FEW:
        return listed(f"{stands(cost)}{f' in {clean(metric)}' if of > 1 else ''}" for metric, cost in told.items())
    worse = [cost.point for cost in told.values() if cost.point >= 1]
    better = [1 / cost.point for cost in told.values() if cost.point < 1]
    return listed(f"{span(each, '×')} {word}" for each, word in ((better, "better"), (worse, "worse")) if each)
