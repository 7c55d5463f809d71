"""How fine values are: the step between two that differ, as a share of their level.

A tool that prints whole milliseconds gives 5 or 6 ms and nothing between, and a shift of a few per cent may not show at
all. What such values seem to say about small differences is not theirs to say.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np

from analysis.ranks import Floats

#: Values nearer to each other than this share of their level are one: float noise.
_SAME: Final = 1e-6
#: Steps below this share of the level are of no interest to any margin.
_FINE: Final = 1e-5
#: Beyond, powers of ten and sums leave what a computer holds.
_SMALLEST: Final = 1e-150


def step(*sides: Floats) -> float:
    """The step between values above zero, as a fraction of their median, on the side where they are finer; 0 where none
    shows.

    It is the larger of two. One is the gap between values that stand several times, where most do: what is measured on
    a scale without steps hardly ever gives the same twice, and the few values that some outlier or another clock put
    between the steps stand alone, and are left out. A side that never varies has no say in it. The other is the largest
    power of ten of which all are multiples, which is all that values which are all the same say of their scale.
    """
    found = [_of_side(values) for values in sides]
    gaps = [gap for gap, _ in found if gap is not None]
    return max(min(gaps, default=0.0), min(decimal for _, decimal in found))


def _of_side(values: Floats) -> tuple[float | None, float]:
    """The gap, None where all values are the same, and the power of ten."""
    ascending = np.sort(values)
    if not (ascending[0] > _SMALLEST and ascending[-1] < 1 / _SMALLEST):
        return None, 0.0
    level = float(np.median(values))
    begins = np.flatnonzero(np.diff(ascending, prepend=-np.inf) > _SAME * level)
    counts = np.diff(np.append(begins, len(ascending)))
    different = ascending[begins]
    if len(different) == 1:
        return None, _decimal(different, level)
    if 2 * counts[counts > 1].sum() < len(values):
        return 0.0, _decimal(different, level)
    frequent = different[counts > 1]
    gaps = np.diff(frequent if len(frequent) > 1 else different)
    return float(gaps.min()) / level, _decimal(frequent, level)


def _decimal(values: Floats, level: float) -> float:
    power = math.floor(math.log10(float(values.min())))
    while 10.0**power >= _FINE * level:
        multiples = values / 10.0**power
        if (np.abs(multiples - np.round(multiples)) <= _SAME * np.maximum(multiples, 1)).all():
            return float(10.0**power / level)
        power -= 1
    return 0.0
