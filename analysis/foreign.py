"""Other tools' JSON results: whose they are, and what of them can be read.

A file is one session. What a tool calls a run, a repetition or a round is a run. Where a tool kept no values but a
summary of them, its median stands for the session, which a history can use and a comparison of several files a side.

hyperfine           --export-json: `times`, one a process; failed runs are left out and counted, unless all runs of a
                    command exit with the same code (but 126 and 127, of what could not be executed)
Google Benchmark    --benchmark_format=json: `real_time` of each repetition; aggregates are no values; repetitions with
                    an error are counted
pytest-benchmark    --benchmark-json: `stats.data`, a value a round, in ROUNDS runs of neighbours at most
asv                 a file of results/MACHINE/: `samples`, else `result`, a metric each combination of parameters
"""

from __future__ import annotations

import json
import math
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import product
from typing import Any, Final

ROUNDS: Final = 100
_SECONDS: Final = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "s": 1.0}
_AGGREGATES: Final = ("mean", "median", "stddev", "cv", "min", "max")
_ASV_UNITS: Final = {"time": "second", "timeraw": "second", "mem": "byte", "peakmem": "byte"}
#: Codes that are no way to end: none, where a signal ended it, and those of what could not be executed or found.
_NEVER: Final = (None, 126, 127)
FAILED: Final = "failed in all its runs"
READ: Final = "pyperf, hyperfine, Google Benchmark, pytest-benchmark and asv"


@dataclass(frozen=True)
class Benchmark:
    """runs: the values of each run. summary: what the tool kept instead of them, in a few words; then `runs` has one
    value, its median."""

    name: str
    unit: str
    runs: list[list[float]]
    summary: str = ""


@dataclass(frozen=True)
class Fate:
    """How the runs of a benchmark ended. failed: of so many, those whose values are left out. code: that with which
    all of them exited, where it is not 0: then their values are kept."""

    failed: int
    runs: int
    code: str = ""


@dataclass(frozen=True)
class Results:
    """started, committed: ISO 8601, or "" where the file does not say. arm: the machine and environment of asv. gone:
    by benchmark, why it has no values. fates: by benchmark, where a tool says how runs ended."""

    tool: str
    benchmarks: list[Benchmark]
    started: str = ""
    committed: str = ""
    arm: str = ""
    gone: dict[str, str] = field(default_factory=dict)
    fates: dict[str, Fate] = field(default_factory=dict)


def recognise(document: object) -> Callable[[Any], Results] | str:
    """How to read a JSON document, or in a few words what it is instead."""
    if isinstance(document, list):
        rows = [row for row in document if isinstance(row, dict)]
        if rows and all("primaryMetric" in row for row in rows):
            return "results of JMH"
        return "JSON, a list"
    if not isinstance(document, dict):
        return "JSON, a single value"
    if _rows(document, "results") and all("command" in row for row in _rows(document, "results")):
        return hyperfine
    if isinstance(document.get("benchmarks"), list) and isinstance(document.get("context"), dict):
        return google
    if isinstance(document.get("benchmarks"), list) and "machine_info" in document:
        return pytest_benchmark
    if isinstance(document.get("results"), dict) and "commit_hash" in document:
        return asv
    return _other(document)


def _other(document: Mapping[str, Any]) -> str:
    inner = [each for each in document.values() if isinstance(each, dict)]
    if inner and all("param_names" in each for each in inner):
        return "asv's list of benchmarks, without results"
    if {"arch", "cpu", "machine", "os"} <= document.keys():
        return "asv's description of a machine"
    if "fio version" in document:
        return "results of fio"
    if {"HostEnvironmentInfo", "Benchmarks"} <= document.keys():
        return "results of BenchmarkDotNet"
    if {"mean", "median", "std_dev"} <= document.keys() or {"iters", "times"} <= document.keys():
        return "results of Criterion.rs"
    return "JSON, but no benchmark's results"


def hyperfine(document: Mapping[str, Any]) -> Results:
    found = Results("hyperfine", [])
    rows = _rows(document, "results")
    twice = {name for name, count in Counter(_text(row.get("command")) for row in rows).items() if count > 1}
    for row in rows:
        name = _text(row.get("command"))
        _add_command(found, name + _parameters(row.get("parameters")) if name in twice else name, row)
    return found


