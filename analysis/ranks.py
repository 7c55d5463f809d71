"""Rank tests and their intervals: exact where counts are small, with ties; normal where they are large.

Paired differences: Wilcoxon's signed-rank test and the Hodges–Lehmann interval that inverts it. Two groups: the
Mann–Whitney test and the Hodges–Lehmann interval of the shift between them. Hollander, Wolfe and Chicken,
Nonparametric Statistical Methods, 3rd edition, chapters 3.1–3.3 and 4.1–4.3.
"""

from __future__ import annotations

import math
from functools import lru_cache
from typing import Final

import numpy as np
import numpy.typing as npt
from scipy import stats

from analysis.pairs import order_statistics

Floats = npt.NDArray[np.float64]

_EXACT_UP_TO: Final = 60  # values; above, the distributions are normal to well under a rank
_EXACT_PAIRS_UP_TO: Final = 900  # n₁ × n₂


def signed_rank_p(differences: Floats) -> float:
    """Two-sided p of Wilcoxon's signed-rank test: as likely is a rank sum this far from its middle without an effect.

    Zeros are dropped with their ranks kept (Pratt 1959), tied ranks are shared; up to 60 values the p is exact under
    random signs, ties and zeros included. 1 where all differences are zero. Raises ValueError without values.
    """
    if len(differences) == 0:
        raise ValueError("no values")
    n = len(differences)
    sizes = np.abs(differences)
    order = np.argsort(sizes)
    if n <= _EXACT_UP_TO and sizes[order[0]] > 0 and (np.diff(sizes[order]) > 0).all():
        above = int((np.flatnonzero(differences[order] > 0) + 1).sum())
        return signed_rank_tail(n, min(above, n * (n + 1) // 2 - above))
    return _tied_signed_rank_p(differences)


def _tied_signed_rank_p(differences: Floats) -> float:
    ranks = stats.rankdata(np.abs(differences))
    kept = differences != 0
    ranks, positive = ranks[kept], differences[kept] > 0
    if len(ranks) == 0:
        return 1.0
    total, above = float(ranks.sum()), float(ranks[positive].sum())
    low = min(above, total - above)
    if len(differences) > _EXACT_UP_TO:
        spread = np.sqrt((ranks**2).sum() / 4)
        return min(1.0, 2 * float(stats.norm.cdf((low - total / 2 + 0.5) / spread)))
    doubled = tuple(sorted(round(2 * rank) for rank in ranks))  # shared ranks are halves
    return min(1.0, 2 * float(_rank_sum_cdf(doubled)[round(2 * low)]))


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
    # U's distribution is a Gaussian binomial coefficient: ∏ (1 − q^(second+i)) ÷ (1 − q^i), in whole numbers.
    counts = [1] + [0] * (first * second)
    for i in range(1, first + 1):
        for u in range(len(counts) - 1, second + i - 1, -1):
            counts[u] -= counts[u - second - i]
        for u in range(i, len(counts)):
            counts[u] += counts[u - i]
    limit, total, below = tail * sum(counts), 0, -1
    for u, count in enumerate(counts):
        total += count
        if total > limit:
            break
        below = u
    return below if below >= 0 else None


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
