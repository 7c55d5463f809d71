"""What a report says of ramps whose tenants work."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.density import conditions, uncertainty
from analysis.load import load
from analysis.plot_density import _curves, _panels, _per_instance
from analysis.report import write_report
from tests.synthetic import ARMS, campaign

FEW = {name: ARMS[name] for name in ("process", "crun", "uml")}


def working(record: dict[str, Any]) -> None:
    """A ramp whose p99 grows by a millisecond with each tenant; as many as were started fit, but one."""
    for point in record.get("ramp") or []:
        point["p99"] = point["n"] / 1e3
    if record.get("ramp"):
        record["stop"] = "p99 0.012 s > 0.0115 s"
        record["samples"] = [each for each in record["samples"] if each["metric"] != "density.n"]
        record["samples"].append({"metric": "density.n", "values": [11.0], "unit": "integer", "better": "higher"})


def told(folder: Path, seed: int = 1, **given: Any) -> Path:
    campaign(folder, blocks=2, arms=FEW, ramp=12, seed=seed, change=working)
    plan = json.loads((folder / "plan.json").read_text())
    plan["scenarios"]["density"] |= given
    (folder / "plan.json").write_text(json.dumps(plan))
    return folder


def test_the_report_says_what_tenants_had_to_do_and_how_many_did(tmp_path: Path) -> None:
    folder = told(tmp_path / "a", tenant="redis_serving", p99_limit=0.0115, ksm="on", cache="cold")
    write_report([folder], folder)
    page = (folder / "report.html").read_text()
    assert "Every instance had redis_serving at work, all at the same time" in page
    assert "answered within 11.5\N{NO-BREAK SPACE}ms" in page
    assert 'id="chart-density-p99"' in page
    assert "Within the limits there is room for" in page
    assert "11 of" in page


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({}, "Instances are idle."),
        ({"ksm": "off"}, "Instances are idle. Same-page merging (KSM) was switched off for the ramp."),
        (
            {"ksm": "on"},
            "Instances are idle. Same-page merging (KSM) was switched on for the ramp, 250,000 pages a second.",
        ),
        (
            {"cache": "warm"},
            "Instances are idle. The page cache was warmed by one more instance of the same kind before it.",
        ),
        ({"tenant": "<b>"}, "Every instance had <b> at work, all at the same time."),
    ],
)
def test_conditions(given: dict[str, Any], said: str, tmp_path: Path) -> None:
    assert conditions(load([told(tmp_path / "a", **given)])) == said


def test_ramps_under_different_conditions_are_not_described_as_one(tmp_path: Path) -> None:
    pair = [told(tmp_path / name, seed, ksm=name) for seed, name in enumerate(("on", "off"))]
    assert "under different conditions" in conditions(load(pair))


def test_markup_in_a_plan_stays_text(tmp_path: Path) -> None:
    folder = told(tmp_path / "a", tenant="<script>alert(1)</script>")
    write_report([folder], folder)
    assert "<script>alert" not in (folder / "report.html").read_text()


def test_memory_is_drawn_for_each_instance_and_nothing_vanishes(tmp_path: Path) -> None:
    def falls(record: dict[str, Any]) -> None:
        for step in record.get("ramp") or []:
            if record["arm"] == "process":
                step["memavailable"] = (-1 if step["n"] < 4 else 1) * 4096 * step["n"]
            elif record["arm"] == "crun":
                step["memavailable"] = 2**20 * step["n"]

    loaded = load([campaign(tmp_path / "a", arms=FEW, change=falls)])
    curves = _curves(_per_instance(loaded.ramps, "memavailable"), loaded.arms)
    assert curves["process"][0]["value"].tolist() == [-4096.0] * 3 + [4096.0] * 9
    assert curves["crun"][0]["value"].tolist() == [2.0**20] * 12  # a straight cost is a level line


def test_arms_of_like_size_share_a_panel() -> None:
    sizes = {"qemu": 190.0, "uml": 24.0, "runc": 2.6, "crun": 0.8, "bwrap": 0.6, "process": -0.1}
    assert _panels(sizes) == [["qemu"], ["uml"], ["runc", "crun", "bwrap", "process"]]


def test_several_ramps_an_arm_are_not_called_one(tmp_path: Path) -> None:
    one, other = (campaign(tmp_path / name, blocks=2, arms=FEW, seed=seed) for seed, name in ((1, "a"), (2, "b")))
    assert uncertainty(load([one])).startswith("One ramp an arm")
    assert uncertainty(load([one, other])).startswith("Of an arm with several ramps the slope is their median")
