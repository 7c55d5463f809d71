"""Sessions as units: did NEW's sessions move from BASE's, where each gives one number a metric?

What differs between two sessions (nights, host boots, builds) is far more than what scatters within one, so that only
sessions can say how far apart sessions lie. A handful a side says little metric by metric, and hundreds of metrics gate
together. Three things make it enough:

- Scatter is shared: a metric's own is taken together with what is usual among all metrics (d = shift ÷ √(s² + s₀²);
  Tusher, Tibshirani and Chu 2001), so that a few sessions that happen to agree to a hair prove no tiny shift.
- Levels come of the data (Westfall and Young 1993): which sessions are BASE's and which are NEW's is drawn anew, in all
  ways or a thousand of them, for all metrics at once, and the largest |d| of any metric of each draw is what a metric's
  own must exceed. That holds for any distribution, and for nights on which all metrics move together. It needs sessions
  that could have changed places: not a host that got slower meanwhile.
- One session that lies far from all others, in one metric or on the whole, is held in check without looking at whose it
  is: `clipped`, and `apart`.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import special

from analysis.ranks import TIE, Floats

#: The share of metrics whose scatter is below what counts as usual. It must be a scatter that calm metrics have: taken
#: from above the middle, a suite's noisy metrics take all power from its calm ones. Levels are the same with any share
#: (Tusher, Tibshirani and Chu seek it between 0 and 1), and on public nights so is the power, from 0.25 to 0.6.
_USUAL: Final = 0.3
#: A lone value further away than this part of what the others span is put where the next one is.
_ALONE: Final = 0.5
#: A session is set aside where its metrics lie on the whole so far (a logarithm) from those of any other session, and
#: so many times as far as is usual between neighbours; it takes so many metrics to say "on the whole".
_APART: Final = 0.03
_TIMES: Final = 5.0
_METRICS: Final = 8
#: So many errors more are in the smallest shift that is found: a handful of sessions tells its scatter badly. By
#: planting shifts of that size into made-up nights (tests/nights.py), the same ones and others.
_AGAIN: Final = 1.5
#: Where nothing scatters at all.
_LEAST: Final = 1e-9
_WAYS: Final = 1000
_SEED: Final = 20260101


@dataclass(frozen=True)
class Moved:
    """One metric. shift: a log-ratio, NEW ÷ BASE. scale: √(s² + s₀²). error: of the shift.

    sizes: |d| with sessions drawn anew, descending, the real one among them. largest: the same of any metric.
    """

    shift: float
    scale: float
    error: float
    sizes: Floats
    largest: Floats

    @property
    def size(self) -> float:
        return abs(self.shift) / self.scale

    def p(self, family: bool) -> float:
        """As likely is so large a |d| (family: of any metric) without a shift."""
        among = self.largest if family else self.sizes
        return float((among >= self.size * (1 - TIE)).mean())

    def half(self, alpha: float) -> float:
        """Half the width of the interval of the shift at 1 − alpha: it leaves out 0 exactly where p is at most alpha.

        NaN where so few sessions give none.
        """
        return _exceeded(self.sizes, alpha) * self.scale

    def least(self, alpha: float, power: float) -> float:
        """The smallest shift that is found with this power, alpha being that of the whole family."""
        return _exceeded(self.largest, alpha) * self.scale + (float(special.ndtri(power)) + _AGAIN) * self.error


def _exceeded(descending: Floats, alpha: float) -> float:
    """What a |d| must be above for a p of at most alpha."""
    place = math.floor(alpha * len(descending) + 1e-9)
    return float(descending[place]) if 0 < place < len(descending) else math.nan


def moved(pairs: Sequence[tuple[Floats, Floats]]) -> list[Moved]:
    """pairs: logarithms of each metric's BASE and NEW, a value a session, the same sessions for all metrics."""
    first, second = (len(side) for side in pairs[0])
    values = clipped(np.array([np.concatenate(pair) for pair in pairs]))
    values -= values.mean(axis=1, keepdims=True)
    new = _ways(first, second)
    sums, squares = values @ new.T, values**2 @ new.T
    total, total_squares = values.sum(axis=1, keepdims=True), (values**2).sum(axis=1, keepdims=True)
    means = (total - sums) / first, sums / second
    left = np.maximum(total_squares - squares - first * means[0] ** 2, 0) + np.maximum(
        squares - second * means[1] ** 2, 0
    )
    shifts = means[1] - means[0]
    own = np.sqrt(left / (first + second - 2))
    scales = np.maximum(np.hypot(own, np.quantile(own, _USUAL, axis=0)), _LEAST)
    sizes = np.abs(shifts) / scales
    largest = -np.sort(-sizes.max(axis=0))
    spread = math.sqrt(1 / first + 1 / second)
    return [
        Moved(float(shift), float(scale), float(scale) * spread, -np.sort(-row), largest)
        for shift, scale, row in zip(shifts[:, 0], scales[:, 0], sizes, strict=True)
    ]


@lru_cache(maxsize=16)
def _ways(first: int, second: int) -> npt.NDArray[np.float64]:
    """Which sessions are NEW's (columns): as they are, then in every other way, or in many drawn ones."""
    count = first + second
    real = np.array([0.0] * first + [1.0] * second)
    if math.comb(count, first) <= _WAYS:
        rows = [
            np.isin(np.arange(count), chosen, invert=True) for chosen in itertools.combinations(range(count), first)
        ]
        return np.array(rows, dtype=float)  # the first combination is 0, 1, … first − 1: the real one
    draw = np.random.default_rng(_SEED)
    return np.array([real, *(draw.permutation(real) for _ in range(_WAYS - 1))])


def clipped(values: Floats) -> Floats:
    """Rows in which no one value lies far from all the others, seen apart from whose it is."""
    values = values.copy()
    for sign in (1, -1):
        order = np.sort(sign * values, axis=1)
        far = order[:, -1] - order[:, -2] > _ALONE * (order[:, -2] - order[:, 0])
        place = np.argmax(sign * values, axis=1)
        rows = np.flatnonzero(far)
        values[rows, place[rows]] = sign * order[rows, -2]
    return values


def apart(values: Floats) -> list[tuple[int, float]]:
    """Sessions (columns) that lie far from every other one in the metrics (rows) on the whole: place, and log-ratio.

    It does not matter whose they are, and several that lie together are no such.
    """
    if len(values) < _METRICS or values.shape[1] < 3:
        return []
    levels = np.median(values - np.median(values, axis=1, keepdims=True), axis=0)
    distances = np.abs(levels[:, None] - levels[None, :])
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    limit = max(_APART, _TIMES * float(np.median(nearest)))
    return [(int(place), float(levels[place])) for place in np.flatnonzero(nearest > limit)]
