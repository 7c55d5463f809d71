"""Comparisons from folders and files: notation, what must be said, exit codes, and what is written."""

from __future__ import annotations

import gzip
import io
import json
import math
import random
import re
import shutil
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from xml.etree import ElementTree as xml

import pytest
from rich.console import Console

from analysis import tell, words
from analysis.comparison import Comparison, compare, failing, gate
from analysis.matching import Matched
from analysis.plot_forest import forest
from analysis.policy import Policy, Rule, read_policy
from bench import cli, interrupts
from bench.errors import InputError
from tests.synthetic import ARMS, campaign, suite

CRUN = ARMS["crun"]
SLOWER = replace(CRUN, phases={name: cost * 1.3 for name, cost in CRUN.phases.items()}, spawn=CRUN.spawn * 1.3)
THREE = {"process": ARMS["process"], "old": CRUN, "new": SLOWER, "same": CRUN}
GUESTS = {"process": ARMS["process"], "qemu@6.1.0-50": ARMS["qemu@6.1.0-56"], "qemu@6.1.0-56": ARMS["qemu@6.1.0-56"]}


def make(folder: Path, blocks: int = 8, **given: Any) -> Path:
    return campaign(folder, blocks=blocks, ramp=0, **({"arms": THREE} | given))


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("comparison") / "x", 60)


@pytest.fixture(scope="module")
def later(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("later") / "y", 60, seed=2)


def notes(found: Comparison) -> str:
    return "\n".join(found.notes)


# What BASE and NEW may be.


def test_two_arms_of_one_campaign(folder: Path) -> None:
    found = compare(f"{folder}:old", f"{folder}:new")
    assert (found.sides.design, found.unit) == ("blocks", "block")
    kinds = found.table.set_index("metric")["kind"]
    assert kinds["boot"] == kinds["spawn"] == "regressed"
    assert (found.table["count"] == 60).all()
    assert "interleaved" not in notes(found)
    assert compare("old", "new", inside=folder).table.equals(found.table)


def test_two_campaigns_are_divided_by_their_baseline(folder: Path, later: Path) -> None:
    found = compare(str(folder), str(later), policy=Policy(sessions=1.0))
    assert list(found.sides.found)[:4] == ["process", "old", "new", "same"]
    assert "not interleaved: drift between the two runs counts as a difference" in found.notes
    assert "values are divided by those of process in the same block" in notes(found)
    assert "all of 1 host boot" in notes(found)
    table = found.table.set_index(["arm", "metric"])
    assert table.loc[("old", "boot"), "per"] == "process"
    assert table.loc[("old", "exec"), "per"] == ""  # the process has no door
    assert not table.loc["process"]["gates"].any()
    assert not table["paired"].any()


def test_arms_of_two_campaigns_may_be_chosen(folder: Path, later: Path) -> None:
    assert list(compare(str(folder), str(later), arms=["same"]).sides.found) == ["same"]
    crossed = compare(f"{folder}:old", f"{later}:new", policy=Policy(sessions=1.0))
    assert crossed.table.set_index("metric").loc["boot", "kind"] == "regressed"
    alone = compare(str(folder), str(later), arms=["process"])
    assert "raw slot medians" in notes(alone)
    assert alone.table["gates"].any()


def test_an_arm_that_only_base_has_passes_no_gate(tmp_path: Path) -> None:
    both = (
        make(tmp_path / "x", 9),
        make(tmp_path / "y", 9, seed=2, arms={name: THREE[name] for name in ("process", "old", "new")}),
    )
    found = compare(*map(str, both))
    assert [(arm, gap.why, unproved) for arm, gap, unproved in found.gaps if arm == "same"] == [
        ("same", "only BASE has this arm", True)
    ]
    assert "not compared: same all metrics" in gate(found).text
    assert "same all metrics" not in gate(compare(*map(str, reversed(both)))).text


def test_two_pyperf_files(tmp_path: Path) -> None:
    old = suite(tmp_path / "old.json", runs=20)
    new = suite(tmp_path / "new.json.gz", runs=20, factor=1.5, seed=2)
    for policy in (Policy(), Policy(sessions=1.0)):
        found = compare(str(old), str(new), policy=policy)
        assert (found.sides.design, found.unit) == ("suites", "run")
        assert set(found.table["kind"]) == {"inconclusive"}
        assert (found.table["count"] == 20).all()
        assert found.table["ratio"].between(1.45, 1.55).all()
        assert "not interleaved" in notes(found)
        assert "the unit is the pyperf run" in notes(found)
        outcome = gate(found)
        assert outcome.code == 3
        assert "prove nothing: name several a side, BASE… -- NEW…" in screen(found)


def nights(folder: Path, count: int, first: int, **given: Any) -> list[str]:
    """So many pyperf files, on a host whose nights lie some per cent apart."""
    draw = random.Random(first)
    return [
        str(
            suite(
                folder / f"{first + place}.json",
                seed=first + place,
                **(given | {"factor": given.get("factor", 1.0) * draw.gauss(1, 0.01)}),
            )
        )
        for place in range(count)
    ]


def test_several_pyperf_files_a_side_prove_something(tmp_path: Path) -> None:
    given = {"runs": 6, "metrics": 12}
    old, same = nights(tmp_path, 5, 100, **given), nights(tmp_path, 5, 200, **given)
    found = compare(old, same, Policy(delta=0.06))
    assert (found.sides.design, found.unit) == ("sessions", "session")
    assert (found.table["count"] == 5).all()
    assert "the unit is the session: 5 of BASE, 5 of NEW" in notes(found)
    assert gate(found).code in (0, 3)
    assert "regressed" not in set(found.table["kind"])
    slow = nights(tmp_path, 5, 300, factor=1.15, **given)
    worse = compare(old, slow)
    assert gate(worse).code == 1
    assert (worse.table["kind"] == "regressed").mean() > 0.8
    better = compare(slow, old)
    assert (better.table["kind"] == "improved").mean() > 0.8
    assert max(map(len, screen(worse).splitlines()[2:])) <= 80
    assert len(worse.as_dict()["sessions"][0]) == 5


