"""Histories: sessions from folders and files, normalised, set aside, cut; the page that comes of it."""

from __future__ import annotations

import json
import math
import random
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest

from analysis import plot_history
from analysis.canvas import styled
from analysis.changes import LASTS
from analysis.history import History, histories, session_levels
from analysis.history_report import write_history
from analysis.sessions import read_sessions, version_key
from bench import cli
from bench.errors import InputError
from tests.synthetic import ARMS, Arm, campaign, suite

METRICS = 12


def _points(logs: np.ndarray) -> pd.DataFrame:
    """Points as read from one pyperf file a row of `logs`, with a benchmark a column."""
    rows = [
        {
            "session": f"night-{night:03}",
            "started": f"2026-{1 + night // 28:02}-{1 + night % 28:02} 03:00:00",
            "metric": f"bench_{place:02}",
            "value": math.exp(level),
        }
        for night, levels in enumerate(logs)
        for place, level in enumerate(levels)
    ]
    same = {
        "committed": "",
        "arm": "",
        "backend": "",
        "release": "",
        "reference": False,
        "scenario": "",
        "unit": "second",
    }
    return pd.DataFrame(rows).assign(**same, better="lower", ratio=np.nan, slots=20)


def _nights(seed: int, nights: int = 120, metrics: int = METRICS) -> tuple[np.ndarray, set[tuple[int, int]]]:
    """Noise, a host that wavers from night to night, and two steps of 4 to 10 % in every metric but the first two."""
    draw = np.random.default_rng(seed)
    logs = 0.01 * draw.standard_normal((nights, metrics)) + 0.02 * draw.standard_normal((nights, 1))
    true = set()
    for metric in range(2, metrics):
        for at in (draw.integers(15, 50), draw.integers(70, 105)):
            logs[at:, metric] += draw.choice([-1, 1]) * draw.uniform(0.04, 0.1)
            true.add((metric, int(at)))
    return logs, true


def _found(made: list[History]) -> set[tuple[int, int]]:
    return {(int(history.metric[-2:]), int(moved.session[-3:])) for history in made for moved in history.changes}


def _lost(of: set[tuple[int, int]], found: set[tuple[int, int]]) -> float:
    near = [any(metric == m and abs(at - t) <= 2 for m, t in found) for metric, at in of]
    return 1 - sum(near) / len(of)


def test_planted_steps_are_found_and_little_else() -> None:
    logs, true = _nights(1)
    found = _found(histories(_points(logs), ("all",)))
    assert _lost(true, found) <= 0.02
    assert _lost(found, true) <= 0.05


@pytest.mark.parametrize("neighbours", [False, True])
@pytest.mark.parametrize("alike", [False, True])
def test_two_outlier_sessions_of_120_cost_few_change_points(neighbours: bool, alike: bool) -> None:
    draw = random.Random(7)
    logs, _ = _nights(2)
    before = _found(histories(_points(logs), ("all",)))
    first = draw.randrange(119)
    nights = [first, first + 1 if neighbours else draw.choice([n for n in range(120) if abs(n - first) > 3])]
    for night in nights:
        level = math.log(draw.uniform(2, 3))
        logs[night] += level if alike else [math.log(draw.uniform(2, 3)) for _ in range(METRICS)]
    made = histories(_points(logs), ("all",))
    assert _lost(before, _found(made)) <= 0.1
    aside = made[0].points.query("state == 'set aside'")
    assert aside["session"].tolist() == sorted(f"night-{night:03}" for night in nights)
    assert all("sessions around it" in reason for reason in aside["reason"])


def test_outliers_of_one_metric_alone_cost_few_change_points() -> None:
    logs, _ = _nights(3)
    before = _found(histories(_points(logs), ("all",)))
    draw = np.random.default_rng(3)
    for metric in range(METRICS):
        logs[draw.choice(120, 2, replace=False), metric] += math.log(2.5)
    made = histories(_points(logs), ("all",))
    assert _lost(before, _found(made)) <= 0.1
    assert all((history.points["state"] == "apart").sum() >= 2 for history in made)
    assert not any((history.points["state"] == "set aside").any() for history in made)


