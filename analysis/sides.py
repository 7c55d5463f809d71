"""What BASE and NEW are: two arms of a campaign, two campaigns or pyperf files, or several a side.

Loaded, and checked to be alike, and not to be the same data.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final, Literal

import numpy as np
import pandas as pd

from analysis import copies, ranks
from analysis.badges import between
from analysis.between import apart
from analysis.ends import ended
from analysis.load import Campaign, Loaded, load
from analysis.looks import looks_of
from analysis.matching import (
    EXACT,
    ONLY_BASE,
    Failed,
    Found,
    Gap,
    Matched,
    Session,
    match_blocks,
    match_runs,
    match_sessions,
)
from analysis.suites import Suite, moment, open_suite
from analysis.words import listed, plural
from bench.errors import InputError
from bench.results import FACTS, JOURNAL, PLAN, Record
from bench.text import clean

Design = Literal["blocks", "campaigns", "suites", "sessions"]

NOT_INTERLEAVED: Final = "not interleaved: drift between the two runs counts as a difference"
_HOW = "write DIR:ARM DIR:ARM, or ARM ARM --in DIR, or two results folders, or two pyperf .json files"
#: What one value of a lone file is, by the tool whose file it is.
UNIT_OF: Final = {
    "pyperf": "the pyperf run: the values of one process share its fate",
    "hyperfine": "the run of hyperfine: a process of its own",
    "Google Benchmark": "the repetition of Google Benchmark: all of one process",
    "pytest-benchmark": "the round of pytest-benchmark, or a few in a row where there are many: all of one process",
    "asv": "the sample of asv",
}
SEVERAL: Final = "several sessions a side: BASE… -- NEW…"
#: A side that has fewer sessions than can prove anything loses none.
_KEPT: Final = ranks.least_group(0.05)
#: What may differ between two campaigns' scenarios of one name: it does not change what a value is.
_MAY_DIFFER = frozenset({"description", "blocks", "timeout"})


@dataclass(frozen=True)
class Reference:
    """One of the two as it was named: a pyperf file, or a results folder and perhaps an arm of it."""

    path: Path
    arm: str | None = None
    suite: bool = False

    def __str__(self) -> str:
        return f"{self.path}:{self.arm}" if self.arm else str(self.path)


@dataclass(frozen=True)
class Sides:
    """Both sides, matched.

    design   blocks (two arms, interleaved), campaigns or suites (one a side), sessions (several a side)
    found    what was matched, by arm; "" where one arm was named for each side
    informs  arms of `found` that gate nothing: the one that the others are divided by
    badges   by arm what differs between the sides beside the metrics
    notes    what a reader must know, a sentence each
    failed   by arm how many slots of BASE and of NEW did not end well
    fates    by benchmark how many runs of BASE and of NEW failed, and of how many: (failed, runs) a side
    looks    by scenario the block counts at which the campaign was looked at, where it could stop early
    sessions the names of BASE's and of NEW's, where there are several a side
    aside    those of them that are left out of `found`, and how far off the others they lie, as a fraction
    news     by arm NEW's sessions themselves, by name
    """

    base: str
    new: str
    design: Design
    found: dict[str, list[Found]]
    informs: frozenset[str] = frozenset()
    badges: dict[str, list[str]] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    failed: dict[str, tuple[int, int]] = field(default_factory=dict)
    fates: dict[str, tuple[tuple[int, int], tuple[int, int]]] = field(default_factory=dict)
    looks: dict[str, tuple[int, ...]] = field(default_factory=dict)
    sessions: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())
    aside: Mapping[str, float] = field(default_factory=dict)
    news: Mapping[str, Mapping[str, Session]] = field(default_factory=dict)


def sides(
    base: str | Sequence[str], new: str | Sequence[str], *, inside: Path | None = None, arms: Sequence[str] = ()
) -> Sides:
    """Reads what BASE and NEW name: one each, or several sessions a side.

    inside: the results folder of which both are arms; arms: of results folders only these. Raises InputError: how to
    write it, which arms there are, what is not alike, what is the same.
    """
    first, second = ([_reference(text, inside) for text in _texts(given)] for given in (base, new))
    if not first or not second:
        raise InputError("BASE and NEW are both needed", hint=_HOW)
    every = [*first, *second]
    if len({each.suite for each in every}) > 1:
        odd = next(each for each in every if each.suite != every[0].suite)
        raise InputError(
            f"{every[0]} and {odd} are not of one kind", hint="a campaign's arm as a pyperf file is DIR/pyperf/ARM.json"
        )
    if arms and (every[0].suite or any(each.arm for each in every)):
        raise InputError("--arm is for results folders without arms in their names")
    if len(every) > 2:
        return _several_suites(first, second) if every[0].suite else _several_campaigns(first, second, arms)
    if every[0].suite:
        return _suites(*every)
    if every[0].path.resolve() == every[1].path.resolve():
        return _blocks(*every)
    return _campaigns(every[0], every[1], arms)


def _texts(given: str | Sequence[str]) -> Sequence[str]:
    return [given] if isinstance(given, str) else given


def _reference(text: str, inside: Path | None) -> Reference:
    if inside is not None:
        return Reference(inside, _arm_name(text))
    path = Path(text)
    front, colon, arm = text.rpartition(":")
    split = bool(colon) and Path(front).is_dir()
    if path.exists():
        if split:
            raise InputError(f"{text} may be a file or an arm of {front}", hint=f"write ./{text} or --in DIR")
        if path.is_dir():
            return Reference(path)
        if path.name in (JOURNAL, PLAN, FACTS):
            raise InputError(f"{text} is a part of a results folder", hint=f"name the folder: {path.parent}")
        return Reference(path, suite=True)
    if split:
        return Reference(Path(front), _arm_name(arm))
    if colon and front:
        raise InputError(f"no results folder at {front}", hint=_HOW)
    raise InputError(f"no file or folder {text!r}", hint=_HOW)


def _arm_name(text: str) -> str:
    if not text or "/" in text or ":" in text:
        raise InputError(f"{text!r} is not the name of an arm", hint=_HOW)
    return text


def _suites(base: Reference, new: Reference) -> Sides:
    ends = ended(*([suite] for suite in _read_suites([base, new])))
    ((old,), (late,)) = ends.base, ends.new
    frames = old.values("session"), late.values("session")
    both = match_runs(frames[0], frames[1], "session", "session")
    matched = [replace(each, proves=False) if isinstance(each, Matched) else each for each in both]
    matched = [each for each in matched if each.metric not in {**old.summaries, **late.summaries}]
    units = dict.fromkeys(UNIT_OF[suite.tool] for suite in (old, late))
    notes = [NOT_INTERLEAVED, f"the unit is {listed(units)}", *ends.told]
    news = {"": {str(new): (frames[1], "session")}}
    found = {"": ends.known([*matched, *_summed_up(old, late)])}
    return Sides(str(base), str(new), "suites", found, notes=notes, news=news, fates=ends.fates)


def _summed_up(old: Suite, late: Suite) -> list[Found]:
    """The benchmarks of which a side has no values but a summary of them."""
    names = [{kind.name for kind in suite.benchmarks} for suite in (old, late)]
    gaps: list[Found] = []
    for name, kept in {**old.summaries, **late.summaries}.items():
        if name in names[0] & names[1]:
            gaps.append(Gap("", name, f"{kept}: name several files a side, of which each counts once"))
        else:
            only = ONLY_BASE if name in names[0] else f"only NEW has it: {kept}"
            gaps.append(Gap("", name, only, unproved=name in names[0]))
    return gaps


def _read_suites(given: Sequence[Reference]) -> list[Suite]:
    _named_once(given)
    suites = [open_suite(each.path) for each in given]
    same = "hold the same data", "name two different sessions"
    for copy, first in copies.copies_among([each.path for each in given]).items():
        raise InputError(f"{first} and {copy} {same[0]}", hint=same[1])
    every = [copies.held(suite.frame("session")) for suite in suites]
    for (one, ours), (other, theirs) in itertools.combinations(zip(given, every, strict=True), 2):
        if copies.same_values(ours, theirs):
            raise InputError(f"{one} and {other} {same[0]}", hint=same[1])
    return suites


def _named_once(given: Sequence[Reference]) -> None:
    seen: dict[tuple[Path, str | None], Reference] = {}
    for each in given:
        place = each.path.resolve(), each.arm
        if place in seen:
            raise InputError(f"{each} is named twice", hint="BASE and NEW must be different data")
        seen[place] = each


def _several_suites(base: Sequence[Reference], new: Sequence[Reference]) -> Sides:
    suites = _read_suites([*base, *new])
    ends = ended(suites[: len(base)], suites[len(base) :])
    suites = [*ends.base, *ends.new]
    sessions: dict[str, Session] = {
        str(each): (suite.frame("session"), "session") for each, suite in zip((*base, *new), suites, strict=True)
    }
    times = dict(zip(sessions, (suite.started for suite in suites), strict=True))
    told = list(ends.told)
    kept: dict[str, list[str]] = {}
    for name, what in {name: what for suite in suites for name, what in suite.summaries.items()}.items():
        kept.setdefault(what, []).append(name)
    told += [f"{listed(names)}: {what}; that stands for the session" for what, names in kept.items()]
    ours = {str(each): sessions[str(each)] for each in base}
    theirs = {str(each): sessions[str(each)] for each in new}
    return replace(
        _of_sessions(ours, theirs, {"": ends.known(match_sessions(ours, theirs))}, times, told, {}, {}),
        news={"": theirs},
        fates=ends.fates,
    )


def _several_campaigns(base: Sequence[Reference], new: Sequence[Reference], arms: Sequence[str]) -> Sides:
    every = [*base, *new]
    _named_once(every)
    loads = {str(each): load([each.path]) for each in every}
    _no_copies(list(loads.values()))
    for loaded in loads.values():
        _same_scenarios(loads[str(base[0])].campaigns[0], loaded.campaigns[0])
    gaps: dict[str, list[Found]] = {}
    if any(each.arm for each in every):
        pairs = {"": {str(each): _known(loads[str(each)], each) for each in every}}
    else:
        shared, gaps = _in_both(base, new, loads, arms)
        pairs = {arm: {name: arm for name, loaded in loads.items() if arm in _good(loaded)} for arm in shared}
    per = _normaliser(*([loads[str(each)] for each in side] for side in (base, new)))
    found: dict[str, list[Found]] = {}
    badges: dict[str, list[str]] = {}
    lost: dict[str, tuple[int, int]] = {}
    news: dict[str, Mapping[str, Session]] = {}
    notes = [told for loaded in loads.values() for told in _torn(loaded)]
    for label, names in pairs.items():
        scale = None if per in names.values() else per
        sessions = {name: (_samples(loads[name], (arm, scale)), arm) for name, arm in names.items()}
        having = [[str(each) for each in side if str(each) in sessions] for side in (base, new)]
        ours, theirs = ({name: sessions[name] for name in side} for side in having)
        found[label] = match_sessions(ours, theirs, per=scale)
        news[label] = theirs
        others = [between(loads[one], loads[other], names[one], names[other]) for one, other in _crossed(*having)]
        badges[label] = list(dict.fromkeys(itertools.chain(*others)))
        failed = [
            sum(len(_failed(loads[str(each)], {names.get(str(each), label)})) for each in side) for side in (base, new)
        ]
        lost[label] = (failed[0], failed[1])
        if any(failed):
            what = f"{plural(failed[0], 'slot')} of BASE and {failed[1]} of NEW"
            notes.append(f"did not end well, and are left out: {what} {label}".strip())
        if len(sessions) < len(every):
            counts = [f"{len(has)} of {len(side)}" for has, side in zip(having, (base, new), strict=True)]
            notes.append(f"{label} ended well in {counts[0]} sessions of BASE and {counts[1]} of NEW: those count")
    divided = any(getattr(each, "per", "") for metrics in found.values() for each in metrics)
    informs = frozenset({str(per)}) if divided and per in pairs and not arms else frozenset()
    if divided:
        notes.append(f"host-normalised: values are divided by those of {per} in the same block")
    else:
        notes.append("raw slot medians: no baseline ran beside the compared arm on both sides")
    pairs_of = _crossed([str(each) for each in base], [str(each) for each in new])
    notes += _emulated(*loads.values())
    notes += _hosts(*((loads[one].campaigns[0], loads[other].campaigns[0]) for one, other in pairs_of))
    times = {name: min(filter(None, loaded.slots["started"]), default="") for name, loaded in loads.items()}
    made = _of_sessions(
        dict.fromkeys(map(str, base)), dict.fromkeys(map(str, new)), found | gaps, times, notes, badges, lost
    )
    return replace(made, informs=informs, news=news)


def _crossed(base: Sequence[str], new: Sequence[str]) -> list[tuple[str, str]]:
    """Pairs in which whatever differs between a session of BASE and one of NEW shows: the first of each with all."""
    return list(dict.fromkeys([*((base[0], each) for each in new), *((each, new[0]) for each in base)]))


def _of_sessions(
    base: Mapping[str, object],
    new: Mapping[str, object],
    found: dict[str, list[Found]],
    times: Mapping[str, str],
    notes: list[str],
    badges: dict[str, list[str]],
    lost: dict[str, tuple[int, int]],
) -> Sides:
    lacking = _lacking(found, len(base), len(new))
    found, aside = _without_far(found, list(base), list(new))
    told = [
        f"set aside: {name}, which lies {size:+.0%} off the other sessions in its metrics on the whole"
        for name, size in aside.items()
    ]
    order, said = _order(times, list(base), list(new))
    found = {arm: [_in_order(each, order) for each in metrics] for arm, metrics in found.items()}
    unit = f"the unit is the session: {len(base)} of BASE, {len(new)} of NEW; what drifts between their times counts"
    return Sides(
        _some(list(base)),
        _some(list(new)),
        "sessions",
        found,
        badges=badges,
        notes=[unit, *lacking, *said, *told, *notes],
        failed=lost,
        sessions=(tuple(base), tuple(new)),
        aside=aside,
    )


def _lacking(found: Mapping[str, Sequence[Found]], base: int, new: int) -> list[str]:
    """A sentence on how many sessions the metrics have, where not every session has every metric."""
    metrics = [each for matched in found.values() for each in matched if isinstance(each, Matched)]
    sides = [sorted({len(each.base) for each in metrics}), sorted({len(each.new) for each in metrics})]
    if not metrics or all(counts == [most] for counts, most in zip(sides, (base, new), strict=True)):
        return []
    ours, theirs = (f"{few[0]}" if len(few) == 1 else f"{few[0]} to {few[-1]}" for few in sides)
    return [f"not every session has every metric: a metric has {ours} of BASE’s sessions and {theirs} of NEW’s"]


def _order(times: Mapping[str, str], base: list[str], new: list[str]) -> tuple[dict[str, int], list[str]]:
    """When each ran, as a rank, and what must be said of it; as they are named where not all of them say."""
    names = [*base, *new]
    known = {name: moment(times[name]) for name in names}
    if not all(known.values()):
        said = ["not all sessions say when they ran: taken to have run in the order in which they are named"]
        return {name: place for place, name in enumerate(names)}, said
    places = {name: place for place, name in enumerate(sorted(names, key=known.__getitem__))}
    ours, theirs = ([known[name] for name in side] for side in (base, new))
    if max(ours) < min(theirs):
        return places, ["not interleaved: all of BASE ran before all of NEW"]
    if max(theirs) < min(ours):
        return places, ["not interleaved: all of NEW ran before all of BASE"]
    return places, []


def _in_order(each: Found, order: Mapping[str, int]) -> Found:
    if isinstance(each, Gap):
        return each
    return replace(each, order=tuple(order[name] for name in each.sessions))


def _some(names: list[str]) -> str:
    shown = names if len(names) < 4 else [*names[:2], f"{len(names) - 2} more"]
    return listed(shown)


def _without_far(
    found: dict[str, list[Found]], base: list[str], new: list[str]
) -> tuple[dict[str, list[Found]], dict[str, float]]:
    """Without sessions that lie far from all others in most metrics, where enough are left; and which, and how far."""
    names = [*base, *new]
    place = {name: number for number, name in enumerate(names)}
    metrics = [each for matched in found.values() for each in matched if isinstance(each, Matched)]
    values = np.full((len(metrics), len(names)), np.nan)
    for row, each in zip(values, metrics, strict=True):
        row[[place[name] for name in each.sessions]] = np.log(np.concatenate([each.base, each.new]))
    far = {names[number]: float(np.expm1(size)) for number, size in apart(values)}
    if not far or any(len(set(side) - set(far)) < _KEPT for side in (base, new)):
        return found, {}
    kept = {
        arm: [each if isinstance(each, Gap) else _without(each, set(far)) for each in metrics]
        for arm, metrics in found.items()
    }
    return kept, far


def _without(each: Matched, far: set[str]) -> Found:
    keep = np.array([name not in far for name in each.sessions])
    count = len(each.base)
    base, new = each.base[keep[:count]], each.new[keep[count:]]
    if not len(base) or not len(new):
        return Gap(each.scenario, each.metric, "only sessions that are set aside have it")
    names = tuple(name for name in each.sessions if name not in far)
    levels = each.levels if each.per else (float(np.median(base)), float(np.median(new)))
    lost = each.dropped + int((~keep).sum())
    return replace(each, base=base, new=new, sessions=names, levels=levels, dropped=lost)


def _no_copies(loads: Sequence[Loaded]) -> None:
    """Two arms of one folder are no copies."""
    campaigns = {loaded.campaigns[0].folder.resolve(): loaded.campaigns[0] for loaded in loads}
    copies.refuse_copies([(campaign.folder, campaign.records) for campaign in campaigns.values()])


def _blocks(base: Reference, new: Reference) -> Sides:
    loaded = load([base.path])
    names = (_known(loaded, base), _known(loaded, new))
    if names[0] == names[1]:
        raise InputError(f"arm {names[0]} of {base.path} is both sides", hint=f"its arms: {_arms(loaded)}")
    failed = _failed(loaded, set(names))
    matched = match_blocks(_samples(loaded, names), *names, failed)
    badges = between(loaded, loaded, *names)
    lost, told = _failures((loaded, names[0]), (loaded, names[1]))
    notes = [*_emulated(loaded), *_grouped(loaded, names), *_torn(loaded), *told, *_boots((loaded, names))]
    looks = looks_of(loaded.campaigns[0].plan)
    if looks:
        matched = [_ended(each, loaded.campaigns[0].decisions, set(names)) for each in matched]
        notes.append("the campaign could stop early: a metric is judged by the blocks that decided it, at their level")
    return Sides(
        str(base),
        str(new),
        "blocks",
        {"": matched},
        badges={"": badges},
        notes=notes,
        failed={"": lost},
        looks=looks,
        news={"": {str(new): (_samples(loaded, names), names[1])}},
    )


def _ended(each: Found, decisions: Mapping[str, Any], names: set[str]) -> Found:
    """A metric up to the look that decided it, if one did; later blocks ran for other metrics' sake."""
    for decided in decisions.get("metrics", []):
        same = (decided["scenario"], decided["metric"]) == (each.scenario, each.metric)
        if same and decided["over"] and {decided["base"], decided["new"]} == names and isinstance(each, Matched):
            base, new = each.base[: decided["blocks"]], each.new[: decided["blocks"]]
            return replace(each, base=base, new=new, levels=(float(np.median(base)), float(np.median(new))))
    return each


