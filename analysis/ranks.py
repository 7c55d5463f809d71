"""Rank tests and their intervals: exact where counts are small, with ties; normal where they are large.

Paired differences: Wilcoxon's signed-rank test and the Hodges–Lehmann interval that inverts it. Two groups: the
Mann–Whitney test and the Hodges–Lehmann interval of the shift between them. Hollander, Wolfe and Chicken,
Nonparametric Statistical Methods, 3rd edition, chapters 3.1–3.3 and 4.1–4.3.
"""

from __future__ import annotations

import itertools
import math
from bisect import bisect_right
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.pairs import order_statistics

Floats = npt.NDArray[np.float64]

#: Logarithms nearer to each other than this are the same: less is rounding.
TIE: Final = 1e-12
_EXACT_UP_TO: Final = 60  # values; above, the distributions are normal to well under a rank
_EXACT_PAIRS_UP_TO: Final = 900  # n₁ × n₂


@dataclass(frozen=True)
class Shown:
    """What a rank test shows: its two-sided p, and the direction of its rank sum, +1, −1 or 0."""

    p: float
    direction: int


def signed_rank(differences: Floats) -> Shown:
    """Wilcoxon's signed-rank test of whether differences lie around 0, and on which side they do.

    The rank sum counts the Walsh averages on the other side of 0. Those that are 0 count against the effect, as do
    differences that are 0: that is the worst way in which ties can be broken, so that p is never too small, and it is
    at most α exactly where the interval of `analysis.estimate.hodges_lehmann` at 1 − α leaves out 0. Up to 60 values p
    is exact. Raises ValueError without values.
    """
    n = len(differences)
    if n == 0:
        raise ValueError("no values")
    ascending = np.sort(differences)
    # Each sum of two differences stands twice, that of one with itself once.
    below = int(np.searchsorted(ascending, -ascending - TIE, side="left").sum() + (ascending < -TIE / 2).sum()) // 2
    upto = int(np.searchsorted(ascending, -ascending + TIE, side="right").sum() + (ascending <= TIE / 2).sum()) // 2
    sums = n * (n + 1) // 2
    above = sums - upto
    return Shown(signed_rank_tail(n, min(upto, sums - below)), int(above > below) - int(above < below))


def rank_sum(first: Floats, second: Floats) -> Shown:
    """The Mann–Whitney test of whether `second` lies above or below `first`, with ties as `signed_rank` has them.

    p is at most α exactly where the interval of `shift_interval` leaves out 0. Raises ValueError for an empty group.
    """
    if len(first) == 0 or len(second) == 0:
        raise ValueError("no values")
    ascending = np.sort(second)
    below = int(np.searchsorted(ascending, first - TIE, side="left").sum())
    upto = int(np.searchsorted(ascending, first + TIE, side="right").sum())
    pairs = len(first) * len(second)
    above = pairs - upto
    p = mann_whitney_tail(len(first), len(second), min(upto, pairs - below))
    return Shown(p, int(above > below) - int(above < below))


@lru_cache(maxsize=512)
def _rank_sum_cdf(ranks: tuple[int, ...]) -> Floats:
    """P(sum of the ranks with a positive sign ≤ s) for s = 0, 1, …, each sign being a fair coin's."""
    chances = np.zeros(sum(ranks) + 1)
    chances[0] = 1.0
    for rank in ranks:
        chances[rank:] += chances[:-rank].copy()
        chances /= 2
    return np.cumsum(chances)


@lru_cache(maxsize=512)
def signed_rank_critical(n: int, tail: float) -> int | None:
    """The largest c with P(rank sum ≤ c) ≤ tail under no effect, without ties; None where even c = 0 has more."""
    if n > _EXACT_UP_TO:
        mean, variance = n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24
        return int(np.floor(stats.norm.ppf(tail) * np.sqrt(variance) + mean - 0.5))
    below = int(np.searchsorted(_rank_sum_cdf(tuple(range(1, n + 1))), tail, side="right"))
    return below - 1 if below else None