def two_suites(folder: Path, first: int, factors: list[float]) -> list[str]:
    """Two pyperf files a night, with other benchmarks each."""
    made = []
    for place, factor in enumerate(factors):
        for number, name in enumerate(("one", "other")):
            file = suite(
                folder / f"{first + place}-{name}.json", seed=first + 100 * number + place, factor=factor, runs=6
            )
            file.write_text(file.read_text().replace("bench_", f"{name}_"))
            made.append(str(file))
    return made


def test_two_files_a_night_are_held_against_files_of_their_own_benchmarks(tmp_path: Path) -> None:
    old = two_suites(tmp_path, 1000, [1.0, 1.01, 0.99, 1.0, 1.3])
    found = compare(old, two_suites(tmp_path, 2000, [1.01, 1.0, 0.99, 1.02, 1.0]))
    told = notes(found)
    assert "the unit is the session: 10 of BASE, 10 of NEW" in told
    assert "not every session has every metric: a metric has 5 of BASE’s sessions and 5 of NEW’s" in told
    assert list(found.sides.aside) == old[-2:]
    assert (found.table["count"] == 4).all()
    assert "not every session" not in notes(compare(old[::2], two_suites(tmp_path, 3000, [1.0] * 5)[::2]))


def once(file: Path, factor: float, tool: str, indent: int | None = None) -> str:
    """A file with a single time of each of two benchmarks."""
    times = {"one": 0.0123456789 * factor, "other": 1.2345678901 * factor}
    document: dict[str, Any] = {"results": [{"command": name, "times": [time]} for name, time in times.items()]}
    if tool == "asv":
        document = {"commit_hash": "a", "results": {f"time_{name}": time for name, time in times.items()}}
    file.write_text(json.dumps(document, indent=indent))
    return str(file)


@pytest.mark.parametrize("tool", ["hyperfine", "asv"])
def test_copies_of_a_single_time_a_benchmark_are_refused(tmp_path: Path, tool: str) -> None:
    base, new = (
        [once(tmp_path / f"{side}{n}.json", factor, tool) for n in range(4)]
        for side, factor in (("a", 1.0), ("b", 1.1))
    )
    with pytest.raises(InputError, match="hold the same data"):
        compare(base, new)
    with pytest.raises(InputError, match="hold the same data"):
        compare(base[0], once(tmp_path / "again.json", 1.0, tool, indent=2))
    real = [once(tmp_path / f"c{n}.json", 1.0 + n / 999, tool) for n in range(8)]
    assert compare(real[:4], real[4:]).sides.design == "sessions"


def dated(path: str, day: int) -> str:
    """The file, its runs being of that day; 0 for none."""
    text = json.loads(Path(path).read_text())
    for benchmark in text["benchmarks"]:
        for run in benchmark["runs"]:
            run["metadata"].pop("date", None)
            if day:
                run["metadata"]["date"] = f"2026-11-{day:02} 05:00:00"
    Path(path).write_text(json.dumps(text))
    return path


def test_the_order_in_which_sessions_ran_counts_and_is_said(tmp_path: Path) -> None:
    given = {"runs": 4, "metrics": 3}
    old, late = nights(tmp_path, 4, 100, **given), nights(tmp_path, 4, 200, **given)

    def run(ours: list[int], theirs: list[int]) -> Comparison:
        for side, days in ((old, ours), (late, theirs)):
            for path, day in zip(side, days, strict=True):
                dated(path, day)
        return compare(old, late)

    before = run([4, 3, 2, 1], [5, 6, 7, 8])
    assert "not interleaved: all of BASE ran before all of NEW" in notes(before)
    orders = {each.order for each in before.sides.found[""] if isinstance(each, Matched)}
    assert orders == {(3, 2, 1, 0, 4, 5, 6, 7)}
    assert "all of NEW ran before all of BASE" in notes(run([5, 6, 7, 8], [1, 2, 3, 4]))
    assert "not interleaved" not in notes(run([1, 3, 5, 7], [2, 4, 6, 8]))
    assert "taken to have run in the order in which they are named" in notes(run([1, 3, 5, 7], [2, 4, 6, 0]))


@pytest.mark.parametrize(("base", "new"), [(1, 5), (3, 5), (3, 3), (2, 1)])
def test_few_sessions_a_side_prove_nothing_and_say_how_many_it_takes(tmp_path: Path, base: int, new: int) -> None:
    given = {"runs": 4, "metrics": 3}
    old, late = nights(tmp_path, base, 100, **given), nights(tmp_path, new, 200, factor=2, **given)
    if min(base, new) == 1:
        with pytest.raises(InputError, match=r"one session alone tells nothing of .*; at least 4 are needed"):
            compare(old, late)
        return
    found = compare(old, late)
    assert set(found.table["kind"]) == {"inconclusive"}
    assert gate(found).code == 3
    assert "at least 4 are needed" in screen(found)


def test_a_session_far_from_all_others_is_set_aside_and_said(tmp_path: Path) -> None:
    given = {"runs": 4, "metrics": 12}
    old, late = nights(tmp_path, 6, 100, **given), nights(tmp_path, 5, 200, **given)
    late.append(str(suite(tmp_path / "bad.json", seed=9, factor=1.6, **given)))
    found = compare(old, late)
    assert "bad.json, which lies +6" in notes(found)
    assert (found.table["count"] == 5).all()
    ((name, off),) = found.as_dict()["set_aside"].items()
    assert name == late[-1]
    assert off == pytest.approx(0.6, abs=0.1)
    assert found.table["new"].max() < 0.0105  # levels are those of the sessions that count
    text = json.loads(Path(late[-1]).read_text())
    text["benchmarks"].append(text["benchmarks"][0] | {"metadata": {"name": "alone", "loops": 4}})
    Path(late[-1]).write_text(json.dumps(text))
    first = json.loads(Path(old[0]).read_text())
    first["benchmarks"].append(first["benchmarks"][0] | {"metadata": {"name": "alone", "loops": 4}})
    Path(old[0]).write_text(json.dumps(first))
    assert [gap.why for _, gap, _ in compare(old, late).gaps] == ["only sessions that are set aside have it"]
    assert "regressed" not in set(found.table["kind"])