@pytest.mark.parametrize("length", [LASTS, 10, 60])
def test_a_lasting_step_of_everything_is_never_set_aside_and_is_said_to_be_common(length: int) -> None:
    logs, _ = _nights(4)
    quiet = logs - logs  # the steps of single metrics are another test's
    quiet += 0.01 * np.random.default_rng(4).standard_normal(quiet.shape)
    quiet[60 : 60 + length] += math.log(2.2)
    made = histories(_points(quiet), ("bench_00",))[0]
    assert (made.points["state"] != "set aside").all()
    assert made.changes[0].session == "night-060"
    assert made.changes[0].change.ratio.point == pytest.approx(2.2, rel=0.03)
    assert "host or the toolchain" in made.changes[0].note
    assert made.changes[0].alike == made.changes[0].others == METRICS - 1


def test_a_session_that_scatters_is_set_aside_whatever_its_level() -> None:
    draw = np.random.default_rng(5)
    logs = 0.01 * draw.standard_normal((40, METRICS))
    logs[20] = 0.2 * draw.standard_normal(METRICS)
    levels = session_levels(pd.DataFrame(np.exp(logs)))
    assert np.flatnonzero(levels["reason"] != "").tolist() == [20]
    assert "scatter" in levels["reason"][20]


def test_no_more_than_one_session_in_ten_and_one_is_set_aside() -> None:
    draw = np.random.default_rng(6)
    logs = 0.01 * draw.standard_normal((40, METRICS))
    logs[2::5] += np.log(draw.uniform(2, 3, (8, 1)))
    points = _points(logs)
    made = histories(points, ("bench_00",))[0]
    assert (made.points["state"] == "set aside").sum() == 5
    assert any("not steady" in note for note in made.notes)


def test_the_session_factor_takes_the_host_out() -> None:
    draw = np.random.default_rng(8)
    host = 0.03 * draw.standard_normal((60, 1))
    points = _points(0.003 * draw.standard_normal((60, METRICS)) + host)
    made = histories(points, ("bench_05",))[0]
    assert made.normalised_by == "session"
    raw, normalised = (np.log(made.points[column]) for column in ("value", "normalised"))
    assert raw.std() > 0.02
    assert normalised.std() < 0.005
    alone = histories(points[points["metric"] == "bench_05"], ("bench_05",))[0]
    assert alone.normalised_by == "nothing"
    assert (alone.points["normalised"] == alone.points["value"]).all()


RELEASES = ["6.1.0-9", "6.1.0-10", "6.1.0-47", "6.1.0-50", "6.1.0-53", "6.1.0-56"]


def _sessions(folder: Path, *, slow: dict[int, float] | None = None, count: int = 4) -> Path:
    """`count` sessions of every release under QEMU beside the bare baseline; from 6.1.0-50 on boots take 30 % more.

    The host of each session has a speed of its own; those in `slow` have so much less.
    """
    for session in range(count):
        rng = random.Random(session)
        speed = math.exp(rng.gauss(0.0, 0.08)) * (slow or {}).get(session, 1.0)

        def change(record: dict[str, Any], session: int = session, speed: float = speed) -> None:
            record["started"] = f"2026-11-{session + 1:02}T05:00:00Z"
            release = record["arm"].partition("@")[2]
            cost = 1.3 if release in RELEASES[3:] else 1.0
            for sample in record["samples"]:
                own = cost if sample["metric"].startswith("boot") else 1.0
                sample["values"] = [value * speed * own for value in sample["values"]]

        arms: dict[str, Arm] = {"process": ARMS["process"]}
        arms |= {f"qemu@{release}": ARMS["qemu@6.1.0-56"] for release in reversed(RELEASES)}
        campaign(folder / f"night-{session}", blocks=6, ramp=0, seed=session, arms=arms, change=change)
    return folder


