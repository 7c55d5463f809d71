"""Whether two groups that have a middle in common differ in what lies far from it.

A slow mode that takes three runs in ten instead of one in twenty moves neither the median nor its interval. A claim
that nothing changed is not for such data.
"""

from __future__ import annotations

import math
from typing import Final

import numpy as np
from scipy import stats

from analysis.ranks import Floats

#: One-sided, for either direction: shares of the units that lie apart.
_LEVEL: Final = 0.025
#: So many standard errors beyond the mean must lie within the margin as well: with three chances in four, it does.
_ERRORS: Final = 0.674


def of_differences(logs: Floats, margin: float, unit: str) -> str:
    """What speaks against calling paired log-ratios alike within the margin (a logarithm), in words; "" if nothing."""
    if len(logs) < 2:
        return ""
    mean, error = float(logs.mean()), float(logs.std(ddof=1)) / math.sqrt(len(logs))
    if abs(mean) + _ERRORS * error > margin:
        return _mean(mean, error, unit)
    middle = float(np.median(logs))
    above, below = int((logs - middle > margin).sum()), int((logs - middle < -margin).sum())
    if above + below and stats.binom.sf(max(above, below) - 1, above + below, 0.5) <= _LEVEL:
        return f"NEW lies far above BASE in {above} of {len(logs)} {unit}s and far below in {below}"
    return ""


def of_groups(base: Floats, new: Floats, margin: float, unit: str) -> str:
    """The same for the logarithms of two groups."""
    if min(len(base), len(new)) < 2:
        return ""
    mean = float(new.mean() - base.mean())
    error = math.sqrt(base.var(ddof=1) / len(base) + new.var(ddof=1) / len(new))
    if abs(mean) + _ERRORS * error > margin:
        return _mean(mean, error, unit)
    for side, where in ((1, "above"), (-1, "below")):
        far = [int((side * (group - np.median(group)) > margin).sum()) for group in (base, new)]
        chances = stats.hypergeom(len(base) + len(new), sum(far), len(new))
        if min(chances.sf(far[1] - 1), chances.cdf(far[1])) <= _LEVEL:
            return f"{far[0]} of {len(base)} {unit}s of BASE and {far[1]} of {len(new)} of NEW lie far {where} the rest"
    return ""


def _mean(mean: float, error: float, unit: str) -> str:
    told = f"{math.exp(mean):.3g} ± {math.exp(mean) * error:.2g}"
    return f"the typical {unit} is alike, but the mean may not be: NEW ÷ BASE {told} (some {unit}s lie far off)"
