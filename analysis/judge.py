"""Verdicts: is NEW slower than BASE, faster, the same within a margin, or can these data not tell?

Everything here takes plain arrays and needs nothing else of Tare. The unit of inference is the block (one fresh
instance of each arm), or, without blocks, the run: never the single value, which shares its run's fate.

- Ratio: the Hodges–Lehmann estimate of the log-ratio with the interval that inverts the rank test.
- Gate: signed-rank test on the blocks' log-ratios (Mann–Whitney without blocks), Holm (1979) over all gating metrics.
  The direction is that of the rank sum, and nothing is called changed whose 95 % interval holds 1.
- "Equivalent" is a claim that needs proof: two one-sided tests (Schuirmann 1987), that is, the 90 % interval lies
  inside ±δ. A large p proves nothing and gives "inconclusive", with the smallest effect these data would have shown
  (MDE). Nor does a narrow interval where values come in steps above δ (analysis.resolution), or where the middle stayed
  and a part of the units moved (analysis.tails).
- Groups of sessions: see analysis.between.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import special

from analysis import between, ranks, resolution, tails
from analysis import power as powers
from analysis.estimate import CONFIDENCE, Interval, hodges_lehmann
from analysis.looks import first_able, level
from analysis.ranks import TIE, Floats, Shown

Kind = Literal["regressed", "improved", "equivalent", "inconclusive"]

#: Nightly suites of one build on one host lie 5.6 times further apart than their 20 runs predict (122 nights of 121
#: benchmarks, github.com/diegorusso/pyperf-bench); judged as if they did not, two in three nights differ.
BETWEEN_SESSIONS: Final = 5.6
#: Why one session a side is not enough.
INFORMS: Final = "two single sessions of different times inform, and prove nothing: name several a side, BASE… -- NEW…"
#: Of log-ratios; beyond, a ratio is no number that a computer holds.
_FARTHEST: Final = 690.0
#: A larger one is of no use to anybody, and is not printed.
_LARGEST_MDE: Final = 10.0


@dataclass(frozen=True)
class Test:
    """One metric of NEW against BASE.

    base, new: one number above zero per unit of inference, in the metric's own unit; paired: base[i] and new[i] are of
    one block. delta: the margin of equivalence as a fraction (0.05 is a ratio from 1/1.05 to 1.05). gates: whether it
    is one of the family that Holm's correction is for. exact: counts that repeat to the last digit, if they do. looks:
    the block counts at which a campaign that may stop early is looked at (analysis.sequential), all of them, also those
    not yet reached. spread: how many times further apart two runs of the same lie than the scatter within them tells;
    1 for blocks, BETWEEN_SESSIONS for groups that ran at different times. proves: false where these data can inform but
    prove nothing, either way. step: between values that differ, as a fraction of their level; as the numbers tell it,
    where it is not given. sessions: the names of base's and then new's, where each number is a session's. order: when
    each of those ran, as ranks among all; as they stand, if not given. Raises ValueError for anything else.
    """

    __test__ = False  # no test of pytest's

    base: Floats
    new: Floats
    paired: bool
    better: str = "lower"
    delta: float = 0.03
    gates: bool = True
    exact: bool = False
    looks: tuple[int, ...] = ()
    spread: float = 1.0
    proves: bool = True
    step: float | None = None
    sessions: tuple[str, ...] = ()
    order: tuple[int, ...] = ()

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
        if self.looks and not self.paired:
            raise ValueError("only paired blocks can be looked at while they run")
        if self.spread < 1 or (self.spread > 1 and self.paired):
            raise ValueError(f"spread is 1 for blocks and 1 or more for groups, not {self.spread!r}")
        if self.sessions and (self.paired or len(self.sessions) != len(self.base) + len(self.new)):
            raise ValueError("sessions: one name a number of two groups")
        if self.order and len(self.order) != len(self.sessions):
            raise ValueError("order: one rank a session")
        if not 0 < self.delta < 10:
            raise ValueError(f"delta is a fraction above 0, like 0.05, not {self.delta!r}")

    @property
    def count(self) -> int:
        """Blocks, or the smaller group."""
        return min(len(self.base), len(self.new))

    @property
    def unit(self) -> str:
        return "block" if self.paired else "session" if self.sessions else "run"


@dataclass(frozen=True)
class Verdict:
    """What may be said of one Test. Fractions: 0.05 is 5 %.

    ratio: NEW ÷ BASE with its 95 % interval. p: two-sided, before Holm, or, of sessions, of all that gate together;
    alpha: what it had to reach. mde: the shift that as many data like these show 80 % of the time at the level that a
    lone change must reach; None where none can be shown. needed: blocks below which nothing can be. reason: why
    inconclusive, or what must be said beside the verdict. exact: judged by identity and not by statistics. within: a
    change that is proved, and proved to be smaller than the margin: its whole interval lies within ±δ.
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
    within: bool = False

    def __str__(self) -> str:
        if self.kind == "equivalent":
            return "equivalent(exactly)" if self.exact else f"equivalent(±{percent(self.delta)})"
        if self.kind == "inconclusive":
            return f"inconclusive(MDE={mde_told(self.mde)})"
        return f"{self.kind} within ±{percent(self.delta)}" if self.within else self.kind


