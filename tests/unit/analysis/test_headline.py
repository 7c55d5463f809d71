"""The sentences over tables and charts: ranges, no winner by chance, no ratio that is not known, emulation apart."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis.estimate import estimates, flat, slopes, slot_medians
from analysis.headline import headline, longest_phases, phase_shares, sentence
from analysis.load import VIEWS, Loaded, load
from analysis.matrix import Chosen
from analysis.plot import short
from analysis.report import write_report
from tests.synthetic import ARMS, Arm, campaign

#: As far apart as the noise is wide: whoever has the least has it by luck.
ALIKE = {
    name: Arm("container" if place else "process", {"launch": 0.001, "setup": 0.002}, 0.0007, 0.002, 0.001, 2**20)
    for place, name in enumerate(("process", "crun", "lxc"))
}
MACHINES = {name: ARMS[name] for name in ("process", "crun")} | {
    name: Arm("hypervisor", {"launch": 0.05, "kernel": start}, 0.009, None, 0.08, 178 * 2**20, "6.1")
    for name, start in (("qemu", 4.0), ("kvm", 0.4))
}


def chosen_of(folder: Path) -> tuple[Loaded, Chosen]:
    loaded = load([folder])
    zero = flat(slopes(loaded, VIEWS))
    return loaded, Chosen(estimates(slot_medians(loaded.samples), loaded.baseline, zero), zero)


def plain(text: str) -> str:
    return text.replace("\N{NO-BREAK SPACE}", " ")


def wobbly(record: dict[str, Any]) -> None:
    """Every arm is half and double of itself from block to block, each in an order of its own."""
    factor = (0.5, 1.0, 2.0)[(record["block"] * {"process": 1, "crun": 2}.get(record["arm"], 4) + record["order"]) % 3]
    for sample in record["samples"]:
        if sample["metric"] == "spawn":
            sample["values"] = [0.0007 * factor] * 5


def test_no_winner_inside_the_noise(tmp_path: Path) -> None:
    loaded, chosen = chosen_of(campaign(tmp_path / "a", arms=ALIKE, change=wobbly))
    said = plain(sentence(loaded, chosen, "spawn"))
    assert said.endswith("no measurable difference from a bare process (700 µs).")
    assert said.startswith("Containers run /bin/true inside in ")
    assert "crun" not in said
    assert "lxc" not in said
    assert "×" not in said


def test_arms_are_a_range_and_their_ratio_is_one_too(tmp_path: Path) -> None:
    loaded, chosen = chosen_of(campaign(tmp_path / "a"))
    said = plain(sentence(loaded, chosen, "boot"))
    assert said.startswith("Containers start in 4.8 to 35 ms, 1.4 to 10 times a bare process (3.5 ms); ")


def test_only_the_arms_that_are_told_from_the_baseline_have_a_ratio(tmp_path: Path) -> None:
    def slow(record: dict[str, Any]) -> None:
        wobbly(record)
        if record["arm"] == "lxc":
            for sample in record["samples"]:
                sample["values"] = [100 * value for value in sample["values"]]

    loaded, chosen = chosen_of(campaign(tmp_path / "a", arms=ALIKE, change=slow))
    said = sentence(loaded, chosen, "spawn")
    assert ": lxc " in said
    assert said.endswith(", the other with no measurable difference.")


@pytest.mark.parametrize(
    ("factor", "told"),
    [
        (1, "crun with no measurable difference from a bare process (700 µs), lxc without an interval"),
        (8, "crun 11 times a bare process (700 µs), lxc without an interval"),
    ],
)
def test_an_arm_without_an_interval_is_named(tmp_path: Path, factor: float, told: str) -> None:
    def few(record: dict[str, Any]) -> None:
        wobbly(record)
        for sample in record["samples"]:
            if sample["metric"] == "spawn" and record["arm"] == "crun":
                sample["values"] = [factor * value for value in sample["values"]]
            if sample["metric"] == "spawn" and record["arm"] == "lxc":
                sample["values"] = [32 * value for value in sample["values"]]
        if record["arm"] == "lxc" and record["block"] > 3:
            record["samples"] = [sample for sample in record["samples"] if sample["metric"] != "spawn"]

    loaded, chosen = chosen_of(campaign(tmp_path / "a", arms=ALIKE, change=few))
    assert told in plain(sentence(loaded, chosen, "spawn"))


def test_emulated_machines_do_not_stand_for_the_hypervisors_family(tmp_path: Path) -> None:
    loaded, chosen = chosen_of(campaign(tmp_path / "a", arms=MACHINES))
    said = plain(sentence(loaded, chosen, "boot"))
    assert "; qemu (emulated) in 3.9 s; kvm in 450 ms, 130 times a bare process." in said
    assert " virtual machines" not in said
    assert "times" not in said.partition("qemu (emulated)")[2].partition(";")[0]


def test_few_blocks_give_no_ratio_in_a_sentence(tmp_path: Path) -> None:
    loaded, chosen = chosen_of(campaign(tmp_path / "a", blocks=3, arms=ALIKE))
    assert "times" not in " ".join(headline(loaded, chosen))


def growing(**bytes_of: Callable[[int], float]) -> Callable[[dict[str, Any]], None]:
    """Ramps whose MemAvailable grows as told, an arm."""

    def change(record: dict[str, Any]) -> None:
        if record["arm"] in bytes_of and record.get("ramp"):
            for step in record["ramp"]:
                step["memavailable"] = int(bytes_of[record["arm"]](step["n"]))

    return change


def noise(n: int) -> float:
    return (1 if n % 2 else -1) * 2.0**20


def test_no_memory_ratio_of_a_baseline_that_is_not_told_from_zero(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", arms=ALIKE, change=growing(process=noise))
    loaded, chosen = chosen_of(folder)
    said = plain(sentence(loaded, chosen, "density.memavailable"))
    assert said.startswith("Containers take 0.99 MiB of memory for each further instance.")
    assert "times" not in said
    assert "bare process" not in said
    assert said.endswith("Not told from nothing: process.")
    crun = chosen.get("density.memavailable", "crun")
    assert crun
    assert (crun.ratio, crun.note) == (None, "no ratio: the baseline is not told from 0")


def test_no_sentence_of_arms_that_are_not_told_from_zero(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", arms=ALIKE, change=growing(process=noise, crun=noise, lxc=noise))
    loaded, chosen = chosen_of(folder)
    assert sentence(loaded, chosen, "density.memavailable") == ""
    write_report([folder])
    page = plain((folder / "report.html").read_text())
    assert "does not tell process, crun and lxc from nothing" in page
    assert "% of MemAvailable delta" not in page
    assert page.count("not known<small>the host’s view is not told from 0</small>") == 3


def test_a_residual_is_shared_where_the_delta_is_known(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", arms=ALIKE)
    write_report([folder])
    assert (folder / "report.html").read_text().count("% of MemAvailable delta") == 3


def test_a_phases_bar_is_the_median_of_the_whole(tmp_path: Path) -> None:
    """Where phases trade their time from slot to slot, the sum of their medians is far from the median of the sum."""

    def trade(record: dict[str, Any]) -> None:
        parts = ((8.0, 1.0, 1.0), (1.0, 8.0, 1.0), (1.0, 1.0, 8.0))[record["block"] % 3]
        if record["arm"] == "crun" and record["scenario"] == "lifecycle":
            record["samples"] = [each for each in record["samples"] if not each["metric"].startswith("boot")]
            for metric, seconds in zip(("boot.launch", "boot.setup", "boot.init"), parts, strict=True):
                record["samples"].append(
                    {"metric": metric, "values": [seconds], "unit": "second", "better": "lower", "warmups": []}
                )
            record["samples"].append(
                {"metric": "boot", "values": [10.0], "unit": "second", "better": "lower", "warmups": []}
            )

    loaded = load([campaign(tmp_path / "a", arms=ALIKE, change=trade)])
    medians = slot_medians(loaded.samples)
    shares = phase_shares(medians)
    assert shares.loc["crun"].sum() == pytest.approx(1.0)
    assert shares.loc["crun", "boot.setup"] == pytest.approx(1 / 3, rel=0.01)  # the median of the phase is 1 of 10
    assert "spend" in longest_phases(loaded, medians)


def test_accelerators_of_old_plans_and_of_new_ones(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=2, arms=MACHINES, ramp=0)
    plan = json.loads((folder / "plan.json").read_text())
    plan["arms"]["virtual"] = plan["arms"].pop("kvm") | {"backend": "other", "accelerator": "tcg", "label": "virtual"}
    plan["arms"]["counts"] = {"backend": "qemu-icount", "family": "hypervisor", "label": "counts"}
    (folder / "plan.json").write_text(json.dumps(plan))
    arms = load([folder]).arms
    told = {name: (arms[name].label, arms[name].accelerator) for name in ("qemu", "virtual", "counts", "crun")}
    assert told == {
        "qemu": ("qemu (emulated)", "tcg"),
        "virtual": ("virtual (emulated)", "tcg"),
        "counts": ("counts (emulated)", "tcg"),
        "crun": ("crun", ""),
    }


def test_a_journal_without_a_plan_tells_emulation_too(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=2, ramp=0)
    (folder / "plan.json").unlink()
    assert load([folder]).arms["qemu@6.1.0-56"].label == "qemu@6.1.0-56 (emulated)"


def test_emulation_is_said_wherever_the_arm_is_named(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", arms=MACHINES)
    write_report([folder])
    page, text = ((folder / f"report.{kind}").read_text() for kind in ("html", "md"))
    assert '<span class="badge bad">emulated: tcg</span>' in page
    assert '<span class="badge">kvm</span>' in page
    # Twice a chart of starts, spawns, teardown, density …: as a label of each.
    for chart in ("boot-ecdf", "boot-phases", "spawn", "teardown", "density-cage"):
        figure = page.partition(f'<figure id="chart-{chart}">')[2].partition("</figure>")[0]
        assert "qemu (emulated)" in figure.partition("<svg")[2], chart
    rows = [line for line in text.splitlines() if line.startswith("| qemu")]
    assert [line.split(" |")[0] for line in rows] == ["| qemu (emulated)", "| qemu-firmware (emulated)"]
    assert all("emulated: tcg" in line for line in rows)
    assert "qemu " not in text.replace("qemu (emulated)", "")


def test_the_headline_says_that_no_machine_had_hardware_help(tmp_path: Path) -> None:
    emulated = {name: arm for name, arm in MACHINES.items() if name != "kvm"}
    for name, arms, said in (("a", emulated, True), ("b", MACHINES, False)):
        folder = campaign(tmp_path / name, blocks=2, arms=arms, ramp=0)
        write_report([folder])
        lines = (folder / "report.md").read_text().splitlines()
        assert ("- No virtual machine was measured with hardware help." in lines) is said


def test_a_chart_says_its_sentence_to_who_cannot_see_it(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=6, arms=MACHINES, ramp=0)
    write_report([folder])
    figure = (folder / "report.html").read_text().partition('<figure id="chart-spawn">')[2].partition("</figure>")[0]
    assert 'aria-label="Spawn: crun runs /bin/true inside in ' in figure


def test_the_page_is_named_by_what_it_holds(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=2, arms=MACHINES, ramp=0)
    write_report([folder])
    assert "<title>synthetic · Made-up CPU · 2026-11-22 · Tare</title>" in (folder / "report.html").read_text()


def test_a_label_that_is_cut_still_says_that_it_is_emulated() -> None:
    assert short("qemu@6.1.0-56-cloud-amd64-with-a-long-name (emulated)") == "qemu@6.1.0-5… (emulated)"
    assert short("qemu (emulated)") == "qemu (emulated)"
    assert short("crun@6.1.0-56-cloud-amd64") == "crun@6.1.0-56-cl…"
