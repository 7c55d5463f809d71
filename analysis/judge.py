"""Verdicts: is NEW slower than BASE, faster, the same within a margin, or can these data not tell?

Everything here takes plain arrays and needs nothing else of Tare. The unit of inference is the block (one fresh
instance of each arm), or, without blocks, the run: never the single value, which shares its run's fate.

- Ratio: the Hodges–Lehmann estimate of the log-ratio with the interval that inverts the rank test.
- Gate: signed-rank test on the blocks' log-ratios (Mann–Whitney without blocks), Holm (1979) over all gating metrics.
- "Equivalent" is a claim that needs proof: two one-sided tests (Schuirmann 1987), that is, the 90 % interval lies
  inside ±δ. A large p proves nothing and gives "inconclusive", with the smallest effect these data would have shown
  (MDE).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import stats

from analysis import ranks
from analysis.estimate import CONFIDENCE, Interval, hodges_lehmann
from analysis.ranks import Floats

Kind = Literal["regressed", "improved", "equivalent", "inconclusive"]

#: Blocks from which on the ends of a 95 % interval are steady enough to tell an error by; below, those of 90 %.
_MANY: Final = 16


@dataclass(frozen=True)
class Test:
    """One metric of NEW against BASE.

    base, new: one number above zero per unit of inference, in the metric's own unit; paired: base[i] and new[i] are of
    one block. delta: the margin of equivalence as a fraction (0.05 is a ratio from 1/1.05 to 1.05). gates: whether it
    is one of the family that Holm's correction is for. exact: counts that repeat to the last digit, if they do.
    Raises ValueError for anything else.
    """

    __test__ = False  # no test of pytest's

    base: Floats
    new: Floats
    paired: bool
    better: str = "lower"
    delta: float = 0.05
    gates: bool = True
    exact: bool = False

    def __post_init__(self) -> None:
        for name, values in (("base", self.base), ("new", self.new)):
            if values.ndim != 1 or len(values) == 0:
                raise ValueError(f"{name}: expected one number per block, not an array of shape {values.shape}")
            if not np.isfinite(values).all() or (values <= 0).any():
                raise ValueError(f"{name}: a ratio needs finite numbers above zero")
        if self.paired and len(self.base) != len(self.new):
            raise ValueError(f"{len(self.base)} blocks of base and {len(self.new)} of new are no pairs")
        if self.better not in ("lower", "higher"):
            raise ValueError(f"better is 'lower' or 'higher', not {self.better!r}")
        if not 0 < self.delta < 10:
            raise ValueError(f"delta is a fraction above 0, like 0.05, not {self.delta!r}")

    @property
    def count(self) -> int:
        """Blocks, or the smaller group."""
        return min(len(self.base), len(self.new))


@dataclass(frozen=True)
class Verdict:
    """What may be said of one Test. Fractions: 0.05 is 5 %.

    ratio: NEW ÷ BASE with its 95 % interval. p: two-sided, before Holm; alpha: what it had to reach after Holm. mde:
    the shift that as many data like these show 80 % of the time at the level that a lone change must reach; None
    where none can be shown. needed: blocks below which nothing can be. reason: why inconclusive, or what must be said
    beside the verdict. exact: judged by identity and not by statistics.
    """

    kind: Kind
    ratio: Interval
    p: float
    alpha: float
    delta: float
    mde: float | None
    count: int
    needed: int
    reason: str
    exact: bool

    def __str__(self) -> str:
        if self.kind == "equivalent":
            return "equivalent(exactly)" if self.exact else f"equivalent(±{percent(self.delta)})"
        if self.kind == "inconclusive":
            return f"inconclusive(MDE={'–' if self.mde is None else percent(self.mde)})"
        return self.kind


def percent(fraction: float) -> str:
    """`5%`, `0.3%`, `12%`: two digits."""
    return f"{float(f'{fraction * 100:.2g}'):g}%"


def judge(tests: Sequence[Test], *, alpha: float = 0.05, power: float = 0.8) -> list[Verdict]:
    """A verdict for each test, those that gate being one family of error rate alpha. Tests that only inform are judged
    at alpha each.
    """
    statistical = [not (test.exact and _repeats(test)) for test in tests]
    family = [i for i, test in enumerate(tests) if test.gates and statistical[i]]
    values = {i: p_value(test) for i, test in enumerate(tests) if statistical[i]}
    levels = dict.fromkeys(values, alpha)
    rejected = {i for i in values if values[i] <= alpha and i not in family}
    ordered = sorted(family, key=lambda i: values[i])
    stopped = False
    for place, i in enumerate(ordered):
        levels[i] = alpha / (len(family) - place)
        stopped = stopped or values[i] > levels[i]
        if not stopped:
            rejected.add(i)
    verdicts = []
    for i, test in enumerate(tests):
        if not statistical[i]:
            verdicts.append(_exact(test))
            continue
        lone = alpha / len(family) if test.gates else alpha
        verdicts.append(_verdict(test, values[i], levels[i], lone, i in rejected, alpha, power))
    return verdicts


def p_value(test: Test) -> float:
    """Two-sided p of the rank test that fits: signed-rank on block log-ratios, Mann–Whitney on two groups."""
    if test.paired:
        return ranks.signed_rank_p(_log_ratios(test))
    return ranks.mann_whitney_p(np.log(test.base), np.log(test.new))


def ratio(test: Test, confidence: float = CONFIDENCE) -> Interval:
    """The Hodges–Lehmann ratio NEW ÷ BASE with its two-sided interval."""
    if test.paired:
        log = hodges_lehmann(_log_ratios(test), confidence)
        ends = log.point, log.low, log.high
    else:
        ends = ranks.shift_interval(np.log(test.base), np.log(test.new), (1 - confidence) / 2)
    point, low, high = (float(np.exp(end)) for end in ends)
    return Interval(point, low, high, test.count)


def equivalent(test: Test, alpha: float = 0.05) -> bool:
    """Whether both one-sided tests at alpha place the ratio inside the margin, 1/(1+δ) to 1+δ."""
    found = ratio(test, 1 - 2 * alpha)
    margin = 1 + test.delta
    return found.bounded and 1 / margin < found.low and found.high < margin


def least_count(test: Test, alpha: float) -> int:
    """The fewest blocks (or runs a side) with which this kind of test can reach alpha at all."""
    return ranks.least_count(alpha) if test.paired else ranks.least_group(alpha)


def mde(test: Test, alpha: float, power: float = 0.8) -> float | None:
    """The smallest shift, as a fraction, that so many data that scatter like these show at `alpha` with this power.

    The test finds a shift exactly when its interval at 1 − alpha, moved by it, leaves out no effect: half that
    interval's width, and as much again as the estimate errs with that chance (its standard error is a narrower
    interval's half width over Student's quantile). None where so few blocks can show nothing.
    """
    if test.count < least_count(test, alpha):
        return None
    confidence = 0.95 if test.count >= _MANY else 0.9
    degrees = test.count - 1 if test.paired else len(test.base) + len(test.new) - 2
    error = _half_width(test, confidence) / stats.t.isf((1 - confidence) / 2, degrees)
    shift = _half_width(test, 1 - alpha) + stats.norm.isf(1 - power) * error
    return float(np.expm1(shift)) if math.isfinite(shift) else None


def _half_width(test: Test, confidence: float) -> float:
    """Of the interval of the log-ratio; NaN where there is none."""
    found = ratio(test, confidence)
    return (math.log(found.high) - math.log(found.low)) / 2


def _log_ratios(test: Test) -> Floats:
    logs: Floats = np.log(test.new) - np.log(test.base)
    return logs


def _repeats(test: Test) -> bool:
    """Whether each side was counted more than once and always came out the same."""
    return test.count >= 2 and np.ptp(test.base) == 0 and np.ptp(test.new) == 0


def _direction(point: float, better: str) -> Kind:
    return "regressed" if (point > 1) == (better == "lower") else "improved"


def _exact(test: Test) -> Verdict:
    point = float(test.new[0] / test.base[0])
    same = bool(test.new[0] == test.base[0])
    kind: Kind = "equivalent" if same else _direction(point, test.better)
    return Verdict(
        kind=kind,
        ratio=Interval(point, point, point, test.count),
        p=float("nan"),
        alpha=float("nan"),
        delta=test.delta,
        mde=0.0,
        count=test.count,
        needed=2,
        reason="the same count, to the last digit" if same else "counts that repeat to the last digit",
        exact=True,
    )


def _verdict(test: Test, p: float, level: float, lone: float, significant: bool, alpha: float, power: float) -> Verdict:
    """lone: the level that this metric would have to reach were it the only one that changed."""
    found = ratio(test)
    needed = least_count(test, lone)
    smallest = mde(test, lone, power)
    reasons = []
    if test.exact:
        reasons.append(
            "counted once a side, which proves no repeatability"
            if test.count < 2
            else "the counts do not repeat: judged by statistics"
        )
    kind: Kind
    if significant:
        kind = _direction(found.point, test.better)
    elif test.count >= needed and equivalent(test, alpha):
        kind = "equivalent"
    else:
        kind = "inconclusive"
        reasons.append(_why(test, found, p, level, needed))
    return Verdict(kind, found, p, level, test.delta, smallest, test.count, needed, "; ".join(reasons), exact=False)


def _why(test: Test, found: Interval, p: float, level: float, needed: int) -> str:
    unit = "block" if test.paired else "run"
    if test.count < needed:
        return f"{test.count} {unit}{'s' if test.count != 1 else ''}: at least {needed} are needed to tell anything"
    if p <= 0.05:
        return f"p = {p:.2g} would do alone, but not as one of several metrics (needs {level:.2g})"
    return f"the interval reaches beyond ±{percent(test.delta)} and does not leave out 1"