def test_a_metric_that_some_sessions_lack_is_judged_by_the_others(tmp_path: Path) -> None:
    old = nights(tmp_path, 5, 100, runs=4, metrics=8)
    late = nights(tmp_path, 4, 200, runs=4, metrics=8) + nights(tmp_path, 1, 300, runs=4, metrics=7)
    rows = compare(old, late).table.set_index("metric")
    assert rows.loc["bench_007", ["count", "dropped"]].tolist() == [4, 1]
    assert rows.loc["bench_000", ["count", "dropped"]].tolist() == [5, 0]


def test_several_campaigns_a_side_are_divided_by_their_baseline(tmp_path: Path) -> None:
    def campaigns(first: int, arms: dict[str, Any]) -> list[str]:
        return [str(make(tmp_path / str(first + place), 6, seed=first + place, arms=arms)) for place in range(5)]

    old = campaigns(10, {"process": ARMS["process"], "crun": CRUN})
    late = campaigns(20, {"process": ARMS["process"], "crun": SLOWER})
    found = compare(old, late)
    assert found.unit == "session"
    table = found.table.set_index(["arm", "metric"])
    assert table.loc[("crun", "boot"), ["kind", "count", "per"]].tolist() == ["regressed", 5, "process"]
    assert not table.loc["process"]["gates"].any()
    assert "host-normalised" in notes(found)
    assert gate(found).code == 1
    named = compare([f"{path}:crun" for path in old], [f"{path}:crun" for path in late])
    assert named.table.set_index("metric").loc["boot", "kind"] == "regressed"
    with pytest.raises(InputError, match="has no arm 'runc'"):
        compare([f"{path}:runc" for path in old], late)


TWO = {"process": ARMS["process"], "crun": CRUN}


def several(path: Path, first: int, count: int = 4, **each: Any) -> list[str]:
    """Campaigns of a few blocks; each: by a campaign's place (`at0`), what is different there."""
    return [
        str(make(path / str(first + place), 3, seed=first + place, **({"arms": TWO} | each.get(f"at{place}", {}))))
        for place in range(count)
    ]


def fails(arm: str, *blocks: int) -> dict[str, Any]:
    def change(record: dict[str, Any]) -> None:
        if record["arm"] == arm and (not blocks or record["block"] in blocks):
            record |= {"status": "failed", "reason": "no", "samples": []}

    return {"change": change}


def test_an_arm_that_some_sessions_lack_is_compared_in_the_others_or_stands_against_a_pass(tmp_path: Path) -> None:
    three = {"arms": TWO | {"runc": CRUN}}
    old = several(tmp_path, 10, 5, at0=three, at1=three)
    late = several(tmp_path, 20, 5, at2=fails("crun"), at3={"arms": {"process": ARMS["process"]}})
    found = compare(old, late)
    rows = found.table.set_index(["arm", "metric"])
    assert rows.loc[("crun", "boot"), ["count", "per"]].tolist() == [3, "process"]
    assert "crun ended well in 5 of 5 sessions of BASE and 3 of 5 of NEW: those count" in notes(found)
    ((arm, gap, unproved),) = [each for each in found.gaps if each[1].metric == "all metrics"]
    assert (arm, gap.why, unproved) == ("runc", "only BASE has this arm", True)
    said = gate(found)
    assert said.code == 3
    assert "runc all metrics" in said.text
    assert [(arm, unproved) for arm, _, unproved in compare(late, old).gaps] == [("runc", False)]


def test_an_arm_that_failed_everywhere_is_told_from_one_that_was_never_there(tmp_path: Path) -> None:
    three = {"arms": TWO | {"runc": CRUN}}
    old = several(tmp_path, 10, 4, at0=three, at1=three)
    late = several(tmp_path, 20, 4, at2=three | fails("runc"), at3=three | fails("runc"))
    for sides, unproved, side in (((old, late), True, "NEW"), ((late, old), False, "BASE")):
        (told,) = [(arm, gap.why, stands) for arm, gap, stands in compare(*sides).gaps if gap.metric == "all metrics"]
        assert told == ("runc", f"did not end well in 2 of 4 sessions of {side}", unproved)
        (told,) = [
            (arm, gap.why, stands)
            for arm, gap, stands in compare(sides[0][0 if unproved else 2], sides[1][2 if unproved else 0]).gaps
            if gap.metric == "all metrics"
        ]
        assert told == ("runc", f"did not end well in any slot of {side}", unproved)


def test_a_session_without_the_baseline_is_left_out_of_what_is_divided_by_it(tmp_path: Path) -> None:
    found = compare(several(tmp_path, 10, 5), several(tmp_path, 20, 5, at2=fails("process")))
    rows = found.table.set_index(["arm", "metric"])
    assert rows.loc[("crun", "boot"), ["count", "per"]].tolist() == [4, "process"]


def test_failures_are_compared_by_session(tmp_path: Path) -> None:
    old = several(tmp_path, 10, 4, at1=fails("crun", 1))
    late = several(tmp_path, 20, 8, at0=fails("crun", 1), at5=fails("crun", 2))
    assert failing(compare(old, late)) == []  # twice as many in twice as many sessions
    as_many = several(tmp_path, 40, 4, at1=fails("crun", 1, 2))
    (told,) = failing(compare(late, as_many))
    assert "crun 2 slots of NEW failed, 2 of BASE" in told


def test_what_else_differs_is_looked_for_in_all_sessions(tmp_path: Path) -> None:
    def of_kernel(path: str, kernel: str) -> None:
        facts = json.loads((Path(path) / "facts.json").read_text())
        facts["host"]["kernel"] = kernel
        (Path(path) / "facts.json").write_text(json.dumps(facts))

    old, late = several(tmp_path, 10), several(tmp_path, 20)
    of_kernel(late[2], "9.9.1")
    of_kernel(old[3], "9.9.2")
    told = notes(compare(old, late))
    assert "→ 9.9.1" in told
    assert "host kernel 9.9.2 →" in told


def test_two_campaigns_without_a_baseline_beside_inform_only(folder: Path, later: Path) -> None:
    alone = compare(str(folder), str(later), Policy(sessions=1.0), arms=["process"])
    assert set(alone.table["kind"]) == {"inconclusive"}
    assert gate(alone).code == 3
    crossed = compare(f"{folder}:process", f"{later}:new", Policy(sessions=1.0))
    assert set(crossed.table["kind"]) == {"inconclusive"}


