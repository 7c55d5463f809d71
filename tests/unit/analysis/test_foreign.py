"""Other tools' files: what of them is read, and what is said of the rest."""

from __future__ import annotations

import gzip
import json
import math
import statistics
from pathlib import Path
from typing import Any

import pyperf
import pytest

from analysis import tell
from analysis.absolute import bound
from analysis.comparison import compare, gate
from analysis.plot_forest import forest
from analysis.policy import Policy, Rule
from analysis.sessions import read_sessions
from analysis.suites import moment, open_suite, read_suite
from bench import cli
from bench.errors import InputError


def _write(path: Path, document: Any) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(document if isinstance(document, str) else json.dumps(document))
    return path


def _hyperfine(factor: float = 1.0, count: int = 20, *, times: bool = True) -> dict[str, Any]:
    taken = [0.05 * factor * (1 + 0.002 * (run % 7)) for run in range(count)]
    about: dict[str, Any] = {"mean": statistics.mean(taken), "stddev": 0.0004, "median": statistics.median(taken)}
    about |= {"user": 0.04, "system": 0.01, "min": min(taken), "max": max(taken)}
    row = {"command": "sleep 0.05", **about} | ({"times": taken, "exit_codes": [0] * count} if times else {})
    return {"results": [row]}


def _google(
    factor: float = 1.0, repetitions: int = 20, *, aggregates: bool = True, values: bool = True
) -> dict[str, Any]:
    head = {"name": "BM_Sort/8", "run_name": "BM_Sort/8", "repetitions": repetitions, "threads": 1, "time_unit": "us"}
    rows = [
        head | {"run_type": "iteration", "repetition_index": n, "iterations": 100, "real_time": t, "cpu_time": t}
        for n, t in enumerate(12.0 * factor * (1 + 0.002 * (n % 7)) for n in range(repetitions))
    ]
    kept = [
        head
        | {
            "name": f"BM_Sort/8_{kind}",
            "run_type": "aggregate",
            "aggregate_name": kind,
            "real_time": value,
            "cpu_time": 1,
        }
        for kind, value in (("mean", 12.1), ("median", 12.08), ("stddev", 0.05), ("cv", 0.004))
    ]
    listed = (rows if values else []) + (kept if aggregates else [])
    return {"context": {"date": "2026-11-02T03:00:00+01:00", "num_cpus": 4}, "benchmarks": listed}


def _pytest(factor: float = 1.0, rounds: int = 20, *, data: bool = True) -> dict[str, Any]:
    taken = [0.002 * factor * (1 + 0.002 * (n % 7)) for n in range(rounds)]
    stats: dict[str, Any] = {"min": min(taken), "mean": statistics.mean(taken), "median": statistics.median(taken)}
    stats |= {"stddev": 1e-5, "rounds": rounds, "iterations": 1} | ({"data": taken} if data else {})
    row = {
        "group": None,
        "name": "test_load",
        "fullname": "tests/test_io.py::test_load",
        "params": None,
        "stats": stats,
    }
    commit = {"id": "abc", "time": "2026-10-30T12:00:00+02:00", "dirty": False}
    about = {"machine_info": {"node": "lab"}, "commit_info": commit, "datetime": "2026-11-02T03:00:00.5"}
    return {**about, "benchmarks": [row], "version": "5.1.0"}


_COLUMNS = ["result", "params", "version", "started_at", "duration", "stats_ci_99_a", "stats_ci_99_b", "stats_q_25"]
_COLUMNS += ["stats_q_75", "stats_number", "stats_repeat", "samples", "profile"]


def _asv(factor: float = 1.0, *, samples: bool = True) -> str:
    taken = [[0.4 * factor * (1 + 0.002 * (n % 7)) for n in range(10)], None, [0.9 * factor] * 10]
    result = [0.4024 * factor, math.nan, 0.9 * factor]
    row = [result, [["1", "2", "3"]], "v", 1762052400000, 3.0, *[[0.1, 0.1, 0.1]] * 6, taken if samples else None]
    results = {"io.Suite.time_load": row, "io.peakmem_load": [[1048576], [], "v", 1762052401000, 1.0], "io.bad": None}
    about = {"commit_hash": "abc", "env_name": "virtualenv-py3.12", "date": 1761000000000, "params": {"machine": "lab"}}
    return json.dumps({**about, "result_columns": _COLUMNS, "results": results, "durations": {}, "version": 2})


