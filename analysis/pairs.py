"""Order statistics of all sums a[i] + b[j] without listing them: what the rank-based intervals are made of.

Walsh averages of n values are sums of their halves, differences of two groups sums with negatives; of 2,500 values
there are three million. Counting the sums below a bound takes n log n: a few bisections leave few enough to list.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Whole = npt.NDArray[np.int64]

_FEW = 20_000  # sums; so many are listed and done with
_FEW_EACH = 16  # the same for one answer, for each of `first`


def order_statistics(first: Floats, second: Floats, starts: Whole, ranks: list[int]) -> Floats:
    """The sums first[i] + second[j], j ≥ starts[i], at 0-based `ranks` in ascending order of the sums.

    Both arrays ascend. Each answer is one of the sums, up to rounding.
    """
    ends = np.full(len(first), len(second))
    if (ends - starts).sum() <= _FEW:
        found: Floats = np.partition(_sums(first, second, starts, ends), ranks)[ranks]
        return found
    return np.array([_at(first, second, starts, ends, rank) for rank in ranks])


def _at(first: Floats, second: Floats, starts: Whole, ends: Whole, rank: int) -> float:
    below, above = starts, ends
    low, high = float(first[0] + second[0]), float(first[-1] + second[-1])
    while (above - below).sum() > _FEW_EACH * len(first):
        middle = (low + high) / 2
        if not low < middle < high:
            return high  # what is left are ties
        upto = np.maximum(np.searchsorted(second, middle - first, side="right"), starts)
        if (upto - starts).sum() > rank:
            high, above = middle, upto
        else:
            low, below = middle, upto
    left = rank - int((below - starts).sum())
    return float(np.partition(_sums(first, second, below, above), left)[left])


def _sums(first: Floats, second: Floats, begins: Whole, ends: Whole) -> Floats:
    """first[i] + second[j] for begins[i] ≤ j < ends[i]."""
    counts = ends - begins
    rows = np.repeat(np.arange(len(first)), counts)
    columns = np.arange(len(rows)) + np.repeat(begins - (np.cumsum(counts) - counts), counts)
    found: Floats = first[rows] + second[columns]
    return found
