"""A comparison as `tare compare` and `tare check` make it: both sides read, matched and judged; and a gate's answer."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis import absolute
from analysis.absolute import Bound, Held
from analysis.compare import judged
from analysis.judge import percent
from analysis.load import no_collector
from analysis.matching import EXACT, ONLY_BASE, Gap, Matched, levels, named
from analysis.policy import Policy, matches
from analysis.ranks import Floats
from analysis.sides import Sides, sides
from analysis.words import listed, plural
from bench.errors import InputError
from bench.text import clean

PASSED: Final = 0
REGRESSED: Final = 1
UNPROVED: Final = 3

UNITS: Final = {"blocks": "block", "campaigns": "slot", "suites": "run", "sessions": "session"}
_SHOWN = 4


@dataclass(frozen=True)
class Comparison:
    """sides: what was compared. table: a row a metric, as `analysis.compare.judged` has it. notes: sentences. held: the
    policy's bounds of NEW's levels.
    """

    sides: Sides
    policy: Policy
    table: pd.DataFrame
    notes: list[str]
    held: list[Held] = field(default_factory=list)

    @property
    def unit(self) -> str:
        """What is counted as one: block, slot or run."""
        return UNITS[self.sides.design]

    @property
    def gaps(self) -> list[tuple[str, Gap, bool]]:
        """What could not be compared: (arm, the gap, whether it stands against a pass)."""
        return [
            (arm, each, each.unproved and arm not in self.sides.informs and self._gates(each))
            for arm, found in self.sides.found.items()
            for each in found
            if isinstance(each, Gap)
        ]

    def _gates(self, gap: Gap) -> bool:
        return self.policy.limits(gap.scenario, gap.metric).gates

    @cached_property
    def _in_several(self) -> set[str]:
        homes = self.table.groupby("metric")["scenario"].nunique()
        return set(homes[homes > 1].index)

    def label(self, arm: str, scenario: str, metric: str) -> str:
        """A metric as people read it: with its arm, if any, and its scenario where several have one of that name."""
        return clean(f"{arm} {named(scenario, metric) if metric in self._in_several else metric}".strip())

    def as_dict(self) -> dict[str, Any]:
        """What --json prints. Fractions, not per cent; null where there is no number.

        {"base", "new": text, "design": "blocks" | "campaigns" | "suites" | "sessions",
        "unit": "block" | "slot" | "run" | "session", "sessions": [[names of BASE's], [of NEW's]],
        "set_aside": {name of a session that is left out of "metrics": how far off the others it lies},
        "interleaved": bool, "alpha": number, "notes": [text],
        "metrics": [{every column of `analysis.compare.judged`, "badges": [text]}],
        "limits": [{"arm", "scenario", "metric", "unit", "limit": text, "level", "low", "high": number | null, "count",
        "kind": "kept" | "broken" | "unproved", "reason": text}],
        "geometric_mean": {arm: number},
        "not_compared": [{"arm", "scenario", "metric", "why": text, "unproved": bool}]}

        `tare check` adds "gate": {"exit": 0 | 1 | 3, "text": text}.
        """
        rows = [
            {key: None if isinstance(value, float) and math.isnan(value) else value for key, value in row.items()}
            | {"badges": self.sides.badges.get(row["arm"], [])}
            for row in self.table.to_dict("records")
        ]
        gaps = [
            {"arm": arm, "scenario": gap.scenario, "metric": gap.metric, "why": gap.why, "unproved": unproved}
            for arm, gap, unproved in self.gaps
        ]
        return {
            "base": self.sides.base,
            "new": self.sides.new,
            "design": self.sides.design,
            "unit": self.unit,
            "sessions": [list(names) for names in self.sides.sessions],
            "set_aside": dict(self.sides.aside),
            "interleaved": self.sides.design == "blocks",
            "alpha": self.policy.alpha,
            "notes": self.notes,
            "metrics": rows,
            "limits": [_bound_as_dict(each) for each in self.held],
            "geometric_mean": geometric_means(self.table),
            "not_compared": gaps,
        }


def _bound_as_dict(each: Held) -> dict[str, Any]:
    numbers = (("level", each.level), ("low", each.low), ("high", each.high))
    ends = {name: None if math.isnan(end) else end for name, end in numbers}
    place = {"arm": each.arm, "scenario": each.scenario, "metric": each.metric, "unit": each.unit}
    said = {"count": each.count, "kind": each.kind, "reason": each.reason}
    return place | {"limit": str(each.bound)} | ends | said


def geometric_means(table: pd.DataFrame) -> dict[str, float]:
    """By arm, of the ratios of what gates, where there are several; of rates the inverse, so that above 1 is worse."""
    found = {}
    for arm, rows in table[table["gates"].astype(bool)].groupby("arm", sort=False):
        logs = np.log(rows["ratio"].to_numpy(dtype=float)) * np.where(rows["better"] == "higher", -1, 1)
        if len(logs) > 1:
            found[str(arm)] = float(np.exp(logs.mean()))
    return found


@dataclass(frozen=True)
class Gate:
    """What a gate says: exit code 0 passed, 1 regressed, 3 neither proved; and that in a sentence."""

    code: int
    text: str


def compare(
    base: str | Sequence[str], new: str | Sequence[str], policy: Policy | None = None, **given: Any
) -> Comparison:
    """Reads and judges what references name, one or several a side; `given` as `analysis.sides.sides` takes it.

    Raises InputError for anything that cannot be read or is not alike; and, where no limit of the policy has a level of
    NEW's to be judged by, where the two have nothing in common or there is but one block (or slot, or run).
    """
    policy = policy or Policy()
    with no_collector():
        both = sides(base, new, **given)
        bounds = list(_bounds(both, policy)) if policy.bounded else []
        lacking = list(_lacking(both, policy, {each[0] for each in bounds})) if policy.bounded else []
        table = judged(both.found, policy, informs=both.informs, looks=both.looks, others=len(bounds))
        claims = len(bounds) + int(table["gates"].sum())
        alpha = policy.alpha / max(claims, 1)
        held = [absolute.held(*each, alpha, each[1] == EXACT, claims) for each in bounds]
    unit = UNITS[both.design]
    if not held:
        _refuse_nothing(both, table, unit, f"{_as_given(base)} and {_as_given(new)}")
    held += lacking
    notes = [*both.notes, *_unmatched_rules(policy, table, both, held)]
    if held:
        notes += _of_limits(both, table, unit)
    if both.design in ("campaigns", "suites") and policy.sessions > 1:
        notes.append(f"intervals are {policy.sessions:g} times as wide as the scatter within each run says")
    return Comparison(both, policy, table, notes, held)


def _bounds(both: Sides, policy: Policy) -> Iterator[tuple[tuple[str, str, str], str, Floats, Bound]]:
    """Each bound of a metric of NEW's: where, unit, values."""
    for arm, sessions in both.news.items():
        for (scenario, metric), (unit, values) in levels(sessions).items():
            for bound in policy.limits(scenario, metric).bounds:
                yield (arm, scenario, metric), unit, values, bound


