"""Benchmark results in JSON as a frame of samples: the layout of `Loaded.samples`, one arm a file, one slot a run.

pyperf's own files, and those of the tools in `analysis.foreign`. A file is one session.
"""

from __future__ import annotations

import json
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import msgspec
import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis import foreign
from analysis.foreign import Benchmark, Fate
from bench import files
from bench.errors import InputError
from bench.results import measurable, resolved
from bench.text import clean

# pyperf's formats that are read here; it reads older ones itself.
FORMATS: Final = ("1.0", 6)
_LARGEST = files.LARGE


class _About(msgspec.Struct):
    """The metadata that say what the numbers are; pyperf's default unit is the second."""

    name: str | None = None
    unit: str | None = None
    date: str | None = None
    commit_date: Any = None


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


@dataclass(frozen=True)
class Suite:
    """One file's benchmarks.

    tool       whose file it is
    started    when its first run began: an ISO 8601 time, or "" where it does not say
    committed  when what it measured was committed, likewise
    arm        on what it ran, where the tool's files of several machines lie side by side; else ""
    fates      by benchmark how its runs ended, where the tool says
    gone       by benchmark why it has no values, and is not among `benchmarks`
    """

    path: Path
    tool: str
    benchmarks: list[Benchmark]
    started: str
    committed: str
    arm: str
    fates: dict[str, Fate] = field(default_factory=dict)
    gone: dict[str, str] = field(default_factory=dict)

    @property
    def summaries(self) -> dict[str, str]:
        """By benchmark what the tool kept instead of its values."""
        return {kind.name: f"{self.tool} kept of it {kind.summary}" for kind in self.benchmarks if kind.summary}

    def frame(self, arm: str) -> pd.DataFrame:
        """As `read_suite` returns it, with the summaries too."""
        return _of_benchmarks(self.benchmarks, arm)

    def values(self, arm: str) -> pd.DataFrame:
        """As `read_suite` returns it, of the benchmarks of which there are values.

        Raises InputError where there are summaries alone.
        """
        kinds = [kind for kind in self.benchmarks if not kind.summary]
        if not kinds and self.benchmarks:
            first = self.benchmarks[0]
            what = f"{self.path}: {self.tool} kept of {_short(first.name)} {first.summary}: not the values"
            raise InputError(what, hint="name several files a side, of which each counts once, or draw a `history`")
        return _of_benchmarks(kinds, arm)


def _of_benchmarks(kinds: list[Benchmark], arm: str) -> pd.DataFrame:
    """A row a value."""
    runs = [(place, number, run) for place, kind in enumerate(kinds) for number, run in enumerate(kind.runs, 1)]
    owners, slots, values = zip(*runs, strict=True) if runs else ((), (), ())
    return _frame(
        arm,
        [kind.name for kind in kinds],
        [kind.unit for kind in kinds],
        list(slots),
        [len(run) for run in values],
        list(owners),
        [value for run in values for value in run],
    )


def read_suite(path: Path, arm: str) -> pd.DataFrame:
    """The values of a file of benchmark results (.json, or compressed as .json.gz), in the columns of `Loaded.samples`.

    A row a value, in the benchmark's unit: run 0, slot "r1", "r2" … (its runs: see `analysis.foreign`; pyperf's are
    processes), block 0, scenario "", `arm`, status "ok", metric (the benchmark's name), better "lower" (these tools
    know no other). Raises InputError as `open_suite`, and where all runs failed or there are summaries alone.
    """
    suite = open_suite(path)
    if not suite.benchmarks:
        raise _nothing(suite)
    return suite.values(arm)


def open_suite(path: Path) -> Suite:
    """A file of benchmark results. Warm-ups and runs that only calibrate are left out.

    A file of which all runs failed is one without benchmarks. Raises InputError where the file is missing, too large,
    or of no known kind (and of what kind it is), or where it has no benchmark, one without values, or a name that
    stands twice.
    """
    content = files.read(path, limit=_LARGEST)
    if files.is_gzip(content):
        content = files.gunzip(content, str(path), limit=_LARGEST)
    if not content.strip():
        raise InputError(f"{path}: an empty file")
    try:
        suite, why = msgspec.json.decode(content, type=_Suite), ""
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        suite, why = None, str(error)
    if suite and suite.version in FORMATS:
        return _sound(_own(path, suite))
    document = _document(path, content)
    reader = foreign.recognise(document)
    if not isinstance(reader, str):
        found = reader(document)
        about = found.started, moment(found.committed), clean(found.arm)
        return _sound(Suite(path, found.tool, found.benchmarks, *about, found.fates, found.gone))
    if not (isinstance(document, dict) and "version" in document and "benchmarks" in document):
        raise InputError(f"{path}: {reader}", hint=f"what is read are results of {foreign.READ}")
    if document["version"] in FORMATS:
        raise InputError(f"{path}: not a pyperf suite: {why}")
    return _sound(_older(path, content, document["version"]))


def moment(text: str) -> str:
    """An ISO 8601 time in UTC and in one form, so that times sort as texts; "" for what is no time.

    Without a zone it is taken for UTC.
    """
    try:
        found = datetime.fromisoformat(text.strip())
        return (found if found.tzinfo else found.replace(tzinfo=UTC)).astimezone(UTC).isoformat(" ", "microseconds")
    except (ValueError, OverflowError):
        return ""


