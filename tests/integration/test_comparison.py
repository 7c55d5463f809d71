"""Comparing and gating a real campaign."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Callable
from pathlib import Path
from xml.etree import ElementTree as xml

import pytest

from .conftest import ARMS
from .test_campaigns import campaign, results

pytestmark = pytest.mark.usefixtures("nothing_left")

Tare = Callable[..., subprocess.CompletedProcess[str]]
BLOCKS = 12


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory, tare: Tare) -> Path:
    """Twelve blocks of a process, of bwrap and of crun twice."""
    top = tmp_path_factory.mktemp("comparison")
    arms = {"process": ARMS["process"], "bwrap": ARMS["bwrap"], "crun": ARMS["crun"], "again": ARMS["crun"]}
    done = tare("run", campaign(top, arms, blocks=BLOCKS), "--results", top)
    assert done.returncode == 0, done.stderr
    return results(top)


def test_what_costs_more_is_called(folder: Path, tmp_path: Path, tare: Tare) -> None:
    """A container costs more to start than the bare process, and every way of saying so says that."""
    junit, markdown, svg = (tmp_path / name for name in ("check.xml", "check.md", "check.svg"))
    words = (f"{folder}:process", f"{folder}:crun", "--markdown", markdown, "--svg", svg)
    done = tare("check", *words, "--junit", junit, "--json")
    assert done.returncode == 1, done.stdout + done.stderr
    found = json.loads(done.stdout)
    metrics = {row["metric"]: row for row in found["metrics"]}
    assert metrics["boot"]["kind"] == metrics["boot.cpu"]["kind"] == "regressed"
    assert metrics["boot"]["count"] == BLOCKS
    assert 1 < metrics["boot"]["low"] < metrics["boot"]["ratio"] < metrics["boot"]["high"]
    assert found["interleaved"] is True
    assert found["gate"]["exit"] == 1
    (boot,) = [case for case in xml.parse(junit).iter("testcase") if case.get("name") == "boot"]
    assert [child.tag for child in boot] == ["failure"]
    assert "| boot | " in markdown.read_text()
    assert xml.parse(svg).getroot().tag.endswith("svg")
    shown = tare("compare", "process", "crun", "--in", folder)
    assert shown.returncode == 0
    assert "regressed" in shown.stdout


def test_the_same_runtime_twice_never_regresses(folder: Path, tmp_path: Path, tare: Tare) -> None:
    """Two arms of one runtime are equivalent, or twelve blocks do not prove it; what is said fits the exit code."""
    (tmp_path / "policy.toml").write_text("alpha = 0.01\n")  # a false alarm in 200 runs of this test
    done = tare("check", "crun", "again", "--in", folder, "--policy", tmp_path / "policy.toml", "--json")
    kinds = {row["kind"] for row in json.loads(done.stdout)["metrics"] if row["gates"]}
    assert "regressed" not in kinds
    assert done.returncode == (3 if "inconclusive" in kinds else 0), done.stdout


def test_its_exports_compare_as_pyperf_files(folder: Path, tare: Tare) -> None:
    """Without blocks the run is the unit, and the output says that nothing was interleaved."""
    done = tare("compare", folder / "pyperf/process.json", folder / "pyperf/crun.json", "--json")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["design"], found["unit"], found["interleaved"]) == ("suites", "run", False)
    assert {row["metric"]: row for row in found["metrics"]}["boot"]["count"] == BLOCKS
    assert any("not interleaved" in note for note in found["notes"])
