"""What an arm was given and saw, against the envelope and against the baseline's instance."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from analysis.equal import difference, equivalences
from analysis.load import load
from analysis.report import write_report
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


def test_what_root_may_do_in_a_guest_is_not_compared_with_what_it_may_do_on_the_host(tmp_path: Path) -> None:
    def see(record: dict[str, Any]) -> None:
        all_of_them = ["chown", "sys_admin"] if record["arm"] != "process" else ["chown"]
        record["seen"] |= {"capabilities": all_of_them, "no_new_privs": int(record["arm"] == "process")}

    found = equivalences(load([campaign(tmp_path / "a", arms=FEW, change=see)]))
    assert found["uml"].baseline == []
    assert [(each.what, each.items) for each in found["crun"].baseline] == [
        ("capabilities", ("+ sys_admin",)),
        ("no new privileges", ()),
    ]


def test_an_arm_that_never_was_ready_is_unknown(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", arms=FEW, change=lambda r: r.update(equivalence={}, seen={}))
    assert {judged.badge for judged in equivalences(load([folder])).values()} == {"unknown"}


def test_objects_differ_key_by_key() -> None:
    found = difference("mitigations", {"a": "on", "b": "on"}, {"a": "on", "b": None, "c": "off"})
    assert (found.how, found.items) == ("2 differ", ("b: on → absent", "c: absent → off"))


def test_unknown_is_never_differs(tmp_path: Path) -> None:
    def silent(record: dict[str, Any]) -> None:
        if record["arm"] == "crun":
            record["equivalence"] = {"badge": "unknown", "caged": False, "differs": {}}
            record["seen"] = {}

    folder = campaign(tmp_path / "a", arms=FEW, blocks=3, change=silent)
    judged = equivalences(load([folder]))["crun"]
    assert (judged.badge, judged.keys, judged.envelope) == ("unknown", [], [])
    write_report([folder])
    page = (folder / "report.html").read_text()
    assert "what crun" in page
    assert "had is not known, as no instance told it" in page
    assert "crun had something else" not in page
    section = page.partition('<section id="equivalence">')[2].partition("</section>")[0]
    (row,) = [part for part in section.split("<tr>") if 'scope="row"' in part and "crun" in part]
    assert row.count("not known") == 2
    assert "the same" not in row


def test_slots_that_did_not_tell_leave_the_others_theirs(tmp_path: Path) -> None:
    def silent(record: dict[str, Any]) -> None:
        if record["block"] == 1:
            record["equivalence"] = {"badge": "unknown", "caged": True, "differs": {}}

    found = equivalences(load([campaign(tmp_path / "a", arms=FEW, blocks=3, ramp=0, change=silent)]))
    assert (found["crun"].badge, found["crun"].remark) == ("equal", "1 of 3 slots did not tell what they saw")
    assert (found["uml"].badge, found["uml"].keys) == ("differs", ["kernel"])


def test_what_one_side_did_not_tell_is_no_difference(tmp_path: Path) -> None:
    def silent(record: dict[str, Any]) -> None:
        if record["arm"] == "crun":
            record["equivalence"] = {"badge": "differs", "caged": True, "differs": {"clocksource": ["tsc", None]}}
            record["seen"]["seccomp"] = None

    judged = equivalences(load([campaign(tmp_path / "a", arms=FEW, blocks=3, change=silent)]))["crun"]
    assert judged.badge == "unknown"
    assert judged.baseline == []


def test_no_limit_and_no_cage_are_known(tmp_path: Path) -> None:
    def uncaged(record: dict[str, Any]) -> None:
        if record["arm"] == "crun":
            differs = {"memory": [1 << 27, None], "cage": ["one cgroup", None]}
            record["equivalence"] = {"badge": "differs", "caged": False, "differs": differs}

    judged = equivalences(load([campaign(tmp_path / "a", arms=FEW, blocks=3, change=uncaged)]))["crun"]
    assert (judged.badge, judged.keys) == ("differs", ["memory", "cage"])