@pytest.mark.parametrize(
    ("document", "tool", "metric", "unit", "runs", "median"),
    [
        (_hyperfine(), "hyperfine", "sleep 0.05", "second", 20, 0.0503),
        (_google(), "Google Benchmark", "BM_Sort/8", "second", 20, 12.07e-6),
        (_google(aggregates=False, repetitions=1), "Google Benchmark", "BM_Sort/8", "second", 1, 12e-6),
        (_pytest(), "pytest-benchmark", "tests/test_io.py::test_load", "second", 20, 0.00201),
        (_asv(), "asv", "io.Suite.time_load(1)", "second", 10, 0.4025),
    ],
)
def test_values_of_runs_are_read(
    tmp_path: Path, document: Any, tool: str, metric: str, unit: str, runs: int, median: float
) -> None:
    suite = open_suite(_write(tmp_path / "a.json", document))
    assert suite.tool == tool
    frame = suite.frame("x")
    rows = frame[frame["metric"] == metric]
    assert rows["slot"].nunique() == len(rows) == runs
    assert set(rows["unit"]) == {unit}
    assert rows["value"].median() == pytest.approx(median, rel=0.01)


def test_times_and_machines_are_told(tmp_path: Path) -> None:
    asv = open_suite(_write(tmp_path / "asv.json", _asv()))
    assert (asv.arm, asv.started[:10], asv.committed[:10]) == ("lab virtualenv-py3.12", "2025-11-02", "2025-10-20")
    assert {kind.name for kind in asv.benchmarks} == {
        "io.Suite.time_load(1)",
        "io.Suite.time_load(3)",
        "io.peakmem_load",
    }
    assert [kind.unit for kind in asv.benchmarks] == ["second", "second", "byte"]
    tests = open_suite(_write(tmp_path / "p.json", _pytest()))
    assert (moment(tests.started)[:19], tests.committed[:19]) == ("2026-11-02 03:00:00", "2026-10-30 10:00:00")
    assert moment(open_suite(_write(tmp_path / "g.json", _google())).started)[:19] == "2026-11-02 02:00:00"
    assert [moment(text) for text in ("yesterday", "", "2026-13-01")] == ["", "", ""]


@pytest.mark.parametrize(
    ("document", "tool"),
    [
        (_hyperfine(times=False), "hyperfine kept of 'sleep 0.05' its mean and median"),
        (_google(values=False), "Google Benchmark kept of 'BM_Sort/8' aggregates"),
        (_pytest(data=False), "pytest-benchmark kept of 'tests/test_io.py::test_load' statistics"),
        (_asv(samples=False), r"asv kept of 'io.Suite.time_load\(1\)' its median"),
    ],
)
def test_a_summary_is_said_and_judges_nothing_but_has_a_history(tmp_path: Path, document: Any, tool: str) -> None:
    path = _write(tmp_path / "a.json", document)
    with pytest.raises(InputError, match=tool):
        read_suite(path, "x")
    assert len(open_suite(path).frame("x"))


def test_a_summary_leaves_out_itself_alone_where_each_side_is_one_file(tmp_path: Path) -> None:
    old, new = (_write(tmp_path / f"{factor}.json", _asv(factor)) for factor in (1.0, 1.2))
    found = compare(str(old), str(new))
    assert set(found.table["metric"]) == {"io.Suite.time_load(1)", "io.Suite.time_load(3)"}
    ((_, gap, unproved),) = found.gaps
    assert (gap.metric, unproved) == ("io.peakmem_load", True)
    assert "one number a session" in gap.why
    assert "record-samples" not in gap.why
    with pytest.raises(InputError, match="not the values"):
        compare(str(old), str(_write(tmp_path / "sum.json", _asv(1.1, samples=False))))


