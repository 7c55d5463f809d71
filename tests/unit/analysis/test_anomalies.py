"""Figures that ask for an explanation: each rule on data that has it, and on data that has not."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.anomalies import anomalies
from analysis.estimate import estimates, flat, slopes, slot_medians
from analysis.load import VIEWS, load
from analysis.matrix import Chosen, matrix
from analysis.report import write_report
from tests.synthetic import ARMS, campaign

FEW = {name: ARMS[name] for name in ("process", "crun", "uml")}
Change = Callable[[dict[str, Any]], None]
Values = dict[str, dict[str, tuple[float, str, str]]]
WORKLOADS = {
    "writer": {"area": "disk", "summary": "Writes and flushes."},
    "calls": {"area": "system calls", "summary": "Calls."},
}


def found_in(folder: Path) -> list[str]:
    loaded = load([folder])
    medians = slot_medians(loaded.samples)
    inclines = slopes(loaded, VIEWS)
    found = estimates(medians, loaded.baseline, flat(inclines))
    chosen = Chosen(found, flat(inclines))
    told = anomalies(loaded, chosen, found, medians, inclines)
    return [caution.text.replace("\N{NO-BREAK SPACE}", " ") for caution in told]


def working(folder: Path, values: Values) -> Path:
    """A campaign whose arms say these values of the tools of WORKLOADS, by arm and metric: value, unit, better."""

    def change(record: dict[str, Any]) -> None:
        wobble = 1 + ((record["block"] * (3 if record["arm"] == "process" else 5)) % 7 - 3) / 500
        record["samples"] = [
            {"metric": metric, "values": [value * wobble], "unit": unit, "better": better}
            for metric, (value, unit, better) in values.get(record["arm"], {}).items()
        ]

    campaign(folder, blocks=8, arms=FEW, ramp=0, change=change)
    return planned(folder, workloads=WORKLOADS)


def planned(folder: Path, **keys: Any) -> Path:
    plan = json.loads((folder / "plan.json").read_text())
    (folder / "plan.json").write_text(json.dumps(plan | keys))
    return folder


def rate(value: float) -> tuple[float, str, str]:
    return value, "operation/s", "higher"


def seconds(value: float) -> tuple[float, str, str]:
    return value, "second", "lower"


def test_an_ordinary_campaign_has_none(tmp_path: Path) -> None:
    assert found_in(campaign(tmp_path / "a", arms=FEW)) == []


def test_flushed_writes_faster_than_the_bare_hosts(tmp_path: Path) -> None:
    values = {name: {"writer.rate": rate(16_500.0 if name == "uml" else 2_350.0)} for name in FEW}
    (told,) = found_in(working(tmp_path / "a", values))
    assert told.startswith("Suspicious: in writer.rate uml does 7.0× as well as process (17 k/s against 2.4 k/s).")
    assert "a flush is missing" in told


@pytest.mark.parametrize("uml", [2_400.0, 400.0])
def test_writes_as_fast_as_the_hosts_or_slower_are_in_order(tmp_path: Path, uml: float) -> None:
    values = {name: {"writer.rate": rate(uml if name == "uml" else 2_350.0)} for name in FEW}
    assert found_in(working(tmp_path / "a", values)) == []


def test_other_work_that_is_better_than_the_bare_process_does_it(tmp_path: Path) -> None:
    values = {name: {"calls.call": seconds(50e-9 if name == "crun" else 100e-9)} for name in FEW}
    (told,) = found_in(working(tmp_path / "a", values))
    assert told.startswith("Suspicious: in calls.call crun does 2.0× as well as process (50 ns against 100 ns).")
    assert "flush" not in told


def test_a_p99_that_is_shorter_than_an_operation(tmp_path: Path) -> None:
    values = {name: {"writer.rate": rate(2_350.0), "writer.p99": seconds(9.3e-6)} for name in FEW}
    (told,) = found_in(working(tmp_path / "a", values))
    assert told.startswith("Suspicious: writer.p99 is not of whole operations. It is 9.3 µs for ")
    assert "by writer.rate an operation takes 430 µs on average" in told


def test_a_p99_of_many_clients_is_in_order(tmp_path: Path) -> None:
    values = {name: {"writer.rate": rate(126_000.0), "writer.p99": seconds(80e-6)} for name in FEW}
    assert found_in(working(tmp_path / "a", values)) == []


def slower_firmware(arm: str) -> Change:
    def change(record: dict[str, Any]) -> None:
        for sample in record["samples"]:
            if sample["metric"] == "firmware" and record["arm"] == arm:
                sample["values"] = [6.24]

    return change


def test_firmware_that_is_slower_with_hardware_help(tmp_path: Path) -> None:
    (told,) = found_in(campaign(tmp_path / "a", arms=FEW, change=slower_firmware("kvm-firmware")))
    assert told.startswith("Suspicious: kvm-firmware takes 6.2 s for its firmware, ")
    assert "what qemu-firmware (emulated) takes" in told


def test_firmware_that_is_slower_emulated_is_in_order(tmp_path: Path) -> None:
    assert found_in(campaign(tmp_path / "a", arms=FEW, change=slower_firmware("qemu-firmware"))) == []


def zero_cpu(*blocks: int) -> Change:
    def change(record: dict[str, Any]) -> None:
        for sample in record["samples"]:
            if sample["metric"] == "boot.cpu" and record["arm"] == "process" and record["block"] in blocks:
                sample["values"] = [0.0]

    return change


def test_a_start_without_cpu_time_is_explained_and_in_no_ratio(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", arms=FEW, change=zero_cpu(4))
    (told,) = found_in(folder)
    assert told.startswith("Impossible: process used 0 s of CPU time for boot in 1 of 12 slots, where it takes 3.5 ms")
    loaded = load([folder])
    found = estimates(slot_medians(loaded.samples), loaded.baseline)
    cell = matrix(loaded, Chosen(found)).cells["crun"][1]
    assert cell.blocks == "11 blocks: 1 left out for a 0"


def test_no_ratio_of_a_baseline_that_is_mostly_zero(tmp_path: Path) -> None:
    loaded = load([campaign(tmp_path / "a", arms=FEW, change=zero_cpu(*range(1, 6)))])
    found = estimates(slot_medians(loaded.samples), loaded.baseline)
    (crun,) = (each for each in found if (each.metric, each.arm) == ("boot.cpu", "crun"))
    assert (crun.ratio, crun.note) == (None, "no ratio: the baseline is not told from 0")


def test_more_cpu_time_than_there_was(tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        for sample in record["samples"]:
            if sample["metric"] == "boot.cpu" and record["arm"] == "crun":
                sample["values"] = [0.1]

    (told,) = found_in(campaign(tmp_path / "a", arms=FEW, change=change))
    assert told.startswith("Impossible: the start of crun used 100 ms of CPU time and took 7.9 ms on 1 CPU.")


def test_instances_that_would_free_memory(tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        for step in record.get("ramp", []):
            if record["arm"] == "crun":
                step["memavailable"] = -(2**20) * step["n"]

    (told,) = found_in(campaign(tmp_path / "a", arms=FEW, change=change))
    assert told.startswith("Impossible: by memavailable each further instance of crun would free 1.0 MiB")


def test_a_clock_that_is_far_off_is_said_and_its_figures_are_marked(tmp_path: Path) -> None:
    values = {name: {"calls.call": seconds(1e-6), "writer.rate": rate(100.0)} for name in FEW}
    folder = working(tmp_path / "a", values)
    lines = [json.loads(line) for line in (folder / "journal.jsonl").read_text().splitlines()]
    for line in lines:
        for sample in line["samples"]:
            if line["arm"] == "uml" and sample["metric"] == "calls.call":
                sample["clock"] = 0.685
    (folder / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    (told,) = found_in(folder)
    assert "took 0.685 s on the clock of uml (calls.call, its worst)" in told
    assert "too short by up to 31 %" in told
    write_report([folder])
    section = (folder / "report.html").read_text().partition('<section id="inside">')[2].partition("</section>")[0]
    marked = [row for row in section.split("<tr>") if "⚠</b>" in row]
    assert len(marked) == 1
    assert "calls.call" in marked[0]


def test_what_a_backend_says_of_its_teardown(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a")
    facts = json.loads((folder / "facts.json").read_text())
    note = "teardown includes libvirt's own: it looks every 200 ms whether a QEMU that ends has ended"
    facts["notes"] = [f"qemu@6.1.0-56: {note}", f"kvm: {note}", "page cache: warm"]
    (folder / "facts.json").write_text(json.dumps(facts))
    assert found_in(folder) == [f"qemu@6.1.0-56 (emulated): {note}."]


def test_no_machine_with_hardware_help(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a")
    write_report([folder])
    page = (folder / "report.html").read_text()
    assert (
        "no virtual machine was measured with hardware help: kvm-firmware did not run, as boots a boot sector only"
        in page
    )
    assert "What is shown of qemu@6.1.0-56 (emulated) and qemu-firmware (emulated) is a software emulator (TCG)" in page


def test_a_machine_with_hardware_help_needs_no_such_word(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", arms=FEW | {"kvm": ARMS["qemu@6.1.0-56"]})
    write_report([folder])
    assert "with hardware help:" not in (folder / "report.html").read_text()


def test_no_campaign_of_containers_is_told_of_machines(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=2, arms=FEW, ramp=0)
    plan = json.loads((folder / "plan.json").read_text())
    for gone in ("qemu-firmware", "kvm-firmware"):
        del plan["arms"][gone]
    (folder / "plan.json").write_text(json.dumps(plan))
    lines = [
        line for line in (folder / "journal.jsonl").read_text().splitlines(keepends=True) if "-firmware" not in line
    ]
    (folder / "journal.jsonl").write_text("".join(lines))
    write_report([folder])
    assert "hardware help" not in (folder / "report.html").read_text()


def test_cautions_lead_to_sections_that_are_there_by_their_names(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", change=zero_cpu(4))
    write_report([folder])
    page = (folder / "report.html").read_text()
    box = page.partition('<div class="cautions">')[2].partition("</div>")[0]
    links = [part.partition("</a>")[0].split('">') for part in box.split('<a href="#')[1:]]
    assert len(links) >= 4
    for anchor, name in links:
        section = page.partition(f'<section id="{anchor}">')[2]
        assert section.partition("<h2>")[2].startswith(name), anchor
    nav = page.partition("<nav")[2].partition("</nav>")[0]
    for anchor, name in (part.partition("</a>")[0].split('">') for part in nav.split('<a href="#')[1:]):
        section = page.partition(f'<section id="{anchor}">')[2].partition("<h2>")[2]
        assert section.startswith(name.partition(" (")[0]), anchor