def test_the_same_data_on_both_sides_are_refused(folder: Path, tmp_path: Path) -> None:
    one = suite(tmp_path / "a.json", runs=4)
    packed = tmp_path / "b.json.gz"
    packed.write_bytes(gzip.compress(json.dumps(json.loads(one.read_text()), indent=2).encode()))
    other, third = (suite(tmp_path / f"{seed}.json", runs=4, seed=seed) for seed in (7, 8))
    (tmp_path / "link.json").symlink_to(one)
    shutil.copytree(folder, tmp_path / "copy")
    for base, new in (
        ([one], [one]),
        ([one], [packed]),
        ([one], [tmp_path / "link.json"]),
        ([one, other], [third, packed]),
        ([one, other, one], [third]),
        ([folder], [tmp_path / "copy"]),
        ([f"{folder}:old"], [f"{tmp_path / 'copy'}:new"]),
        ([folder], [f"{tmp_path / 'copy'}"]),
    ):
        with pytest.raises(InputError, match=r"hold the same (data|slots)|is named twice") as caught:
            compare([*map(str, base)], [*map(str, new)])
        assert "\n" not in str(caught.value)


def test_values_that_never_vary_may_agree(tmp_path: Path) -> None:
    def constant(name: str, date: str) -> str:
        path = suite(tmp_path / name, runs=4, metrics=1)
        text = json.loads(path.read_text())
        for run in text["benchmarks"][0]["runs"]:
            run["metadata"]["date"] = date
            run["values"] = [0.012345678] * len(run.get("values", []))
        path.write_text(json.dumps(text))
        return str(path)

    found = compare(constant("a.json", "2026-11-22 05:00:00"), constant("b.json", "2026-11-23 05:00:00"))
    assert found.table["ratio"].tolist() == [1.0]


@pytest.mark.parametrize(
    ("base", "new", "given", "why"),
    [
        ("crun", "runc", {}, "no file or folder 'crun'; write DIR:ARM DIR:ARM, or ARM ARM --in DIR"),
        ("{x}:old", "{x}:none", {}, "has no arm 'none': it has process, old, new, same"),
        ("{x}:old", "{x}:old", {}, "arm old of .* is both sides"),
        ("{x}", "{x}", {}, "which arm\\? It has process, old, new, same"),
        ("{x}:old", "{x}", {}, "which arm"),
        ("{x}:old", "new", {}, "no file or folder 'new'"),
        ("{x}", "{p}", {}, "are not of one kind"),
        ("{p}", "{p}", {}, "is named twice"),
        ("{x}:", "{x}:old", {}, "'' is not the name of an arm"),
        ("{x}/none:old", "{x}:old", {}, "no results folder at"),
        ("{x}/journal.jsonl", "{p}", {}, "is a part of a results folder; name the folder"),
        ("{x}/..", "{x}", {}, "no journal at"),
        ("old", "new", {"inside": "{x}/none"}, "no results folder at"),
        ("a:old", "new", {"inside": "{x}"}, "'a:old' is not the name of an arm"),
        ("{x}:old", "{x}:new", {"arms": ["old"]}, "--arm is for results folders"),
        ("{x}", "{y}", {"arms": ["none"]}, "has no arm 'none'"),
        ("{x}:qemu-firmware", "{x}:old", {}, "no metric in common"),
        ("{t}", "{x}:old", {}, "not a pyperf suite|not of one kind"),
        ("{t}", "{p}", {}, "not JSON"),
    ],
)
def test_what_cannot_be_meant_is_one_clear_line(
    folder: Path, later: Path, tmp_path: Path, base: str, new: str, given: dict[str, Any], why: str
) -> None:
    (tmp_path / "t.json").write_text("garbage")
    places = {"x": folder, "y": later, "p": suite(tmp_path / "p.json"), "t": tmp_path / "t.json"}
    if "inside" in given:
        given = {"inside": Path(given["inside"].format(**places))}
    with pytest.raises(InputError, match=why) as caught:
        compare(base.format(**places), new.format(**places), **given)
    assert "\n" not in str(caught.value)


def test_a_name_that_may_be_two_things_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    make(tmp_path / "x", 1)
    make(tmp_path / "x:old", 1)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InputError, match=r"x:old may be a file or an arm of x; write \./x:old or --in DIR"):
        compare("x:old", "x:new")


# What must be said, and what must be refused.


def test_scenarios_of_one_name_must_be_one(folder: Path, tmp_path: Path) -> None:
    def plan(path: Path, **changes: Any) -> Path:
        found = json.loads((path / "plan.json").read_text())
        found["scenarios"]["lifecycle"] |= {"values": 5, "blocks": None} | changes
        (path / "plan.json").write_text(json.dumps(found))
        return path

    old, same, other = (
        plan(make(tmp_path / name, 2, seed=ord(name)), **changes)
        for name, changes in (
            ("a", {"workload": "true"}),  # as plans were before there could be several
            ("b", {"workloads": ["true"], "blocks": 3, "description": "x"}),
            ("c", {"workloads": ["sha256"], "values": 9}),
        )
    )
    compare(str(old), str(same))
    with pytest.raises(
        InputError, match=r"'lifecycle' is not the same .*: workloads \['true'\] and \['sha256'\] and values 5 and 9"
    ):
        compare(str(old), str(other))


def test_a_journal_that_is_cut_counts_its_whole_lines_and_says_so(tmp_path: Path) -> None:
    journal = make(tmp_path / "x", 3) / "journal.jsonl"
    lines = journal.read_bytes().splitlines(keepends=True)
    journal.write_bytes(b"".join(lines[:-1]) + lines[-1][:50])
    found = compare("old", "new", inside=tmp_path / "x")
    (note,) = [note for note in found.notes if "cut" in note]
    assert f"{len(lines) - 1} whole lines count, 50 bytes do not" in note


