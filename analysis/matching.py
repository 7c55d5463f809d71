"""Two arms' samples, matched metric by metric: block by block where they ran interleaved, else run beside run.

Works on plain frames in the layout of `Loaded.samples` (a row a value: run, slot, block, scenario, arm, status, metric,
unit, better, warmup, index, value); `analysis.load` and `analysis.suites` make them.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import resolution
from analysis.estimate import slot_medians
from analysis.words import plural
from bench.errors import InputError

Floats = npt.NDArray[np.float64]
Key = tuple[str, str]
#: A session: its samples, and which arm of them.
Session = tuple[pd.DataFrame, str]
#: A slot that did not end well: its scenario, run and block.
Failed = tuple[str, int, int]

ONLY_BASE = "only BASE has it"
EXACT = "instruction"  # the unit of counts that must repeat to the last digit
_KEYS = ["scenario", "metric"]
#: Beyond these, medians and ratios leave what a computer holds; no unit makes such numbers of a measurement.
_LARGEST, _SMALLEST = 1e150, 1e-150


@dataclass(frozen=True)
class Matched:
    """One metric of two arms.

    base, new     one number per unit of replication (a slot's median; a pyperf run's), above zero, in `unit`, or
                  divided by that of the arm `per` in the same block
    paired        base[i] and new[i] are of one block
    levels        the medians of both, in `unit`
    dropped       blocks (paired) or slots without a good value: a slot failed, or has no such value
    step          between values that differ, as a fraction of their level (analysis.resolution)
    sessions      the names of base's and then new's, where each number is a session's
    order         when each of those ran, as ranks among all; () where that is not known
    proves        false where one session a side stands alone, with nothing beside it to divide by
    """

    scenario: str
    metric: str
    unit: str
    better: str
    base: Floats
    new: Floats
    paired: bool
    levels: tuple[float, float]
    dropped: int = 0
    per: str = ""
    step: float = 0.0
    sessions: tuple[str, ...] = ()
    order: tuple[int, ...] = ()
    proves: bool = True


@dataclass(frozen=True)
class Gap:
    """A metric that cannot be compared, and why.

    unproved: it stands against a pass, as anything does but what only NEW has.
    """

    scenario: str
    metric: str
    why: str
    unproved: bool = True


Found = Matched | Gap


@dataclass(frozen=True)
class _Head:
    scenario: str
    metric: str
    unit: str
    better: str


def match_blocks(samples: pd.DataFrame, base: str, new: str, failed: Sequence[Failed] = ()) -> list[Found]:
    """The metrics of two arms of one frame, paired by block, in the order in which they appear.

    failed: slots of either arm that did not end well; their blocks count as dropped. Raises InputError where a
    metric's unit or direction differs or changes, or where a value is no time or no number.
    """
    good = _good(samples, [base, new])
    heads = _heads(good[good["arm"] == base], good[good["arm"] == new])
    gaps = _unusable(good)
    steps = _steps(good[good["arm"] == base], good[good["arm"] == new])
    table = _by_block(good, base, new)
    groups = dict(list(table.groupby(_KEYS, observed=True, sort=False)))
    found: list[Found] = []
    for key, head in heads.items():
        if isinstance(head, Gap) or key in gaps:
            found.append(head if isinstance(head, Gap) else gaps[key])
            continue
        values = groups[key]
        places = {place[2:] for place in values.index}
        bad = {(run, block) for scenario, run, block in failed if scenario == head.scenario}
        both = values[[place[2:] not in bad for place in values.index]].dropna()
        left, right = both[base].to_numpy(), both[new].to_numpy()
        dropped = len(places | bad) - len(both)
        found.append(_matched(head, (left, right), (left, right), True, dropped, steps.get(key, 0.0)))
    return found


def match_runs(
    base_samples: pd.DataFrame,
    new_samples: pd.DataFrame,
    base: str,
    new: str,
    *,
    per: str | None = None,
    failed: Sequence[Failed] = (),
) -> list[Found]:
    """The metrics of an arm of one frame and of an arm of another one that was measured apart: unpaired.

    per: an arm of both frames; a value is divided by that arm's in the same block, for metrics of which both frames
    have that. Counts of instructions are not, as the host's speed does not touch them. failed and errors: as
    `match_blocks`.
    """
    sides = (_good(base_samples, [base]), _good(new_samples, [new]))
    gaps = _unusable(sides[0]) | _unusable(sides[1])
    steps = _steps(*sides)
    plain = [{key: values.to_numpy() for key, values in _values(side)} for side in sides]
    scaled: list[dict[Key, Floats]] = [{}, {}]
    if per is not None:
        frames = ((base_samples, base), (new_samples, new))
        scaled = [_scaled(_by_block(_good(frame, [arm, per]), arm, per)) for frame, arm in frames]
    found: list[Found] = []
    for key, head in _heads(*sides).items():
        if isinstance(head, Gap) or key in gaps:
            found.append(head if isinstance(head, Gap) else gaps[key])
            continue
        levels = (plain[0][key], plain[1][key])
        divide = head.unit != EXACT and key in scaled[0] and key in scaled[1]
        values = (scaled[0][key], scaled[1][key]) if divide else levels
        dropped = sum(scenario == head.scenario for scenario, *_ in failed)
        dropped += sum(len(all_of) - len(used) for all_of, used in zip(levels, values, strict=True))
        by = (per or "") if divide else ""
        found.append(_matched(head, values, levels, False, dropped, steps.get(key, 0.0), by))
    return found


def match_sessions(
    base: Mapping[str, Session], new: Mapping[str, Session], *, per: str | None = None, dropped: int = 0
) -> list[Found]:
    """The metrics of several sessions a side, by name: a number a session, the median over its slots.

    per: as `match_runs` has it; sessions without that are left out of metrics that are divided by it.
    Errors: as `match_blocks`.
    """
    sides = [[_good(frame, [arm]) for frame, arm in side.values()] for side in (base, new)]
    together = [pd.concat(side) for side in sides]
    gaps = _unusable(together[0]) | _unusable(together[1])
    steps = _steps(*together)
    plain = [
        _by_session(side, [_levels(good) for good in goods]) for side, goods in zip((base, new), sides, strict=True)
    ]
    scaled: list[dict[Key, dict[str, float]]] = [{}, {}]
    if per is not None:
        scaled = [_by_session(side, [_scaled_levels(*each, per) for each in side.values()]) for side in (base, new)]
    found: list[Found] = []
    for key, head in _heads(*together).items():
        if isinstance(head, Gap) or key in gaps:
            found.append(head if isinstance(head, Gap) else gaps[key])
            continue
        divide = head.unit != EXACT and key in scaled[0] and key in scaled[1]
        chosen = [side[key] for side in (scaled if divide else plain)]
        values, levels = (
            tuple(np.array(list(side.values())) for side in both) for both in (chosen, [side[key] for side in plain])
        )
        lost = len(base) + len(new) - sum(map(len, chosen)) + dropped
        by = (per or "") if divide else ""
        one = _matched(head, (values[0], values[1]), (levels[0], levels[1]), False, lost, steps.get(key, 0.0), by)
        names = (*chosen[0], *chosen[1])
        found.append(replace(one, sessions=names) if isinstance(one, Matched) else one)
    return found


def levels(sessions: Mapping[str, Session]) -> dict[Key, tuple[str, Floats]]:
    """By metric its unit, and a number a slot, or, of several sessions, a session."""
    goods = [_good(frame, [arm]) for frame, arm in sessions.values()]
    units = _units(pd.concat(goods), "NEW")
    if len(goods) == 1:
        return {key: (units[key][0], values.to_numpy(dtype=float)) for key, values in _values(goods[0])}
    found = _by_session(sessions, [_levels(good) for good in goods])
    return {key: (units[key][0], np.array(list(of.values()))) for key, of in found.items()}


def _by_session(side: Iterable[str], levels: Sequence[Mapping[Key, float]]) -> dict[Key, dict[str, float]]:
    found: dict[Key, dict[str, float]] = {}
    for name, of_session in zip(side, levels, strict=True):
        for key, level in of_session.items():
            found.setdefault(key, {})[name] = level
    return found


def _levels(good: pd.DataFrame) -> dict[Key, float]:
    return {key: float(values.median()) for key, values in _values(good)}


def _scaled_levels(frame: pd.DataFrame, arm: str, per: str) -> dict[Key, float]:
    divided = _scaled(_by_block(_good(frame, [arm, per]), arm, per))
    return {key: float(np.median(values)) for key, values in divided.items() if len(values)}


def _good(samples: pd.DataFrame, arms: list[str]) -> pd.DataFrame:
    return samples[samples["arm"].isin(arms) & (samples["status"] == "ok") & ~samples["warmup"]]


def _values(good: pd.DataFrame) -> list[tuple[Key, pd.Series]]:
    groups = slot_medians(good).groupby(_KEYS, observed=True, sort=False)["value"]
    return [((str(scenario), str(metric)), values) for (scenario, metric), values in groups]


def _by_block(good: pd.DataFrame, first: str, second: str) -> pd.DataFrame:
    """Columns `first` and `second`; a row a scenario, metric, run and block; NaN where an arm has no good value."""
    medians = slot_medians(good)
    keys = [*_KEYS, "run", "block", "arm"]
    blocks = medians.groupby(keys, observed=True, sort=False)["value"].median()
    return blocks.unstack("arm").reindex(columns=[first, second])


def _scaled(table: pd.DataFrame) -> dict[Key, Floats]:
    """The first column divided by the second, where that is above zero, by metric."""
    ratios = (table.iloc[:, 0] / table.iloc[:, 1].where(table.iloc[:, 1] > 0)).dropna()
    groups = ratios.groupby(_KEYS, observed=True, sort=False)
    return {(str(scenario), str(metric)): values.to_numpy() for (scenario, metric), values in groups}


def _heads(left: pd.DataFrame, right: pd.DataFrame) -> dict[Key, _Head | Gap]:
    """What both sides say of each metric; a Gap where only one side has it."""
    base, new = _units(left, "BASE"), _units(right, "NEW")
    found: dict[Key, _Head | Gap] = {}
    for key in dict.fromkeys([*base, *new]):
        if key not in new:
            found[key] = Gap(*key, ONLY_BASE)
        elif key not in base:
            found[key] = Gap(*key, "only NEW has it", unproved=False)
        elif base[key] != new[key]:
            place = 0 if base[key][0] != new[key][0] else 1
            what = ("unit", "better")[place]
            raise InputError(
                f"{named(*key)} differs in its {what}: {base[key][place]!r} in BASE, {new[key][place]!r} in NEW"
            )
        else:
            found[key] = _Head(*key, *base[key])
    return found


def _units(good: pd.DataFrame, side: str) -> dict[Key, Key]:
    """By metric its unit and direction."""
    found: dict[Key, Key] = {}
    heads = good[[*_KEYS, "unit", "better"]].drop_duplicates().astype(str)
    for scenario, metric, unit, better in heads.itertuples(index=False, name=None):
        if found.setdefault((scenario, metric), (unit, better)) != (unit, better):
            raise InputError(f"{named(scenario, metric)} changes its unit or direction between slots of {side}")
    return found


def _unusable(good: pd.DataFrame) -> dict[Key, Gap]:
    """Metrics of which no ratio can be made: with a time of 0 s, or with numbers that are no measurement's.

    Raises InputError for a time below zero and for what is no number.
    """
    value, time = good["value"], good["unit"] == "second"
    sizes = value.abs()
    bad = good[~np.isfinite(value) | ((value <= 0) & time) | (sizes > _LARGEST) | ((sizes > 0) & (sizes < _SMALLEST))]
    found: dict[Key, Gap] = {}
    for key, rows in bad.groupby(_KEYS, observed=True, sort=False):
        scenario, metric = map(str, key)
        values = rows["value"]
        wrong = rows[~np.isfinite(values) | ((values < 0) & (rows["unit"] == "second"))]
        if len(wrong):
            worst = wrong.iloc[0]
            where = f"arm {worst['arm']}, slot {worst['slot']}"
            raise InputError(f"{named(scenario, metric)} of {where} is {worst['value']:g} s: that is no time")
        zero = rows[values == 0]
        worst = zero if len(zero) else rows
        many = plural(worst[["run", "slot"]].drop_duplicates().shape[0], "slot")
        what = "0 s" if len(zero) else f"{values.iloc[0]:g}"
        found[scenario, metric] = Gap(scenario, metric, f"{what} in {many}, and there is no ratio of that")
    return found


def _steps(*sides: pd.DataFrame) -> dict[Key, float]:
    """By metric the step between single values, where all are above zero."""
    groups: dict[Key, list[Floats]] = {}
    for side in sides:
        for (scenario, metric), values in side.groupby(_KEYS, observed=True, sort=False)["value"]:
            if values.min() > 0 and values.max() < np.inf:
                groups.setdefault((str(scenario), str(metric)), []).append(values.to_numpy(dtype=float))
    return {key: resolution.step(*values) for key, values in groups.items()}


def _matched(
    head: _Head,
    values: tuple[Floats, Floats],
    levels: tuple[Floats, Floats],
    paired: bool,
    dropped: int,
    step: float,
    per: str = "",
) -> Found:
    if not len(values[0]) or not len(values[1]):
        return Gap(head.scenario, head.metric, "no block in which both ended well")
    low = min(float(level.min()) for level in levels)
    if low <= 0:
        return Gap(head.scenario, head.metric, f"it goes down to {low:g}, and there is no ratio of 0 or less")
    middle = float(np.median(levels[0])), float(np.median(levels[1]))
    return Matched(head.scenario, head.metric, head.unit, head.better, *values, paired, middle, dropped, per, step)


def named(scenario: str, metric: str) -> str:
    """`scenario:metric`, or the metric where there is no scenario, as in a pyperf file."""
    return f"{scenario}:{metric}" if scenario else metric
