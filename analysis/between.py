"""Sessions as units: did NEW's sessions move from BASE's, where each gives one number a metric?

What differs between two sessions (nights, host boots, builds) is far more than what scatters within one, so that only
sessions can say how far apart sessions lie. A handful a side says little metric by metric, and hundreds of metrics gate
together. Three things make it enough:

- Scatter is shared: a metric's own is taken together with what is usual among all metrics (d = shift ÷ √(s² + s₀²);
  Tusher, Tibshirani and Chu 2001), so that a few sessions that happen to agree to a hair prove no tiny shift.
- Levels come of the data (Westfall and Young 1993): which sessions are BASE's and which are NEW's is drawn anew, in all
  ways or many of them, for all metrics at once, and the largest |d| of any metric of each draw is what a metric's own
  must exceed. That holds for any distribution, for nights on which all metrics move together, and for metrics that some
  sessions lack. It needs sessions that could have changed places.
- Sessions that follow each other are more alike than others: a host drifts, a state lasts for nights. How much so, all
  metrics together tell (the lag-1 correlation of what their own sides' means leave), and where that makes two sides lie
  further apart than their scatter says, scales are wider by as much: `drift`. That holds for correlation that fades
  from session to session; nothing tells a step of the host between BASE and NEW from one of what is measured.
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

Bools = npt.NDArray[np.bool_]
#: How many sessions are BASE's, how many there are, and which follows which.
_Line = tuple[int, int, tuple[int, ...]]

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
#: So many ways at least are in the share that may be exceeded, as long as they are not more than _MOST.
_IN_SHARE: Final = 20
_MOST: Final = 20_000
#: No p is smaller.
FINEST: Final = 1 / _MOST
#: In a draw, a metric counts where each side has so many sessions that have it (fewer where a side has fewer).
_FEWEST: Final = 4
#: Where a side has too few sessions.
_NOTHING: Final = np.array([np.inf])
_CORRELATIONS: Final = tuple(place / 20 for place in range(20))
_SEED: Final = 20260101
#: The drift is told by metrics of so many sets of sessions at most, those of most metrics: each takes simulations.
_LINES: Final = 20


@dataclass(frozen=True)
class Moved:
    """One metric. shift: a log-ratio, NEW ÷ BASE. scale: √(s² + s₀²), times the drift. error: of the shift.

    sizes: |d| with sessions drawn anew, descending. largest: the same of any metric.
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


def moved(values: Floats, base: int, *, order: Sequence[int] = (), alpha: float = 0.05) -> list[Moved]:
    """values: logarithms, a row a metric and a column a session, the first `base` of them BASE's; NaN where a session
    lacks a metric. order: when each ran, as ranks; as they stand where it is not given. alpha: the smallest p that
    counts.
    """
    count = values.shape[1]
    values = clipped(values)
    drifted = drift(values, base, order)
    values -= _mean(values)
    have = np.isfinite(values)
    values = np.where(have, values, 0)
    new = _ways(base, count - base, alpha)
    second = have @ new.T
    first = have.sum(axis=1, keepdims=True) - second
    sums, squares = values @ new.T, values**2 @ new.T
    total, total_squares = values.sum(axis=1, keepdims=True), (values**2).sum(axis=1, keepdims=True)
    means = (total - sums) / np.maximum(first, 1), sums / np.maximum(second, 1)
    left = np.maximum(total_squares - squares - first * means[0] ** 2, 0) + np.maximum(
        squares - second * means[1] ** 2, 0
    )
    shifts = means[1] - means[0]
    own = np.sqrt(left / np.maximum(first + second - 2, 1))
    scales = np.maximum(np.hypot(own, np.quantile(own, _USUAL, axis=0)), _LEAST)
    enough = np.minimum(first, second) >= min(_FEWEST, base, count - base)
    sizes = np.where(enough, np.abs(shifts) / scales, 0)
    largest = -np.sort(-sizes.max(axis=0))
    spreads = np.sqrt(1 / np.maximum(first[:, 0], 1) + 1 / np.maximum(second[:, 0], 1))
    found = []
    for row in range(len(values)):
        scale, among = float(scales[row, 0]) * drifted, -np.sort(-sizes[row, enough[row]])
        told = (among, largest) if enough[row, 0] else (_NOTHING, _NOTHING)
        found.append(Moved(float(shifts[row, 0]), scale, scale * float(spreads[row]), *told))
    return found


@lru_cache(maxsize=16)
def _ways(first: int, second: int, alpha: float) -> npt.NDArray[np.float64]:
    """Which sessions are NEW's (rows): as they are, then in every other way, or in many drawn ones."""
    count = first + second
    real = np.array([0.0] * first + [1.0] * second)
    many = min(max(_WAYS, math.ceil(_IN_SHARE / alpha)), _MOST)
    if math.comb(count, first) <= many:
        rows = [
            np.isin(np.arange(count), chosen, invert=True) for chosen in itertools.combinations(range(count), first)
        ]
        return np.array(rows, dtype=float)  # the first combination is 0, 1, … first − 1: the real one
    draw = np.random.default_rng(_SEED)
    return np.array([real, *(draw.permutation(real) for _ in range(many - 1))])