def test_failed_slots_are_dropped_in_pairs_counted_and_said(tmp_path: Path) -> None:
    def fail(record: dict[str, Any]) -> None:
        if record["arm"] == "new" and record["block"] in (2, 3) and record["scenario"] == "lifecycle":
            record |= {"status": "failed", "reason": "no", "samples": []}

    found = compare("old", "new", inside=make(tmp_path / "x", 8, change=fail))
    assert set(found.table["count"]) == {6}
    assert set(found.table["dropped"]) == {2}
    outcome = gate(found)
    assert outcome.code == 3
    assert "2 slots of NEW failed, 0 of BASE" in outcome.text
    assert "did not end well, and are left out: 0 of 8 slots of BASE (old) and 2 of 8 slots of NEW (new)" in notes(
        found
    )


@pytest.mark.parametrize(("arm", "failures", "code"), [("same", 0, 3), ("same", 1, 0), ("old", 0, 0)])
def test_what_fails_more_often_passes_no_gate(tmp_path: Path, arm: str, failures: int, code: int) -> None:
    """The slots that are left may be the good ones only."""

    def fail(record: dict[str, Any]) -> None:
        if record["arm"] == arm and record["block"] == 7 and record["scenario"] == "lifecycle":
            record |= {"status": "failed", "reason": "no", "samples": []}

    folder = make(tmp_path / "x", 60, change=fail)
    found = compare("old", "same", Policy(delta=0.08, failures=failures), inside=folder)
    assert gate(found).code == code
    assert ('<error message="1 slot of NEW failed, 0 of BASE"' in tell.as_junit(found, gate(found))) == (code == 3)


def test_an_arm_of_which_nothing_ended_well(tmp_path: Path) -> None:
    def fail(record: dict[str, Any]) -> None:
        if record["arm"] == "new":
            record |= {"status": "timeout", "reason": "no", "samples": []}

    with pytest.raises(InputError, match=r"no slot of arm 'new' in .* ended well: all 8 slots failed"):
        compare("old", "new", inside=make(tmp_path / "x", 8, change=fail))


def test_a_wrong_time_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="is -1 s: that is no time"):
        compare("old", "new", inside=make(tmp_path / "x", 3, change=spoiling(-1.0)))


def test_a_time_of_zero_passes_no_gate_and_stops_no_other_metric(tmp_path: Path) -> None:
    found = compare("old", "new", inside=make(tmp_path / "x", 12, change=spoiling(0.0)))
    assert "boot" not in set(found.table["metric"])
    assert {"spawn", "exec"} <= set(found.table["metric"])
    lost = compare("old", "same", Policy(delta=0.5), inside=make(tmp_path / "y", 12, change=spoiling(0.0, "same")))
    assert gate(lost).code == 3
    assert "not compared: boot" in gate(lost).text


def spoiling(value: float, arm: str = "new") -> Callable[[dict[str, Any]], None]:
    def spoil(record: dict[str, Any]) -> None:
        if record["arm"] == arm and record["block"] == 2 and record["scenario"] == "lifecycle":
            record["samples"][0]["values"] = [value]

    return spoil


def test_one_block_is_too_few(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"one block alone tells nothing of old and new; at least .* are needed"):
        compare("old", "new", inside=make(tmp_path / "x", 1))
    one = suite(tmp_path / "a.json", runs=1), suite(tmp_path / "b.json", runs=1, seed=2)
    with pytest.raises(InputError, match="one run alone tells nothing"):
        compare(*map(str, one))


def test_badges(tmp_path: Path) -> None:
    def see(record: dict[str, Any]) -> None:
        record["seen"]["capabilities"] = [record["arm"]]
        if record["arm"].startswith("qemu@"):
            record["seen"]["kernel"] = record["arm"].removeprefix("qemu@") + "-cloud-amd64"

    folder = make(tmp_path / "x", 3, arms=GUESTS, change=see)
    (badges,) = compare("qemu@6.1.0-50", "qemu@6.1.0-56", inside=folder).sides.badges.values()
    assert badges[0] == "kernel: 6.1.0-50-cloud-amd64 → 6.1.0-56-cloud-amd64"
    assert badges[1].startswith("layout-confounded: one build of each kernel")
    labels = "qemu@6.1.0-50 (emulated) and qemu@6.1.0-56 (emulated)"
    assert badges[2].startswith(f"emulated: {labels} without hardware help (TCG)")
    assert len(badges) == 3
    (against_host,) = compare("process", "qemu@6.1.0-56", inside=folder).sides.badges.values()
    assert [badge.split(":")[0] for badge in against_host] == ["kernel", "clocksource", "emulated"]


def test_what_root_may_do_is_a_badge_of_those_that_share_a_kernel(tmp_path: Path) -> None:
    def see(record: dict[str, Any]) -> None:
        record["seen"]["capabilities"] = ["chown", *(["sys_admin"] if record["arm"] == "new" else [])]

    folder = make(tmp_path / "x", 3, change=see)
    (badges,) = compare("old", "new", inside=folder).sides.badges.values()
    assert badges == ["capabilities: 1 only here; + sys_admin"]


def test_two_builds_of_one_release_are_two_kernels(tmp_path: Path) -> None:
    folder = make(tmp_path / "x", 3, arms=GUESTS)
    plan = json.loads((folder / "plan.json").read_text())
    for arm in ("qemu@6.1.0-50", "qemu@6.1.0-56"):
        plan["arms"][arm]["boots"] = {"release": "6.1.0-56", "sha256": arm}
    (folder / "plan.json").write_text(json.dumps(plan))
    (badges,) = compare("qemu@6.1.0-50", "qemu@6.1.0-56", inside=folder).sides.badges.values()
    assert [badge.split(":")[0] for badge in badges] == ["kernel", "layout-confounded", "emulated"]
    assert badges[0] == "kernel: two builds of 6.1.0-56"


def test_other_hosts_and_envelopes_are_said(tmp_path: Path) -> None:
    old, new = make(tmp_path / "x", 2), make(tmp_path / "y", 2, seed=2)
    facts = json.loads((new / "facts.json").read_text())
    facts["host"]["cpu"] = "Another CPU"
    (new / "facts.json").write_text(json.dumps(facts))
    assert "not the same: host cpu Made-up CPU → Another CPU" in compare(str(old), str(new)).notes