def _lacking(both: Sides, policy: Policy, had: set[tuple[str, str, str]]) -> Iterator[Held]:
    """Each bound of what NEW has no values of: of what is known beside, else of the policy's own patterns."""
    known = {(arm, each.scenario, each.metric): each for arm, found in both.found.items() for each in found}
    for place in sorted(known.keys() - had):
        each = known[place]
        for bound in policy.limits(*place[1:]).bounds:
            yield absolute.lacking(place, bound, each.why if isinstance(each, Gap) and each.why != ONLY_BASE else "")
    for pattern, rule in policy.rules.items():
        bounds = [bound for bound in (rule.at_most, rule.at_least) if bound]
        if not any(matches(pattern, *place[1:]) for place in known.keys() | had):
            for bound in bounds:
                yield absolute.lacking(("", "", pattern), bound)


def _refuse_nothing(both: Sides, table: pd.DataFrame, unit: str, of: str) -> None:
    """Raises InputError where there is nothing to judge, and it is not that all runs of a side failed."""
    if table.empty and any(of and bad == of for ends in both.fates.values() for bad, of in ends):
        return
    if table.empty:
        raise InputError(f"{both.base} and {both.new} have no metric in common that can be compared: {_reasons(both)}")
    if int(table["count"].max()) < 2:
        needed = int(table["needed"].min())
        raise InputError(f"one {unit} alone tells nothing of {of}", hint=f"at least {needed} are needed")