def percent(fraction: float) -> str:
    """`5%`, `0.3%`, `12%`: two digits."""
    return f"{float(f'{fraction * 100:.2g}'):g}%"


def mde_told(fraction: float | None) -> str:
    """As `percent`, or `–` where nothing can be found, or only what nobody looks for."""
    return "–" if fraction is None or not fraction <= _LARGEST_MDE else percent(fraction)


@dataclass(frozen=True)
class Summary:
    """What a test's data say, whatever the method: what verdicts are made of.

    reach: the p that it must reach. family: how many metrics are held to a level together. needed: units below which
    nothing can. inner: the interval that must lie inside ±δ for a claim that nothing changed; None where there is none.
    """

    shown: Shown
    ratio: Interval
    inner: Interval | None
    reach: float
    family: int
    needed: int
    mde: float | None

    def alike(self, delta: float, count: int) -> bool:
        return count >= self.needed and self.inner is not None and _inside(self.inner, delta)


def judge(tests: Sequence[Test], *, alpha: float = 0.05, power: float = 0.8) -> list[Verdict]:
    """A verdict for each test. Those that gate are one family of error rate alpha; others are judged at alpha each."""
    statistical = {i: test for i, test in enumerate(tests) if not (test.exact and _repeats(test))}
    ranked = {i: test for i, test in statistical.items() if not test.sessions}
    summaries = _by_ranks(ranked, alpha, power)
    summaries |= _by_sessions({i: test for i, test in statistical.items() if test.sessions}, alpha, power)
    return [_verdict(test, summaries[i], alpha) if i in summaries else _exact(test) for i, test in enumerate(tests)]


def _by_ranks(tests: Mapping[int, Test], alpha: float, power: float) -> dict[int, Summary]:
    """Holm's steps, each metric being held to what its own looks leave of the step's level."""
    family = {i for i, test in tests.items() if test.gates}
    lone = dict.fromkeys(tests, alpha) | dict.fromkeys(family, alpha / max(len(family), 1))
    seen = {i: evidence(test) for i, test in tests.items()}
    # What has too few units to be found alone proves nothing, whatever the others have.
    able = {i for i, test in tests.items() if test.proves and test.count >= least_count(test, lone[i])}
    levels = dict(lone)
    left = set(family)
    while left:
        step = alpha / len(left)
        found = {i for i in left & able if seen[i].p <= nominal(tests[i], step)}
        levels |= dict.fromkeys(left, step)
        if not found:
            break
        left.remove(min(found, key=lambda i: seen[i].p))
    return {
        i: Summary(
            shown=seen[i],
            ratio=ratio(test),
            inner=_inner(test, alpha),
            reach=nominal(test, levels[i]),
            family=len(family) if test.gates else 1,
            needed=least_count(test, lone[i]),
            mde=mde(test, lone[i], power) if test.proves else None,
        )
        for i, test in tests.items()
    }


def _by_sessions(tests: Mapping[int, Test], alpha: float, power: float) -> dict[int, Summary]:
    """All that gate are drawn together, also where some lack a session."""
    found: dict[int, Summary] = {}
    for gates in (True, False):
        group = {i: test for i, test in tests.items() if test.gates == gates}
        found |= _of_group(group, alpha, power) if group else {}
    return found


def _of_group(tests: Mapping[int, Test], alpha: float, power: float) -> dict[int, Summary]:
    needed = ranks.least_group(alpha)
    values, base, order = _by_session(list(tests.values()))
    found = between.moved(values, base, order=order, alpha=alpha)
    summaries = {}
    for (i, test), each in zip(tests.items(), found, strict=True):
        least = each.least(alpha, power) if test.count >= needed else math.nan
        summaries[i] = Summary(
            shown=Shown(each.p(test.gates), int(np.sign(each.shift)) if abs(each.shift) > TIE else 0),
            ratio=_interval(each.shift, each.half(1 - CONFIDENCE), test.count),
            inner=_interval(each.shift, each.half(2 * alpha), test.count),
            reach=alpha,
            family=len(tests) if test.gates else 1,
            needed=needed,
            mde=max(float(np.expm1(least)), step(test)) if math.isfinite(least) else None,
        )
    return summaries