def test_folders_by_release_show_the_release_that_got_slower(tmp_path: Path) -> None:
    read = read_sessions([_sessions(tmp_path / "in")])
    made = histories(read.points, ("boot",))[0]
    assert (made.arm, made.by, made.normalised_by) == ("qemu", "release", "baseline process")
    assert made.points["release"].tolist() == [release for release in RELEASES for _ in range(4)]
    assert made.points["session"].tolist()[:4] == [f"night-{n}" for n in range(4)]
    (moved,) = made.changes
    assert (moved.release_before, moved.release) == ("6.1.0-47", "6.1.0-50")
    assert moved.change.ratio.low < 1.3 < moved.change.ratio.high
    by_time = histories(read.points, ("lifecycle:boot",), "qemu", "time")[0]
    assert by_time.points["session"].tolist() == [f"night-{n}" for n in range(4) for _ in RELEASES]
    assert by_time.points["release"].tolist() == RELEASES * 4


def test_the_baseline_takes_a_slow_session_out_and_has_it_set_aside(tmp_path: Path) -> None:
    read = read_sessions([_sessions(tmp_path, slow={2: 2.6, 3: 2.6}, count=10)])
    made = histories(read.points, ("boot",), "qemu")[0]
    aside = made.points[made.points["state"] == "set aside"]
    assert set(aside["session"]) == {"night-2", "night-3"}
    assert aside["reason"].str.startswith("process, the baseline, is").all()
    assert [moved.release for moved in made.changes] == ["6.1.0-50"]
    raw, normalised = (
        np.log(made.used[column]) - np.log(made.used["normalised"]) * 0 for column in ("value", "normalised")
    )
    steps = np.repeat([0, math.log(1.3)], 8 * 3)
    assert (normalised - steps).std() < 0.7 * (raw - steps).std()