def test_a_rule_of_no_metric_is_said(folder: Path) -> None:
    found = compare("old", "new", Policy(rules={"boot": Rule(delta=0.1), "bot*": Rule(gates=False)}), inside=folder)
    assert "no metric here is meant by the policy's 'bot*'" in found.notes


# The gate.


@pytest.mark.parametrize(
    ("pair", "policy", "code", "text"),
    [
        (("old", "new"), Policy(), 1, r"\d of 8 gating metrics regressed: .*boot \+\d+%"),
        (
            ("new", "old"),
            Policy(delta=0.05, rules={"*": Rule(gates=False), "boot": Rule(gates=True)}),
            0,
            "1 gating metric",
        ),
        (("old", "same"), Policy(delta=0.06), 0, "8 gating metrics proved equivalent or improved"),
        (
            ("old", "same"),
            Policy(delta=0.001),
            3,
            "no regression proved, and no pass: 8 of 8 gating metrics inconclusive",
        ),
        (("old", "new"), Policy(delta=0.06, tolerate=0.5), 0, "tolerated regressions among them"),
        (("old", "new"), Policy(delta=0.9), 0, "8 gating metrics proved .* regressions within ±δ among them"),
        (("old", "process"), Policy(delta=0.06), 3, "not compared: exec"),
    ],
)
def test_exit_codes(folder: Path, pair: tuple[str, str], policy: Policy, code: int, text: str) -> None:
    outcome = gate(compare(*pair, policy, inside=folder))
    assert outcome.code == code, outcome.text
    assert re.search(text, outcome.text)


def test_too_few_blocks_pass_nothing_and_say_how_many_it_takes(tmp_path: Path) -> None:
    outcome = gate(compare("old", "same", inside=make(tmp_path / "x", 5)))
    assert outcome.code == 3
    assert re.search(r"at least 9 blocks are needed where there are fewer: boot", outcome.text)


def test_a_gate_without_a_metric_is_a_mistake(folder: Path) -> None:
    with pytest.raises(InputError, match="no metric gates"):
        gate(compare("old", "new", Policy(rules={"*": Rule(gates=False)}), inside=folder))


# What is written.


@pytest.fixture(scope="module")
def found(folder: Path) -> Comparison:
    return compare("process", "new", Policy(delta=0.06), inside=folder)


def screen(found: Comparison) -> str:
    written = io.StringIO()
    tell.on_screen(found, gate(found), Console(width=80, highlight=False, emoji=False, markup=False, file=written))
    return written.getvalue()


def test_the_screen_fits_80_columns_and_says_all_without_colour(found: Comparison) -> None:
    text = screen(found)
    assert max(map(len, text.splitlines()[2:])) <= 80
    for row in found.table.to_dict("records"):
        (line,) = [line for line in text.splitlines() if re.match(rf"{re.escape(row['metric'])} +\d", line)]
        assert row["kind"] in line
        assert "6%" in line
        assert "60" in line.split()
    assert "exec, exec.cpu: not compared, only NEW has it" in text
    assert "REGRESSED (exit 1)" in text


def test_markdown_is_one_table_row_a_metric(found: Comparison) -> None:
    text = tell.as_markdown(found, gate(found))
    rows = [line for line in text.splitlines() if line.startswith("| ") and "metric" not in line]
    assert len(rows) == len(found.table)
    assert {line.count("|") for line in rows} == {8}
    assert "**REGRESSED**" in text


def test_junit_tells_failures_from_what_is_not_proved(found: Comparison) -> None:
    outcome = gate(found)
    root = xml.fromstring(tell.as_junit(found, outcome))
    (testsuite,) = root
    cases = {case.get("name"): [child.tag for child in case] for case in testsuite.iter("testcase")}
    assert len(cases) == len(found.table) + len(found.gaps) == int(testsuite.get("tests", 0))
    assert cases["boot"] == ["failure"]
    assert cases["boot.launch"] == ["skipped"]
    assert cases["exec"] == ["skipped"]  # only NEW has it: there is nothing to be worse than
    assert int(root.get("failures", 0)) == sum(tags == ["failure"] for tags in cases.values()) > 0
    for name, tags in cases.items():
        rows = found.table[found.table["metric"] == name]
        if tags == ["system-out"]:
            assert rows["kind"].isin(["equivalent", "improved"]).all()


def test_junit_calls_what_base_alone_has_an_error(folder: Path) -> None:
    lost = compare("old", "process", Policy(delta=0.06), inside=folder)
    root = xml.fromstring(tell.as_junit(lost, gate(lost)))
    (case,) = [case for case in root.iter("testcase") if case.get("name") == "exec"]
    assert [(child.tag, child.get("message")) for child in case] == [("error", "not compared: only BASE has it")]


def test_hostile_names_stay_inside_xml_and_markdown(tmp_path: Path) -> None:
    hostile = "a\x1b[31m<b>|]]>&\ud800"

    def rename(file: Path) -> str:
        document = json.loads(file.read_text())
        document["benchmarks"][0]["metadata"]["name"] = hostile.replace("\ud800", "")
        file.write_text(json.dumps(document))
        return str(file)

    both = [rename(suite(tmp_path / name, metrics=2, seed=seed)) for name, seed in (("a.json", 1), ("b.json", 2))]
    found = compare(*both)
    outcome = gate(found)
    names = {case.get("name") for case in xml.fromstring(tell.as_junit(found, outcome)).iter("testcase")}
    assert names == {"a·<b>|]]>&", "bench_001"}
    assert "\x1b" not in screen(found) + tell.as_markdown(found, outcome) + forest(found)


@pytest.mark.parametrize("pair", [("old", "new"), ("new", "old")])
def test_changes_within_the_margin_are_called_so_everywhere(folder: Path, pair: tuple[str, str]) -> None:
    small = compare(*pair, Policy(delta=0.9), inside=folder)
    outcome = gate(small)
    assert outcome.code == 0
    assert "within ±δ" in screen(small)
    assert "it passes" in screen(small)
    root = xml.fromstring(tell.as_junit(small, outcome))
    assert (root.get("failures"), root.get("errors")) == ("0", "0")