def _campaigns(base: Reference, new: Reference, arms: Sequence[str]) -> Sides:
    old, late = load([base.path]), load([new.path])
    _no_copies([old, late])
    _same_scenarios(old.campaigns[0], late.campaigns[0])
    notes = [NOT_INTERLEAVED, *_torn(old), *_torn(late)]
    if base.arm or new.arm:
        pairs = {"": (_known(old, base), _known(late, new))}
    else:
        pairs = {name: (name, name) for name in _shared(old, late, base, new, arms)}
    per = _normaliser([old], [late])
    found: dict[str, list[Found]] = {}
    badges: dict[str, list[str]] = {}
    lost: dict[str, tuple[int, int]] = {}
    news: dict[str, Mapping[str, Session]] = {}
    for label, (left, right) in pairs.items():
        scale = None if per in (left, right) else per
        failed = [*_failed(old, {left}), *_failed(late, {right})]
        left_frame, right_frame = _samples(old, (left, scale)), _samples(late, (right, scale))
        news[label] = {str(new): (right_frame, right)}
        matched = match_runs(left_frame, right_frame, left, right, per=scale, failed=failed)
        found[label] = [_alone_or_not(each) for each in matched]
        badges[label] = between(old, late, left, right)
        lost[label], told = _failures((old, left), (late, right))
        notes += told
    if not (base.arm or arms):
        found |= _alone(old, late, set(pairs))
    divided = {label for label, metrics in found.items() if any(getattr(each, "per", "") for each in metrics)}
    informs: frozenset[str] = frozenset()
    if divided:
        notes.append(f"host-normalised: values are divided by those of {per} in the same block")
        if per in pairs and not arms:
            informs = frozenset({str(per)})
            notes.append(f"{per} itself, not divided by anything, shows how the host changed, and only informs")
    else:
        notes.append("raw slot medians: there is no baseline beside the compared arm in both campaigns")
    notes += _boots((old, [left for left, _ in pairs.values()]), (late, [right for _, right in pairs.values()]))
    notes += _emulated(old, late) + _hosts((old.campaigns[0], late.campaigns[0]))
    return Sides(str(base), str(new), "campaigns", found, informs, badges, notes, lost, news=news)


