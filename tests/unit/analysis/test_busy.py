"""How busy the host was: what a campaign noted of load, steal and pressure, and when that is a caution."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from analysis import busy
from analysis.load import Campaign, load
from analysis.report import write_report
from tests.synthetic import ARMS, campaign

FEW = {name: ARMS[name] for name in ("process", "crun")}
LIGHT = {"lifecycle": {name: ["boot", "spawn"] for name in FEW}}


def made(
    folder: Path,
    *,
    host: dict[str, Any] | None = None,
    change: Callable[[dict[str, Any]], None] | None = None,
    measures: dict[str, Any] = LIGHT,
) -> Path:
    campaign(folder, blocks=4, arms=FEW, ramp=0, change=change)
    facts, plan = (json.loads((folder / name).read_text()) for name in ("facts.json", "plan.json"))
    facts["host"] |= {"virtualised": False} | (host or {})
    plan["measures"] = measures
    (folder / "facts.json").write_text(json.dumps(facts))
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def said(folder: Path) -> list[str]:
    return [caution.text.replace("\N{NO-BREAK SPACE}", " ") for caution in busy.cautions(load([folder]))]


def noting(**told: Any) -> Callable[[dict[str, Any]], None]:
    def change(record: dict[str, Any]) -> None:
        record["load"] = {"before": 0.2, "after": 0.9, "steal": 0.0, "pressure": {}} | told

    return change


def test_a_quiet_host_needs_no_caution(tmp_path: Path) -> None:
    assert said(made(tmp_path / "a", host={"load": "0.42 0.3 0.1 1/90 1"}, change=noting())) == []


@pytest.mark.parametrize(
    ("load_average", "cores", "is_busy"),
    [
        ("7.37 6.12 3.58 1/107 5275", 2, True),
        ("1.07 1.10 1.61 1/91 20411", 2, False),
        ("1.8 1 1 1/1 1", 2, True),
        ("7.37 6 3 1/1 1", 64, False),
    ]
    + [("60.2 50 40 1/1 1", 64, True), ("3.9 3 2 1/1 1", 4, True), ("none", 2, False)],
)
def test_the_load_that_old_results_have_too(tmp_path: Path, load_average: str, cores: int, is_busy: bool) -> None:
    told = said(made(tmp_path / "a", host={"load": load_average, "cores": cores}))
    assert [text.startswith("Busy host: its load average was") for text in told] == [True] * is_busy
    if load_average.startswith("7.37") and is_busy:
        assert "load average was 7.4 on 2 CPUs when the campaign began" in told[0]


def test_load_between_blocks(tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        noting(before=5.5 if record["block"] == 3 else 0.2)(record)

    (told,) = said(made(tmp_path / "a", change=change))
    assert "before 1 of its 4 blocks the load average was above 2.0 on 2 CPUs, at most 5.5" in told


def test_what_a_campaign_does_itself_is_not_held_against_the_host(tmp_path: Path) -> None:
    measures = {"lifecycle": {"crun": ["isolation"]}}
    assert said(made(tmp_path / "a", change=noting(before=9.0, pressure={"io": 0.9}), measures=measures)) == []


def test_steal(tmp_path: Path) -> None:
    def change(record: dict[str, Any]) -> None:
        noting(steal=0.12 if record["block"] == 2 else 0.01)(record)
        record["wall_s"] = 1.0

    (told,) = said(made(tmp_path / "a", change=change))
    assert told.startswith("Steal: its hypervisor took 3")
    assert told.endswith("of its CPU time (steal) while slots ran, 12 % in block 2.")


def test_a_virtual_host_is_said_with_what_is_known_of_steal(tmp_path: Path) -> None:
    (old,) = said(made(tmp_path / "a", host={"virtualised": True}))
    assert old == (
        "Virtual host: this host is a virtual machine itself, and what its neighbours took of its CPUs (steal) was not "
        "recorded."
    )
    (new,) = said(made(tmp_path / "b", host={"virtualised": True}, change=noting(steal=0.002)))
    assert new.endswith("and its hypervisor took 0.20 % of its CPU time (steal) while slots ran.")


@pytest.mark.parametrize(
    ("pressure", "told"),
    [
        ({"memory": 0.2, "cpu": 0.3}, "tasks waited for memory 20 % of the time"),
        ({"cpu": 0.99}, "tasks waited for a CPU 99 % of the time"),
        ({"io": 0.4}, "tasks waited for disks 40 % of the time"),
        ({"io": 0.1, "cpu": 0.2, "memory": 0.01}, ""),
    ],
)
def test_pressure(tmp_path: Path, pressure: dict[str, float], told: str) -> None:
    found = said(made(tmp_path / "a", change=noting(pressure=pressure)))
    assert [told in text for text in found] == [True] * bool(told)


@pytest.mark.parametrize("noted", [7, {"before": "x", "steal": True, "pressure": 3}, {}, {"pressure": {"io": None}}])
def test_odd_notes_are_no_figures(tmp_path: Path, noted: Any) -> None:
    folder = made(tmp_path / "a", change=lambda record: record.update(load=noted))
    assert said(folder) == []
    found: Campaign = load([folder]).campaigns[0]
    assert busy.facts(found) == {}


def test_the_report_shows_the_figures(tmp_path: Path) -> None:
    folder = made(tmp_path / "a", host={"load": "7.37 1 1 1/1 1"}, change=noting(steal=0.03, before=1.5))
    write_report([folder])
    page = (folder / "report.html").read_text().replace("\N{NO-BREAK SPACE}", " ")
    assert "Busy host: its load average was 7.4 on 2 CPUs" in page
    assert '<th scope="row">steal while slots ran</th><td>3.0 %</td>' in page
    assert '<th scope="row">load average before a block</th><td>1.5 to 1.5</td>' in page
