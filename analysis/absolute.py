"""Absolute limits: is NEW's level proved to be at most (or at least) what a policy says, or proved not to be?

A level is the median over NEW's slots (or runs, or sessions), with the interval between two of them that holds for any
distribution: the sign test's. A limit is kept where the whole interval lies on its side, and broken where all of the
interval lies beyond it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final, Literal

import numpy as np
from scipy import stats

from analysis.ranks import Floats
from analysis.words import plural
from bench.errors import InputError

Kind = Literal["kept", "broken", "unproved"]

#: Each end of the interval shown, and of the proof that a limit is kept: one-sided, as of the 90 % interval within ±δ.
TAIL: Final = 0.05
_UNITS: Final[dict[str, tuple[str, float]]] = {
    **{name: ("second", size) for name, size in (("ns", 1e-9), ("us", 1e-6), ("µs", 1e-6), ("ms", 1e-3), ("s", 1.0))},
    "min": ("second", 60.0),
    **{name: ("byte", float(size)) for name, size in (("B", 1), ("KiB", 2**10), ("MiB", 2**20), ("GiB", 2**30))},
    **{name: ("byte", float(10**power)) for name, power in (("kB", 3), ("MB", 6), ("GB", 9))},
}
_TEXT: Final = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?(?:e[+-]?[0-9]{1,3})?)\s*([A-Za-zµ]*)\s*", re.ASCII | re.IGNORECASE)


@dataclass(frozen=True)
class Bound:
    """most: at most, or else at least, `value` in `unit`; unit "" is the metric's own. text: as it was written."""

    most: bool
    value: float
    unit: str
    text: str

    def __str__(self) -> str:
        return f"at {'most' if self.most else 'least'} {self.text}"


@dataclass(frozen=True)
class Held:
    """What may be said of one bound of one metric. level: NEW's median, low and high the ends of its interval; NaN
    where there is none, as of a metric that NEW does not have."""

    arm: str
    scenario: str
    metric: str
    unit: str
    bound: Bound
    level: float
    low: float
    high: float
    count: int
    kind: Kind
    reason: str = ""


def bound(given: str | float, *, most: bool) -> Bound:
    """Of a text like "125 ms" or "64 MiB", or a number in the metric's own unit. Raises ValueError."""
    match = _TEXT.fullmatch(given) if isinstance(given, str) else None
    if isinstance(given, str) and (match is None or (match[2] and match[2] not in _UNITS)):
        raise ValueError(
            f'{given[:40]!r} is no level: write a number and a unit like "125 ms" or "64 MiB", or a number alone'
        )
    unit, size = _UNITS[match[2]] if match and match[2] else ("", 1.0)
    value = float(match[1] if match else given) * size
    if not 0 < value < 1e150:
        raise ValueError(f"{str(given)[:40]!r} is no level above zero")
    return Bound(most, value, unit, given.strip() if isinstance(given, str) else f"{given:g}")


def lacking(place: tuple[str, str, str], limit: Bound, why: str = "") -> Held:
    """Of a metric of which NEW has no values; why: where it is another reason than that NEW does not have it."""
    none = float("nan")
    return Held(*place, "", limit, none, none, none, 0, "unproved", why or "NEW does not have it")


def held(
    place: tuple[str, str, str], unit: str, values: Floats, limit: Bound, alpha: float, exact: bool, claims: int = 1
) -> Held:
    """place: arm, scenario and metric; values: NEW's; alpha: for the claim that the limit is broken, its share of all
    claims; exact: counts that repeat need no statistics. Raises InputError where the metric has another unit.
    """
    if limit.unit not in ("", unit):
        raise InputError(f"{place[2]} is measured in another unit ({unit}) than its limit: {limit}")
    values = np.sort(values)
    count, middle = len(values), float(np.median(values))
    repeats = exact and count > 1 and values[0] == values[-1]
    low, high = (middle, middle) if repeats else _ends(values, TAIL)
    best = middle if repeats else _ends(values, alpha)[0 if limit.most else 1]
    end, near = (high, low) if limit.most else (low, high)
    kind: Kind = "unproved"
    reason = ""
    if np.isfinite(end) and _within(end, limit):
        kind = "kept"
    elif np.isfinite(best) and not _within(best, limit):
        kind = "broken"
    elif not np.isfinite(low):
        reason = f"at least {_least(TAIL)} are needed to tell anything"
    elif _within(near, limit):
        reason = "the interval does not lie on one side of the limit"
    elif not np.isfinite(best):
        reason = f"beyond it at 90 %, but at least {_least(alpha)} are needed to prove that it is broken"
    else:
        reason = f"beyond it at 90 %, but not at the level that {plural(claims, 'claim')} share"
    return Held(*place, unit, limit, middle, low, high, count, kind, reason)


def told(each: Held, unit: str) -> str:
    """What was counted, and why nothing is proved."""
    if not each.count:
        return each.reason
    counted = plural(each.count, unit)
    return f"{counted}: {each.reason}" if each.reason else counted


def _within(value: float, limit: Bound) -> bool:
    return value <= limit.value if limit.most else value >= limit.value


def _ends(ascending: Floats, tail: float) -> tuple[float, float]:
    """The median's interval with this chance of error at each end; NaN where there is none."""
    count = len(ascending)
    place = int(stats.binom.ppf(tail, count, 0.5))
    while place >= 0 and stats.binom.cdf(place, count, 0.5) > tail:
        place -= 1
    if place < 0:
        return float("nan"), float("nan")
    return float(ascending[place]), float(ascending[count - 1 - place])


def _least(tail: float) -> int:
    """The fewest values that have such an interval: ½ⁿ ≤ tail."""
    return int(np.ceil(-np.log2(tail) - 1e-9))
