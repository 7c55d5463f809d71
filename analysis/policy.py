"""What a gate asks of each metric: how far it may move (δ), and whether it gates or only informs.

A policy file is TOML, read strictly. Its tables under [metrics] are named by glob patterns (`*`, `?`, `[abc]`) of a
metric or of scenario:metric; of several that match, the later one counts, key by key, after the built-in rules.
"""

from __future__ import annotations

import json
import math
import re
from dataclasses import dataclass, field
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Annotated, Any, Final, TypeVar

import msgspec

from analysis.absolute import Bound, bound
from analysis.judge import BETWEEN_SESSIONS
from bench import files
from bench.errors import InputError, MissingFile

DELTA: Final = 0.03
ALPHA: Final = 0.05
_LEAST_ALPHA: Final = 1e-9  # below, no test of any count of blocks proves anything


class Rule(msgspec.Struct, forbid_unknown_fields=True, frozen=True):
    """What one pattern says; None where it leaves things as they are.

    delta: the equivalence margin · gates: false only informs · tolerate: a proven regression whose whole interval
    stays below this does not fail the gate. Sizes are fractions. at_most, at_least: what NEW's level must be, whatever
    BASE's is.
    """

    delta: float | None = None
    gates: bool | None = None
    tolerate: float | None = None
    at_most: Bound | None = None
    at_least: Bound | None = None


class _RuleTable(msgspec.Struct, forbid_unknown_fields=True):
    delta: str | float | None = None
    gates: bool | None = None
    tolerate: str | float | None = None
    at_most: str | float | None = None
    at_least: str | float | None = None


class _File(msgspec.Struct, forbid_unknown_fields=True):
    alpha: float = ALPHA
    delta: str | float = DELTA
    sessions: float = BETWEEN_SESSIONS
    tolerate: str | float | None = None
    failures: Annotated[int, msgspec.Meta(ge=0)] = 0
    metrics: dict[str, Any] = {}


_PLAIN: Final = {
    "`float | str | null`": 'a share like "5 %" or 0.05',
    "`float | str`": 'a share like "5 %" or 0.05',
    "`bool | null`": "true or false",
    "`float`": "a number",
    "`int`": "a whole number",
    "`object`": "a table",
    "Expected": "expected",
}
T = TypeVar("T", _File, _RuleTable)


_INFORMS, _GATES = Rule(gates=False), Rule(gates=True)

#: Parts of a total that gates (phases, views of one memory) and what the harness costs itself only inform: gating on
#: them too would make every test of the family weaker and say nothing new.
BUILT_IN: Final[dict[str, Rule]] = {
    "boot.*": _INFORMS,
    "boot.cpu": _GATES,
    "boot.instructions": _GATES,
    "firmware.*": _INFORMS,
    "firmware.cpu": _GATES,
    "teardown.*": _INFORMS,
    "teardown.cpu": _GATES,
    "density.*": _INFORMS,
    "density.cage": _GATES,
    "channel": _INFORMS,
}


@dataclass(frozen=True)
class Limits:
    """What counts for one metric: fractions (0.05 is 5 %), whether it gates, and the bounds of NEW's level."""

    delta: float
    gates: bool
    tolerate: float
    bounds: tuple[Bound, ...] = ()


@dataclass(frozen=True)
class Policy:
    """alpha: the level for all gating metrics together. sessions: how many times further apart runs of different times
    lie than the scatter within each tells. failures: how many more slots of NEW than of BASE may have failed. rules: by
    pattern, in the order in which they count.
    """

    alpha: float = ALPHA
    delta: float = DELTA
    tolerate: float = 0.0
    sessions: float = BETWEEN_SESSIONS
    failures: int = 0
    rules: dict[str, Rule] = field(default_factory=dict)

    def limits(self, scenario: str, metric: str) -> Limits:
        """What counts for a metric of a scenario."""
        delta, gates, tolerate = self.delta, True, self.tolerate
        most: Bound | None = None
        least: Bound | None = None
        for pattern, rule in (*BUILT_IN.items(), *self.rules.items()):
            if matches(pattern, scenario, metric):
                delta = delta if rule.delta is None else rule.delta
                gates = gates if rule.gates is None else rule.gates
                tolerate = tolerate if rule.tolerate is None else rule.tolerate
                most, least = rule.at_most or most, rule.at_least or least
        return Limits(delta, gates, tolerate, tuple(each for each in (most, least) if each))

    @property
    def bounded(self) -> bool:
        """Whether any rule says what a level must be."""
        return any(rule.at_most or rule.at_least for rule in self.rules.values())


