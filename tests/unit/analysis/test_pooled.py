"""Several campaigns in one report: intervals between sessions, what differs, and what cannot be pooled."""

from __future__ import annotations

import json
import math
import re
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import pooled
from analysis.estimate import estimates, over_sessions, ratio_of, slot_medians
from analysis.judge import BETWEEN_SESSIONS
from analysis.load import load
from analysis.matrix import Chosen, matrix
from analysis.report import write_report
from bench.errors import InputError
from tests.synthetic import ARMS, campaign

FEW = {name: ARMS[name] for name in ("process", "crun", "uml")}


def logs(*sessions: list[float]) -> pd.Series:
    values = [value for each in sessions for value in each]
    places = [(run, block) for run, each in enumerate(sessions) for block in range(len(each))]
    return pd.Series(np.log(values), index=pd.MultiIndex.from_tuples(places, names=["run", "block"]))


def test_one_session_is_as_it_was() -> None:
    one = logs([2.0, 2.1, 1.9, 2.2, 2.05, 1.95])
    assert over_sessions(one, None) == ratio_of(one.to_numpy())


def test_two_sessions_hold_what_each_found() -> None:
    """Two sessions far apart, each sharp in itself: blocks alone would give an interval that holds neither."""
    first, late = [687.0 * (1 + i / 100) for i in range(-5, 5)], [942.0 * (1 + i / 100) for i in range(-5, 5)]
    blocks = ratio_of(logs(first, late).to_numpy())
    assert not blocks.low <= 687
    found = over_sessions(logs(first, late), BETWEEN_SESSIONS)
    assert found.point == pytest.approx(blocks.point)
    assert found.low < 660
    assert found.high > 970
    assert math.log(found.high / found.point) >= BETWEEN_SESSIONS * math.log(blocks.high / blocks.point) - 1e-9


def test_as_wide_as_compare_has_it() -> None:
    same = [1.0 + i / 1000 for i in range(-5, 5)]
    blocks = ratio_of(logs(same, same).to_numpy())
    found = over_sessions(logs(same, same), BETWEEN_SESSIONS)
    assert math.log(found.high / found.low) == pytest.approx(BETWEEN_SESSIONS * math.log(blocks.high / blocks.low))


def test_with_enough_sessions_each_counts_once() -> None:
    many = [[level, level * 1.01, level * 0.99] for level in (1.0, 1.1, 1.2, 1.3, 1.4, 1.5, 1.6)]
    found = over_sessions(logs(*many), BETWEEN_SESSIONS)
    assert (found.count, found.unit) == (7, "session")
    assert 1.0 <= found.low < 1.15
    assert 1.45 < found.high <= 1.6


def test_several_sessions_without_a_rule_are_refused() -> None:
    with pytest.raises(ValueError, match="several sessions"):
        over_sessions(logs([1.0], [1.0]), None)


def test_each_arm_says_how_many_sessions_it_has_and_what_is_counted(tmp_path: Path) -> None:
    """crun ran in seven campaigns, uml in three of them, runc in one: three methods in one report."""
    folders = []
    for seed in range(7):
        names = ["process", "crun", *(["uml"] if seed < 3 else []), *(["runc"] if seed < 1 else [])]
        folders.append(campaign(tmp_path / str(seed), blocks=6, arms={n: ARMS[n] for n in names}, seed=seed, ramp=0))
    loaded = load(folders)
    (caution,) = pooled.caution(loaded)
    assert re.search(r"Of crun[^:]*: Each session counts once", caution.text)
    assert "Of uml: Sessions scatter more" in caution.text
    assert "Of runc: There is one session alone" in caution.text
    assert "blocks of 7 campaigns" not in caution.text
    medians = slot_medians(loaded.samples)
    chosen = Chosen(estimates(medians, loaded.baseline, between=BETWEEN_SESSIONS))
    cells = matrix(loaded, chosen).cells
    assert [cells[name][0].blocks for name in ("crun", "uml", "runc")] == ["7 sessions", "18 blocks", "6 blocks"]


