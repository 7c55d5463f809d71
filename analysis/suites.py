"""pyperf's JSON files as a frame of samples: the layout of `Loaded.samples`, one arm a file, one slot a run."""

from __future__ import annotations

from pathlib import Path
from typing import Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from bench import files
from bench.errors import InputError
from bench.results import measurable, resolved
from bench.text import clean

# pyperf's own formats. Before "1.0" warm-ups were stored differently, and they are not read here.
FORMATS: Final = ("1.0", 6)


class _About(msgspec.Struct):
    """The metadata that say what the numbers are; pyperf's default unit is the second."""

    name: str | None = None
    unit: str | None = None
    date: str | None = None


class _Run(msgspec.Struct):
    values: list[float] = []
    metadata: _About | None = None


class _Benchmark(msgspec.Struct):
    runs: list[_Run]
    metadata: _About | None = None


class _Suite(msgspec.Struct):
    version: str | int
    benchmarks: list[_Benchmark]
    metadata: _About | None = None


def read_suite(path: Path, arm: str) -> pd.DataFrame:
    """The values of a pyperf file (.json, or compressed as .json.gz), in the columns of `Loaded.samples`.

    A row a value, in the benchmark's unit: run 0, slot "r1", "r2" … (pyperf's runs, which are processes), block 0,
    scenario "", `arm`, status "ok", metric (the benchmark's name), better "lower" (pyperf knows no other). Warm-ups
    and runs that only calibrate are left out. Raises InputError where the file is missing, is no pyperf suite, or
    has a benchmark without values or a name that stands twice.
    """
    suite = _decode(path)
    if suite.version not in FORMATS:
        raise InputError(f"{path}: pyperf format {suite.version!r}", hint='`pyperf convert` writes format "1.0"')
    shared = suite.metadata or _About()
    names: list[str] = []
    units: list[str] = []
    slots: list[int] = []
    counts: list[int] = []
    owners: list[int] = []
    values: list[float] = []
    for place, benchmark in enumerate(suite.benchmarks):
        runs = [(number, run.values) for number, run in enumerate(benchmark.runs, start=1) if run.values]
        about = _about(benchmark, shared)
        if not about.name:
            raise InputError(f"{path}: benchmark {place + 1} has no name")
        if about.name in names:
            raise InputError(f"{path}: there are two benchmarks {about.name!r}")
        if not runs:
            raise InputError(f"{path}: benchmark {about.name!r} has no values: all its runs only calibrate")
        if not all(measurable(found) for _, found in runs):
            raise InputError(f"{path}: benchmark {about.name!r} has a value that nothing measures")
        names.append(about.name)
        units.append(about.unit or "second")
        for number, found in runs:
            slots.append(number)
            counts.append(len(found))
            owners.append(place)
            values += resolved(found)
    if not names:
        raise InputError(f"{path}: a pyperf suite without benchmarks")
    return _frame(arm, names, units, slots, counts, owners, values)


def suite_started(path: Path) -> str:
    """When a pyperf file's first run began, as it says: an ISO 8601 time, or "" where no run has a date."""
    suite = _decode(path)
    about = [run.metadata for benchmark in suite.benchmarks for run in benchmark.runs]
    about += [benchmark.metadata for benchmark in suite.benchmarks] + [suite.metadata]
    return min((given.date for given in about if given and given.date), default="")


def _decode(path: Path) -> _Suite:
    data = files.read(path, limit=files.LARGE)
    if files.is_gzip(data):
        data = files.gunzip(data, str(path))
    try:
        return msgspec.json.decode(data, type=_Suite)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: not a pyperf suite: {error}") from error
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: not JSON: {error}") from error
    except RecursionError as error:
        raise InputError(f"{path}: not a pyperf suite: nested too deeply") from error


def _about(benchmark: _Benchmark, shared: _About) -> _About:
    """Name and unit: of the first run that says, else of the benchmark, else of the whole suite."""
    own = [run.metadata for run in benchmark.runs if run.metadata] + [benchmark.metadata or _About(), shared]
    name = next((about.name for about in own if about.name), None)
    unit = next((about.unit for about in own if about.unit), None)
    return _About(name and " ".join(clean(name).split()), unit and clean(unit))


def _frame(
    arm: str,
    names: list[str],
    units: list[str],
    slots: list[int],
    counts: list[int],
    owners: list[int],
    values: list[float],
) -> pd.DataFrame:
    """Columns of codes, repeated: a row object a value would cost more than reading the file."""
    repeats = np.array(counts)
    owner = np.repeat(owners, repeats)
    size = len(values)
    numbers = [f"r{number}" for number in range(1, max(slots) + 1)]
    kinds = list(dict.fromkeys(units))
    unit_of = np.array([kinds.index(unit) for unit in units])

    def coded(codes: npt.NDArray[np.int64], texts: list[str]) -> pd.Series:
        return pd.Series(pd.Categorical.from_codes(codes, pd.Index(texts)))

    same = np.zeros(size, dtype=np.int64)
    starts = np.repeat(np.cumsum(repeats) - repeats, repeats)
    return pd.DataFrame(
        {
            "run": same,
            "slot": coded(np.repeat(slots, repeats) - 1, numbers),
            "block": same,
            "scenario": coded(same, [""]),
            "arm": coded(same, [arm]),
            "status": coded(same, ["ok"]),
            "metric": coded(owner, names),
            "unit": coded(unit_of[owner], kinds),
            "better": coded(same, ["lower"]),
            "warmup": np.zeros(size, dtype=bool),
            "index": np.arange(size) - starts,
            "value": np.array(values, dtype="float64"),
        }
    )