def _add_command(found: Results, name: str, row: Mapping[str, Any]) -> None:
    times, codes = row.get("times"), row.get("exit_codes")
    codes = codes if isinstance(codes, list) else []
    if not isinstance(times, list) or not times:
        good, fate = _ended(codes, codes)
        kept = list(_summary(name, "second", row, ("median", "mean"), "its mean and median (no times)"))
        if fate.failed:
            found.gone[name] = "failed in runs that its mean and median hold" if good else FAILED
        elif kept:
            found.benchmarks.extend(kept)
        else:
            found.gone[name] = "has no times"
        if codes:
            found.fates[name] = fate
        return
    good, found.fates[name] = _ended(times, codes if len(codes) == len(times) else [0] * len(times))
    if good:
        _add(found, name, [[value] for value in good])
    else:
        found.gone[name] = FAILED


def _ended(times: list[Any], codes: list[Any]) -> tuple[list[Any], Fate]:
    """Those of the runs that ended well, or of all, where all end alike."""
    if codes and codes[0] not in _NEVER and all(code == codes[0] for code in codes):
        return times, Fate(0, len(times), "" if codes[0] == 0 else str(codes[0]))
    good = [time for time, code in zip(times, codes, strict=True) if code == 0]
    return good, Fate(len(times) - len(good), len(times))


def _add(found: Results, name: str, runs: list[list[Any]]) -> None:
    """Seconds of a benchmark's runs, if all are numbers."""
    odd = [value for run in runs for value in run if not _finite(value)]
    if odd:
        told = odd[0] if isinstance(odd[0], str) else json.dumps(odd[0])
        found.gone[name] = f"has a value that is {told[:40]}, not a number"
    else:
        found.benchmarks.append(Benchmark(name, "second", [[float(value) for value in run] for run in runs]))


def _parameters(given: object) -> str:
    """What tells two rows of one command apart."""
    known = given.items() if isinstance(given, dict) else ()
    return f" ({', '.join(f'{key}={_text(value)}' for key, value in known)})" if known else ""


def google(document: Mapping[str, Any]) -> Results:
    every = [row for row in _rows(document, "benchmarks") if not row.get("skipped")]
    rows = [row for row in every if not row.get("error_occurred")]
    named = {_text(row.get("name")): row for row in rows}
    runs: dict[str, list[list[Any]]] = {}
    kept: dict[str, dict[str, Any]] = {}
    for row in rows:
        name = _text(row.get("name"))
        of, _, aggregate = name.rpartition("_")
        aggregate = _text(row.get("aggregate_name")) or (
            aggregate if of in named or "run_type" in row or _summed_up(of, named) else ""
        )
        is_run = row.get("run_type", "aggregate" if aggregate in _AGGREGATES else "iteration") == "iteration"
        scale = _SECONDS.get(_text(row.get("time_unit")) or "ns")
        if "real_time" not in row or scale is None:
            continue
        value = row["real_time"]
        value = value * scale if _finite(value) else value
        if is_run:
            runs.setdefault(_text(row.get("run_name")) or name, []).append([value])
        elif aggregate in ("median", "mean"):
            kept.setdefault(_text(row.get("run_name")) or of, {})[aggregate] = value
    bad = Counter(_text(row.get("run_name")) or _text(row.get("name")) for row in every if row.get("error_occurred"))
    fates = {name: Fate(bad[name], bad[name] + len(runs.get(name, ()))) for name in {**runs, **bad}}
    context = document["context"]
    found = Results("Google Benchmark", [], started=_text(context.get("date")), fates=fates)
    found.gone.update((name, FAILED) for name in bad if name not in runs)
    for name, values in runs.items():
        _add(found, name, values)
    for name in kept.keys() - fates.keys():
        of_it = list(_summary(name, "second", kept[name], ("median", "mean"), "aggregates (no repetitions)"))
        found.benchmarks.extend(of_it)
        if not of_it:
            found.gone[name] = "has aggregates that are no numbers"
    found.benchmarks.sort(key=lambda each: each.name)
    return found


