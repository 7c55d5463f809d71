"""Counted instructions: a table a scenario, with what repeats to the last digit said apart from what does not."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import pandas as pd

from analysis.load import Loaded
from analysis.words import plural

UNIT: Final = "instruction"
#: What no count of instructions tells; said wherever one is shown.
CAVEAT: Final = (
    "Instructions are not seconds. A count leaves out what an instruction costs: caches, TLBs, memory latency, branch "
    "prediction, devices, idle waits and the host’s own share. It tells exactly how much work the guest does."
)
_NAMES: Final = {"boot": "Boot", "boot.setup": "setup", "boot.kernel": "kernel", "boot.init": "init"}


@dataclass(frozen=True)
class Count:
    """One metric of one arm: the median over its slots, how often it was counted, and how far the slots differ.

    change: to the reference arm as a fraction (0.003 is +0.3 %), None for itself and where that has no figure.
    """

    value: float
    slots: int
    spread: float
    change: float | None
    difference: float | None

    @property
    def exact(self) -> bool:
        """Whether at least two fresh instances agree to the last digit. One alone proves nothing."""
        return self.slots > 1 and self.spread == 0

    @property
    def against(self) -> str:
        """`+0.296 % (+1,943,001)`, `the same`, or nothing for the reference itself."""
        if self.change is None or self.difference is None:
            return ""
        if self.difference == 0:
            return "the same"
        percent = f"{self.change:+.3%}" if abs(self.change) >= 5e-6 else f"{self.change:+.1e}"
        return f"{percent.replace('%', ' %')} ({self.difference:+,.0f})"

    @property
    def proof(self) -> str:
        if self.exact:
            return f"{self.slots} boots, the same to the last digit"
        if self.slots == 1:
            return "one boot: not proved to repeat"
        return f"{plural(self.slots, 'boot')} that differ by up to {self.spread:,.0f}"


@dataclass(frozen=True)
class Table:
    """counts[arm][metric]; heads: what stands above each metric, in order; reference: the arm that others stand to."""

    scenario: str
    reference: str
    heads: dict[str, str]
    counts: dict[str, dict[str, Count]]


def tables(loaded: Loaded, medians: pd.DataFrame) -> list[Table]:
    """From `slot_medians`. The reference is the campaign's baseline if it counts, otherwise the first arm that does."""
    counted = medians[medians["unit"] == UNIT]
    found = []
    for scenario, rows in counted.groupby("scenario", observed=True, sort=False):
        summary = rows.groupby(["arm", "metric"], observed=True, sort=False)["value"].agg(
            ["median", "size", "min", "max"]
        )
        by_arm = {
            arm: summary.xs(arm, level="arm") for arm in loaded.arms if arm in summary.index.get_level_values("arm")
        }
        reference = loaded.baseline if loaded.baseline in by_arm else next(iter(by_arm))
        base = by_arm[reference]["median"]
        metrics = sorted(dict.fromkeys(rows["metric"].astype(str)), key=_place)
        counts = {
            arm: {
                str(metric): _count(row, None if arm == reference else base.get(metric))
                for metric, row in figures.iterrows()
            }
            for arm, figures in by_arm.items()
        }
        found.append(Table(str(scenario), str(reference), {metric: _head(metric) for metric in metrics}, counts))
    return found


def _count(row: pd.Series, base: float | None) -> Count:
    value = float(row["median"])
    change = None if base is None else value / float(base) - 1
    difference = None if base is None else value - float(base)
    return Count(value, int(row["size"]), float(row["max"] - row["min"]), change, difference)


def _place(metric: str) -> tuple[int, str]:
    known = list(_NAMES)
    stem = metric.removesuffix(f".{UNIT}s")
    return (known.index(stem) if stem in known else len(known)), metric


def _head(metric: str) -> str:
    stem = metric.removesuffix(f".{UNIT}s")
    return _NAMES.get(stem, stem.capitalize())


def inexact(found: list[Table]) -> list[str]:
    """Arms that were booted several times and did not repeat."""
    return list(
        dict.fromkeys(
            arm
            for table in found
            for arm, counts in table.counts.items()
            if any(count.slots > 1 and not count.exact for count in counts.values())
        )
    )