@pytest.mark.parametrize("tool", [_hyperfine, _google, _pytest, _asv])
def test_of_several_files_a_side_a_summary_is_a_number_each(tmp_path: Path, tool: Any) -> None:
    kept = {"times": False} if tool is _hyperfine else {"values": False} if tool is _google else {"data": False}
    kept = {"samples": False} if tool is _asv else kept
    old, new = (
        [str(_write(tmp_path / f"{at}{n}.json", tool(at * (1 + n / 500), **kept))) for n in range(5)]
        for at in (1.0, 1.3)
    )
    if tool is _google:  # the aggregates of `_google` are the same whatever its factor
        for n, path in enumerate([*old, *new]):
            text = Path(path).read_text()
            Path(path).write_text(text.replace("12.08", str((12 if n < 5 else 15) * (1 + n / 500))))
    if tool is _hyperfine:
        for n, path in enumerate([*old, *new]):
            document = json.loads(Path(path).read_text())
            document["results"][0]["median"] *= 1 + n / 1e4
            Path(path).write_text(json.dumps(document))
    found = compare(old, new)
    assert "regressed" in set(found.table["kind"])
    assert "that stands for the session" in "\n".join(found.notes)


def test_a_limit_on_a_summary_says_so(tmp_path: Path) -> None:
    kept = {"name": "B_median", "run_name": "B", "run_type": "aggregate", "aggregate_name": "median", "real_time": 5}
    policy = Policy(rules={"B": Rule(at_most=bound("1 s", most=True))})
    for beside in (True, False):  # whether BASE has B too
        documents = _google(), _google(1.01)
        for document in documents if beside else documents[1:]:
            document["benchmarks"].append(kept)
        old, late = (_write(tmp_path / f"{n}.json", document) for n, document in enumerate(documents))
        (limit,) = compare(str(old), str(late), policy).held
        assert limit.kind == "unproved"
        assert "Google Benchmark kept of it aggregates" in limit.reason
        assert "NEW does not have it" not in limit.reason


def test_older_google_files_have_no_types_of_rows(tmp_path: Path) -> None:
    rows = [{"name": "BM_A", "real_time": value, "cpu_time": 1, "time_unit": "ns"} for value in (10, 11, 12)]
    rows += [{"name": f"BM_A_{kind}", "real_time": 11, "cpu_time": 1, "time_unit": "ns"} for kind in ("mean", "stddev")]
    rows += [{"name": "BM_walk_mean", "real_time": 5, "cpu_time": 1, "time_unit": "ms"}]
    suite = open_suite(_write(tmp_path / "g.json", {"context": {}, "benchmarks": rows}))
    assert [(kind.name, len(kind.runs)) for kind in suite.benchmarks] == [("BM_A", 3), ("BM_walk_mean", 1)]


def test_older_google_files_may_have_aggregates_alone(tmp_path: Path) -> None:
    def rows(name: str, iterations: tuple[int, int, int]) -> list[dict[str, Any]]:
        kinds = zip(("mean", "median", "stddev"), (12.0, 11.0, 0.5), iterations, strict=True)
        return [{"name": f"{name}_{kind}", "real_time": v, "time_unit": "ns", "iterations": n} for kind, v, n in kinds]

    document = {"context": {}, "benchmarks": [*rows("BM_A", (900, 900, 900)), *rows("BM_stat", (9, 8, 7))]}
    made = open_suite(_write(tmp_path / "g.json", document)).benchmarks
    assert [kind.name for kind in made] == ["BM_A", "BM_stat_mean", "BM_stat_median", "BM_stat_stddev"]
    assert made[0].runs == [[pytest.approx(11e-9)]]
    assert made[0].summary.startswith("aggregates")
    assert not made[1].summary


def test_failed_runs_count_for_nothing(tmp_path: Path) -> None:
    document = _hyperfine(count=4)
    document["results"][0]["exit_codes"] = [0, 1, None, 0]
    assert len(open_suite(_write(tmp_path / "a.json", document)).benchmarks[0].runs) == 2
    document["results"][0]["exit_codes"] = [1, 1, 2, 1]
    with pytest.raises(InputError, match=r"hyperfine.* without benchmarks: 'sleep 0.05' failed in all its runs"):
        read_suite(_write(tmp_path / "a.json", document), "x")


def _failing(tool: Any, factor: float, bad: int) -> dict[str, Any]:
    document: dict[str, Any] = tool(factor)
    if tool is _hyperfine:
        document["results"][0]["exit_codes"][:bad] = [139] * bad
    else:
        for row in document["benchmarks"][:bad]:
            row |= {"error_occurred": True, "error_message": "out of memory"}
    return document