def _by_session(tests: Sequence[Test]) -> tuple[Floats, int, list[int]]:
    """What between.moved takes: logarithms, a column a session that any has, how many are BASE's, their order."""
    sides = [{name: None for test in tests for name in _names(test)[side]} for side in (0, 1)]
    places = {name: place for place, name in enumerate(itertools.chain(*sides))}
    order = list(range(len(places)))
    values = np.full((len(tests), len(places)), np.nan)
    for row, test in zip(values, tests, strict=True):
        columns = [places[name] for name in test.sessions]
        row[columns] = np.log(np.concatenate([test.base, test.new]))
        for column, rank in zip(columns, test.order, strict=False):
            order[column] = rank
    return values, len(sides[0]), order


def _names(test: Test) -> tuple[tuple[str, ...], tuple[str, ...]]:
    return test.sessions[: len(test.base)], test.sessions[len(test.base) :]


def _interval(shift: float, half: float, count: int) -> Interval:
    point, low, high = (
        float(np.exp(np.clip(end, -_FARTHEST, _FARTHEST))) for end in (shift, shift - half, shift + half)
    )
    return Interval(point, low, high, count)


def nominal(test: Test, alpha: float) -> float:
    """The p that this test must reach for an error rate of alpha: alpha itself, or what its looks leave of it."""
    return level(test.looks, alpha, test.count) if test.looks else alpha


def evidence(test: Test) -> Shown:
    """p and direction of the rank test that fits: signed-rank on block log-ratios, Mann–Whitney on two groups.

    Ranks cannot tell how far two groups are apart, so that p of groups with a spread is that of the widened interval.
    """
    if test.paired:
        return ranks.signed_rank(_log_ratios(test))
    if test.spread > 1:
        error = _half_width(test, CONFIDENCE) / special.ndtri((1 + CONFIDENCE) / 2)
        shift = math.log(ratio(test).point)
        if math.isnan(error) or not shift:
            return Shown(1.0, 0)
        p = float(2 * special.ndtr(-abs(shift) / error)) if error else 0.0
        return Shown(p, int(math.copysign(1, shift)))
    return ranks.rank_sum(np.log(test.base), np.log(test.new))


def ratio(test: Test, confidence: float = CONFIDENCE) -> Interval:
    """The Hodges–Lehmann ratio NEW ÷ BASE with its two-sided interval."""
    if test.paired:
        log = hodges_lehmann(_log_ratios(test), confidence)
        ends = log.point, log.low, log.high
    else:
        middle, *both = ranks.shift_interval(np.log(test.base), np.log(test.new), (1 - confidence) / 2)
        low, high = (middle + test.spread * (end - middle) for end in both)
        ends = middle, low, high
    point, low, high = (float(np.exp(0.0 if abs(end) <= TIE else np.clip(end, -_FARTHEST, _FARTHEST))) for end in ends)
    return Interval(point, low, high, test.count)


def equivalent(test: Test, alpha: float = 0.05) -> bool:
    """Whether both one-sided tests at alpha place the ratio inside the margin, 1/(1+δ) to 1+δ."""
    found = _inner(test, alpha)
    return found is not None and _inside(found, test.delta)


def _inner(test: Test, alpha: float) -> Interval | None:
    both = nominal(test, 2 * alpha)
    return ratio(test, 1 - both) if both else None


def least_count(test: Test, alpha: float) -> int:
    """The fewest blocks (or runs a side) with which this kind of test can reach alpha at all."""
    if test.looks:
        return first_able(test.looks, alpha)
    return ranks.least_count(alpha) if test.paired else ranks.least_group(alpha)


def mde(test: Test, alpha: float, power: float = 0.8) -> float | None:
    """The smallest shift, as a fraction, that so many data that scatter like these show at `alpha` with this power.

    Never less than the step between values. None where so few blocks can show nothing. See analysis.power.
    """
    reach = nominal(test, alpha)
    if not reach or test.count < least_count(test, alpha):
        return None
    narrow = _half_width(test, powers.confidence(test.count))
    degrees = test.count - 1 if test.paired else len(test.base) + len(test.new) - 2
    spread = powers.spread(_log_ratios(test) if test.paired else _residuals(test))
    shift = powers.shift(_half_width(test, 1 - reach), narrow, degrees, test.count, spread * test.spread, power)
    return max(float(np.expm1(min(shift, _FARTHEST))), step(test)) if math.isfinite(shift) else None


def step(test: Test) -> float:
    """Between values that differ, as a fraction of their level, on the side where they are finer."""
    return resolution.step(test.base, test.new) if test.step is None else test.step


def _residuals(test: Test) -> Floats:
    """The logarithms of both groups without their medians."""
    logs = np.log(test.base), np.log(test.new)
    return np.concatenate([group - np.median(group) for group in logs])


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