def _summed_up(name: str, rows: Mapping[str, Mapping[str, Any]]) -> bool:
    """Whether rows without a type are the aggregates of one benchmark, all over as many iterations."""
    wanted = [rows.get(f"{name}_{kind}") for kind in ("mean", "median", "stddev")]
    return all(wanted) and len({str(row.get("iterations")) for row in wanted if row}) == 1


def pytest_benchmark(document: Mapping[str, Any]) -> Results:
    commit = document.get("commit_info")
    commit = commit if isinstance(commit, dict) else {}
    found = Results("pytest-benchmark", [], _text(document.get("datetime")), _text(commit.get("time")))
    for row in _rows(document, "benchmarks"):
        name, stats = _text(row.get("fullname")) or _text(row.get("name")), row.get("stats")
        if not isinstance(stats, dict):
            continue
        data = stats.get("data")
        if isinstance(data, list) and data:
            size = math.ceil(len(data) / ROUNDS)
            _add(found, name, [data[at : at + size] for at in range(0, len(data), size)])
            continue
        kept = list(_summary(name, "second", stats, ("median", "mean"), "statistics (no data: --benchmark-save-data)"))
        found.benchmarks.extend(kept)
        if not kept:
            found.gone[name] = "has no data"
    return found


def asv(document: Mapping[str, Any]) -> Results:
    columns = document.get("result_columns")
    made: list[Benchmark] = []
    starts: list[float] = []
    for name, found in document["results"].items():
        if isinstance(columns, list) and isinstance(found, list):
            entry = dict(zip(map(_text, columns), found, strict=False))
        else:
            entry = found if isinstance(found, dict) else {"result": found}
        if isinstance(at := entry.get("started_at"), int | float):
            starts.append(at)
        made += _of_asv(_text(name), entry)
    known = document.get("params")
    machine = known.get("machine") if isinstance(known, dict) else ""
    arm = " ".join(filter(None, (_text(machine), _text(document.get("env_name")))))
    return Results("asv", made, _epoch(min(starts, default=None)), _epoch(document.get("date")), arm)


def _of_asv(name: str, entry: Mapping[str, Any]) -> Iterator[Benchmark]:
    unit = _ASV_UNITS.get(name.rpartition(".")[2].partition("_")[0], "")
    results, samples = entry.get("result"), entry.get("samples")
    params = entry.get("params")
    lists = [each for each in params if isinstance(each, list)] if isinstance(params, list) else []
    alone = not isinstance(results, list)
    results = [results] if alone else results
    labels = [""] if not lists else (f"({', '.join(map(_text, values))})" for values in product(*lists))
    for place, (label, result) in enumerate(zip(labels, results or (), strict=False)):
        taken = samples[place] if isinstance(samples, list) and place < len(samples) else None
        if isinstance(taken, list) and taken and all(map(_finite, taken)):
            yield Benchmark(f"{name}{label}", unit, [[float(value)] for value in taken])
        elif _finite(result):  # else it failed (null) or was skipped (NaN)
            timed = unit == "second"  # all others are a single number anyway
            what = "its median (no samples: asv run --record-samples)" if timed else "one number a session"
            yield Benchmark(f"{name}{label}", unit, [[float(result)]], what)


def _summary(name: str, unit: str, kept: Mapping[str, Any], wanted: tuple[str, ...], what: str) -> Iterator[Benchmark]:
    value = next((kept[key] for key in wanted if _finite(kept.get(key))), None)
    if value is not None:
        yield Benchmark(name, unit, [[float(value)]], what)


def _rows(document: Mapping[str, Any], key: str) -> list[dict[str, Any]]:
    found = document.get(key)
    return [row for row in found if isinstance(row, dict)] if isinstance(found, list) else []


def _text(value: object) -> str:
    return value if isinstance(value, str) else "" if value is None or isinstance(value, dict | list) else str(value)


def _finite(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and abs(value) < 1e300


def _epoch(milliseconds: object) -> str:
    """asv writes times as milliseconds since 1970."""
    if not _finite(milliseconds):
        return ""
    try:
        return datetime.fromtimestamp(float(milliseconds) / 1000, UTC).isoformat()  # type: ignore[arg-type]
    except (OverflowError, OSError, ValueError):
        return ""