@pytest.mark.parametrize(
    ("ratio", "told"),
    [(0.0003, "0.0003"), (0.000123456, "0.000123"), (0.0123, "0.0123"), (0.987, "0.987"), (1.0, "1.000")],
)
def test_small_ratios_keep_their_digits(ratio: float, told: str) -> None:
    assert words.times(ratio) == told


def test_the_picture_is_svg_with_every_metric_and_its_verdict(found: Comparison) -> None:
    root = xml.fromstring(forest(found))
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    texts = ["".join(element.itertext()) for element in root.iter("{http://www.w3.org/2000/svg}text")]
    for metric, ratio, kind in zip(found.table["metric"], found.table["ratio"], found.table["kind"], strict=True):
        assert metric in texts
        assert any(text.startswith(f"{words.times(ratio)} ") and kind in text for text in texts)


def test_json_is_json_with_null_for_no_number(found: Comparison) -> None:
    def no_constant(name: str) -> None:
        raise AssertionError(name)

    read = json.loads(json.dumps(found.as_dict(), allow_nan=False), parse_constant=no_constant)
    assert [row["metric"] for row in read["metrics"]] == found.table["metric"].tolist()
    assert read["interleaved"] is True
    assert {gap["metric"]: gap["unproved"] for gap in read["not_compared"]} == {"exec": False, "exec.cpu": False}


# The command line.


