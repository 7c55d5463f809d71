"""Change points of one series: where its level moved and stayed, by how much, and how sure that is.

What one or two neighbouring points do is never a change: they are left out where they stand far apart, and weigh no
more than their noise elsewhere. A change must last LASTS points, explain more than it costs (PELT, with a penalty
calibrated on pure noise), and pass a rank test.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import Final

import numpy as np
import numpy.typing as npt

from analysis.estimate import CONFIDENCE, Interval
from analysis.ranks import Floats, mann_whitney_p, shift_interval

LASTS: Final = 3  # points; fewer are an excursion, not a level
FEWEST: Final = 8  # points; in fewer no change is looked for
APART: Final = 5.0  # noise spreads from the running median, beyond which a point is left out
CLIP: Final = 3.0  # noise spreads from the running median that a point may weigh
CONFIRM: Final = 0.05  # the rank test's level for each point that PELT proposes
ALARMS: Final = 0.01  # share of pure-noise series in which PELT finds anything

# By the number of points: the penalty, in units of the noise variance, at which PELT finds something in ALARMS of the
# series of normal noise. Made with critical_penalty(n, series=10_000, seed=n) (3,000 series from 500 points on). The
# spread is estimated from the series itself, which makes short ones dear.
PENALTIES: Final = {
    8: 20.01,
    9: 22.58,
    10: 23.97,
    12: 24.95,
    14: 24.86,
    16: 22.17,
    20: 20.05,
    25: 18.78,
    30: 17.17,
    40: 16.96,
    50: 16.45,
    60: 15.67,
    90: 15.12,
    120: 15.02,
    180: 14.65,
    250: 14.67,
    365: 14.23,
    500: 14.60,
    1000: 14.50,
}


@dataclass(frozen=True)
class Change:
    """A change before point `at` (0-based).

    `ratio` is the level after it ÷ before it: the two-sample Hodges–Lehmann estimate between the neighbouring
    segments, which have `before` and `after` points. Its 95 % interval inverts the Mann–Whitney test whose p is
    beside it; the place was chosen by the same data, which makes both look somewhat better than they are.
    """

    at: int
    ratio: Interval
    p: float
    before: int
    after: int


def changes(values: Floats) -> list[Change]:
    """The change points of a series of values, all > 0, in order, of any unit; none in fewer than FEWEST.

    On logarithms: points that stand `apart` are left out, the others are clipped at CLIP noise spreads from the
    running median and cut by PELT (Killick, Fearnhead and Eckley 2012) with `penalty(n)`; each cut is confirmed by the
    Mann–Whitney test between the segments beside it, the least certain one leaving first. Raises ValueError where a
    value is not a number above zero.
    """
    values = np.asarray(values, dtype=float)
    if not (np.isfinite(values) & (values > 0)).all():
        raise ValueError("values must be numbers above zero")
    kept = np.flatnonzero(~apart(values))
    if len(kept) < FEWEST:
        return []
    logs = np.log(values[kept])
    cuts = [0, *_cuts(_standard(logs), penalty(len(logs))), len(logs)]
    while True:
        found = [_change(logs, kept, *three) for three in zip(cuts, cuts[1:], cuts[2:], strict=False)]
        worst = max(range(len(found)), key=lambda place: found[place].p, default=None)
        if worst is None or found[worst].p <= CONFIRM:
            return found
        del cuts[worst + 1]


def levels(values: Floats) -> Floats:
    """The level at each value: the median between the change points beside it, of those that do not stand `apart`."""
    ends = [0, *(change.at for change in changes(values)), len(values)]
    kept = np.where(apart(values), np.nan, values)
    return np.repeat([np.nanmedian(kept[start:end]) for start, end in pairwise(ends)], np.diff(ends))


def apart(values: Floats) -> npt.NDArray[np.bool_]:
    """Which values (> 0) are further than APART noise spreads from what is around them, and do not last.

    None of fewer than FEWEST: they do not tell what is around.
    """
    logs = np.log(values)
    out = np.zeros(len(logs), dtype=bool)
    if len(logs) < FEWEST:
        return out
    for _ in range(5):  # without the first ones, spread and median are smaller or elsewhere
        spread, middle = noise(logs[~out]), running_median(np.where(out, np.nan, logs))
        found = ~(np.abs(logs - middle) <= APART * spread)
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
    the running median, which also sees noise that is alike from point to point. At least 1e-6: values that repeat to
    the last digit would make a change of anything.
    """
    return max(_mad(np.diff(logs)) / math.sqrt(2), _mad(logs - running_median(logs)), 1e-6)


def penalty(count: int) -> float:
    """What one more change point must explain in a series of `count` points: PENALTIES, straight in log(count)."""
    known = sorted(PENALTIES)
    return float(np.interp(np.log(count), np.log(known), [PENALTIES[n] for n in known]))


def critical_penalty(count: int, *, series: int, seed: int) -> float:
    """The penalty at which PELT finds something in ALARMS of `series` series of `count` points of normal noise."""
    draw = np.random.default_rng(seed)
    found = np.sort([_largest_penalty(np.exp(draw.normal(size=count))) for _ in range(series)])
    return float(found[int(np.ceil((1 - ALARMS) * series)) - 1])


def _largest_penalty(values: Floats) -> float:
    """The penalty up to which PELT finds something; 0 where too few points stay to look for anything."""
    standard = _standard(np.log(values[~apart(values)]))
    low, high = 0.0, 64.0 if len(standard) >= FEWEST else 0.0
    while high - low > 0.01:
        middle = (low + high) / 2
        low, high = (middle, high) if _cuts(standard, middle) else (low, middle)
    return high


def _standard(logs: Floats) -> Floats:
    spread, middle = noise(logs), running_median(logs)
    return (np.clip(logs, middle - CLIP * spread, middle + CLIP * spread) - np.median(logs)) / spread


def _cuts(standard: Floats, price: float) -> list[int]:
    from ruptures import KernelCPD  # two seconds, for those alone who look for changes

    # Its linear kernel is PELT's squared error, in C.
    ends: list[int] = KernelCPD(kernel="linear", min_size=LASTS).fit(standard[:, None]).predict(pen=price)
    return ends[:-1]


def _change(logs: Floats, kept: npt.NDArray[np.intp], start: int, at: int, end: int) -> Change:
    before, after = logs[start:at], logs[at:end]
    ratio = np.exp(shift_interval(before, after, (1 - CONFIDENCE) / 2))
    point, low, high = (float(value) for value in ratio)
    interval = Interval(point, low, high, min(len(before), len(after)))
    return Change(int(kept[at]), interval, mann_whitney_p(before, after), len(before), len(after))


def _mad(values: Floats) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