@pytest.mark.parametrize("tool", [_hyperfine, _google])
@pytest.mark.parametrize(
    ("base", "new", "allowed", "code"),
    [(0, 18, 0, 3), (0, 1, 0, 3), (0, 1, 5, 0), (18, 18, 0, 0), (18, 0, 0, 0), (0, 0, 0, 0)],
)
def test_runs_that_fail_more_often_pass_no_gate(
    tmp_path: Path, tool: Any, base: int, new: int, allowed: int, code: int
) -> None:
    old, late = (
        [str(_write(tmp_path / f"{side}{n}.json", _failing(tool, 1 + (5 * n + side) / 5e4, bad))) for n in range(5)]
        for side, bad in enumerate((base, new))
    )
    found = compare(old, late, Policy(delta=0.2, tolerate=0.2, failures=allowed))
    assert set(found.table["kind"]) <= {"equivalent", "improved", "regressed"}
    outcome = gate(found)
    assert outcome.code == code, outcome.text
    told = f"{5 * base} of 100 runs of BASE failed, {5 * new} of 100 of NEW"
    assert (told in "\n".join(found.notes)) == bool(base or new)
    if code:
        assert f"{5 * new} of 100 runs of NEW failed" in outcome.text
    name = found.table["metric"].iloc[0]
    idle = Policy(delta=0.2, rules={"*": Rule(gates=False), name: Rule(gates=False), "x": Rule(gates=True)})
    with pytest.raises(InputError, match="no metric gates"):
        gate(compare(old, late, idle))


def test_a_code_that_all_runs_exit_with_is_how_the_command_ends(tmp_path: Path) -> None:
    def files(side: str, code: int) -> list[str]:
        made = []
        for n in range(5):
            document = _hyperfine(1 + n / 5000 + len(side) / 1e6)
            document["results"][0]["exit_codes"] = [code] * 20
            made.append(str(_write(tmp_path / f"{side}{code}{n}.json", document)))
        return made

    both = compare(files("a", 1), files("bb", 1), Policy(delta=0.2))
    assert gate(both).code == 0
    assert "sleep 0.05 exits with 1 in all its runs" in "\n".join(both.notes)
    for other in (0, 2):
        broken = compare(files("a", other), files("bb", 1), Policy(delta=0.2))
        assert gate(broken).code == 3, gate(broken).text
        assert "100 of NEW" in "\n".join(broken.notes)


def _ending(folder: Path, side: str, codes: list[Any], factor: float = 1.0) -> list[str]:
    """A file a code, with which all its runs exit."""
    made = []
    for n, code in enumerate(codes):
        document = _hyperfine(factor * (1 + n / 5000 + len(side) / 1e6))
        document["results"][0]["exit_codes"] = [code] * 20
        made.append(str(_write(folder / f"{side}{n}.json", document)))
    return made


@pytest.mark.parametrize(
    ("bad", "sides"),
    [
        *((code, side) for code in (1, 126, 127, 139, None) for side in ("BASE", "NEW")),
        *((code, "BASE and NEW") for code in (126, 127, None)),  # any other on both is how the command ends
    ],
)
@pytest.mark.parametrize("count", [1, 6])
def test_times_of_runs_that_failed_are_never_compared(tmp_path: Path, bad: Any, sides: str, count: int) -> None:
    ours, theirs = (
        _ending(tmp_path, side, [bad if side in sides.split() else 0] * count, 0.04 if side in sides.split() else 2.0)
        for side in ("BASE", "NEW")
    )
    found = compare(ours, theirs)
    assert found.table.empty
    ((_, gap, unproved),) = found.gaps
    assert (gap.why, unproved) == (f"failed in all its runs in {sides}", True)
    outcome = gate(found)
    assert outcome.code == 3
    assert "not compared: sleep 0.05" in outcome.text
    assert "taken as it is" not in "\n".join(found.notes)
    assert "<svg" in forest(found)
    tell.as_junit(found, outcome)


def test_files_that_failed_are_left_out_of_the_others_of_their_side(tmp_path: Path) -> None:
    late = [*_ending(tmp_path, "NEW", [0] * 5), *_ending(tmp_path, "failed", [1, 127, None], 0.04)]
    found = compare(_ending(tmp_path, "BASE", [0] * 8), late, Policy(delta=0.2))
    assert found.table["ratio"].iloc[0] == pytest.approx(1, abs=0.01)
    assert "0 of 160 runs of BASE failed, 60 of 160 of NEW" in "\n".join(found.notes)
    assert gate(found).code == 3


