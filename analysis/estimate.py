"""Estimates: a slot's median, a block's log-ratio to the baseline, their Hodges–Lehmann ratio and interval.

The unit of inference is the slot (one fresh instance), never the value: its values share its fate.
"""

from __future__ import annotations

from collections.abc import Set
from dataclasses import dataclass, replace
from functools import lru_cache
from typing import Final

import numpy as np
import pandas as pd
from scipy import stats

from analysis import ranks
from analysis.load import Loaded
from analysis.pairs import order_statistics
from analysis.ranks import Floats

CONFIDENCE: Final = 0.95
_ALL_PAIRS_UP_TO = 400  # blocks; above, Walsh averages are counted instead of listed
_SLOPE_POINTS = 400  # Theil–Sen looks at every pair of points: 80,000 of so many


@dataclass(frozen=True)
class Interval:
    """A point and its two-sided interval; low and high are NaN where the data cannot give one.

    unit: what `count` counts, blocks or sessions.
    """

    point: float
    low: float
    high: float
    count: int
    unit: str = "block"

    @property
    def bounded(self) -> bool:
        return bool(np.isfinite(self.low) and np.isfinite(self.high))


@dataclass(frozen=True)
class Estimate:
    """One metric of one arm in one scenario.

    median is over slots of each slot's median, in `unit`, and known is how far that can be told (see median_of); ratio
    is to the baseline arm over blocks that have both, or None where there is no such block or where one of the two is
    not told from zero; note: why there is none, or what was left out of it.
    """

    scenario: str
    metric: str
    arm: str
    unit: str
    better: str
    median: float
    slots: int
    ratio: Interval | None
    known: Interval
    note: str = ""


