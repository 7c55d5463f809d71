"""The headline matrix: arms × metrics, each cell a figure with its ratio, or the reason why there is none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Set
from dataclasses import dataclass
from typing import Final

from analysis.estimate import Estimate
from analysis.load import Loaded
from analysis.words import plural, show, show_range, show_ratio
from bench.text import clean


@dataclass(frozen=True)
class Column:
    """One metric of the matrix: what its head says, and what it measures in a few words."""

    metric: str
    head: str
    under: str


COLUMNS: Final = (
    Column("boot", "Start", "requested → READY"),
    Column("boot.cpu", "Start, CPU", "CPU seconds of the cage"),
    Column("spawn", "Spawn", "/bin/true by the init inside"),
    Column("exec", "Exec", "/bin/true by the runtime’s door"),
    Column("teardown", "Teardown", "until all has ended"),
    Column("density.cage", "Memory", "one more instance, its cage’s charge"),
    Column("density.n", "Largest N", "side by side"),
)


# Other views of one more instance's memory, for campaigns without cages. The host's own comes last, because
# whatever else the host does while the ramp runs is in it.
_OTHER_MEMORY: Final = (
    Column("density.pss", "Memory", "one more instance, PSS"),
    Column("density.memavailable", "Memory", "one more instance, host’s view"),
)

#: Measures that no column of the matrix is of.
_APART = frozenset({"instructions", "inside", "isolation"})


@dataclass(frozen=True)
class Cell:
    """`value` and what stands under it; or, without a value, `note`, the number of the reason."""

    value: str = ""
    ratio: str = ""
    range: str = ""
    blocks: str = ""
    heat: int = 0
    note: int = 0
    reason: str = ""


@dataclass(frozen=True)
class Matrix:
    """cells[arm] in the order of the columns; notes are the reasons of empty cells, numbered from 1."""

    columns: tuple[Column, ...]
    cells: dict[str, list[Cell]]
    notes: list[str]


class Chosen:
    """Estimates by metric and arm. Of several scenarios with one metric, that with most slots counts."""

    def __init__(self, found: list[Estimate]) -> None:
        weight: Counter[tuple[str, str]] = Counter()
        for estimate in found:
            weight[estimate.metric, estimate.scenario] += estimate.slots
        self.scenario: dict[str, str] = {}
        for (metric, scenario), _ in weight.most_common():
            self.scenario.setdefault(metric, scenario)
        self._by_arm = {
            (estimate.metric, estimate.arm): estimate
            for estimate in found
            if estimate.scenario == self.scenario[estimate.metric]
        }

    def get(self, metric: str, arm: str) -> Estimate | None:
        return self._by_arm.get((metric, arm))

    def blocks(self) -> int:
        """The most blocks that any ratio rests on; 0 without ratios."""
        return max((e.ratio.count for e in self._by_arm.values() if e.ratio), default=0)


def columns(chosen: Chosen) -> tuple[Column, ...]:
    """The matrix's columns; memory by the cage, or by the next best view that any arm has."""
    (cage,) = (column for column in COLUMNS if column.metric == "density.cage")
    memory = next((column for column in (cage, *_OTHER_MEMORY) if column.metric in chosen.scenario), cage)
    return tuple(memory if column is cage else column for column in COLUMNS)


def matrix(loaded: Loaded, chosen: Chosen) -> Matrix:
    """The headline matrix of a campaign: a row an arm, a cell a column.

    Arms have none that only take what has a section of its own; where that is all of a plan, there is no matrix.
    """
    shown = columns(chosen)
    taken = [
        set(each)
        for c in loaded.campaigns
        for by_arm in (c.plan.get("measures") or {}).values()
        for each in by_arm.values()
    ]
    if taken and all(each <= _APART for each in taken):
        return Matrix(shown, {}, [])
    most = chosen.blocks()
    notes: dict[str, int] = {}
    cells: dict[str, list[Cell]] = {}
    for arm in loaded.arms:
        if _takes_only(loaded, arm, _APART):
            continue
        found = [chosen.get(column.metric, arm) for column in shown]
        row = []
        for column, estimate in zip(shown, found, strict=True):
            if estimate is not None:
                row.append(_cell(loaded, chosen, estimate, arm, most))
                continue
            reason = missing_reason(loaded, arm, column.metric)
            # A row without any figure says its reasons in place.
            row.append(Cell(note=notes.setdefault(reason, len(notes) + 1) if any(found) else 0, reason=reason))
        cells[arm] = row
    return Matrix(shown, cells, list(notes))