def _alone_or_not(each: Found) -> Found:
    """Two campaigns prove something of what ran beside a common baseline, and of counts, which no speed changes."""
    return replace(each, proves=bool(each.per) or each.unit == EXACT) if isinstance(each, Matched) else each


def _known(loaded: Loaded, given: Reference) -> str:
    """The arm that a reference names, where it has a slot that ended well."""
    if given.arm is None:
        raise InputError(f"{given.path}: which arm? It has {_arms(loaded)}", hint="write DIR:ARM DIR:ARM")
    if given.arm not in loaded.arms:
        raise InputError(f"{given.path} has no arm {given.arm!r}: it has {_arms(loaded)}")
    _ended_well(loaded, given.arm, given.path)
    return given.arm


def _ended_well(loaded: Loaded, arm: str, path: Path) -> None:
    status = loaded.slots.loc[loaded.slots["arm"] == arm, "status"]
    if not (status == "ok").any():
        why = f"all {plural(len(status), 'slot')} failed" if len(status) else "it did not run"
        raise InputError(f"no slot of arm {arm!r} in {path} ended well: {why}", hint="its report says more")


def _arms(loaded: Loaded) -> str:
    return ", ".join(loaded.arms)


def _shared(old: Loaded, late: Loaded, base: Reference, new: Reference, arms: Sequence[str]) -> list[str]:
    """The arms to compare: those that were asked for, or all that ran well in both."""
    for name in arms:
        for loaded, given in ((old, base), (late, new)):
            _known(loaded, Reference(given.path, _arm_name(name)))
    if arms:
        return list(dict.fromkeys(arms))
    shared = [name for name in old.arms if name in _good(old) & _good(late)]
    if not shared:
        raise InputError(
            f"no arm ran in both: {base} has {_arms(old)}; {new} has {_arms(late)}", hint="write DIR:ARM DIR:ARM"
        )
    return shared