def drift(values: Floats, base: int, order: Sequence[int] = ()) -> float:
    """How many times further apart two sides lie than the scatter within them says, as sessions that follow each other
    are alike: 1 or more. Arguments as `moved` has them.

    Metrics tell of it by the sessions that have them; what they show counts together, also where no metric is in all.
    """
    ranks = np.array(order if len(order) else range(values.shape[1]))
    groups: dict[_Line, Floats] = {}
    for columns, rows in _having(values):
        line = int(columns[:base].sum()), int(columns.sum()), tuple(map(int, np.argsort(ranks[columns], kind="stable")))
        groups[line] = np.append(groups.get(line, []), _shown(values[rows][:, columns], line))
    known = sorted((line for line in groups if len(groups[line])), key=lambda line: -len(groups[line]))[:_LINES]
    if not known:
        return 1.0
    metrics = [len(groups[line]) for line in known]
    shown, inflations = np.average([_drifts(*line) for line in known], axis=0, weights=metrics)
    return max(1.0, float(np.interp(np.concatenate([groups[line] for line in known]).mean(), shown, inflations)))


def _having(values: Floats) -> list[tuple[Bools, Bools]]:
    """Sets of sessions (columns), and the metrics (rows) that just these have."""
    have = np.isfinite(values)
    sets, which = np.unique(have, axis=0, return_inverse=True)
    return [(columns, which.ravel() == place) for place, columns in enumerate(sets)]


def _shown(values: Floats, line: _Line) -> Floats:
    """What `_follow` shows of those metrics that vary; nothing where a side has too few sessions to tell."""
    base, count, places = line
    if min(base, count - base) < 2:
        return np.array([])
    whole = clipped(values)
    left = whole - whole @ _sides(base, count)
    return _follow(left[np.sqrt((left**2).sum(axis=1)) > _LEAST][:, places])


def _sides(base: int, count: int) -> Floats:
    """What makes of each session's value its side's mean."""
    side = np.arange(count) < base
    same = side[:, None] == side[None, :]
    shares: Floats = same / same.sum(axis=1)
    return shares


def _follow(left: Floats) -> Floats:
    """Of each row, the correlation of neighbours; 0 of one that does not vary to speak of."""
    whole = (left**2).sum(axis=1)
    shares: Floats = np.divide(
        (left[:, 1:] * left[:, :-1]).sum(axis=1), whole, out=np.zeros(len(whole)), where=whole > 0
    )
    return shares


@lru_cache(maxsize=2 * _LINES)
def _drifts(base: int, count: int, line: tuple[int, ...]) -> tuple[Floats, Floats]:
    """For correlations that fade from session to session: what `_follow` shows of them, and how much they widen.

    Shown by made-up sessions, as few of them show less of a correlation than there is.
    """
    draws = np.random.default_rng(_SEED).normal(size=(_WAYS, count))
    rest = (np.eye(count) - _sides(base, count))[np.ix_(line, line)]
    difference = np.where(np.array(line) < base, -1 / base, 1 / (count - base))
    steps = np.abs(np.subtract.outer(np.arange(count), np.arange(count)))
    shown, widened = [], []
    for correlation in _CORRELATIONS:
        alike = np.float_power(correlation, steps)
        made = draws @ np.linalg.cholesky(alike).T
        shown.append(_follow(clipped(made) @ rest).mean())
        real = difference @ alike @ difference / (1 / base + 1 / (count - base))
        seen = np.trace(rest @ alike) / (count - 2)
        widened.append(math.sqrt(real / seen))
    return np.maximum.accumulate(shown), np.array(widened)


def _mean(values: Floats) -> Floats:
    have = np.isfinite(values)
    means: Floats = np.where(have, values, 0).sum(axis=1, keepdims=True) / np.maximum(
        have.sum(axis=1, keepdims=True), 1
    )
    return means


def clipped(values: Floats) -> Floats:
    """Rows in which no one value lies far from all the others, seen apart from whose it is."""
    values = values.copy()
    for sign in (1, -1):
        signed = np.where(np.isnan(values), -np.inf, sign * values)
        order = np.sort(signed, axis=1)
        lowest = np.where(np.isnan(values), np.inf, sign * values).min(axis=1)
        with np.errstate(invalid="ignore"):  # a row of one value or none
            far = order[:, -1] - order[:, -2] > _ALONE * (order[:, -2] - lowest)
        rows = np.flatnonzero(far & (order[:, -2] > -np.inf))
        values[rows, np.argmax(signed, axis=1)[rows]] = sign * order[rows, -2]
    return values


def apart(values: Floats) -> list[tuple[int, float]]:
    """Sessions (columns) that lie far from every other one in the metrics (rows) on the whole: place, and log-ratio.

    It does not matter whose they are, and several that lie together are no such. NaN where a session lacks a metric:
    sessions are held against those with which they share enough metrics.
    """
    have = np.isfinite(values)
    columns = np.flatnonzero(have.sum(axis=0) >= _METRICS)
    if len(columns) < 3:
        return []
    have, values = have[:, columns], values[have[:, columns].any(axis=1)][:, columns]
    levels = np.nanmedian(values - np.nanmedian(values, axis=1, keepdims=True), axis=0)
    distances = np.abs(levels[:, None] - levels[None, :])
    shared = have.T.astype(int) @ have.astype(int)
    distances[shared < _METRICS] = np.inf
    np.fill_diagonal(distances, np.inf)
    nearest = distances.min(axis=1)
    compared = np.isfinite(nearest)
    if not compared.any():
        return []
    limit = max(_APART, _TIMES * float(np.median(nearest[compared])))
    far = compared & (nearest > limit)
    return [(int(columns[place]), float(levels[place])) for place in np.flatnonzero(far)]
