"""What an arm was given and saw, against the envelope and against the baseline's instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.equal import difference, equivalences
from analysis.load import load
from tests.synthetic import ARMS, campaign

FEW = {name: ARMS[name] for name in ("process", "crun", "uml")}


def test_the_badge_says_what_differs(tmp_path: Path) -> None:
    found = equivalences(load([campaign(tmp_path / "a", arms=FEW)]))
    assert (found["crun"].badge, found["crun"].keys) == ("equal", [])
    assert (found["uml"].badge, found["uml"].keys) == ("differs", ["kernel"])
    assert [d.how for d in found["uml"].envelope] == ["6.18.44 → 6.1.176"]


def test_one_slot_that_differs_is_enough_and_is_told(tmp_path: Path) -> None:
    def once(record: dict[str, Any]) -> None:
        if record["arm"] == "crun" and record["block"] == 2:
            record["equivalence"] = {"badge": "differs", "caged": True, "differs": {"cpus": [1, 2]}}

    judged = equivalences(load([campaign(tmp_path / "a", arms=FEW, blocks=3, change=once)]))["crun"]
    assert judged.badge == "differs"
    assert judged.remark == "3 of 4 slots were equal"


def test_against_the_baseline_only_what_the_envelope_does_not_say_already(tmp_path: Path) -> None:
    def see(record: dict[str, Any]) -> None:
        if record["arm"] == "uml":
            record["seen"] |= {"memory": 100, "mounts": ["proc on /proc", "tmpfs on /tmp"]}

    (mounts,) = equivalences(load([campaign(tmp_path / "a", arms=FEW, change=see)]))["uml"].baseline
    assert mounts.how == "1 missing here and 1 only here"
    assert mounts.items == ("− sysfs on /sys", "+ tmpfs on /tmp")


def test_an_arm_that_never_was_ready_is_unknown(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", arms=FEW, change=lambda r: r.update(equivalence={}, seen={}))
    assert {judged.badge for judged in equivalences(load([folder])).values()} == {"unknown"}


def test_objects_differ_key_by_key() -> None:
    found = difference("mitigations", {"a": "on", "b": "on"}, {"a": "on", "b": None, "c": "off"})
    assert (found.how, found.items) == ("2 differ", ("b: on → absent", "c: absent → off"))