def _in_both(
    base: Sequence[Reference], new: Sequence[Reference], loads: Mapping[str, Loaded], arms: Sequence[str]
) -> tuple[list[str], dict[str, list[Found]]]:
    """The arms to compare of several campaigns: those that were asked for, or all that ran well on both sides.

    And those that ran well on one side alone.
    """
    for name in arms:
        for each in (*base, *new):
            _known(loads[str(each)], Reference(each.path, _arm_name(name)))
    if arms:
        return list(dict.fromkeys(arms)), {}
    names = list(dict.fromkeys(name for loaded in loads.values() for name in loaded.arms))
    ours, theirs = (set().union(*(_good(loads[str(each)]) for each in side)) for side in (base, new))
    shared = [name for name in names if name in ours & theirs]
    if not shared:
        raise InputError("no arm ran well on both sides", hint="write DIR:ARM… -- DIR:ARM…")
    gaps: dict[str, list[Found]] = {}
    for name in names:
        if name in ours - theirs:
            gaps[name] = [_one_sided(name, "BASE", "NEW", [loads[str(each)] for each in new])]
        elif name in theirs - ours:
            gaps[name] = [_one_sided(name, "NEW", "BASE", [loads[str(each)] for each in base])]
    return shared, gaps


def _alone(old: Loaded, late: Loaded, shared: set[str]) -> dict[str, list[Found]]:
    """The arms of which only one campaign has a slot that ended well."""
    left, right = (
        [name for name in loaded.arms if name in _good(loaded) and name not in shared] for loaded in (old, late)
    )
    gaps: dict[str, list[Found]] = {name: [_one_sided(name, "BASE", "NEW", [late])] for name in left}
    return gaps | {name: [_one_sided(name, "NEW", "BASE", [old])] for name in right}


