"""What is given twice counts once, or is refused."""

from __future__ import annotations

import itertools
import random
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from analysis.copies import Held, copies_among, held, refuse_copies, same_values
from analysis.load import load
from analysis.sessions import read_sessions
from bench.errors import InputError
from tests.synthetic import ARMS, campaign, suite

FEW = {name: ARMS[name] for name in ("process", "crun")}


def test_campaigns_with_a_slot_in_common_are_refused(tmp_path: Path) -> None:
    one = campaign(tmp_path / "one", arms=FEW, blocks=3)
    other = campaign(tmp_path / "other", arms=FEW, blocks=3, seed=2)
    begun = campaign(tmp_path / "begun", arms=FEW, blocks=1, planned_blocks=3)
    lines = (one / "journal.jsonl").read_text().splitlines(keepends=True)
    (begun / "journal.jsonl").write_text("".join(lines[:4]))
    assert len(load([one, other]).campaigns) == 2
    for twice in ([one, one], [one, other, begun], [one, other, one / ".." / "one"]):
        with pytest.raises(InputError, match=r"given twice|hold the same slots.*name each campaign once"):
            load(twice)


def test_slots_that_measured_nothing_may_be_alike() -> None:
    failed = {"slot": "b01-s01", "arm": "crun", "status": "failed", "reason": "gone"}
    refuse_copies([(Path("a"), [failed]), (Path("b"), [dict(failed)])])


def test_a_copy_is_known_by_its_bytes(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "x", arms=FEW, blocks=1)
    shutil.copytree(folder, tmp_path / "y")
    night = suite(tmp_path / "n.json", metrics=1, seed=1)
    shutil.copy(night, tmp_path / "m.json")
    paths = [folder, night, tmp_path / "y", tmp_path / "m.json", tmp_path / "none", folder]
    assert copies_among(paths) == {tmp_path / "y": folder, tmp_path / "m.json": night}


def test_a_history_counts_a_copied_night_once_and_says_so(tmp_path: Path) -> None:
    for number in range(3):
        suite(tmp_path / f"night-{number}.json", metrics=1, seed=number)
    shutil.copy(tmp_path / "night-1.json", tmp_path / "night-1-again.json")
    found = read_sessions([tmp_path])
    assert found.points["session"].nunique() == 3
    (said,) = found.left_out
    assert said.endswith(f"is a copy of {tmp_path / 'night-1-again.json'}")


def rows(unit: str = "second", **metrics: list[float]) -> Held:
    found = [(metric, unit, value) for metric, values in metrics.items() for value in values]
    return held(pd.DataFrame(found, columns=["metric", "unit", "value"]))


def fine(seed: int, count: int = 6) -> list[float]:
    draw = random.Random(seed)
    return [draw.gauss(0.01, 0.0005) for _ in range(count)]


def coarse(seed: int, count: int = 10) -> list[float]:
    draw = random.Random(seed)
    return [draw.choice((0.004, 0.005)) for _ in range(count)]


def pages(seed: int, size: float = 4096.0, count: int = 3, metrics: int = 60) -> dict[str, list[float]]:
    """Peak memory of a few runs, each somewhere in the same eight pages."""
    draw = random.Random(seed)
    return {f"m{n:02}": [(2900 + 40 * n + draw.randrange(8)) * size for _ in range(count)] for n in range(metrics)}


def counted(seed: int) -> list[float]:
    draw = random.Random(seed)
    return [float(draw.randrange(10**9, 10**9 + 10**6)) for _ in range(5)]