def test_the_page_says_and_shows_it(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _sessions(tmp_path / "in", slow={4: 2.5}, count=8)
    out = tmp_path / "out"
    assert cli.main(["history", str(folder), "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "boot of qemu: 1 change in 48 points by release" in said
    assert "6.1.0-50: +" in said
    assert said.count("set aside night-4: process, the baseline, is 2.") == 1
    (picture,) = (out / "plots").glob("history-001-lifecycle-boot-*.svg")
    page, svg = (out / "history.html").read_text(), picture.read_text()
    alternative = "boot over 48 points, 6 of a session set aside. 1 change: 6.1.0-50: +"
    assert all(f'aria-label="{alternative}' in text for text in (page, svg))
    assert all("6.1.0-50: +" in text.split("<text", 1)[1] for text in (page, svg))
    assert "the baseline, is 2." in page
    assert "var(--" in page
    assert "var(--" not in svg
    assert "NaN" not in page
    document = json.loads((out / "history.json").read_text())
    (made,) = document["histories"]
    (change,) = made["changes"]
    assert (change["release"], change["direction"], change["release_before"]) == ("6.1.0-50", "worse", "6.1.0-47")
    assert change["low"] < change["ratio"] < change["high"]
    assert {entry["session"] for entry in made["set_aside"]} == {"night-4"}
    assert "| 6.1.0-50 | +" in (out / "history.md").read_text().replace("&#45;", "-")
    assert cli.main(["history", str(folder), "--out", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == document


def _suites(folder: Path, count: int, **how: Any) -> Path:
    folder.mkdir()
    for night in range(count):
        suite(folder / f"bm-{night:02}.json", runs=3, seed=night, **how)
    return folder


def test_pyperf_files_are_sessions_in_the_order_of_their_dates(tmp_path: Path) -> None:
    folder = _suites(tmp_path / "in", 9, metrics=2)
    for night in range(9):
        path = folder / f"bm-{night:02}.json"
        path.write_text(path.read_text().replace("2026-11-22 05", f"2026-11-{28 - night:02} 05"))
    (folder / "notes.json").write_text("{}")
    read = read_sessions([folder, folder / "bm-03.json"])
    assert read.points["session"].unique().tolist() == [f"bm-{night:02}" for night in reversed(range(9))]
    assert [line.split("; ")[0] for line in read.left_out] == [
        f"{folder / 'notes.json'}: JSON, but no benchmark's results"
    ]
    written = write_history([folder], tmp_path / "out", ("all",))
    assert [history.metric for history in written.histories] == [f"bench_{place:03}" for place in range(2)]
    assert all(history.by == "time" and len(history.points) == 9 for history in written.histories)


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--metric", "no"], "there is no metric 'no'; there are bench_000, bench_001"),
        (["--metric", "bench_000", "--arm", "qemu"], "no arm or backend 'qemu'"),
        (["--metric", "bench_000", "--by", "release"], "say no kernel release"),
        ([], "there is no metric 'boot'"),
    ],
)
def test_bad_questions_get_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], said: str
) -> None:
    _suites(tmp_path / "in", 9)
    assert cli.main(["history", str(tmp_path / "in"), "--out", str(tmp_path / "out"), *arguments]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1
    assert not (tmp_path / "out").exists()


def _break(change: Callable[[str], str]) -> Callable[[Path], None]:
    def broken(folder: Path) -> None:
        path = folder / "bm-04.json"
        path.write_text(change(path.read_text()))

    return broken


def _in_bytes(path: Path) -> None:
    path.write_text(path.read_text().replace('"unit": "second"', '"unit": "byte"'))


@pytest.mark.parametrize(
    ("breaks", "said"),
    [
        (lambda folder: [path.unlink() for path in sorted(folder.iterdir())[3:]], "has 3 points"),
        (lambda folder: [path.unlink() for path in folder.iterdir()], "no results folder and no file of results"),
        (lambda folder: [_in_bytes(path) for path in sorted(folder.iterdir())[5:]], "has 5 points"),
        (
            lambda folder: (
                [_in_bytes(path) for path in sorted(folder.iterdir())[1:5]] + [(folder / "bm-08.json").unlink()]
            ),
            "more than one unit: 'byte' in bm-01",
        ),
        (_break(lambda text: text.replace('"values": [0.', '"values": [-0.')), "a history needs values above zero"),
    ],
)
def test_bad_input_gets_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], breaks: Callable[[Path], object], said: str
) -> None:
    folder = _suites(tmp_path / "in", 9, values=1)
    breaks(folder)
    assert cli.main(["history", str(folder), "--metric", "bench_000", "--out", str(tmp_path / "out")]) == 2
    error = capsys.readouterr().err
    assert said in error
    assert error.count("\n") == 1


def test_what_all_metrics_leave_out_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _suites(tmp_path / "in", 10, values=1, metrics=5)
    for night, path in enumerate(sorted(folder.iterdir())):
        document = json.loads(path.read_text())
        if night == 4:
            document["benchmarks"][1]["runs"][1]["values"] = [0.0]
            document["benchmarks"][1]["runs"][2]["values"] = [0.0]
            document["benchmarks"][2]["runs"][1]["metadata"]["unit"] = "byte"
        if night >= 7:
            del document["benchmarks"][3]
        if night >= 5:
            document["benchmarks"][0]["runs"][1]["metadata"]["unit"] = "integer"
        path.write_text(json.dumps(document))
    assert cli.main(["history", str(folder), "--metric", "all", "--out", str(tmp_path / "out")]) == 0
    lines = capsys.readouterr().err.splitlines()
    assert [line.removeprefix("tare: left out: ") for line in lines] == [
        "bench_002 of bm-04: in unit 'byte', in most sessions in 'second'",
        "bench_000 has more than one unit: 'integer' in bm-05 and 'second' in bm-00",
        "bench_001 is 0 in bm-04; a history needs values above zero",
        "bench_003 has 7 points (sessions × releases): a history needs at least 8",
    ]
    made = json.loads((tmp_path / "out" / "history.json").read_text())
    assert [(each["metric"], len(each["points"])) for each in made["histories"]] == [
        ("bench_002", 9),
        ("bench_004", 10),
    ]
    assert len(made["left_out"]) == 4
    assert "Left out: bench&#95;003 has 7" in (tmp_path / "out" / "history.md").read_text()