def _own(path: Path, suite: _Suite) -> Suite:
    shared = suite.metadata or _About()
    made = []
    for place, benchmark in enumerate(suite.benchmarks):
        about = _about(benchmark, shared)
        if not about.name:
            raise InputError(f"{path}: benchmark {place + 1} has no name")
        runs = [run.values for run in benchmark.runs if run.values]
        made.append(Benchmark(about.name, about.unit or "second", runs))
    said = [run.metadata for benchmark in suite.benchmarks for run in benchmark.runs]
    said += [benchmark.metadata for benchmark in suite.benchmarks] + [suite.metadata]
    known = [about for about in said if about]
    started = min((about.date for about in known if about.date), default="")
    committed = next((about.commit_date for about in known if isinstance(about.commit_date, str)), "")
    return Suite(path, "pyperf", made, started, moment(committed), "")


def _older(path: Path, content: bytes, version: object) -> Suite:
    """A suite of a format that only pyperf itself knows."""
    import pyperf

    try:
        suite = pyperf.BenchmarkSuite.loads(content.decode())
        made, starts, commits = [], [], []
        for benchmark in suite.get_benchmarks():
            runs = [[float(value) for value in run.values] for run in benchmark.get_runs() if run.values]
            made.append(Benchmark(str(benchmark.get_name()), str(benchmark.get_unit()), runs))
            starts += [dates[0].isoformat(" ") for dates in [benchmark.get_dates()] if dates]
            commits.append(str(benchmark.get_metadata().get("commit_date", "")))
    except Exception as error:  # pyperf trusts its files: what a broken one raises can be anything
        said = " ".join(clean(error).split())[:200]
        what = f"{path}: pyperf format {str(version)[:20]!r}, which pyperf cannot read: {said or type(error).__name__}"
        raise InputError(what) from error
    return Suite(path, "pyperf", made, min(starts, default=""), moment(next(filter(None, commits), "")), "")


def _document(path: Path, content: bytes) -> Any:
    """A file's JSON. Other tools write NaN and Infinity for what they skipped, or cannot tell; in pyperf's files that
    is an error."""
    if len(content) > files.SMALL:
        raise InputError(f"{path}: not a pyperf suite, and too large for anything else that is read")
    if content.lstrip()[:1] == b"<":
        raise InputError(f"{path}: a page of HTML or XML, not JSON", hint="was it downloaded from the right address?")
    odd: list[str] = []

    def constant(name: str) -> float:
        odd.append(name)
        return float(name.replace("Infinity", "inf"))

    try:
        found = json.loads(content.decode("utf-8-sig"), parse_constant=constant)
    except RecursionError as error:
        raise InputError(f"{path}: not benchmark results: nested too deeply") from error
    except ValueError as error:  # UnicodeDecodeError, JSONDecodeError, and numbers of thousands of digits
        raise InputError(f"{path}: not JSON: {' '.join(clean(error).split())[:200]}") from error
    if odd and isinstance(foreign.recognise(found), str):
        raise InputError(f"{path}: a value is {odd[0]}, which is no number and no JSON")
    return found


def _sound(suite: Suite) -> Suite:
    """The suite with names that can be shown. Raises InputError where one stands twice or has no values to speak of."""
    path = suite.path
    made: list[Benchmark] = []
    for benchmark in suite.benchmarks:
        name, unit = _plain(benchmark.name), clean(benchmark.unit)
        if not name:
            raise InputError(f"{path}: a benchmark has no name")
        if any(name == other.name for other in made) or benchmark.name in suite.gone:
            raise InputError(f"{path}: there are two benchmarks {_short(name)}")
        if not benchmark.runs:
            raise InputError(f"{path}: benchmark {_short(name)} has no values: all its runs only calibrate")
        if not all(measurable(run) for run in benchmark.runs):
            raise InputError(f"{path}: benchmark {_short(name)} has a value that nothing measures")
        made.append(replace(benchmark, name=name, unit=unit, runs=[resolved(run) for run in benchmark.runs]))
    sound = replace(
        suite,
        benchmarks=made,
        fates={_plain(name): fate for name, fate in suite.fates.items()},
        gone={_plain(name): _plain(why) for name, why in suite.gone.items()},
    )
    if not made and not any(fate.failed for fate in sound.fates.values()):
        raise _nothing(sound)
    return sound


def _nothing(suite: Suite) -> InputError:
    """Of a suite without benchmarks."""
    why = next((f": {_short(name)} {why}" for name, why in suite.gone.items()), "")
    return InputError(
        f"{suite.path}: {'a pyperf suite' if suite.tool == 'pyperf' else suite.tool} without benchmarks{why}"
    )


def _plain(name: str) -> str:
    return " ".join(clean(name).split())


def _about(benchmark: _Benchmark, shared: _About) -> _About:
    """Name and unit: of the first run that says, else of the benchmark, else of the whole suite."""
    own = [run.metadata for run in benchmark.runs if run.metadata] + [benchmark.metadata or _About(), shared]
    name = next((about.name for about in own if about.name), None)
    return _About(name, next((about.unit for about in own if about.unit), None))


def _short(name: str) -> str:
    return repr(name if len(name) <= 60 else f"{name[:59]}…")


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
    repeats = np.array(counts, dtype=np.int64)
    owner = np.repeat(np.array(owners, dtype=np.int64), repeats)
    size = len(values)
    numbers = [f"r{number}" for number in range(1, max(slots, default=0) + 1)]
    kinds = list(dict.fromkeys(units))
    unit_of = np.array([kinds.index(unit) for unit in units], dtype=np.int64)

    def coded(codes: npt.NDArray[np.int64], texts: list[str]) -> pd.Series:
        return pd.Series(pd.Categorical.from_codes(codes, pd.Index(texts)))

    same = np.zeros(size, dtype=np.int64)
    starts = np.repeat(np.cumsum(repeats) - repeats, repeats)
    return pd.DataFrame(
        {
            "run": same,
            "slot": coded(np.repeat(np.array(slots, dtype=np.int64), repeats) - 1, numbers),
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
