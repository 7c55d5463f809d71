"""The headline matrix: arms × metrics, each cell a figure with its ratio, or the reason why there is none."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Mapping, Set
from dataclasses import dataclass
from typing import Final

from analysis.estimate import Estimate
from analysis.load import Loaded
from analysis.words import NBSP, plural, show_known, show_range, show_times
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

#: Why a ramp ended that could have gone on.
LIMIT: Final = "limit of this campaign"
NOT_PLANNED: Final = "not part of this campaign for this arm"
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
    """Estimates by metric and arm. Of several scenarios with one metric, that with most slots counts.

    flat: (arm, metric) that something else than these estimates does not tell from zero.
    """

    def __init__(self, found: list[Estimate], flat: Set[tuple[str, str]] = frozenset()) -> None:
        self._flat = flat
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

    def is_flat(self, estimate: Estimate) -> bool:
        """Whether a figure is not told from zero."""
        known = estimate.known
        return estimate.median <= 0 or known.low <= 0 or (estimate.arm, estimate.metric) in self._flat

    def measured(self, arm: str, *, but: str = "") -> bool:
        """Whether an arm has a figure of any metric; but: of one whose name does not begin with that."""
        names = (metric for metric, name in self._by_arm if name == arm)
        return any(not but or metric.partition(".")[0] != but for metric in names)

    def blocks(self) -> int:
        """The most blocks (or sessions) that any ratio rests on; 0 without ratios."""
        return max(self.most().values(), default=0)

    def most(self) -> dict[str, int]:
        """By what ratios count, blocks or sessions, the most that any rests on."""
        found: dict[str, int] = {}
        for ratio in (estimate.ratio for estimate in self._by_arm.values()):
            if ratio:
                found[ratio.unit] = max(found.get(ratio.unit, 0), ratio.count)
        return found


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
    most = chosen.most()
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


def _takes_only(loaded: Loaded, arm: str, some: Set[str]) -> bool:
    """Whether the plan has an arm take some of these measures and no other."""
    taken = [arms[arm] for c in loaded.campaigns for arms in (c.plan.get("measures") or {}).values() if arm in arms]
    return bool(taken) and all(set(measures) <= some for measures in taken)


def _cell(loaded: Loaded, chosen: Chosen, estimate: Estimate, arm: str, most: Mapping[str, int]) -> Cell:
    value = show_known(estimate.known, estimate.unit)
    if estimate.metric == "density.n":
        tried, why = largest(loaded, arm, value)
        return Cell(tried, range=why)
    if arm == loaded.baseline:
        return Cell(value, ratio="baseline", range="not told from 0" if chosen.is_flat(estimate) else "")
    ratio = estimate.ratio
    if ratio is None:
        lacks = loaded.baseline is not None and chosen.get(estimate.metric, loaded.baseline) is None
        return Cell(value, range="the baseline has none" if lacks else estimate.note)
    odd = len(most) > 1 or ratio.count < most[ratio.unit]
    fewer = plural(ratio.count, ratio.unit) if ratio.bounded and odd else ""
    fewer = f"{fewer}: {estimate.note}" if fewer and estimate.note else fewer or estimate.note
    heat = round(min(max(math.log10(ratio.point) / 3, 0.0), 1.0) * 100) if estimate.better == "lower" else 0
    return Cell(value, show_times(ratio), show_range(ratio), fewer, heat)


def largest(loaded: Loaded, arm: str, tried: str) -> tuple[str, str]:
    """How many instances ran side by side, as far as anybody tried, and why there were no more."""
    if limited(loaded, arm):
        return f"≥{NBSP}{tried}", LIMIT
    return tried, "; ".join(LIMIT if stop == "n" else stop for stop in sorted(_stops(loaded, arm)))


def limited(loaded: Loaded, arm: str) -> bool:
    """Whether an arm's ramps ended where the campaign wanted no more, so that more may fit."""
    return _stops(loaded, arm) == {"n"}


def _stops(loaded: Loaded, arm: str) -> set[str]:
    return {clean(r["stop"]) for r in loaded.records if r.get("arm") == arm and r.get("stop")}


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
    return NOT_PLANNED