def _one_sided(arm: str, side: str, other: str, loads: Sequence[Loaded]) -> Gap:
    """An arm that ended well on one side alone; loads: the campaigns of the other."""
    tried = sum(bool((loaded.slots["arm"] == arm).any()) for loaded in loads)
    where = f"{tried} of {plural(len(loads), 'session')}" if len(loads) > 1 else "any slot"
    why = f"did not end well in {where} of {other}" if tried else f"only {side} has this arm"
    return Gap("", "all metrics", why, unproved=side == "BASE")


def _good(loaded: Loaded) -> set[str]:
    return set(loaded.slots.loc[loaded.slots["status"] == "ok", "arm"])


def _samples(loaded: Loaded, arms: Sequence[str | None]) -> pd.DataFrame:
    return loaded.samples[loaded.samples["arm"].isin([arm for arm in arms if arm])]


def _normaliser(*given: Sequence[Loaded]) -> str | None:
    """The baseline arm that all plans name, if it ran on both sides."""
    names = {loaded.campaigns[0].plan.get("baseline") for side in given for loaded in side}
    name = names.pop()
    ran = all(any((loaded.slots["arm"] == name).any() for loaded in side) for side in given)
    return str(name) if name and not names and ran else None


def _scenarios(campaign: Campaign) -> dict[str, Record]:
    """Those of its plan; one from before there could be several workloads names the one it has."""
    return {
        name: {"workloads": [scenario["workload"]], **scenario} if "workload" in scenario else scenario
        for name, scenario in (campaign.plan.get("scenarios") or {}).items()
    }


