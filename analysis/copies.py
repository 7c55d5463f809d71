"""Data given twice: by one path, by another, or as a copy. Counted twice, they would feign certainty."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import math
from collections.abc import Iterable, Sequence
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


def same_values(ours: pd.DataFrame, theirs: pd.DataFrame) -> bool:
    """Whether two suites hold the same values of any metric, whatever else they hold, and in whatever order.

    Values that never vary may well agree, and so may those of a coarse scale, where chance can deal them out alike.
    """
    left, right = (
        {str(metric): np.sort(values.to_numpy()) for metric, values in frame.groupby("metric", observed=True)["value"]}
        for frame in (ours, theirs)
    )
    shared = [metric for metric in left if metric in right]
    alike = [left[metric] for metric in shared if np.array_equal(left[metric], right[metric])]
    if any(_no_chance(values) for values in alike):
        return True
    if len(alike) < len(shared):
        return False
    in_order = len(ours) == len(theirs) and all(
        np.array_equal(ours[column].to_numpy(), theirs[column].to_numpy()) for column in ("metric", "value")
    )
    varies = any(values[0] != values[-1] for values in alike)
    return varies and (in_order or sum(map(_log_chance, alike)) < math.log(_CHANCE_OF_ALL))


def _no_chance(values: Floats) -> bool:
    varies = values[0] != values[-1]
    coarse = values[0] <= 0 or resolution.step(values) > 0
    return bool(varies and (not coarse or _log_chance(values) < math.log(_CHANCE_OF_ONE)))


def _log_chance(values: Floats) -> float:
    """Of as many values drawn from these to come out the same: multinomial."""
    counts = np.unique(values, return_counts=True)[1].astype(float)
    size = counts.sum()
    return float(special.gammaln(size + 1) + (counts * np.log(counts / size) - special.gammaln(counts + 1)).sum())


def _measured(records: Sequence[Record]) -> set[str]:
    """Those that hold values: nobody measures the same twice to the last digit."""
    return {json.dumps(record, sort_keys=True) for record in records if record.get("samples") or record.get("ramp")}
