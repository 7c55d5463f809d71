"""The headline matrix: a figure with its ratio in every cell, or the reason why there is none."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from analysis.estimate import estimates, slot_medians
from analysis.load import load
from analysis.matrix import Cell, Chosen, Matrix, columns, matrix
from tests.synthetic import ARMS, campaign

FEW = {name: ARMS[name] for name in ("process", "crun", "uml")}


def _matrix(folder: Path) -> Matrix:
    loaded = load([folder])
    return matrix(loaded, Chosen(estimates(slot_medians(loaded.samples), loaded.baseline)))


def _cell(found: Matrix, arm: str, metric: str) -> Cell:
    (place,) = (place for place, column in enumerate(found.columns) if column.metric == metric)
    return found.cells[arm][place]


def test_cells_have_value_ratio_and_interval(tmp_path: Path) -> None:
    found = _matrix(campaign(tmp_path / "a", arms=FEW))
    assert _cell(found, "process", "boot").ratio == "baseline"
    crun = _cell(found, "crun", "boot")
    assert crun.value.endswith("ms")
    assert crun.ratio.endswith("×")
    assert crun.range.startswith("[")
    assert _cell(found, "uml", "boot").heat > crun.heat > 0
    largest = _cell(found, "uml", "density.n")
    assert (largest.value, largest.range) == ("≥\N{NO-BREAK SPACE}12", "limit of this campaign")


def test_a_metric_that_was_measured_once_has_no_interval(tmp_path: Path) -> None:
    found = _matrix(campaign(tmp_path / "a", arms=FEW))
    assert _cell(found, "crun", "density.cage").range == "1 block, no interval"


def test_an_interval_on_fewer_blocks_than_others_says_so(tmp_path: Path) -> None:
    def fail(record: dict[str, Any]) -> None:
        if record["arm"] == "crun" and record["block"] > 8:
            record |= {"status": "failed", "samples": []}

    found = _matrix(campaign(tmp_path / "a", arms=FEW, change=fail))
    assert (_cell(found, "crun", "boot").blocks, _cell(found, "uml", "boot").blocks) == ("8 blocks", "")


def test_the_reason_is_the_plans(tmp_path: Path) -> None:
    found = _matrix(campaign(tmp_path / "a", arms=FEW))
    cell = _cell(found, "uml", "exec")
    assert cell.reason == "no exec door: its runtime cannot run a command in it"
    assert found.notes[cell.note - 1] == cell.reason
    assert {cell.note for cell in found.cells["kvm-firmware"]} == {0}


def test_the_reason_is_failure_or_that_it_did_not_run(tmp_path: Path) -> None:
    def fail(record: dict[str, Any]) -> None:
        if record["arm"] == "crun" and record["scenario"] == "lifecycle":
            record |= {"status": "timeout", "samples": []}

    folder = campaign(tmp_path / "a", arms=FEW, blocks=2, change=fail)
    lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
    kept = [line for line in lines if json.loads(line)["arm"] != "uml"]
    (folder / "journal.jsonl").write_text("".join(kept))
    found = _matrix(folder)
    assert _cell(found, "crun", "boot").reason == "no slot ended well: 2 of 2 failed"
    assert _cell(found, "uml", "boot").reason == "planned, not run yet"


def test_no_ratio_of_what_is_not_above_zero(tmp_path: Path) -> None:
    def lose(record: dict[str, Any]) -> None:
        for sample in record["samples"]:
            if record["arm"] == "crun" and sample["metric"] == "density.cage":
                sample["values"] = [-4096.0]

    found = _matrix(campaign(tmp_path / "a", arms=FEW, change=lose))
    assert _cell(found, "crun", "density.cage").range == "no ratio of 0 or less"


def test_without_cages_memory_is_told_by_the_next_best_view(tmp_path: Path) -> None:
    def uncaged(record: dict[str, Any]) -> None:
        record["samples"] = [s for s in record["samples"] if s["metric"] != "density.cage"]

    loaded = load([campaign(tmp_path / "a", arms=FEW, change=uncaged)])
    shown = columns(Chosen(estimates(slot_medians(loaded.samples), loaded.baseline)))
    assert [column.metric for column in shown if column.head == "Memory"] == ["density.pss"]