def signed_rank_tail(n: int, critical: int) -> float:
    """Two-sided p of a rank sum of `critical`, without ties: the inverse of signed_rank_critical."""
    if n > _EXACT_UP_TO:
        mean, variance = n * (n + 1) / 4, n * (n + 1) * (2 * n + 1) / 24
        return float(min(1.0, 2 * stats.norm.cdf((critical + 0.5 - mean) / np.sqrt(variance))))
    return min(1.0, 2 * float(_plain_cdf(n)[critical]))


@lru_cache(maxsize=64)
def _plain_cdf(n: int) -> Floats:
    return _rank_sum_cdf(tuple(range(1, n + 1)))


def least_count(alpha: float) -> int:
    """The fewest differences with which the two-sided signed-rank test can reach alpha: 2 ÷ 2ⁿ ≤ alpha."""
    return int(np.ceil(np.log2(2 / alpha) - 1e-9))


def mann_whitney_p(first: Floats, second: Floats) -> float:
    """Two-sided p of the Mann–Whitney test. Raises ValueError where a group is empty."""
    if len(first) == 0 or len(second) == 0:
        raise ValueError("no values")
    together = np.concatenate([first, second])
    distinct = len(np.unique(together))
    if distinct == 1:
        return 1.0
    exact = len(first) * len(second) <= _EXACT_PAIRS_UP_TO and distinct == len(together)
    found = stats.mannwhitneyu(first, second, method="exact" if exact else "asymptotic")
    return float(found.pvalue)


@lru_cache(maxsize=128)
def mann_whitney_critical(first: int, second: int, tail: float) -> int | None:
    """The largest c with P(U ≤ c) ≤ tail under no effect, without ties; None where even c = 0 has more."""
    if first * second > _EXACT_PAIRS_UP_TO:
        mean, variance = first * second / 2, first * second * (first + second + 1) / 12
        return int(np.floor(stats.norm.ppf(tail) * np.sqrt(variance) + mean - 0.5))
    below = bisect_right(_mann_whitney_cdf(first, second), tail)
    return below - 1 if below else None


def mann_whitney_tail(first: int, second: int, critical: int) -> float:
    """Two-sided p of a U of `critical`, without ties: the inverse of mann_whitney_critical."""
    if first * second > _EXACT_PAIRS_UP_TO:
        mean, variance = first * second / 2, first * second * (first + second + 1) / 12
        return min(1.0, math.erfc((mean - critical - 0.5) / math.sqrt(2 * variance)))
    return min(1.0, 2 * _mann_whitney_cdf(first, second)[critical])


@lru_cache(maxsize=512)
def _mann_whitney_cdf(first: int, second: int) -> list[float]:
    """P(U ≤ u) for u = 0, 1, … without ties."""
    # U's distribution is a Gaussian binomial coefficient: ∏ (1 − q^(second+i)) ÷ (1 − q^i), in whole numbers.
    counts = [1] + [0] * (first * second)
    for i in range(1, first + 1):
        for u in range(len(counts) - 1, second + i - 1, -1):
            counts[u] -= counts[u - second - i]
        for u in range(i, len(counts)):
            counts[u] += counts[u - i]
    total = sum(counts)
    return [below / total for below in itertools.accumulate(counts)]


def least_group(alpha: float) -> int:
    """The fewest values in each of two groups with which the two-sided Mann–Whitney test can reach alpha."""
    n = 1
    while 2 / math.comb(2 * n, n) > alpha:
        n += 1
    return n


def shift_interval(first: Floats, second: Floats, tail: float) -> tuple[float, float, float]:
    """Hodges–Lehmann shift second − first with the interval that leaves `tail` on each side; NaN ends without one."""
    critical = mann_whitney_critical(len(first), len(second), tail)
    pairs = len(first) * len(second)
    wanted = [(pairs - 1) // 2, pairs // 2] + ([] if critical is None else [critical, pairs - 1 - critical])
    starts = np.zeros(len(first), dtype=np.int64)
    found = order_statistics(np.sort(-first), np.sort(second), starts, wanted)
    point = float(found[:2].mean())
    return (point, float("nan"), float("nan")) if critical is None else (point, float(found[2]), float(found[3]))