def hodges_lehmann(values: Floats, confidence: float = CONFIDENCE) -> Interval:
    """The median of the pairwise (Walsh) averages, with the interval that inverts the signed-rank test.

    The interval is between two order statistics of the n(n+1)/2 averages. With few values no pair of them
    reaches the confidence (fewer than 6 values for 95 %): then there is no interval. Raises ValueError
    without values.
    """
    values = np.sort(np.asarray(values, dtype=float))
    n = len(values)
    if n == 0:
        raise ValueError("no values")
    averages = n * (n + 1) // 2
    middle = [(averages - 1) // 2, averages // 2]
    rank = ranks.signed_rank_critical(n, (1 - confidence) / 2)
    ends = [] if rank is None else [rank, averages - 1 - rank]
    found = _walsh(values, middle + ends)
    point = float(found[:2].mean())
    low, high = (float(found[2]), float(found[3])) if ends else (float("nan"), float("nan"))
    return Interval(point, low, high, n)


def _walsh(values: Floats, ranks: list[int]) -> Floats:
    """The Walsh averages of sorted `values` at these 0-based ranks."""
    n = len(values)
    if n <= _ALL_PAIRS_UP_TO:
        first, second = np.triu_indices(n)
        averages = np.sort((values[first] + values[second]) / 2)
        return averages[ranks]
    return order_statistics(values / 2, values / 2, np.arange(n), ranks)


def ratio_of(logs: Floats) -> Interval:
    """The Hodges–Lehmann ratio of per-block log-ratios."""
    log = hodges_lehmann(logs)
    return Interval(float(np.exp(log.point)), float(np.exp(log.low)), float(np.exp(log.high)), log.count)


def slot_medians(samples: pd.DataFrame) -> pd.DataFrame:
    """A row a metric and good slot: run, slot, block, scenario, arm, metric, unit, better, value (median)."""
    good = samples[(samples["status"] == "ok") & ~samples["warmup"]]
    keys = ["run", "slot", "block", "scenario", "arm", "metric", "unit", "better"]
    return good.groupby(keys, observed=True, sort=False)["value"].median().reset_index()


def median_of(values: Floats) -> Interval:
    """The median, between the order statistics that hold it with 95 %; without interval where there are too few."""
    ordered = np.sort(np.asarray(values, dtype=float))
    n = len(ordered)
    cut = _outside_median(n)
    low, high = (float(ordered[cut]), float(ordered[n - 1 - cut])) if cut >= 0 else (float("nan"), float("nan"))
    return Interval(float(np.median(ordered)), low, high, n)


@lru_cache(maxsize=1024)
def _outside_median(n: int) -> int:
    """How many of n values may be left out on each side; -1 where even all of them are too few."""
    return int(stats.binom.ppf((1 - CONFIDENCE) / 2, n, 0.5)) - 1


def estimates(
    medians: pd.DataFrame,
    baseline: str | None,
    flat: Set[tuple[str, str]] = frozenset(),
    between: float | None = None,
) -> list[Estimate]:
    """Every metric of every arm in every scenario, from `slot_medians`.

    flat: (arm, metric) that something else does not tell from zero: neither has a ratio then. between: how many times
    further apart sessions lie than the scatter within them tells. Raises ValueError for several runs without it.
    """
    found: list[Estimate] = []
    for (scenario, metric), rows in medians.groupby(["scenario", "metric"], observed=True, sort=False):
        table = rows.groupby(["run", "block", "arm"], observed=True)["value"].median().unstack("arm")
        by_arm = {
            str(arm): each.to_numpy(dtype=float)
            for arm, each in rows.groupby("arm", observed=True, sort=False)["value"]
        }
        known = {arm: median_of(values) for arm, values in by_arm.items()}
        zero = {arm for arm, each in known.items() if (arm, str(metric)) in flat or _may_be_zero(each, by_arm[arm])}
        head = rows.iloc[0]
        for arm, values in by_arm.items():
            ratio, note = None, ""
            if baseline in by_arm and arm != baseline:
                ratio, note = _against(table[arm], table[baseline], arm in zero, baseline in zero, between)
            found.append(
                Estimate(
                    str(scenario),
                    str(metric),
                    arm,
                    str(head["unit"]),
                    str(head["better"]),
                    known[arm].point,
                    len(values),
                    ratio,
                    known[arm],
                    note,
                )
            )
    return found


def _may_be_zero(known: Interval, values: Floats) -> bool:
    """Whether a median cannot be told from zero or less."""
    return known.low <= 0 if known.bounded else float(values.min()) <= 0


def _against(
    ours: pd.Series, base: pd.Series, flat: bool, base_flat: bool, between: float | None
) -> tuple[Interval | None, str]:
    """The ratio of an arm to the baseline by (run, block), and what must be said of it."""
    if float(ours.median()) <= 0 or float(base.median()) <= 0:
        return None, "no ratio of 0 or less"
    if base_flat or flat:
        return None, "no ratio: the baseline is not told from 0" if base_flat else "no ratio: not told from 0"
    there = (ours.notna() & base.notna()).to_numpy()
    good = there & (ours > 0).to_numpy() & (base > 0).to_numpy()
    if not good.any():
        return None, "no block with the baseline"
    logs = pd.Series(np.log(ours[good].to_numpy() / base[good].to_numpy()), index=ours.index[good])
    lost = int(there.sum() - good.sum())
    return over_sessions(logs, between), f"{lost} left out for a 0" if lost else ""


def over_sessions(logs: pd.Series, between: float | None) -> Interval:
    """The ratio of log-ratios, whose index begins with their run.

    Runs are sessions: what changes from one to the next is in no block. With as many sessions as an interval takes,
    each counts once, with its own estimate. With fewer, the interval over blocks is widened about its point as that of
    two campaigns that are compared (see analysis.judge), and holds at least what each session found.
    """
    if logs.index.get_level_values(0).nunique() == 1:
        return ratio_of(logs.to_numpy())
    each = [hodges_lehmann(values.to_numpy()).point for _, values in logs.groupby(level=0)]
    if enough(len(each)):
        return replace(ratio_of(np.array(each)), unit="session")
    if between is None:
        raise ValueError("several sessions, and no word of how far they lie apart")
    within = hodges_lehmann(logs.to_numpy())
    low = min(within.point - between * (within.point - within.low), *each)
    high = max(within.point + between * (within.high - within.point), *each)
    if not within.bounded:
        low = high = float("nan")
    return Interval(float(np.exp(within.point)), float(np.exp(low)), float(np.exp(high)), within.count)


def enough(sessions: int) -> bool:
    """Whether so many sessions have an interval of their own."""
    return ranks.signed_rank_critical(sessions, (1 - CONFIDENCE) / 2) is not None


@dataclass(frozen=True)
class Slope:
    """The marginal memory of one more instance in one view, bytes, with the fit's own 95 % interval."""

    arm: str
    view: str
    slope: Interval
    largest: int


def good_ramps(loaded: Loaded) -> pd.DataFrame:
    """The ramps of slots that ended well."""
    return loaded.ramps[loaded.ramps["status"] == "ok"]


def slopes(loaded: Loaded, views: tuple[str, ...]) -> list[Slope]:
    """Theil–Sen slopes of every ramp; of an arm with several ramps their median, without interval."""
    found: list[Slope] = []
    for arm, rows in good_ramps(loaded).groupby("arm", sort=False):
        for view in views:
            fits = [
                _theil_sen(points["n"].to_numpy(dtype=float), points[view].to_numpy(dtype=float))
                for _, points in rows.dropna(subset=[view]).groupby(["run", "slot"], sort=False)
                if points["n"].nunique() > 1
            ]
            if len(fits) > 1:
                middle = float(np.median([fit.point for fit in fits]))
                fits = [Interval(middle, float("nan"), float("nan"), sum(fit.count for fit in fits))]
            if fits:
                found.append(Slope(str(arm), view, fits[0], int(rows["n"].max())))
    return found


def flat(found: list[Slope]) -> set[tuple[str, str]]:
    """(arm, density metric) of the slopes that their own ramps do not tell from zero."""
    return {
        (each.arm, f"density.{each.view}")
        for each in found
        if each.slope.point <= 0 or (each.slope.bounded and each.slope.low <= 0)
    }


def _theil_sen(x: Floats, y: Floats, confidence: float = CONFIDENCE) -> Interval:
    if len(x) > _SLOPE_POINTS:
        keep = np.linspace(0, len(x) - 1, _SLOPE_POINTS).round().astype(int)
        x, y = x[keep], y[keep]
    fit = stats.theilslopes(y, x, alpha=confidence)
    return Interval(float(fit.slope), float(fit.low_slope), float(fit.high_slope), len(x))


@dataclass(frozen=True)
class Drift:
    """How far an arm's boot moved from the campaign's first block to its last: a factor with its interval."""

    arm: str
    factor: Interval


def drifts(medians: pd.DataFrame, metric: str = "boot") -> list[Drift]:
    """Arms whose `metric` drifted over a campaign's blocks, at 5 % for all arms together."""
    rows = medians[(medians["metric"] == metric) & (medians["value"] > 0)]
    groups = [(arm, points) for (_, arm), points in rows.groupby(["run", "arm"], observed=True) if len(points) >= 8]
    found: list[Drift] = []
    for arm, points in groups:
        blocks = points["block"].to_numpy(dtype=float)
        order = np.argsort(blocks, kind="stable")
        span = blocks.max() - blocks.min()
        logs = np.log(points["value"].to_numpy(dtype=float))
        fit = _theil_sen(blocks[order], logs[order], 1 - (1 - CONFIDENCE) / len(groups))
        if span > 0 and (fit.low > 0 or fit.high < 0):
            point, low, high = (float(np.exp(value * span)) for value in (fit.point, fit.low, fit.high))
            found.append(Drift(str(arm), Interval(point, low, high, len(points))))
    return found