def test_arms_of_no_campaign_with_the_baseline_are_said_to_have_no_ratios(tmp_path: Path) -> None:
    folders = [
        campaign(tmp_path / name, blocks=6, arms={name: ARMS[name]}, seed=seed, ramp=0)
        for seed, name in enumerate(("process", "crun"))
    ]
    change_json(folders[1] / "plan.json", baseline="process")
    for folder in folders:
        lines = (folder / "journal.jsonl").read_text().splitlines(keepends=True)
        (folder / "journal.jsonl").write_text("".join(line for line in lines if "firmware" not in line))
    loaded = load(folders)
    (caution,) = pooled.caution(loaded)
    assert re.search(r"host boots?\. There are no ratios: no other arm ended well", caution.text)
    write_report(folders, tmp_path / "both")
    for kind in ("html", "md"):
        text = (tmp_path / "both" / f"report.{kind}").read_text()
        assert "There are no ratios" in text
        assert ". Ratios are paired within blocks" not in text


def change_json(file: Path, **keys: Any) -> None:
    known = json.loads(file.read_text())
    for path, value in keys.items():
        *above, last = path.split("__")
        place = known
        for name in above:
            place = place[name]
        place[last] = value
    file.write_text(json.dumps(known))


def two(folder: Path) -> list[Path]:
    return [campaign(folder / name, blocks=6, arms=FEW, seed=seed) for seed, name in ((1, "a"), (2, "b"))]


def test_the_report_says_how_it_pools_and_what_differs(tmp_path: Path) -> None:
    first, late = two(tmp_path)
    change_json(late / "facts.json", host__kernel="6.18.99", rootfs__digest="sha256:other")
    change_json(late / "facts.json", host__mitigations={"retbleed": "Vulnerable"})
    change_json(late / "plan.json", arms__uml__boots={"sha256": "2"})
    change_json(first / "plan.json", arms__uml__boots={"sha256": "1"})
    write_report([first, late], tmp_path / "both")
    for kind in ("html", "md"):
        text = (tmp_path / "both" / f"report.{kind}").read_text()
        assert "Pooled: 2 campaigns from" in text
        assert "5.6 times as wide as the blocks alone say" in text
        assert "host kernel (6.18.44 and 6.18.99), host mitigations, rootfs digest" in text
        assert "guest kernels of uml" in text
        assert "describe this session" not in text


def test_campaigns_alike_are_pooled_without_a_word_of_differences(tmp_path: Path) -> None:
    (caution,) = pooled.caution(load(two(tmp_path)))
    assert "NOT alike" not in caution.text


@pytest.mark.parametrize(
    ("file", "path", "value", "said"),
    [
        ("facts.json", "host__cpu", "Another CPU", "host cpu"),
        ("facts.json", "host__cores", 64, "host cores"),
        ("plan.json", "envelope__memory", 1 << 30, "envelope memory"),
        ("plan.json", "envelope__rootfs", "debian", "envelope rootfs"),
        ("plan.json", "scenarios__lifecycle__measures", ["boot"], "scenario lifecycle"),
    ],
)
def test_what_has_no_figure_in_common_is_not_pooled(
    tmp_path: Path, file: str, path: str, value: object, said: str
) -> None:
    first, late = two(tmp_path)
    change_json(late / file, **{path: value})
    with pytest.raises(InputError, match=f"cannot be pooled: they differ in {said}"):
        write_report([first, late], tmp_path / "both")
    assert not (tmp_path / "both").exists()


def test_one_campaign_says_that_its_intervals_are_of_one_session(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=6, arms=FEW)
    write_report([folder])
    for kind in ("html", "md"):
        text = (folder / f"report.{kind}").read_text()
        assert "Intervals describe this session; another day may differ by more." in text
        assert "they need not equal the ratio of the two medians" in text