def test_a_night_in_another_unit_leaves_out_itself(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _suites(tmp_path / "in", 9, values=1)
    _in_bytes(folder / "bm-04.json")
    for metric, names in (("bench_007", "bench_007"), ("all", "bench_000, bench_001 and 8 more metrics")):
        assert cli.main(["history", str(folder), "--metric", metric, "--out", str(tmp_path / metric)]) == 0
        said = capsys.readouterr()
        assert said.err == f"tare: left out: {names} of bm-04: in unit 'byte', in most sessions in 'second'\n"
        assert "in 8 points" in said.out
    points = _points(_nights(1, nights=20)[0])
    points.loc[(points["metric"] == "bench_03") & (points["session"] == "night-002"), "better"] = "higher"
    left_out: list[str] = []
    made = histories(points, ("bench_03",), left_out=left_out)
    assert len(made[0].points) == 19
    assert left_out == ["bench_03 of night-002: better the other way round"]


def test_several_arms_and_metrics_of_several_scenarios_must_be_named(tmp_path: Path) -> None:
    campaign(tmp_path / "one", blocks=2)
    points = read_sessions([tmp_path]).points
    with pytest.raises(
        InputError, match=r"'boot' of which arm.*bwrap \(1 session\), crun \(1 session\), .* and uml \(1 session\)"
    ):
        histories(points)
    doubled = pd.concat([points, points.assign(scenario="other")])
    with pytest.raises(InputError, match="lifecycle:boot and other:boot"):
        histories(doubled)
    with pytest.raises(InputError, match="needs at least 8"):
        histories(points, ("boot",), "qemu")


def _committed(folder: Path, days: list[int]) -> Path:
    """A night a day, each of a commit of another one, of which benchmarks from the sixth on are slower."""
    folder.mkdir()
    for night, day in enumerate(days):
        path = folder / f"bm-{night:02}.json"
        suite(path, runs=3, seed=night, metrics=2, factor=1.2 if day >= 6 else 1.0)
        document = json.loads(path.read_text().replace("2026-11-22 05", f"2026-11-{night + 1:02} 05"))
        document["metadata"] = document.get("metadata", {}) | {"commit_date": f"2017-03-{day + 1:02}T10:00:00+02:00"}
        path.write_text(json.dumps(document))
    return folder


def test_sessions_are_in_the_order_of_their_commits_where_files_say_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    days = [9, 2, 0, 11, 6, 4, 1, 7, 3, 10, 5, 8]
    folder = _committed(tmp_path / "in", days)
    out = tmp_path / "out"
    assert cli.main(["history", str(folder), "--metric", "bench_000", "--out", str(out)]) == 0
    said = capsys.readouterr().out
    assert "1 change in 12 points by commit" in said
    assert "in the order of their commits, which is not that in which they ran" in said
    assert "2017-03-07: +" in said
    (made,) = json.loads((out / "history.json").read_text())["histories"]
    assert (made["by"], made["along"], made["changes"][0]["session"]) == ("commit", "commit", "bm-04")
    assert [point["session"] for point in made["points"]] == [f"bm-{days.index(day):02}" for day in range(12)]
    for name in ("history.html", "history.md"):
        assert "commit" in (out / name).read_text().split("<dl>")[0]
    by = {
        order: histories(read_sessions([folder]).points, ("bench_000",), None, order)[0] for order in ("time", "name")
    }
    assert all(one.points["session"].is_monotonic_increasing for one in by.values())
    assert [one.by for one in by.values()] == ["time", "name"]
    assert "Sessions are in the order of their names: as was asked." in by["name"].notes


def test_an_order_that_not_every_session_tells_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _committed(tmp_path / "in", list(range(9)))
    path = folder / "bm-04.json"
    path.write_text(path.read_text().replace("2017-03-05T", "soon "))
    arguments = ["history", str(folder), "--metric", "bench_000", "--out", str(tmp_path / "out")]
    assert cli.main([*arguments, "--by", "commit"]) == 2
    assert "1 session of 9 do not say when its commit was made: bm-04" in capsys.readouterr().err
    assert cli.main(arguments) == 0
    assert "9 points by time" in capsys.readouterr().out


def test_all_metrics_of_too_few_sessions_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = _suites(tmp_path / "in", 3)
    for paths in ([str(folder)], [str(folder / "bm-00.json")]):
        assert cli.main(["history", *paths, "--metric", "all", "--out", str(tmp_path / "out")]) == 2
        assert "no metric has 8 points" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_metric_of_files_and_of_campaigns_is_told_apart(tmp_path: Path) -> None:
    campaign(tmp_path / "one", blocks=2)
    points = read_sessions([tmp_path]).points
    both = pd.concat([points, points.assign(scenario="")])
    with pytest.raises(InputError, match=r"write one of lifecycle:boot and :boot \(that of files"):
        histories(both)


NAMES = [
    "load(small)",
    "load[small]",
    "dump[list/dict]",
    "dump[list-dict]",
    "日本",
    "中国",
    "🚀",
    "x" * 300,
    "x" * 299 + "y",
    "../up",
]


def test_no_two_pictures_share_a_file_and_any_name_can_be_drawn(tmp_path: Path) -> None:
    folder = tmp_path / "in"
    folder.mkdir()
    for night in range(9):
        values = [[1.0 + place + night / 100] for place in range(len(NAMES))]
        kinds = [
            {"metadata": {"name": name}, "runs": [{"values": own}]} for name, own in zip(NAMES, values, strict=True)
        ]
        (folder / f"n{night}.json").write_text(json.dumps({"version": "1.0", "benchmarks": kinds}))
    written = write_history([folder], tmp_path / "out", ("all",))
    pictures = sorted(path.name for path in (tmp_path / "out" / "plots").iterdir())
    assert len(pictures) == 2 * len(NAMES) == len(written.paths) - 3
    assert all(len(name) < 100 and name.isascii() for name in pictures)
    text = (tmp_path / "out" / "history.md").read_text()
    assert all(name in text for name in pictures if name.endswith(".png"))


def test_the_value_axis_says_where_its_ticks_are() -> None:
    points = _points(np.log(0.0325 + 0.0001 * np.arange(12))[:, None])
    with styled():
        svg = plot_history.draw(histories(points, ("bench_00",))[0], "h", "#123456", {}).svg
    ticks = re.findall(r"([0-9.,]+) ms</text>", svg)
    assert len(ticks) >= 3
    gaps = np.diff([float(tick) for tick in ticks])
    assert gaps == pytest.approx([gaps[0]] * len(gaps), rel=1e-9)


def test_bytes_have_ticks_at_round_sizes() -> None:
    points = _points(np.log(50e6 + 1e6 * np.arange(12))[:, None]).assign(unit="byte")
    with styled():
        svg = plot_history.draw(histories(points, ("bench_00",))[0], "h", "#123456", {}).svg
    ticks = re.findall(r"([0-9.,]+) MiB</text>", svg)
    assert len(ticks) >= 3
    assert all(len(tick) <= 5 for tick in ticks)


def test_releases_sort_as_people_count() -> None:
    wanted = ["5.10", "6.1-rc3", "6.1", "6.1.9", "6.1.10", "6.1.10-50", "6.1.10-50-cloud", "6.1.10-51", "6.12"]
    assert sorted(random.Random(1).sample(wanted, len(wanted)), key=version_key) == wanted