def test_a_code_is_how_the_command_ends_only_where_no_run_of_it_ends_otherwise(tmp_path: Path) -> None:
    """Of the command that always exits with 1, the one file that could not be executed is no reason to go on."""
    found = compare(_ending(tmp_path, "BASE", [1] * 5), _ending(tmp_path, "NEW", [1] * 4 + [127]))
    assert found.table.empty
    assert gate(found).code == 3


@pytest.mark.parametrize("count", [1, 8])
def test_a_limit_is_not_kept_by_runs_that_failed(tmp_path: Path, count: int) -> None:
    policy = Policy(rules={"*": Rule(at_most=bound("1 s", most=True))})
    found = compare(_ending(tmp_path, "BASE", [0] * count), _ending(tmp_path, "NEW", [127] * count, 0.02), policy)
    (limit,) = found.held
    assert (limit.kind, limit.reason) == ("unproved", "failed in all its runs in NEW")
    assert gate(found).code == 3


def test_a_summary_of_runs_that_failed_counts_for_nothing(tmp_path: Path) -> None:
    for codes, why in (([127] * 3, "failed in all"), ([0, 1, 0], "failed in runs that its mean and median hold")):
        document = _hyperfine(times=False)
        document["results"][0]["exit_codes"] = codes
        suite = open_suite(_write(tmp_path / "a.json", document))
        assert not suite.benchmarks
        assert suite.gone["sleep 0.05"].startswith(why)


@pytest.mark.parametrize(
    ("change", "gone"),
    [
        ({"items_per_second": math.inf}, False),
        ({"items_per_second": math.nan, "bytes_per_second": -math.inf}, False),
        ({"cpu_time": math.nan}, False),
        ({"real_time": math.nan}, True),
        ({"real_time": math.inf}, True),
        ({"real_time": None}, True),
        ({"real_time": "fast"}, True),
    ],
)
def test_a_value_that_is_no_number_costs_its_own_benchmark_and_only_if_it_is_used(
    tmp_path: Path, change: dict[str, Any], gone: bool
) -> None:
    files = []
    for n in range(10):
        document = _google(1 + n / 5000)
        beside = [row | {"name": "B", "run_name": "B"} for row in document["benchmarks"][:20]]
        for row in beside:
            row["real_time"] *= 1 + n / 4000
        document["benchmarks"] += beside
        document["benchmarks"][3] |= change if n == 7 else {}
        kept = {"aggregate_name": "cv", "run_type": "aggregate", "run_name": "B", "name": "B_cv", "time_unit": "us"}
        document["benchmarks"].append(kept | {"real_time": math.nan, "cpu_time": math.inf})
        files.append(str(_write(tmp_path / f"{n}.json", document)))
    assert [kind.name for kind in open_suite(Path(files[7])).benchmarks] == (["B"] if gone else ["B", "BM_Sort/8"])
    found = compare(files[:5], files[5:], Policy(delta=0.2))
    assert set(found.table["metric"]) == {"B", "BM_Sort/8"}
    assert ("BM_Sort/8: left out of 1 of 5 files of NEW: it has a value that is" in "\n".join(found.notes)) == gone
    alone = compare(files[6], files[7])
    assert [gap.metric for _, gap, _ in alone.gaps] == (["BM_Sort/8"] if gone else [])
    if gone:
        assert "not a number in NEW" in alone.gaps[0][1].why


def test_one_command_with_several_parameters_is_several_benchmarks(tmp_path: Path) -> None:
    row = _hyperfine()["results"][0]
    rows = [row | {"parameters": {"size": size, "mode": "a"}} for size in ("1", "2")]
    made = open_suite(_write(tmp_path / "a.json", {"results": rows})).benchmarks
    assert [kind.name for kind in made] == ["sleep 0.05 (size=1, mode=a)", "sleep 0.05 (size=2, mode=a)"]


@pytest.mark.parametrize(
    ("tool", "unit"),
    [(_hyperfine, "run of hyperfine"), (_google, "repetition of Google"), (_pytest, "round of pytest"), (_asv, "asv")],
)
def test_the_unit_is_the_tools_own(tmp_path: Path, tool: Any, unit: str) -> None:
    old, new = (_write(tmp_path / f"{factor}.json", tool(factor)) for factor in (1.0, 1.2))
    told = "\n".join(compare(str(old), str(new)).notes)
    assert f"the unit is the {unit}" in told or f"sample of {unit}" in told
    assert "pyperf" not in told