def _of_limits(both: Sides, table: pd.DataFrame, unit: str) -> list[str]:
    """What the intervals of levels hold for where NEW is one session, and what follows for a gate."""
    if both.design == "sessions":
        return []
    count = "slot" if unit == "block" else unit
    told = f"limits are judged by the {count}s of NEW's one session: another session may lie elsewhere"
    gating = table[table["gates"].astype(bool)]
    gates = set(zip(gating["arm"], gating["scenario"], gating["metric"], strict=True))
    if any(
        isinstance(each, Matched) and not each.proves and (arm, each.scenario, each.metric) in gates
        for arm, found in both.found.items()
        for each in found
    ):
        told += (
            "; a broken one is exit 1, and where all are kept, what gates by its ratio still proves nothing (exit 3)"
        )
    return [told]


def _as_given(names: str | Sequence[str]) -> str:
    return names if isinstance(names, str) else listed(names)


def gate(comparison: Comparison) -> Gate:
    """0 where every gating metric is equivalent or improved (or its regression within ±δ, or tolerated), 1 where any
    regressed, 3 otherwise.

    A gating metric that only BASE has, or that has no ratio, proves nothing, and no more of NEW's slots may have failed
    than the policy allows, as those that failed are not in the figures. Raises InputError where nothing gates.
    """
    gating = comparison.table[comparison.table["gates"]]
    lost = [comparison.label(arm, gap.scenario, gap.metric) for arm, gap, unproved in comparison.gaps if unproved]
    broken = [f"{_where(comparison, each)} {each.bound}" for each in comparison.held if each.kind == "broken"]
    if gating.empty and not lost and not comparison.held:
        raise InputError("no metric gates", hint="the policy lets all of them only inform")
    worse = gating["kind"] == "regressed"
    within = worse & gating["within"]
    tolerated = gating["tolerated"] & ~within
    bad = gating[worse & ~tolerated & ~within]
    inconclusive = gating[gating["kind"] == "inconclusive"]
    if broken:
        of = f"{len(broken)} of {plural(len(comparison.held), 'absolute limit')} broken: {_first(broken)}"
        worse_too = "" if bad.empty else f"; {len(bad)} of {plural(len(gating), 'gating metric')} regressed"
        return Gate(REGRESSED, of + worse_too)
    if not bad.empty:
        changes = map(_change, bad["ratio"])
        told = [f"{name} {change}" for name, change in zip(_names(comparison, bad), changes, strict=True)]
        return Gate(REGRESSED, f"{len(bad)} of {plural(len(gating), 'gating metric')} regressed: {_first(told)}")
    open_ = [f"{_where(comparison, each)} {each.bound}" for each in comparison.held if each.kind == "unproved"]
    if not inconclusive.empty or lost or failing(comparison) or open_:
        return Gate(
            UNPROVED, f"no regression proved, and no pass: {_unproved(comparison, gating, inconclusive, lost, open_)}"
        )
    several = {"regression within ±δ": within.sum(), "tolerated regression": tolerated.sum()}
    also = listed(_several(int(count), what) for what, count in several.items() if count)
    passed = f"{plural(len(gating), 'gating metric')} proved equivalent or improved"
    passed = f"{passed} ({also} among them)" if also else passed
    limits = plural(len(comparison.held), "absolute limit")
    return Gate(PASSED, f"{passed}, and {limits} kept" if comparison.held else passed)