@pytest.fixture
def tare(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Callable[..., tuple[int, str, str]]:
    monkeypatch.setattr(interrupts, "listen", lambda: None)

    def run(*words: object) -> tuple[int, str, str]:
        code = cli.main([*map(str, words)])
        return code, *capsys.readouterr()

    return run


def test_the_commands(folder: Path, tmp_path: Path, tare: Callable[..., tuple[int, str, str]]) -> None:
    (tmp_path / "policy.toml").write_text('delta = "6 %"')
    files = [tmp_path / name for name in ("a.md", "a.svg", "a.xml")]
    words = ["--markdown", files[0], "--svg", files[1], "--policy", tmp_path / "policy.toml"]
    assert tare("compare", f"{folder}:old", f"{folder}:new", *words)[0] == 0
    code, out, _ = tare("check", "old", "new", "--in", folder, *words, "--junit", files[2], "--json")
    assert code == 1
    assert json.loads(out)["gate"]["exit"] == 1
    assert {row["delta"] for row in json.loads(out)["metrics"]} == {0.06}
    assert all(file.stat().st_size for file in files)
    assert tare("check", "old", "same", "--in", folder, *words)[0] == 0
    nightly = nights(tmp_path, 8, 100, runs=4, metrics=9)
    code, out, _ = tare("check", "--policy", tmp_path / "policy.toml", *nightly[:4], "--", *nightly[4:], "--json")
    assert code in (0, 3)
    assert json.loads(out)["unit"] == "session"
    for words in (nightly[:3], nightly[:1], ["--", *nightly], [*nightly, "--"], [nightly[0], "--", "--", nightly[1]]):
        code, _, err = tare("check", *words)
        assert (code, err.count("\n")) == (2, 1)
        assert "BASE" in err
    code, _, err = tare("check", "old", "none", "--in", folder)
    assert (code, err.count("\n")) == (2, 1)


# Absolute limits, and the mean of all.


def limited(folder: Path, text: str) -> Policy:
    (folder / "limits.toml").write_text(text)
    return read_policy(folder / "limits.toml")


@pytest.mark.parametrize(
    ("limit", "code", "told"),
    [
        ('at_most = "1 s"', 0, "1 absolute limit kept"),
        ('at_most = "1 ms"', 1, "1 of 1 absolute limit broken: boot at most 1 ms"),
        ('at_least = "1 s"', 1, "1 of 1 absolute limit broken: boot at least 1 s"),
        ('at_least = "1 ms"\nat_most = "1 s"', 0, "2 absolute limits kept"),
        ("at_most = {level:.9f}", 3, "1 of 1 absolute limit not proved: boot at most 0.0"),
    ],
)
def test_absolute_limits_gate(folder: Path, tmp_path: Path, limit: str, code: int, told: str) -> None:
    level = compare("old", "same", inside=folder).table.set_index("metric").loc["boot", "new"]
    policy = limited(tmp_path, f'delta = "9 %"\n[metrics."boot"]\n{limit.format(level=level)}')
    found = compare("old", "same", policy, inside=folder)
    outcome = gate(found)
    assert (outcome.code, told in outcome.text) == (code, True), outcome.text
    assert "absolute limits" in screen(found)
    assert max(map(len, screen(found).splitlines()[2:])) <= 80
    root = xml.fromstring(tell.as_junit(found, outcome))
    tags = [child.tag for case in root.iter("testcase") if "boot at " in str(case.get("name")) for child in case]
    assert set(tags) == {{0: "system-out", 1: "failure", 3: "error"}[code]}
    assert "absolute limits" in tell.as_markdown(found, outcome)
    assert {each["kind"] for each in found.as_dict()["limits"]} == {{0: "kept", 1: "broken", 3: "unproved"}[code]}


def test_a_limit_gates_a_metric_whose_ratio_only_informs(tmp_path: Path) -> None:
    both = suite(tmp_path / "a.json", runs=8), suite(tmp_path / "b.json", runs=8, seed=2)
    rules = '[metrics."*"]\ngates = false\n[metrics."bench_000"]\nat_most = '
    assert gate(compare(*map(str, both), limited(tmp_path, rules + '"1 s"'))).code == 0
    assert gate(compare(*map(str, both), limited(tmp_path, rules + '"1 ms"'))).code == 1
    with pytest.raises(InputError, match="another unit"):
        compare(*map(str, both), limited(tmp_path, rules + '"1 MiB"'))


def test_a_limit_that_no_base_is_needed_for(folder: Path, tmp_path: Path) -> None:
    policy = limited(tmp_path, 'delta = "90 %"\n[metrics."exec"]\nat_most = "1 us"')
    outcome = gate(compare("process", "new", policy, inside=folder))
    assert (outcome.code, "exec at most 1 us" in outcome.text) == (1, True)


@pytest.mark.parametrize(
    ("pattern", "gates"), [("exec", "true"), ("exec", "false"), ("lifecycle:boto", "true"), ("bo?t.none*", "false")]
)
def test_a_limit_on_what_new_does_not_have_is_not_proved(
    folder: Path, tmp_path: Path, pattern: str, gates: str
) -> None:
    policy = limited(tmp_path, f'delta = "90 %"\n[metrics."{pattern}"]\ngates = {gates}\nat_most = "1 s"')
    found = compare("old", "process", policy, inside=folder)
    outcome = gate(found)
    assert (outcome.code, "1 of 1 absolute limit not proved" in outcome.text) == (3, True), outcome.text
    assert "NEW does not have it" in tell.as_markdown(found, outcome)
    assert "no metric here is meant" not in screen(found)
    assert "absolute limit together" not in screen(found).replace("\n", " ")
    (limit,) = found.as_dict()["limits"]
    assert (limit["level"], limit["count"], limit["kind"]) == (None, 0, "unproved")
    json.dumps(found.as_dict(), allow_nan=False)
    assert "error" in tell.as_junit(found, outcome)


def test_a_limit_on_what_only_new_has_is_meant(folder: Path, tmp_path: Path) -> None:
    policy = limited(tmp_path, 'delta = "90 %"\n[metrics."exec"]\nat_most = "1 s"')
    found = compare("process", "new", policy, inside=folder)
    assert "no metric here is meant" not in screen(found)
    assert [each.kind for each in found.held] == ["kept"]


def test_limits_of_one_session_say_so_and_what_follows(tmp_path: Path) -> None:
    both = suite(tmp_path / "a.json", runs=8), suite(tmp_path / "b.json", runs=8, seed=2)
    found = compare(*map(str, both), limited(tmp_path, '[metrics."bench_000"]\nat_most = "1 s"'))
    told = " ".join(screen(found).split())
    assert "limits are judged by the runs of NEW's one session: another session may lie elsewhere" in told
    assert "what gates by its ratio still proves nothing (exit 3)" in told
    assert gate(found).code == 3


def test_the_note_of_limits_says_that_ratios_prove_nothing_only_where_one_gates(tmp_path: Path) -> None:
    both = suite(tmp_path / "a.json", runs=8), suite(tmp_path / "b.json", runs=8, seed=2)
    found = compare(*map(str, both), limited(tmp_path, '[metrics."*"]\ngates = false\nat_most = "1 s"'))
    assert "another session may lie elsewhere" in notes(found)
    assert "proves nothing (exit 3)" not in notes(found)
    assert gate(found).code == 0


def told_everywhere(found: Comparison) -> str:
    """What a gate says, after all that can be written of it."""
    outcome = gate(found)
    assert "absolute limits" in screen(found)
    assert "absolute limits" in tell.as_markdown(found, outcome)
    xml.fromstring(tell.as_junit(found, outcome))
    assert "<svg" in forest(found)
    json.dumps(found.as_dict(), allow_nan=False)
    return f"{outcome.code} {outcome.text}"


@pytest.mark.parametrize(("limit", "code"), [("1 ns", 1), ("1 s", 3)])
def test_a_limit_of_many_sessions_of_new_is_judged_beside_one_of_base(tmp_path: Path, limit: str, code: int) -> None:
    found = compare(
        nights(tmp_path, 1, 1, runs=4, metrics=1),
        nights(tmp_path, 8, 50, runs=4, metrics=1),
        limited(tmp_path, f'[metrics."bench_000"]\nat_most = "{limit}"'),
    )
    assert told_everywhere(found).startswith(str(code))
    with pytest.raises(InputError, match="one session alone tells nothing"):
        compare(*(nights(tmp_path, count, 90 * count, runs=4, metrics=1) for count in (1, 8)))


@pytest.mark.parametrize(
    ("limit", "gates", "code"), [("1 ms", True, 1), ("1 s", True, 3), ("1 s", False, 0), ("1 ms", False, 1)]
)
def test_a_limit_is_judged_where_no_metric_is_in_common(tmp_path: Path, limit: str, gates: bool, code: int) -> None:
    old, late = (suite(tmp_path / f"{n}.json", runs=12, metrics=1, seed=n) for n in (1, 2))
    late.write_text(late.read_text().replace("bench_000", "x"))
    rules = f'[metrics."bench_000"]\ngates = {str(gates).lower()}\n[metrics."x"]\nat_most = "{limit}"'
    found = compare(str(old), str(late), limited(tmp_path, rules))
    assert told_everywhere(found).startswith(str(code))
    with pytest.raises(InputError, match="no metric in common"):
        compare(str(old), str(late), limited(tmp_path, '[metrics."bench_000"]\nat_most = "1 s"'))


def test_an_end_that_is_not_the_limit_does_not_read_like_it(folder: Path, tmp_path: Path) -> None:
    level = compare("old", "same", inside=folder).table.set_index("metric").loc["boot", "new"]
    limit = f"{level * 1000:.3g} ms"
    found = compare(
        "old", "same", limited(tmp_path, f'delta = "9 %"\n[metrics."boot"]\nat_most = "{limit}"'), inside=folder
    )
    (held,) = found.held
    near = replace(held, low=held.bound.value * 1.0002, level=held.bound.value * 1.0003, high=held.bound.value * 1.01)
    cells = tell._limit(found, near)
    assert limit.replace(" ", "\N{NO-BREAK SPACE}") not in " ".join([cells[2], *cells[3].split("–")]).split("|")[0]


@pytest.mark.parametrize("text", ['at_most = "soon"', "at_least = -1", "at_most = true", 'at_least = "5 parsecs"'])
def test_wrong_limits_are_one_line(tmp_path: Path, text: str) -> None:
    with pytest.raises(InputError, match="at_") as caught:
        limited(tmp_path, f"[metrics.boot]\n{text}")
    assert "\n" not in str(caught.value)


def test_the_geometric_mean_informs(folder: Path) -> None:
    found = compare("old", "new", inside=folder)
    gating = found.table[found.table["gates"]]
    (mean,) = found.as_dict()["geometric_mean"].values()
    assert mean == pytest.approx(math.exp(sum(math.log(ratio) for ratio in gating["ratio"]) / len(gating)))
    assert f"geometric mean of NEW ÷ BASE over 8 gating metrics: {mean:.3f}" in screen(found).replace("\n", " ")
