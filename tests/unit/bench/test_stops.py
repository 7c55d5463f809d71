"""Campaigns that may stop early: what they may say, and what the runner makes of a referee's decisions."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from bench import config, plan, results
from bench.errors import InputError, RecordError
from bench.stops import Stops

GOOD = """
name = "a"
blocks = 40
baseline = "crun"
stop = "adaptive"
[arms]
crun = {}
runc = {}
bwrap = {}
[scenarios]
boot = {}
"""


class Scripted:
    """Decides what it is told to."""

    def __init__(self, after: dict[int, list[tuple[str, str]]]) -> None:
        self.after = after
        self.looked: list[int] = []

    def due(self, block: int) -> bool:
        return block in self.after

    def look(self, folder: Path, block: int) -> dict[str, Any]:
        self.looked.append(block)
        stopped = [{"scenario": scenario, "arm": arm, "blocks": block} for scenario, arm in self.after[block]]
        return {"schema": 1, "block": block, "text": f"after {block}", "stopped": stopped, "metrics": []}


def slot(block: int, arm: str = "crun") -> dict[str, Any]:
    return {"slot": f"{block}-{arm}", "block": block, "scenario": "boot", "arm": arm}


def test_without_a_referee_all_slots_are_needed(tmp_path: Path) -> None:
    stops = Stops(tmp_path, None)
    assert stops.look(8) is None
    assert not stops.spares(slot(9))
    assert list(tmp_path.iterdir()) == []


def test_what_has_stopped_stays_so(tmp_path: Path) -> None:
    referee = Scripted({8: [("boot", "runc")], 10: [("boot", "bwrap")]})
    stops = Stops(tmp_path, referee)
    assert [stops.look(block) for block in (1, 8, 8, 9, 10)] == [None, "after 8", None, None, "after 10"]
    assert referee.looked == [8, 10]
    assert [stops.spares(slot(block, "runc")) for block in (8, 9, 11)] == [False, True, True]
    assert [stops.spares(slot(block, "bwrap")) for block in (10, 11)] == [False, True]
    assert not stops.spares(slot(40, "crun"))


def test_a_resumed_campaign_knows_what_was_decided(tmp_path: Path) -> None:
    Stops(tmp_path, Scripted({8: [("boot", "runc")]})).look(8)
    referee = Scripted({8: [], 10: []})
    again = Stops(tmp_path, referee)
    assert again.spares(slot(9, "runc"))
    assert again.look(8) is None
    again.look(10)
    assert again.spares(slot(9, "runc"))
    decisions = results.read_decisions(tmp_path)
    assert decisions is not None
    assert (decisions["block"], decisions["stopped"]) == (10, [{"scenario": "boot", "arm": "runc", "blocks": 8}])
    made = {"slots": [slot(block, arm) for block in range(1, 13) for arm in ("crun", "runc")]}
    assert results.spared(made, decisions) == {f"{block}-runc" for block in range(9, 13)}
    assert results.spared(made, None) == set()


def test_a_full_disk_is_told(tmp_path: Path) -> None:
    stops = Stops(tmp_path / "not there", Scripted({8: []}))
    with pytest.raises(RecordError, match=r"decisions\.json"):
        stops.look(8)


def test_the_plan_says_what_is_compared() -> None:
    made = plan.make(config.parse(GOOD, Path("a.toml")))
    assert made["stop"] == {"pairs": [["crun", "runc"], ["crun", "bwrap"]], "delta": 0.03}
    json.dumps(made)
    fixed = plan.make(config.parse(GOOD.replace('stop = "adaptive"', ""), Path("a.toml")))
    assert fixed["stop"] is None
    text = GOOD.replace('stop = "adaptive"', 'stop = "adaptive"\npairs = [["runc", "bwrap"]]\ndelta = "1.5 %"')
    assert plan.make(config.parse(text, Path("a.toml")))["stop"] == {"pairs": [["runc", "bwrap"]], "delta": 0.015}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ('stop = "soon"', "stop"),
        ('stop = "fixed"\ndelta = "3 %"', "delta: is for a campaign that may stop early"),
        ('pairs = [["crun", "runc"]]', "pairs: is for a campaign that may stop early"),
        ('stop = "adaptive"\ndelta = "3"', "delta: '3' is not a margin"),
        ('stop = "adaptive"\ndelta = "0 %"', "delta: '0 %' is not a margin"),
        ('stop = "adaptive"\npairs = [["crun", "lxc"]]', "pairs: .* is not two of the arms: crun, runc, bwrap"),
        ('stop = "adaptive"\npairs = [["crun", "crun"]]', "pairs: .* is not two of the arms"),
        ('stop = "adaptive"\npairs = [["crun"]]', "pairs: .* is not two of the arms"),
    ],
)
def test_what_no_stop_can_be(text: str, said: str) -> None:
    with pytest.raises(InputError, match=said):
        config.parse(GOOD.replace('stop = "adaptive"', text), Path("a.toml"))
