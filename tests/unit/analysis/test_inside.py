"""What work costs inside: ratios to the baseline by kind of work, turned so that more is worse."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from analysis import inside
from analysis.estimate import Interval, estimates, slot_medians
from analysis.load import Loaded, load
from analysis.plot_inside import _axis
from analysis.report import write_report
from tests.synthetic import ARMS, campaign

FEW = {name: ARMS[name] for name in ("process", "crun", "uml")}
CALL = {"process": 100e-9, "crun": 101e-9, "uml": 2e-6}
RATE = {"process": 4e9, "crun": 4e9, "uml": 1e9}


def measured(record: dict[str, Any]) -> None:
    arm = record["arm"]
    if arm not in FEW:
        return
    wobble = 1 + ((record["block"] * (3 if arm == "process" else 5)) % 7 - 3) / 500
    record["samples"] = [
        {"metric": "perf_syscall.call", "values": [CALL[arm] * wobble], "unit": "second", "better": "lower"},
        {"metric": "iperf3.rate", "values": [RATE[arm] * wobble], "unit": "byte/s", "better": "higher"},
        {"metric": "iperf3.cpu", "values": [0.5], "unit": "second", "better": "lower"},
        {"metric": "spawn", "values": [0.01 * wobble], "unit": "second", "better": "lower"},
    ]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = campaign(tmp_path_factory.mktemp("inside") / "a", blocks=10, arms=FEW, ramp=0, change=measured)
    plan = json.loads((made / "plan.json").read_text())
    plan["workloads"] = {
        "iperf3": {"area": "network", "summary": "iperf3 sends to itself."},
        "perf_syscall": {"area": "system calls", "summary": "perf asks for the parent’s pid."},
        "nothing": {"area": "disk", "summary": "Nobody ran it."},
    }
    (made / "plan.json").write_text(json.dumps(plan))
    return made


@pytest.fixture(scope="module")
def found(folder: Path) -> tuple[Loaded, list[inside.Area]]:
    loaded = load([folder])
    return loaded, inside.areas(loaded, estimates(slot_medians(loaded.samples), loaded.baseline))


def test_kinds_of_work_in_their_order_each_with_its_metrics(found: tuple[Loaded, list[inside.Area]]) -> None:
    assert [(area.name, [row.metric for row in area.rows]) for area in found[1]] == [
        ("system calls", ["perf_syscall.call"]),
        ("network", ["iperf3.rate"]),
    ]
    assert found[1][0].rows[0].base == "100\N{NO-BREAK SPACE}ns"
    assert found[1][0].summaries == ["perf asks for the parent’s pid."]


def test_a_cost_is_above_one_where_it_is_worse(found: tuple[Loaded, list[inside.Area]]) -> None:
    call, rate = (area.rows[0].costs["uml"] for area in found[1])
    assert call.point == pytest.approx(20, rel=0.01)
    assert rate.point == pytest.approx(4, rel=0.01)
    assert rate.low < 4.01
    assert rate.high > 3.99
    assert rate.low < rate.point < rate.high


def test_it_is_said_in_a_sentence(found: tuple[Loaded, list[inside.Area]]) -> None:
    calls, network = (inside.sentence(found[0], area) for area in found[1])
    assert calls == "Against process, system calls: crun 1.01× worse; uml 20.0× worse."
    assert network == "Against process, network: crun no measurable difference; uml 4.00× worse."


def test_the_report_asks_what_it_costs(folder: Path) -> None:
    written = write_report([folder])
    assert folder / "plots/inside-system-calls.png" in written
    text = (folder / "report.html").read_text()
    section = text.partition('<section id="inside">')[2].partition("</section>")[0]
    assert section.count("<figure") == 2
    assert "Against process, network: " in section
    assert "iperf3.cpu" not in section


def test_the_table_shows_each_arms_own_figure_and_how_it_stands(found: tuple[Loaded, list[inside.Area]]) -> None:
    call, rate = (area.rows[0] for area in found[1])
    assert (rate.base, rate.values["uml"], rate.stands("uml")) == (
        "3.73\N{NO-BREAK SPACE}GiB/s",
        "954\N{NO-BREAK SPACE}MiB/s",
        "4.00× worse",
    )
    assert rate.interval("uml") == "[3.99,\N{NO-BREAK SPACE}4.02]"
    assert (call.stands("uml"), call.better, rate.better) == ("20.0× worse", "lower", "higher")
    assert rate.stands("crun") == "no measurable difference"


def test_what_is_better_is_said_so_the_right_way_round() -> None:
    better = Interval(0.25, 0.24, 0.26, 10)
    assert inside.stands(better) == "4.0× better"
    row = inside.Row("a.rate", "higher", costs={"uml": better})
    assert row.interval("uml") == "[3.8,\N{NO-BREAK SPACE}4.2]"


@pytest.mark.parametrize("cost", [1 / 700, 1 / 30, 0.9, 5.0, 900.0])
def test_ticks_are_not_rounded_away(cost: float) -> None:
    area = inside.Area("disk", [inside.Row("a.rate", "higher", costs={"uml": Interval(cost, cost, cost, 9)})], [])
    axes = Figure().add_subplot()
    axes.set_xscale("log")
    _axis(axes, area)
    for place, label in zip(axes.get_xticks(), axes.get_xticklabels(), strict=True):
        assert float(label.get_text().removesuffix("×").replace(",", "")) == pytest.approx(place, rel=0.005)