def turned(metrics: dict[str, list[float]]) -> dict[str, list[float]]:
    return {name: values[::-1] for name, values in metrics.items()}


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        (rows(a=[0.0123456789], b=[1.23456789012]), rows(b=[1.23456789012], a=[0.0123456789]), True),
        (rows(a=[0.0123456789], b=[1.23456789012]), rows(a=[0.0123456789], b=[1.23456789013]), False),
        (rows(a=[0.0123456789], b=[1.23456789012]), rows(a=[0.0123456789], b=[1.23456789012], c=[0.3]), True),
        (rows(a=[0.0123456789]), rows(a=[0.0123456789]), False),
        (rows(a=[0.012], b=[1.24], c=[0.5]), rows(a=[0.012], b=[1.24], c=[0.5]), False),
        (rows("", a=[123456789.0], b=[98.7654321]), rows("", a=[123456789.0], b=[98.7654321]), False),
        (rows("byte", **pages(1)), rows("byte", **pages(1)), True),
        (rows("", a=counted(1), b=counted(2)), rows("", a=counted(1)[::-1], b=counted(3)), True),
        (rows("", a=counted(1), b=counted(2)), rows("", a=counted(3), b=counted(4)), False),
        (rows("byte", **pages(1)), rows("byte", **turned(pages(1))), True),
        (rows("MiB", **pages(1, 2.0**-8)), rows("MiB", **turned(pages(1, 2.0**-8)), other=[1.0]), True),
        (rows("byte", **pages(1, count=40)), rows("byte", m00=pages(1, count=40)["m00"], m01=[4096.0]), False),
        (rows(a=fine(1)), rows(a=fine(1)), True),
        (rows(a=fine(1)), rows(a=fine(1)[::-1]), True),
        (rows(a=fine(1)), rows(a=fine(1), b=fine(2)), True),
        (rows(a=fine(1), b=fine(2)), rows(a=fine(1), b=fine(3)), True),
        (rows(a=fine(1), b=fine(2)), rows(b=fine(2)[::-1], c=fine(3)), True),
        (rows(a=fine(1, 2)), rows(a=fine(1, 2)), True),
        (rows(a=fine(1)), rows(a=fine(3)), False),
        (rows(a=fine(1)), rows(b=fine(1)), False),
        (rows(a=[5.0] * 6), rows(a=[5.0] * 6), False),
        (rows(a=[4.0, 5, 5, 5], b=fine(1)), rows(a=[5.0, 5, 4, 5], b=fine(2)), False),
        (rows(a=[4.0, 5, 5, 5]), rows(a=[5.0, 5, 4, 5]), False),
        (rows(a=[4.0, 5, 5, 5]), rows(a=[4.0, 5, 5, 5]), True),
        (rows(a=coarse(1, 20), b=[7.0] * 9), rows(b=[7.0] * 9), False),
        (rows(a=[50.0 + n % 7 for n in range(20)]), rows(a=[50.0 + n % 7 for n in range(20)][::-1], b=fine(1)), True),
        (rows(**{f"m{n}": coarse(n) for n in range(20)}), rows(**{f"m{n}": coarse(n) for n in range(20)}), True),
    ],
)
def test_the_same_values_are_known_in_any_order_and_company(one: Held, other: Held, same: bool) -> None:
    assert same_values(one, other) == same


@pytest.mark.parametrize(("unit", "size"), [("byte", 4096.0), ("MiB", 2.0**-8), ("integer", 7.0), ("byte", 1.0)])
def test_counts_of_independent_runs_that_agree_by_chance_are_no_copies(unit: str, size: float) -> None:
    files = [rows(unit, **pages(seed, size)) for seed in range(24)]
    pairs = list(itertools.combinations(files, 2))
    assert any(one.metrics[name] == other.metrics[name] for one, other in pairs for name in one.metrics)
    assert not any(same_values(one, other) for one, other in pairs)


def test_many_files_are_told_apart_in_little_time() -> None:
    draw = np.random.default_rng(1)
    names = np.repeat([f"m{n:02}" for n in range(60)], 20)
    files = [pd.DataFrame({"metric": names, "unit": "second", "value": draw.normal(1, 0.01, 1200)}) for _ in range(60)]
    started = time.process_time()
    every = [held(frame) for frame in files]
    assert not any(same_values(one, other) for one, other in itertools.combinations(every, 2))
    assert time.process_time() - started < 5  # each pair anew would take twice as long
