"""One kernel against another one in the same campaigns: has a metric moved by more than was asked for?"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd

from analysis.instructions import UNIT
from analysis.judge import Test, judge
from analysis.words import listed, plural, show
from bench.errors import InputError
from bench.results import JOURNAL, last_of_each_slot, read_journal


@dataclass(frozen=True)
class Step:
    """ratio: of the figures, NEW ÷ BASE; moved: by more than was asked for, or None where these data cannot tell;
    exact: whether both sides are counts that always came out the same; text: the same for people."""

    ratio: float
    moved: bool | None
    exact: bool
    text: str


def figures(folders: Sequence[Path]) -> pd.DataFrame:
    """A row a metric and good slot of several results folders, as they stand, each a run of its own.

    Columns: run, block, arm, metric, unit, better, value (the median of the slot's values).
    """
    rows = [
        (run, line.get("block"), line["arm"], sample["metric"], sample["unit"], sample.get("better", "lower"), value)
        for run, folder in enumerate(folders)
        for line in last_of_each_slot(read_journal(folder / JOURNAL))
        if line.get("status") == "ok"
        for sample in line["samples"]
        if 0 < (value := float(np.median(sample["values"]))) < math.inf
    ]
    return pd.DataFrame(rows, columns=["run", "block", "arm", "metric", "unit", "better", "value"])


def step(medians: pd.DataFrame, metric: str, base: str, new: str, change: float, looks: tuple[int, ...] = ()) -> Step:
    """change: a fraction; looks: see analysis.judge.Test.

    Raises InputError for a metric that these two arms do not both have.
    Counts that repeat are compared as they are. One count of NEW is enough where BASE has repeated, until it is
    confirmed. Everything else is judged over the blocks that both have, or as two groups where there are none, with
    `change` as the margin of equivalence.
    """
    rows = medians[medians["metric"] == metric]
    sides = [rows[rows["arm"] == arm] for arm in (base, new)]
    if any(side.empty for side in sides):
        there = listed(sorted(medians["metric"].unique()))
        raise InputError(f"no figure of {metric!r} was taken", hint=f"there are: {there}")
    unit = str(rows["unit"].iloc[0])
    counts = [side["value"].to_numpy(dtype=float) for side in sides]
    if unit == UNIT and len(counts[0]) > 1 and all(np.ptp(side) == 0 for side in counts):
        ratio = float(counts[1][0] / counts[0][0])
        text = f"{show(counts[1][0], unit)}, {_change(ratio)} ({counts[1][0] - counts[0][0]:+,.0f})"
        return Step(ratio, abs(ratio - 1) > change, True, f"{text}, {plural(len(counts[1]), 'boot')}")
    table = rows[rows["arm"].isin([base, new])].pivot_table(index=["run", "block"], columns="arm", values="value")
    paired = table.dropna()
    if len(paired):
        counts = [paired[arm].to_numpy() for arm in (base, new)]
    test = Test(
        counts[0],
        counts[1],
        paired=len(paired) > 0,
        better=str(rows["better"].iloc[0]),
        delta=change,
        exact=unit == UNIT,
        looks=looks if len(paired) else (),
    )
    (verdict,) = judge([test])
    point = verdict.ratio.point
    beyond = abs(point - 1) > change
    moved = None if verdict.kind == "inconclusive" else verdict.kind != "equivalent" and beyond
    return Step(
        point,
        moved,
        False,
        f"{_change(point)}, {verdict} over {plural(verdict.count, 'block' if len(paired) else 'boot')}",
    )


def phases(medians: pd.DataFrame, metric: str, base: str, new: str) -> dict[str, float]:
    """The change, as a fraction, of the metric and of what it is made of (boot.instructions: boot.kernel.instructions,
    …), the metric first."""
    head, dot, tail = metric.rpartition(".")
    prefix = f"{head or metric}."
    suffix = f"{dot}{tail}" if head else ""
    names = sorted(
        name
        for name in medians["metric"].unique()
        if name.startswith(prefix) and name.endswith(suffix) and name.count(".") == metric.count(".") + 1
    )
    found = {}
    for name in [metric, *names]:
        values = medians[medians["metric"] == name].groupby("arm")["value"].median()
        if base in values and new in values and values[base] > 0:
            found[name] = float(values[new] / values[base] - 1)
    return found


def _change(ratio: float) -> str:
    return f"{ratio - 1:+.3%}".replace("%", " %")