def _where(comparison: Comparison, each: Held) -> str:
    return comparison.label(each.arm, each.scenario, each.metric)


def _several(count: int, what: str) -> str:
    return f"{count} {what if count == 1 else what.replace('regression', 'regressions')}"


def _unproved(
    comparison: Comparison, gating: pd.DataFrame, inconclusive: pd.DataFrame, lost: list[str], limits: list[str]
) -> str:
    parts = []
    if limits:
        parts.append(f"{len(limits)} of {plural(len(comparison.held), 'absolute limit')} not proved: {_first(limits)}")
    if not inconclusive.empty:
        of = f"{len(inconclusive)} of {plural(len(gating), 'gating metric')}"
        parts.append(f"{of} inconclusive ({_first(_names(comparison, inconclusive))})")
    if lost:
        parts.append(f"not compared: {_first(lost)}")
    parts += failing(comparison)
    few = inconclusive[inconclusive["count"] < inconclusive["needed"]]
    if not few.empty:
        least = plural(int(few["needed"].max()), comparison.unit)
        parts.append(f"at least {least} are needed where there are fewer: {_first(_names(comparison, few))}")
    return "; ".join(parts)


def failing(comparison: Comparison) -> list[str]:
    """For each arm of which more slots failed in NEW than in BASE (a session, where there are several), beyond what the
    policy allows, how many did.

    And for each benchmark that gates, of its runs: more than the share of BASE's, as there may be more runs of NEW.
    """
    ours, theirs = comparison.sides.sessions
    times = len(theirs) / len(ours) if ours else 1.0
    more = {
        arm: (base, new)
        for arm, (base, new) in comparison.sides.failed.items()
        if new - times * base > comparison.policy.failures and arm not in comparison.sides.informs
    }
    told = [f"{arm} {plural(new, 'slot')} of NEW failed, {base} of BASE".strip() for arm, (base, new) in more.items()]
    for name, ((base, of_base), (new, of_new)) in comparison.sides.fates.items():
        expected = base / of_base * of_new if of_base else 0
        limits = comparison.policy.limits("", name)
        if new - expected > comparison.policy.failures and (limits.gates or limits.bounds):
            told.append(clean(f"{name}: {new} of {plural(of_new, 'run')} of NEW failed, {base} of {of_base} of BASE"))
    return told


def _names(comparison: Comparison, rows: pd.DataFrame) -> list[str]:
    return [comparison.label(*where) for where in zip(rows["arm"], rows["scenario"], rows["metric"], strict=True)]


def _change(ratio: float) -> str:
    """`+12%`, `-0.3%`."""
    return f"{'+' if ratio >= 1 else '-'}{percent(abs(ratio - 1))}"


def _first(names: list[str]) -> str:
    shown = names[:_SHOWN]
    return f"{', '.join(shown)} and {len(names) - _SHOWN} more" if len(names) > _SHOWN else listed(shown)


def _reasons(both: Sides) -> str:
    """Why nothing could be compared: what each side alone has, or else the reasons."""
    gaps = [each for found in both.found.values() for each in found if isinstance(each, Gap)]
    told: dict[str, list[str]] = {}
    for gap in gaps:
        told.setdefault(gap.why, []).append(named(gap.scenario, gap.metric))
    return "; ".join(f"{why}: {_first(names)}" for why, names in told.items()) or "there are no values"


def _unmatched_rules(policy: Policy, table: pd.DataFrame, both: Sides, held: Sequence[Held]) -> list[str]:
    """Patterns that mean nothing here; those of limits stand among the limits that are not proved."""
    names = set(zip(table["scenario"], table["metric"], strict=True))
    names |= {(each.scenario, each.metric) for found in both.found.values() for each in found}
    names |= {(each.scenario, each.metric) for each in held}
    idle = [pattern for pattern in policy.rules if not any(matches(pattern, *name) for name in names)]
    return [f"no metric here is meant by the policy's {listed(map(repr, idle))}"] if idle else []
