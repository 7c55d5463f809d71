"""Data given twice: by one path, by another, or as a copy. Counted twice, they would feign certainty."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd
from scipy import special

from analysis import resolution
from analysis.ranks import Floats
from bench.errors import InputError
from bench.results import JOURNAL, Record

#: Values of a coarse scale that agree by chance more seldom than this are one: all that two files share, or any metric.
_CHANCE_OF_ALL: Final = 1e-3
_CHANCE_OF_ONE: Final = 1e-6
#: So many single times that agree to all their digits are no chance.
_LONE: Final = 2
#: Numbers of so few binary digits come in steps: a count of pages, in whatever unit of bytes.
_BITS: Final = 20
#: Up to here a computer's numbers count by ones.
_WHOLE: Final = 2.0**53


def refuse_copies(given: Sequence[tuple[Path, Sequence[Record]]]) -> None:
    """Raises InputError where two campaigns have a slot in common, with all that was measured in it.

    given: the folder and the records of each.
    """
    if len(given) < 2:
        return
    known = [(folder, _measured(records)) for folder, records in given]
    for (one, ours), (other, theirs) in itertools.combinations(known, 2):
        if one.resolve() == other.resolve():
            raise InputError(f"{one} is given twice", hint="name each campaign once")
        if ours & theirs:
            raise InputError(f"{one} and {other} hold the same slots", hint="name each campaign once")


def copies_among(paths: Iterable[Path]) -> dict[Path, Path]:
    """Files and results folders that hold, to the last byte, what an earlier one holds: that one by the copy."""
    first: dict[bytes, Path] = {}
    found: dict[Path, Path] = {}
    for path in paths:
        file = path / JOURNAL if path.is_dir() else path
        with contextlib.suppress(OSError), file.open("rb") as content:  # whoever reads it says what is wrong
            digest = hashlib.file_digest(content, "sha256").digest()
            if first.setdefault(digest, path) != path:
                found[path] = first[digest]
    return found


@dataclass(frozen=True)
class _Dealt:
    """The values of one metric. key: all of them, in order of size. log_chance: of as many values drawn from these to
    come out the same, where chance can deal them out alike; else minus infinity. lone: a single time, to many digits.
    """

    key: bytes
    varies: bool
    log_chance: float
    lone: bool


@dataclass(frozen=True)
class Held:
    """What a suite holds. metrics: by name. rows: metrics and values as they stand in it."""

    metrics: Mapping[str, _Dealt]
    rows: tuple[list[str], bytes]


def held(frame: pd.DataFrame) -> Held:
    """frame: metric, unit and value, a row a value."""
    metrics = {
        str(metric): _dealt(np.sort(rows["value"].to_numpy(dtype=float)), str(rows["unit"].iloc[0]))
        for metric, rows in frame.groupby("metric", observed=True)[["value", "unit"]]
    }
    return Held(metrics, (frame["metric"].astype(str).tolist(), frame["value"].to_numpy(dtype=float).tobytes()))


def same_values(ours: Held, theirs: Held) -> bool:
    """Whether two suites hold the same values of any metric, whatever else they hold, and in whatever order.

    Values that never vary may well agree, and so may those of a coarse scale, where chance can deal them out alike.
    Where all that both have agrees, several single times to many digits do not.
    """
    shared = [(mine, theirs.metrics[name]) for name, mine in ours.metrics.items() if name in theirs.metrics]
    alike = [mine for mine, other in shared if mine.key == other.key]
    if any(each.varies and each.log_chance < math.log(_CHANCE_OF_ONE) for each in alike):
        return True
    if not alike or len(alike) < len(shared):
        return False
    if sum(each.lone for each in alike) >= _LONE:
        return True
    varying = [each for each in alike if each.varies]
    chance = sum(each.log_chance for each in varying)
    return bool(varying) and (ours.rows == theirs.rows or chance < math.log(_CHANCE_OF_ALL))


def _dealt(values: Floats, unit: str) -> _Dealt:
    varies, coarse = bool(values[0] != values[-1]), _coarse(values)
    log_chance = 0.0 if not varies else min(_log_chance(values), _of_counts(values)) if coarse else -math.inf
    return _Dealt(values.tobytes(), varies, log_chance, unit == "second" and len(values) == 1 and not coarse)


def _coarse(values: Floats) -> bool:
    """Whether values come in steps: whole numbers, multiples of a page, or few digits."""
    whole = np.frexp(values)[0] * 2.0**_BITS
    stepped = (values == np.round(values)).all() or (whole == np.round(whole)).all()
    return bool(values[0] <= 0 or stepped or resolution.step(values) > 0)


def _log_chance(values: Floats) -> float:
    """Multinomial."""
    counts = np.unique(values, return_counts=True)[1].astype(float)
    size = counts.sum()
    return float(special.gammaln(size + 1) + (counts * np.log(counts / size) - special.gammaln(counts + 1)).sum())


def _of_counts(values: Floats) -> float:
    """Of so many different whole numbers: as if any as near to each other as the nearest two, and as round, could come.

    0, a certainty, for others.
    """
    gaps = np.diff(values)
    if not (gaps > 0).all() or not (values == np.round(values)).all() or values[-1] > _WHOLE:
        return 0.0
    steps = float(gaps.min()) / int(np.gcd.reduce(values.astype(np.int64)))
    size = len(values)
    return min(0.0, float(special.gammaln(size + 1)) - size * math.log(max(size * steps, 1.0)))


def _measured(records: Sequence[Record]) -> set[str]:
    """Those that hold values: nobody measures the same twice to the last digit."""
    return {json.dumps(record, sort_keys=True) for record in records if record.get("samples") or record.get("ramp")}