def _changed(direction: int, better: str) -> Kind:
    return "regressed" if (direction > 0) == (better == "lower") else "improved"


def _exact(test: Test) -> Verdict:
    base, new = float(test.base[0]), float(test.new[0])
    point = new / base
    same = base == new
    kind: Kind = "equivalent" if same else _changed(1 if new > base else -1, test.better)
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


def _verdict(test: Test, seen: Summary, alpha: float) -> Verdict:
    found, shown = seen.ratio, seen.shown
    reasons = []
    if test.exact:
        reasons.append(
            "counted once a side, which proves no repeatability"
            if test.count < 2
            else "the counts do not repeat: judged by statistics"
        )
    kind: Kind = "inconclusive"
    within = False
    able = test.proves and test.count >= seen.needed
    alike = able and seen.alike(test.delta, test.count)
    doubt = _doubt(test) if alike else ""
    if able and shown.p <= seen.reach and (found.low > 1 if shown.direction > 0 else found.high < 1):
        kind = _changed(shown.direction, test.better)
        within = alike and not doubt and _inside(found, test.delta)
        if doubt:
            reasons.append(doubt)
        if within:
            size = percent(abs(found.point - 1))
            reasons.append(f"{size} {'up' if shown.direction > 0 else 'down'} is proved, and lies within ±δ: it passes")
    elif alike and not doubt:
        kind = "equivalent"
    else:
        reasons += _why(test, seen, doubt, alpha)
    return Verdict(
        kind=kind,
        ratio=found,
        p=shown.p,
        alpha=seen.reach,
        delta=test.delta,
        mde=seen.mde,
        count=test.count,
        needed=seen.needed,
        reason="; ".join(reasons),
        exact=False,
        within=within,
    )


def _inside(found: Interval, delta: float) -> bool:
    return found.bounded and 1 / (1 + delta) < found.low and found.high < 1 + delta


def _doubt(test: Test) -> str:
    """What such data cannot tell, though their interval is narrow; "" where nothing is the matter."""
    size = step(test)
    if size > test.delta:
        return f"values come in steps of {percent(size)}, which is more than ±δ: a smaller change does not show"
    margin = math.log1p(test.delta)
    if test.paired:
        return tails.of_differences(_log_ratios(test), margin, test.unit)
    return tails.of_groups(np.log(test.base), np.log(test.new), margin, test.unit)


def _why(test: Test, seen: Summary, doubt: str, alpha: float) -> list[str]:
    """Why nothing is proved."""
    unit, needed = test.unit, seen.needed
    reasons = []
    if test.count < needed:
        reasons.append(
            f"{test.count} {unit}{'s' if test.count != 1 else ''}: at least {needed} are needed to tell anything"
        )
    if not test.proves:
        reasons.append(INFORMS)
    if reasons:
        return reasons
    if doubt:
        return [doubt]
    if told := _almost(test, seen, alpha):
        return [told]
    if test.spread > 1:
        return [
            f"different times may differ {test.spread:g} times as much as runs of one time, and nothing beyond shows"
        ]
    if test.paired and (told := _tied(_log_ratios(test))):
        return [told]
    return [f"the interval reaches beyond ±{percent(test.delta)} and does not leave out 1"]


def _almost(test: Test, seen: Summary, alpha: float) -> str:
    """Why what looks like a change is none that is proved; "" where nothing looks like one."""
    p, reach = seen.shown.p, seen.reach
    apart = seen.ratio.low > 1 or seen.ratio.high < 1
    if test.sessions and reach < between.FINEST:
        return f"sessions drawn anew tell no p below {between.FINEST:g}, and a level of {reach:.2g} is asked"
    if p <= reach:
        return "" if apart else f"p = {p:.2g} would do, but the {CONFIDENCE:.0%} interval does not leave out 1"
    if test.sessions and apart and seen.family > 1:
        return f"its own interval leaves out 1, but among {seen.family} metrics p = {p:.2g} (which needs {reach:.2g})"
    if p <= alpha and (test.looks or seen.family > 1):
        of = "at this look" if test.looks else f"as one of {seen.family} metrics"
        return f"p = {p:.2g} would do alone, but not {of} (which needs {reach:.2g})"
    return f"the {CONFIDENCE:.0%} interval leaves out 1, but p = {p:.2g} is above {reach:.2g}" if apart else ""


def _tied(logs: Floats) -> str:
    """Where many blocks are equal, how many are, and to which side the others lie."""
    above, below = int((logs > TIE).sum()), int((logs < -TIE).sum())
    equal = len(logs) - above - below
    if 4 * equal < len(logs) or equal == len(logs):
        return ""
    return (
        f"in {equal} of {len(logs)} blocks NEW equals BASE, in {above} it is higher and in {below} lower: "
        "no change of the typical block is proved"
    )
