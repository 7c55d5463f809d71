"""The smallest shift that so many data that scatter like these would show (MDE)."""

from __future__ import annotations

from typing import Final

import numpy as np
from scipy import special

from analysis.ranks import Floats

#: From this many units on the ends of a 95 % interval are steady enough to tell an error by; below, those of 90 %.
_MANY: Final = 16
#: The error is itself an estimate, and the next stretch of blocks has another: so many errors more, the more the fewer
#: units there are, and the calmer the stretch was, as one is seldom followed by another as calm. By planting shifts of
#: the printed size into recordings (tests/judge, the set `train`), in the same stretch and in the next one.
_AGAIN: Final = 0.08
_FEW: Final = 3.2
_CALM: Final = 0.01  # ÷ the spread of log-ratios
_CALM_AT_MOST: Final = 0.4


def confidence(count: int) -> float:
    """Of the interval that tells the estimate's error best."""
    return 0.95 if count >= _MANY else 0.9


def shift(width: float, narrow: float, degrees: int, count: int, spread: float, power: float) -> float:
    """The logarithm of the smallest shift that is found with this power.

    The test finds a shift exactly when its interval, moved by it, leaves out no effect: half that interval's width, and
    as much again as the estimate errs with that chance (its standard error is a narrower interval's half width over
    Student's quantile). width, narrow: half widths of the test's interval and of the one of `confidence`; spread: of a
    unit.
    """
    error = narrow / float(special.stdtrit(degrees, (1 + confidence(count)) / 2))
    calm = min(_CALM / spread, _CALM_AT_MOST) if spread > 0 else _CALM_AT_MOST
    return width + error * (float(special.ndtri(power)) + _AGAIN + _FEW / count + calm)


def spread(values: Floats) -> float:
    """The standard deviation, by the median distance from the median, which a few far ones do not move."""
    return 1.4826 * float(np.median(np.abs(values - np.median(values))))