def test_many_rounds_are_few_runs(tmp_path: Path) -> None:
    suite = open_suite(_write(tmp_path / "a.json", _pytest(rounds=2050)))
    assert [len(run) for run in suite.benchmarks[0].runs] == [21] * 97 + [13]


@pytest.mark.parametrize(
    ("document", "what"),
    [
        ([{"benchmark": "a", "primaryMetric": {}}], "results of JMH"),
        ({"fio version": "fio-3.33", "jobs": []}, "results of fio"),
        ({"mean": {}, "median": {}, "std_dev": {}}, "results of Criterion.rs"),
        ({"arch": "x86_64", "cpu": "", "machine": "lab", "os": "", "ram": "", "version": 1}, "asv's description"),
        ({"io.time_a": {"param_names": [], "name": "io.time_a"}, "version": 2}, "asv's list of benchmarks"),
        ([1, 2], "JSON, a list"),
        ("7", "JSON, a single value"),
        ({"nuitka": {"warmup": [1]}}, "no benchmark's results"),
        ({"results": [{"command": "a", "times": [0.1, "x"]}]}, "'a' has a value that is x, not a number"),
        ('{"results": [{"command": "a", "times": [0.1, NaN]}]}', "'a' has a value that is NaN, not a number"),
        ({"results": [{"command": "a", "times": []}]}, "'a' has no times"),
        ({"results": [{"command": "a", "times": [1]}, {"command": "a", "times": [1]}]}, "two benchmarks 'a'"),
        ({"results": [{"command": "a", "times": [1]}, {"command": "a", "times": []}]}, "two benchmarks 'a'"),
        ({"commit_hash": "a", "results": {}}, "asv.* without benchmarks"),
    ],
)
def test_what_is_not_read_is_named(tmp_path: Path, document: Any, what: str) -> None:
    with pytest.raises(InputError, match=what) as caught:
        open_suite(_write(tmp_path / "a.json", document))
    assert "a.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("version", [5, 6])
def test_older_formats_of_pyperf_are_read_as_pyperf_reads_them(tmp_path: Path, version: int) -> None:
    key = "samples" if version == 5 else "values"
    runs = [{"metadata": {"date": f"2016-12-28 10:0{n}:00"}, key: [0.5 + n / 100, 0.6]} for n in range(3)]
    runs.insert(0, {"warmups": [[1, 0.7]], key: [], "metadata": {}})
    common = {"name": "telco", "unit": "second", "commit_date": "2016-12-01 10:00:00+01:00"}
    document = {"version": version, "benchmarks": [{"common_metadata": common, "runs": runs}], "common_metadata": {}}
    if version == 6:
        document = {"version": 6, "benchmarks": [{"metadata": common, "runs": runs}]}
    path = _write(tmp_path / "a.json", document)
    suite = open_suite(path)
    own = pyperf.BenchmarkSuite.load(str(path)).get_benchmarks()[0]
    assert suite.benchmarks[0].name == own.get_name() == "telco"
    assert [value for run in suite.benchmarks[0].runs for value in run] == list(own.get_values())
    assert suite.committed.startswith("2016-12-01 09:00:00")


def test_the_same_verdict_from_files_of_each_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for tool in (_hyperfine, _google, _pytest):
        base, new = _write(tmp_path / "base.json", tool()), _write(tmp_path / "new.json", tool(1.2))
        assert cli.main(["compare", str(base), str(new)]) == 0, tool
        assert "1.200" in capsys.readouterr().out, tool


def _nights(folder: Path, tool: Any, count: int = 12) -> Path:
    for night in range(count):
        text = tool(1.0 + (0.1 if night >= 6 else 0) + 0.0001 * (night * 5 % 12))
        _write(folder / f"n{night:02}.json", text)
    return folder


@pytest.mark.parametrize("tool", [_hyperfine, _google, _pytest, _asv])
def test_a_history_of_files_of_each_tool(tmp_path: Path, capsys: pytest.CaptureFixture[str], tool: Any) -> None:
    folder = _nights(tmp_path / "in", tool)
    assert cli.main(["history", str(folder), "--metric", "all", "--out", str(tmp_path / "out")]) == 0
    assert "1 change in 12 points" in capsys.readouterr().out
    (change,) = json.loads((tmp_path / "out" / "history.json").read_text())["histories"][0]["changes"]
    assert change["session"] == "n06"