def _same_scenarios(old: Campaign, late: Campaign) -> None:
    """Raises InputError where one name means two scenarios."""
    ours, theirs = (_scenarios(campaign) for campaign in (old, late))
    for name in [name for name in ours if name in theirs]:
        keys = [key for key in ours[name] if key in theirs[name] and key not in _MAY_DIFFER]
        odd = [
            f"{key} {ours[name][key]!r} and {theirs[name][key]!r}"
            for key in keys
            if ours[name][key] != theirs[name][key]
        ]
        if odd:
            raise InputError(f"scenario {name!r} is not the same in {old.folder} and {late.folder}: {listed(odd)}")


def _failed(loaded: Loaded, arms: set[str]) -> list[Failed]:
    bad = loaded.slots[loaded.slots["arm"].isin(arms) & (loaded.slots["status"] != "ok")]
    return [
        (str(scenario), int(run), int(block))
        for scenario, run, block in zip(bad["scenario"], bad["run"], bad["block"], strict=True)
    ]


def _failures(*given: tuple[Loaded, str]) -> tuple[tuple[int, int], list[str]]:
    """How many slots of BASE and of NEW did not end well, and that in a sentence, if any."""
    states = [loaded.slots.loc[loaded.slots["arm"] == arm, "status"] for loaded, arm in given]
    base, new = (int((status != "ok").sum()) for status in states)
    told = [
        f"{bad} of {plural(len(status), 'slot')} of {side} ({arm})"
        for side, bad, status, (_, arm) in zip(("BASE", "NEW"), (base, new), states, given, strict=True)
    ]
    return (base, new), [f"did not end well, and are left out: {listed(told)}"] if base or new else []


