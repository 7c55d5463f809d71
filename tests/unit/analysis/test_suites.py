"""pyperf's files: read as pyperf itself reads them, and refused in one line."""

from __future__ import annotations

import json
import statistics
from pathlib import Path
from typing import Any

import pyperf
import pytest

from analysis.suites import read_suite
from bench.errors import InputError
from tests.synthetic import suite

_RUN = {"values": [0.5], "metadata": {"name": "a"}}


def _file(path: Path, benchmarks: Any, **more: Any) -> Path:
    path.write_text(json.dumps({"version": "1.0", "benchmarks": benchmarks} | more))
    return path


@pytest.mark.parametrize("name", ["s.json", "s.json.gz"])
def test_the_values_are_those_that_pyperf_reads(tmp_path: Path, name: str) -> None:
    file = suite(tmp_path / name, runs=4, values=3, metrics=5)
    frame = read_suite(file, "old")
    theirs = pyperf.BenchmarkSuite.load(str(file))
    assert frame["metric"].cat.categories.tolist() == theirs.get_benchmark_names()
    for benchmark in theirs:
        rows = frame[frame["metric"] == benchmark.get_name()]
        assert rows["value"].tolist() == list(benchmark.get_values())
        medians = rows.groupby("slot", observed=True)["value"].median()
        assert sorted(medians) == sorted(statistics.median(run.values) for run in benchmark.get_runs() if run.values)
        assert set(rows["unit"]) == {benchmark.get_unit()}
    assert set(frame["arm"]) == {"old"}
    assert frame["index"].tolist()[:4] == [0, 1, 2, 0]


def test_what_tare_exports_is_read_with_its_units(tmp_path: Path) -> None:
    reference = Path(__file__).resolve().parents[3] / "results/reference/pyperf/crun.json"
    frame = read_suite(reference, "crun")
    units = dict(zip(frame["metric"], frame["unit"], strict=True))
    assert units["boot"] == "second"
    assert units["density.cage"] == "byte"
    assert len(frame[frame["metric"] == "boot"]) == 10


def test_a_name_may_stand_at_the_benchmark_or_at_the_suite(tmp_path: Path) -> None:
    runs = [{"values": [1.0, 2]}]
    assert set(read_suite(_file(tmp_path / "a.json", [{"metadata": {"name": "x"}, "runs": runs}]), "a")["metric"]) == {
        "x"
    }
    shared = _file(tmp_path / "b.json", [{"runs": runs}], metadata={"name": "y", "unit": "byte"})
    frame = read_suite(shared, "a")
    assert (frame["metric"].iloc[0], frame["unit"].iloc[0]) == ("y", "byte")


@pytest.mark.parametrize(
    ("benchmarks", "why"),
    [
        ([{"runs": [{"metadata": {"name": "a"}, "warmups": [[1, 0.1]]}]}], "benchmark 'a' has no values"),
        ([{"runs": []}], "benchmark 1 has no name"),
        ([{"metadata": {"name": "a"}, "runs": []}], "benchmark 'a' has no values"),
        ([{"runs": [_RUN]}, {"runs": [_RUN]}], "two benchmarks 'a'"),
        ([], "without benchmarks"),
        ([{"runs": [{"values": ["fast"]}]}], "not a pyperf suite: Expected `float`, got `str`"),
        ([{"runs": [{"values": [True]}]}], "not a pyperf suite"),
        (7, "not a pyperf suite"),
    ],
)
def test_a_suite_that_is_none_is_refused(tmp_path: Path, benchmarks: Any, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        read_suite(_file(tmp_path / "s.json", benchmarks), "a")
    assert "s.json: " in str(caught.value)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"garbage", "not JSON"),
        (b"", "an empty file"),
        (b" \n", "an empty file"),
        (b"<!DOCTYPE html><html></html>", "a page of HTML or XML, not JSON"),
        (b'{"version": "1.0", "benchmarks": [{"runs": [{"values": [NaN]}]}]}', "a value is NaN"),
        (b'{"version": "1.0", "benchmarks": [{"runs": [{"values": [-Infinity]}]}]}', "a value is -Infinity"),
        (b"\xff\xfe\x00", "not JSON"),
        (b"{}", "no benchmark's results; what is read are results of pyperf, hyperfine"),
        (b'{"version": 99, "benchmarks": []}', "pyperf format '99', which pyperf cannot read"),
        (b"\x1f\x8b\x08", "not a whole gzip file"),
        (b"\x1f\x8bnonsense of some length", "not a whole gzip file"),
        (b"[" * 100_000, "nested too deeply"),
        (b'{"version": "1.0", "benchmarks": [{"runs": [{"values": [' + b"9" * 5000 + b"]}]}]}", "not JSON"),
    ],
)
def test_garbage_is_refused(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "s.json").write_bytes(content)
    with pytest.raises(InputError, match=why) as caught:
        read_suite(tmp_path / "s.json", "a")
    assert "\n" not in str(caught.value)


def test_a_missing_file_is_said(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_suite(tmp_path / "none.json", "a")