def counts_only(loaded: Loaded, arm: str) -> bool:
    """Whether the plan has an arm count instructions and measure nothing else."""
    return _takes_only(loaded, arm, {"instructions"})


def _takes_only(loaded: Loaded, arm: str, some: Set[str]) -> bool:
    """Whether the plan has an arm take some of these measures and no other."""
    taken = [arms[arm] for c in loaded.campaigns for arms in (c.plan.get("measures") or {}).values() if arm in arms]
    return bool(taken) and all(set(measures) <= some for measures in taken)


def _cell(loaded: Loaded, chosen: Chosen, estimate: Estimate, arm: str, most: int) -> Cell:
    value = show(estimate.median, estimate.unit)
    if estimate.metric == "density.n":
        return Cell(value, range=stop_reason(loaded, arm))
    if arm == loaded.baseline:
        return Cell(value, ratio="baseline")
    ratio = estimate.ratio
    if ratio is None:
        return Cell(value, range=_no_ratio(loaded, chosen, estimate))
    fewer = plural(ratio.count, "block") if ratio.bounded and ratio.count < most else ""
    heat = round(min(max(math.log10(ratio.point) / 3, 0.0), 1.0) * 100) if estimate.better == "lower" else 0
    return Cell(value, show_ratio(ratio.point), show_range(ratio), fewer, heat)


def _no_ratio(loaded: Loaded, chosen: Chosen, estimate: Estimate) -> str:
    if loaded.baseline is None:
        return ""
    base = chosen.get(estimate.metric, loaded.baseline)
    if base is None:
        return "the baseline has none"
    return "no block with the baseline" if min(base.median, estimate.median) > 0 else "no ratio of 0 or less"


def stop_reason(loaded: Loaded, arm: str) -> str:
    """Why the arm's density ramps ended, in words."""
    stops = {clean(r["stop"]) for r in loaded.records if r.get("arm") == arm and r.get("stop")}
    return "; ".join("the stated N" if stop == "n" else stop for stop in sorted(stops))


def missing_reason(loaded: Loaded, arm: str, metric: str) -> str:
    """Why an arm has no figure for a metric: left out by plan, failed, not run yet, not planned."""
    measure = metric.split(".")[0]
    homes = [name for name, given in loaded.scenarios.items() if measure in (given.get("measures") or [])]
    for entry in loaded.left_out:
        scenario, _, only = str(entry.get("scenario", "")).partition(":")
        hit = scenario in ("*", measure) or (scenario in homes and only in ("", measure))
        if entry.get("arm") in (arm, "*") and hit:
            return clean(entry.get("reason") or "left out of the plan")
    slots = loaded.slots[(loaded.slots["arm"] == arm) & loaded.slots["scenario"].isin(homes)]
    planned = sum(
        slot.get("arm") == arm and slot.get("scenario") in homes
        for campaign in loaded.campaigns
        for slot in campaign.plan.get("slots") or []
    )
    bad = int((slots["status"] != "ok").sum())
    if bad and bad == len(slots):
        return f"no slot ended well: {bad} of {bad} failed"
    if planned > len(slots) == 0:
        return "planned, not run yet"
    if len(slots):
        return "not recorded where it ran" if metric != "boot.cpu" else "no CPU figure: the instances were not caged"
    return "not part of this campaign for this arm"