def _torn(loaded: Loaded) -> list[str]:
    return [
        f"{campaign.folder / JOURNAL} is cut in its last line: {plural(len(campaign.records), 'whole line')} count, "
        f"{plural(campaign.torn, 'byte')} do not"
        for campaign in loaded.campaigns
        if campaign.torn
    ]


def _emulated(*given: Loaded) -> list[str]:
    marked = [clean(loaded.campaigns[0].folder.name) for loaded in given if loaded.emulated]
    return [f"emulated host: the seconds of {' and '.join(marked)} are an emulator's"] if marked else []


def _grouped(loaded: Loaded, names: tuple[str, str]) -> list[str]:
    """Arms on different host kernels took no turns where each kernel took all its blocks at once."""
    plan = loaded.campaigns[0].plan
    kernels = {plan["arms"][name].get("host_kernel") for name in names if name in plan.get("arms", {})}
    return [NOT_INTERLEAVED] if plan.get("reboots") == "grouped" and len(kernels) > 1 else []


def _boots(*given: tuple[Loaded, Sequence[str]]) -> list[str]:
    """How often the host itself was started anew: slots of one host boot share its luck."""
    slots = [loaded.slots[loaded.slots["arm"].isin(arms)] for loaded, arms in given]
    boots = plural(pd.concat(slots)["boot_id"].dropna().nunique(), "host boot")
    if len(given) > 1:
        return [f"the unit is the slot, all of {boots}: what changes from one host boot to the next is not replicated"]
    return [f"the blocks are of {boots}"] if boots != "1 host boot" else []


def _hosts(*pairs: tuple[Campaign, Campaign]) -> list[str]:
    """What differs between the hosts and envelopes of two campaigns."""
    odd = []
    for pair in pairs:
        hosts = [campaign.facts.get("host") or {} for campaign in pair]
        envelopes = [campaign.plan.get("envelope") or {} for campaign in pair]
        for what, (ours, theirs), keys in (
            ("host", hosts, ("cpu", "cores", "memory", "kernel", "microcode", "governor")),
            ("envelope", envelopes, ("cpus", "memory", "rootfs")),
        ):
            for key in keys:
                if key in ours and key in theirs and ours[key] != theirs[key]:
                    odd.append(f"{what} {key} {ours[key]} → {theirs[key]}")
    return [f"not the same: {'; '.join(dict.fromkeys(odd))}"] if odd else []