@pytest.mark.parametrize("code", [127, None, 1])
@pytest.mark.parametrize("named", [True, False])
def test_nights_that_failed_are_no_points_of_a_history(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], code: int | None, named: bool
) -> None:
    folder = _nights(tmp_path / "in", _hyperfine, 20)
    for night in range(11, 20):
        document = _hyperfine(0.02 + night / 1e4)
        document["results"][0]["exit_codes"] = [code] * 20
        _write(folder / f"n{night:02}.json", document)
    partly = _hyperfine(1.0001)
    partly["results"][0]["exit_codes"][:3] = [1] * 3
    _write(folder / "n02.json", partly)
    files = sorted(folder.iterdir()) if named else [folder]
    assert cli.main(["history", *map(str, files), "--metric", "all", "--out", str(tmp_path / "out")]) == 0
    document = json.loads((tmp_path / "out" / "history.json").read_text())
    (history,) = document["histories"]
    assert [change["session"] for change in history["changes"]] == ["n06"]
    assert [point["session"] for point in history["points"]] == [f"n{night:02}" for night in range(11)]
    told = capsys.readouterr().err
    ends = "exits with 1 in all of its runs, and with 0 in most sessions" if code == 1 else "failed in all its runs"
    for night in range(11, 20):
        assert f"n{night:02}: sleep 0.05 {ends}" in told
    assert "sleep 0.05: 3 of 20 runs failed in 1 session, and are left out" in told


def test_a_code_of_most_nights_is_how_the_command_ends(tmp_path: Path) -> None:
    files = _ending(tmp_path, "n", [1] * 12 + [0] * 3)
    partly = json.loads(Path(files[13]).read_text())
    partly["results"][0]["exit_codes"][:5] = [1] * 5
    _write(Path(files[13]), partly)
    read = read_sessions([Path(file) for file in files])
    assert len(read.points) == 12
    assert "n14: sleep 0.05 exits with 0 in all of its runs, and with 1 in most sessions" in read.left_out
    assert "n13: sleep 0.05 exits with 0 in some of its runs, and with 1 in most sessions" in read.left_out
    assert "sleep 0.05 exits with 1 in all its runs of most sessions, and is taken as it is" in read.left_out
    with pytest.raises(InputError, match=r"failed in all its runs"):
        read_sessions([Path(file) for file in _ending(tmp_path, "m", [127] * 12)])


def test_foreign_and_torn_files_of_a_folder_leave_out_themselves_alone(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = _nights(tmp_path / "in", _hyperfine)
    whole = (folder / "n00.json").read_bytes()
    bad = {
        "empty.json": (b"", "an empty file"),
        "page.json": (b"<html>404</html>", "a page of HTML"),
        "half.json": (whole[: len(whole) // 2], "not JSON"),
        "half.json.gz": (gzip.compress(whole)[:-20], "not a whole gzip file"),
        "other.json": (b'{"benchmarks": 3}', "no benchmark's results"),
        "twice.json": (whole + whole, "not JSON"),
        "nan.json": (b'{"version": "1.0", "benchmarks": [{"runs": [{"values": [NaN]}]}]}', "a value is NaN"),
        "deep.json": (b"[" * 100_000, "nested too deeply"),
        "digits.json": (b'{"results": [' + b"9" * 5000 + b"]}", "not JSON"),
    }
    for name, (content, _) in bad.items():
        (folder / name).write_bytes(content)
    assert cli.main(["history", str(folder), "--metric", "all", "--out", str(tmp_path / "out")]) == 0
    told = capsys.readouterr().err.splitlines()
    assert len(told) == len(bad)
    for name, (_, why) in bad.items():
        assert any(f"{name}: {why}" in line or (f"{name}: " in line and why in line) for line in told), name
    # What is named itself is not left out in silence.
    named = [*map(str, sorted(folder.glob("n??.json"))), str(folder / "empty.json")]
    assert cli.main(["history", *named, "--metric", "all", "--out", str(tmp_path / "other")]) == 2


def test_sizes_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("analysis.suites._LARGEST", 100_000)
    (tmp_path / "bomb.json.gz").write_bytes(gzip.compress(b"[" + b" " * 200_000 + b"]"))
    _write(tmp_path / "large.json", "[" + " " * 200_000 + "]")
    for name in ("bomb.json.gz", "large.json"):
        with pytest.raises(InputError, match="too large"):
            open_suite(tmp_path / name)