def matches(pattern: str, scenario: str, metric: str) -> bool:
    """Whether a pattern means this metric: by its own name, or as scenario:metric."""
    return fnmatchcase(metric, pattern) or fnmatchcase(f"{scenario}:{metric}", pattern)


def read_policy(path: Path) -> Policy:
    """The policy in a TOML file. Raises InputError: one line with the file, the key and what would be right."""
    try:
        tables = files.read_toml(path)
    except MissingFile as error:
        raise InputError(f"{path}: no such file", hint="scenarios/policy.toml is an example") from error
    found = _convert(path, "", tables, _File)
    if not _LEAST_ALPHA <= found.alpha < 0.5:
        raise InputError(f"{path}: alpha: {found.alpha} is not a level between 0 and 0.5, like 0.05")
    rules = {}
    for pattern, given in found.metrics.items():
        where = "metrics." + json.dumps(pattern)
        table = _convert(path, where, given, _RuleTable)
        rules[pattern] = Rule(
            None if table.delta is None else _size(path, f"{where}.delta", table.delta, zero=False),
            table.gates,
            None if table.tolerate is None else _size(path, f"{where}.tolerate", table.tolerate, zero=True),
            None if table.at_most is None else _bound(path, f"{where}.at_most", table.at_most, most=True),
            None if table.at_least is None else _bound(path, f"{where}.at_least", table.at_least, most=False),
        )
    if not 1 <= found.sessions <= 1000:
        raise InputError(f"{path}: sessions: {found.sessions:g} is no factor of 1 or more, like {BETWEEN_SESSIONS}")
    tolerate = 0.0 if found.tolerate is None else _size(path, "tolerate", found.tolerate, zero=True)
    return Policy(
        found.alpha, _size(path, "delta", found.delta, zero=False), tolerate, found.sessions, found.failures, rules
    )


def fraction(given: str | float) -> float:
    """A share of a metric: a fraction below 1 like 0.05, or a text like "5 %" up to 99 %. Raises ValueError."""
    if isinstance(given, str):
        match = re.fullmatch(r"\s*([0-9]+(?:\.[0-9]+)?)\s*%\s*", given)
        value = float(match[1]) / 100 if match else math.nan
    else:
        value = float(given)
    if not 0 <= value < 1:
        raise ValueError(f'{given!r} is not a share: write a text like "5 %" or a fraction like 0.05, below 1')
    return value


def _size(path: Path, key: str, given: str | float, *, zero: bool) -> float:
    try:
        value = fraction(given)
    except ValueError as error:
        raise InputError(f"{path}: {key}: {error}") from error
    if value == 0 and not zero:
        raise InputError(f"{path}: {key}: no two measurements are equal to within nothing: more than 0 is needed")
    return value


def _bound(path: Path, key: str, given: str | float, *, most: bool) -> Bound:
    try:
        return bound(given, most=most)
    except ValueError as error:
        raise InputError(f"{path}: {key}: {error}") from error


def _convert(path: Path, where: str, given: object, kind: type[T]) -> T:
    """The table `given` as a `kind`; `where` it stands in the file, for errors."""
    try:
        return msgspec.convert(given, kind)
    except msgspec.ValidationError as error:
        what, _, place = str(error).partition(" - at `")
    key = ".".join(part for part in (where, place.rstrip("`").removeprefix("$").strip(".")) if part)
    if match := re.match(r"Object contains unknown field (`.*`)", what, re.DOTALL):
        known = ", ".join(each.name for each in msgspec.structs.fields(kind))
        what = f"unknown key {json.dumps(match[1].strip('`'))}: one of {known}"
    for names, plain in _PLAIN.items():
        what = what.replace(names, plain)
    raise InputError(f"{path}: {': '.join(part for part in (key, what) if part)}")
