"""Change points of one series: where its level moved and stayed, by how much, and how sure that is.

What one or two neighbouring points do is never a change: they are left out where they stand far apart, and weigh no
more than their noise elsewhere. A change must last LASTS points and explain more than it costs, in two ways: by its
size (PELT on clipped logarithms, with a penalty calibrated on pure noise, against a noise that counts what one point
hands on to the next), and by its ranks alone (a Mann–Whitney test of the same strictness), whatever the noise's shape:
two modes, skew and a coarse timer's ticks make a change in few series.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.estimate import CONFIDENCE, Interval
from analysis.ranks import Floats, mann_whitney_p, mann_whitney_tail, shift_interval

LASTS: Final = 3  # points; fewer are an excursion, not a level
FEWEST: Final = 8  # points; in fewer no change is looked for
APART: Final = 5.0  # noise spreads from the running median, beyond which a point is left out
CLIP: Final = 3.0  # noise spreads from the running median that a point may weigh
ALARMS: Final = 0.01  # share of series of normal noise in which PELT finds anything
CORRELATED: Final = 0.4  # what each point of a series has of the one before it …
CORRELATED_ALARMS: Final = 0.03  # … and the share of such series in which PELT finds anything
_ROUNDS: Final = 6  # of segmentation; each knows the noise better
_MOST_CORRELATED: Final = CORRELATED  # more would take a short series' only step for correlation
_FAR_LAGS: Final = (3, 4, 5)
_NOTHING: Final = 1e-9  # a spread that is only rounding

# By the number of points: the penalty, in units of the noise variance, at which PELT finds something in ALARMS of the
# series of normal noise, or in CORRELATED_ALARMS of those with a correlation of CORRELATED, whichever is more. Made
# with critical_penalty(n, series=…, seed=n): 600 to 2,000 series each up to 250 points, 200 to 400 above.
# Those of 60, 365, 500 and 1000 points are of an earlier round, or set by hand between their neighbours.
PENALTIES: Final = {
    8: 7.17,
    9: 8.57,
    10: 8.60,
    12: 9.52,
    14: 10.62,
    16: 12.55,
    20: 13.11,
    25: 13.31,
    30: 12.95,
    40: 13.35,
    60: 13.40,
    90: 13.86,
    120: 13.87,
    180: 15.24,
    250: 13.64,
    365: 14.69,
    500: 14.91,
    1000: 14.14,
}


@dataclass(frozen=True)
class Change:
    """A change before point `at` (0-based).

    `ratio` is the level after it ÷ before it: the two-sample Hodges–Lehmann estimate between the neighbouring
    segments, which have `before` and `after` points (those that stand `apart` not counted). Its 95 % interval inverts
    the Mann–Whitney test whose p is beside it; the place was chosen by the same data, which makes both look somewhat
    better than they are.
    """

    at: int
    ratio: Interval
    p: float
    before: int
    after: int


def changes(values: Floats) -> list[Change]:
    """The change points of a series of values, all > 0, in order, of any unit; none in fewer than FEWEST.

    On logarithms: points that stand `apart` are left out, the others are clipped at CLIP noise spreads from the
    running median and cut by PELT (Killick, Fearnhead and Eckley 2012) with `penalty(n)`; `_confirmed` keeps the cuts
    that the ranks bear out. What was found tells more about the noise, so that is done again until nothing is added.
    Raises ValueError where a value is not a number above zero.
    """
    values = np.asarray(values, dtype=float)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError("values must be numbers above zero")
    kept = np.flatnonzero(~apart(values))
    if len(kept) < FEWEST:
        return []
    logs, every = np.log(values[kept]), np.log(values)
    cuts: list[int] = []
    for _ in range(_ROUNDS):
        proposed = _cuts(_standard(logs, cuts), penalty(len(logs)))
        # Steps look like correlation, of which ranks cannot bear too much: they are taken out first.
        passed_on = _passed_on(_rest(logs, proposed))
        found = _confirmed([int(kept[cut]) for cut in proposed], every, passed_on)
        found = [int(np.searchsorted(kept, at)) for at in found]
        if len(found) <= len(cuts):
            break
        cuts = found
    ends = [0, *cuts, len(logs)]
    return [_change(logs, kept, *three) for three in zip(ends, ends[1:], ends[2:], strict=False)]


def levels(values: Floats) -> Floats:
    """The level at each value: the median between the change points beside it, of those that do not stand `apart`."""
    if len(values) == 0:
        return np.array([])
    ends = [0, *(change.at for change in changes(values)), len(values)]
    kept = np.where(apart(values), np.nan, values)
    return np.repeat([np.nanmedian(kept[start:end]) for start, end in pairwise(ends)], np.diff(ends))


def apart(values: Floats) -> npt.NDArray[np.bool_]:
    """Which values (> 0) are further than APART noise spreads from what is around them, and do not last.

    None of fewer than FEWEST: they do not tell what is around. None where it would be more than one in ten, and one
    more: what is so frequent is the noise itself.
    """
    logs = np.log(values)
    none = np.zeros(len(logs), dtype=bool)
    if len(logs) < FEWEST:
        return none
    out = none
    for _ in range(5):  # without the first ones, spread and median are smaller or elsewhere
        spread, middle = noise(logs[~out]), running_median(np.where(out, np.nan, logs))
        found = ~(np.abs(logs - middle) <= APART * spread)
        if found.sum() > 1 + len(logs) // 10:
            return none
        if (found == out).all():
            break
        out = found
    return out


def running_median(logs: Floats) -> Floats:
    """The median of the 2·LASTS−1 values around each; at both ends, of the first or last so many.

    What lasts shorter than LASTS values does not move it, and a step that lasts stays a step. NaN count as missing;
    of several columns each has its own.
    """
    width = min(2 * LASTS - 1, len(logs))
    windows = np.sort(np.lib.stride_tricks.sliding_window_view(logs, width, axis=0), axis=-1)  # NaN come last
    count = np.isfinite(windows).sum(axis=-1, keepdims=True)
    lower = np.take_along_axis(windows, np.maximum((count - 1) // 2, 0), axis=-1)
    upper = np.take_along_axis(windows, np.minimum(count // 2, width - 1), axis=-1)
    found = np.where(count, (lower + upper) / 2, np.nan)
    ends = LASTS - 1 if len(logs) > width else 0
    return np.pad(found[..., 0], [(ends, len(logs) - len(found) - ends)] + [(0, 0)] * (logs.ndim - 1), mode="edge")


def noise(logs: Floats) -> float:
    """The spread (standard deviation) of values around a level that may step, robustly.

    The larger of two: 1.4826 MAD of neighbours' differences ÷ √2, which is blind to steps, and of the distances to
    the running median, which also sees noise that is alike from point to point. Where more than half of the values
    repeat both are 0, and the differences' mean square tells: it is small where there are few steps, and large where
    a timer's ticks alternate. At least _NOTHING.
    """
    found = _robust(logs)
    return found if found > _NOTHING else max(float(np.sqrt(np.mean(np.diff(logs) ** 2) / 2)), _NOTHING)


def _robust(logs: Floats) -> float:
    return max(_mad(np.diff(logs)) / math.sqrt(2), _mad(logs - running_median(logs)))


def penalty(count: int) -> float:
    """What one more change point must explain in a series of `count` points: PENALTIES, straight in log(count)."""
    known = sorted(PENALTIES)
    return float(np.interp(np.log(count), np.log(known), [PENALTIES[n] for n in known]))


def critical_penalty(count: int, *, series: int, seed: int) -> float:
    """The penalty of `count` points, from `series` series each of normal and of correlated noise: see PENALTIES."""
    draw = np.random.default_rng(seed)
    wanted = [
        (ALARMS, draw.standard_normal((series, count))),
        (CORRELATED_ALARMS, correlated(draw, (series, count), CORRELATED)),
    ]
    found = [(alarms, np.sort([_largest_penalty(np.exp(0.01 * row)) for row in rows])) for alarms, rows in wanted]
    return float(max(sizes[math.ceil((1 - alarms) * series) - 1] for alarms, sizes in found))


def correlated(draw: np.random.Generator, shape: tuple[int, int], correlation: float) -> Floats:
    """Rows of normal noise of variance 1, each value with `correlation` to the one before it."""
    rows = draw.standard_normal(shape)
    for at in range(1, shape[1]):
        rows[:, at] = correlation * rows[:, at - 1] + math.sqrt(1 - correlation**2) * rows[:, at]
    return rows


def _largest_penalty(values: Floats) -> float:
    """The penalty up to which PELT finds something; 0 where too few points stay to look for anything."""
    logs = np.log(values[~apart(values)])
    if len(logs) < FEWEST:
        return 0.0
    standard = _standard(logs, [])
    low, high = 0.0, 64.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if _cuts(standard, middle) else (low, middle)
    return high


def _standard(logs: Floats, cuts: list[int]) -> Floats:
    """The clipped values in units of the spread that a mean over many of them has, times √count; the noise is that
    around the levels between `cuts`."""
    rest = _rest(logs, cuts)
    spread, passed_on = noise(rest), _passed_on(rest)
    # Differences, of which `noise` is made, hide (1 − r) of the variance; of what is left a mean keeps (1+r)/(1−r).
    of_mean = spread * math.sqrt(1 + passed_on) / (1 - passed_on)
    return (_clipped(logs, spread) - np.median(logs)) / of_mean


def _rest(logs: Floats, cuts: list[int]) -> Floats:
    """The values without their levels, the medians between cuts."""
    ends = [0, *cuts, len(logs)]
    return np.asarray(logs - np.repeat([np.median(logs[start:end]) for start, end in pairwise(ends)], np.diff(ends)))


def _clipped(logs: Floats, spread: float) -> Floats:
    middle = running_median(logs)
    return np.clip(logs, middle - CLIP * spread, middle + CLIP * spread)


def _passed_on(logs: Floats) -> float:
    """What each value has of the one before it, as autoregressive noise would, 0 to _MOST_CORRELATED.

    From the mean squares of the differences to the next value and to those some places on, none of which counts for
    more than noise could: steps, which stand in few of them, change little. 0 where most values repeat: there
    differences are steps, or say no more than steps would.
    """
    if _robust(logs) <= _NOTHING:
        return 0.0
    spread = noise(logs)
    logs, most = _clipped(logs, spread), 2 * (CLIP * spread) ** 2

    def between(lag: int) -> float:
        return float(np.minimum((logs[lag:] - logs[:-lag]) ** 2, most).mean())

    far = float(np.mean([between(lag) for lag in _FAR_LAGS]))
    return min(max(1 - between(1) / far, 0.0), _MOST_CORRELATED) if far > 0 else 0.0


def _cuts(standard: Floats, price: float) -> list[int]:
    from ruptures import KernelCPD  # two seconds, for those alone who look for changes

    # Its linear kernel is PELT's squared error, in C.
    ends: list[int] = KernelCPD(kernel="linear", min_size=LASTS).fit(standard[:, None]).predict(pen=price)
    return ends[:-1]


def _ranks(values: Floats) -> Floats:
    """Ranks of all values; ties in a random order that repeats, so that ticks are noise like any other."""
    order = np.lexsort((np.random.default_rng(len(values)).random(len(values)), values))
    ranks = np.empty(len(values))
    ranks[order] = np.arange(len(values))
    return ranks


def _confirmed(cuts: list[int], logs: Floats, passed_on: float) -> list[int]:
    """Those cuts that ranks alone bear out, the least certain one leaving first.

    The Mann–Whitney test between the points on both sides, as far as the next cut, must be as sure as the penalty of
    so many points: p at most that of a χ² of the penalty's size, or of (1+r)/(1−r) times that where each point has 2r
    of the one before it and the two sides overlap: size, which is tested too, stands for the other half. Points that
    stand apart count: they may be a second mode of the noise, of which some happened to be neighbours. Two halves that
    do not overlap are enough, and two sides of any lengths with a wide gap between them: few points can be no surer.
    """
    cuts, ranks = list(cuts), _ranks(logs)
    known: dict[tuple[int, int, int], float] = {}
    dearer = (2 + passed_on) / (2 - passed_on)

    def excess(start: int, at: int, end: int) -> float:
        if _wide_gap(logs[start:at], logs[at:end]):
            return 0.0
        if (start, at, end) not in known:
            first, second = at - start, end - at
            below = int(ranks[start:end].argsort().argsort()[:first].sum()) - first * (first - 1) // 2
            overlap = min(below, first * second - below)
            price = penalty(end - start) * (dearer if overlap else 1)
            enough = max(math.erfc(math.sqrt(price / 2)), 2 / math.comb(end - start, (end - start) // 2))
            known[start, at, end] = mann_whitney_tail(first, second, overlap) / enough
        return known[start, at, end]

    while cuts:
        ends = [0, *cuts, len(ranks)]
        over = [excess(*three) for three in zip(ends, ends[1:], ends[2:], strict=False)]
        worst = int(np.argmax(over))
        if over[worst] <= 1:
            break
        del cuts[worst]
    return cuts


def _wide_gap(before: Floats, after: Floats) -> bool:
    """Whether the two lie further from each other than either spans."""
    gap = max(after.min() - before.max(), before.min() - after.max())
    return bool(gap > max(np.ptp(before), np.ptp(after), _NOTHING))


def _change(logs: Floats, kept: npt.NDArray[np.intp], start: int, at: int, end: int) -> Change:
    before, after = logs[start:at], logs[at:end]
    ratio = np.exp(shift_interval(before, after, (1 - CONFIDENCE) / 2))
    point, low, high = (float(value) for value in ratio)
    interval = Interval(point, low, high, min(len(before), len(after)))
    return Change(int(kept[at]), interval, mann_whitney_p(before, after), len(before), len(after))


def _mad(values: Floats) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
