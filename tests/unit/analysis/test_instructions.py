"""Counted instructions in a report: exact differences, what does not repeat, and never beside seconds."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

import pyperf
import pytest

from analysis import instructions
from analysis.estimate import slot_medians
from analysis.load import load
from analysis.report import write_report

OLD, NEW = "qemu-icount@6.1.0-50-cloud-amd64", "qemu-icount@6.1.0-56-cloud-amd64"
COUNTS = {OLD: [(5, 640, 2), (5, 640, 2)], NEW: [(5, 642, 2), (5, 642, 2)]}
MILLION = 1_000_000


def results(folder: Path, counts: Mapping[str, list[tuple[int, int, int]]], *, timed: bool = False) -> Path:
    """A results folder with boots of so many million instructions (setup, kernel, init); timed: a process beside."""
    folder.mkdir(parents=True)
    names = list(counts)
    arms = {name: {"backend": "qemu-icount", "family": "hypervisor", "options": {}, "label": name} for name in names}
    measures = {"instructions": {name: ["instructions"] for name in names}}
    if timed:
        arms["process"] = {"backend": "process", "family": "process", "options": {}, "label": "process"}
        measures["boot"] = {"process": ["boot"]}
    scenarios = {name: {"measures": [name], "description": ""} for name in measures}
    lines = [
        slot(block, name, instructions_of(*boot))
        for name, boots in counts.items()
        for block, boot in enumerate(boots, start=1)
    ]
    if timed:
        boot = {"metric": "boot", "values": [0.004], "unit": "second", "better": "lower"}
        lines += [slot(block, "process", [boot]) | {"scenario": "boot", "family": "process"} for block in (1, 2)]
    plan = {"campaign": "counted", "blocks": 2, "seed": 1, "baseline": "process" if timed else names[0], "arms": arms}
    slots = [{key: line[key] for key in ("slot", "block", "scenario", "arm")} for line in lines]
    (folder / "plan.json").write_text(
        json.dumps({**plan, "measures": measures, "scenarios": scenarios, "slots": slots})
    )
    (folder / "facts.json").write_text(json.dumps({"host": {"kernel": "6.18"}, "cgroup": "v2"}))
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    return folder


def instructions_of(setup: int, kernel: int, init: int) -> list[dict[str, object]]:
    found = {"boot": setup + kernel + init, "boot.setup": setup, "boot.kernel": kernel, "boot.init": init}
    samples = [(f"{name}.instructions", [value * MILLION]) for name, value in found.items()]
    samples.append(("spawn.instructions", [900_001, 900_003]))
    return [{"metric": name, "values": values, "unit": "instruction", "better": "lower"} for name, values in samples]


def slot(block: int, arm: str, samples: list[dict[str, object]]) -> dict[str, object]:
    return {
        "schema": 1,
        "slot": f"{block}-{arm}",
        "block": block,
        "order": 1,
        "scenario": "instructions",
        "arm": arm,
        "family": "hypervisor",
        "host": "local",
        "status": "ok",
        "reason": None,
        "marks": {},
        "samples": samples,
        "caged": True,
        "equivalence": {"badge": "equal", "differs": {}, "caged": True},
    }


def tables(folder: Path) -> list[instructions.Table]:
    loaded = load([folder])
    return instructions.tables(loaded, slot_medians(loaded.samples))


def test_what_repeats_is_exact_and_its_difference_is_to_the_digit(tmp_path: Path) -> None:
    (table,) = tables(results(tmp_path / "r", COUNTS))
    assert table.reference == OLD
    assert list(table.heads.values()) == ["Boot", "setup", "kernel", "init", "Spawn"]
    boot = table.counts[NEW]["boot.instructions"]
    assert (boot.value, boot.slots, boot.exact) == (649 * MILLION, 2, True)
    assert boot.against == "+0.309 % (+2,000,000)"
    assert boot.proof == "2 boots, the same to the last digit"
    assert table.counts[NEW]["boot.init.instructions"].against == "the same"
    assert table.counts[OLD]["boot.instructions"].against == ""


@pytest.mark.parametrize(
    ("boots", "proof", "inexact"),
    [
        ([(5, 642, 2)], "one boot: not proved to repeat", []),
        ([(5, 642, 2), (5, 643, 2)], "2 boots that differ by up to 1,000,000", [NEW]),
    ],
)
def test_what_does_not_repeat_is_said(
    tmp_path: Path, boots: list[tuple[int, int, int]], proof: str, inexact: list[str]
) -> None:
    folder = results(tmp_path / "r", COUNTS | {NEW: boots})
    (table,) = tables(folder)
    assert table.counts[NEW]["boot.instructions"].proof == proof
    assert instructions.inexact([table]) == inexact
    write_report([folder])
    assert ("did not repeat" in (folder / "report.md").read_text()) == bool(inexact)


def test_a_small_change_is_not_rounded_to_none() -> None:
    count = instructions.Count(650_000_003.0, 2, 0.0, 3 / 650_000_000, 3.0)
    assert count.against == "+4.6e-09 (+3)"


def test_a_report_of_counts_alone(tmp_path: Path) -> None:
    folder = results(tmp_path / "r", COUNTS)
    write_report([folder])
    page, text = (folder / "report.html").read_text(), (folder / "report.md").read_text()
    for words in (page, text):
        assert "Instructions are not seconds" in words
        assert "649,000,000" in words
        assert "at least 6" not in words  # exact counts need no blocks
    assert f"{NEW} (emulated) boots in 649,000,000" in page.replace("\N{NO-BREAK SPACE}", " ")
    assert 'id="matrix"' not in page
    lines = [line for line in text.splitlines() if line.startswith("|")]
    assert len(lines) == 4
    assert len({line.count("|") for line in lines}) == 1


def test_counts_and_seconds_stand_in_different_tables(tmp_path: Path) -> None:
    folder = results(tmp_path / "r", COUNTS, timed=True)
    write_report([folder])
    page = (folder / "report.html").read_text()
    matrix = page[page.index('id="headline-matrix"') :].partition("</table>")[0]
    assert "process" in matrix
    assert "qemu-icount" not in matrix
    (table,) = tables(folder)
    assert table.reference == OLD  # the baseline counts nothing


def test_pyperf_takes_counts_as_whole_numbers(tmp_path: Path) -> None:
    folder = results(tmp_path / "r", COUNTS)
    write_report([folder])
    suite = pyperf.BenchmarkSuite.load(str(folder / "pyperf" / f"{NEW}.json"))
    boot = suite.get_benchmark("boot.instructions")
    assert boot.get_unit() == "integer"
    assert boot.get_values() == (649 * MILLION, 649 * MILLION)
