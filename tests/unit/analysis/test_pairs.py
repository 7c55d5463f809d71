"""Order statistics of pairs, against listing all of them."""

from __future__ import annotations

import numpy as np
import pytest

from analysis.pairs import order_statistics


@pytest.mark.parametrize(("m", "n"), [(1, 1), (5, 7), (300, 310)])
@pytest.mark.parametrize("digits", [16, 1, 0])
def test_of_two_groups(m: int, n: int, digits: int) -> None:
    """Few and many pairs, without ties, with many, and (rounded to whole numbers) with hardly anything else."""
    draw = np.random.default_rng(m)
    first, second = (np.sort(draw.normal(0, 0.3, size).round(digits)) for size in (m, n))
    listed = np.sort(np.add.outer(first, second).ravel())
    ranks = [0, len(listed) // 3, len(listed) // 2, len(listed) - 1]
    found = order_statistics(first, second, np.zeros(m, dtype=np.int64), ranks)
    assert found == pytest.approx(listed[ranks], abs=1e-12)


@pytest.mark.parametrize("n", [1, 8, 500])
def test_of_one_group_with_itself(n: int) -> None:
    values = np.sort(np.random.default_rng(n).normal(0, 1, n))
    first, second = np.triu_indices(n)
    listed = np.sort((values[first] + values[second]) / 2)
    ranks = [0, len(listed) // 4, len(listed) // 2, len(listed) - 1]
    assert order_statistics(values / 2, values / 2, np.arange(n), ranks) == pytest.approx(listed[ranks], abs=1e-12)
