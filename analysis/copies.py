"""Data given twice: by one path, by another, or as a copy. Counted twice, they would feign certainty."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from bench.errors import InputError
from bench.results import JOURNAL, Record

_COLUMNS: Final = ["metric", "slot", "index", "value"]


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
    """Whether two suites hold the same values, however they are written. Values that never vary may well agree."""
    if len(ours) != len(theirs):
        return False
    left, right = (frame[_COLUMNS].reset_index(drop=True) for frame in (ours, theirs))
    if not all(np.array_equal(left[column].to_numpy(), right[column].to_numpy()) for column in _COLUMNS):
        return False
    return bool((left.groupby("metric", observed=True)["value"].nunique() > 1).any())


def _measured(records: Sequence[Record]) -> set[str]:
    """Those that hold values: nobody measures the same twice to the last digit."""
    return {json.dumps(record, sort_keys=True) for record in records if record.get("samples") or record.get("ramp")}
