"""The search itself on synthetic kernels: a stand-in for the runner writes journals, the real judge reads them."""

from __future__ import annotations

import json
import math
import random
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from analysis import step
from bench import bisect, debian, kernels, runner
from bench.bisect import Look, Question, Search
from bench.config import Campaign
from bench.errors import InputError, InstanceError

Figure = Callable[[int], float]


@pytest.mark.parametrize("count", range(2, 40))
def test_every_step_is_found_in_log2_questions(count: int) -> None:
    for first in range(1, count):
        asked: list[int] = []

        def moved(place: int, first: int = first, asked: list[int] = asked) -> bool:
            asked.append(place)
            return place >= first

        assert bisect.search(count, moved) == (first - 1, first)
        assert len(asked) == len(set(asked)) <= math.ceil(math.log2(count - 1) if count > 2 else 0)


def test_not_monotonic_ends_at_a_step() -> None:
    draw = random.Random(3)
    for _ in range(200):
        answers = [False, *(draw.random() < 0.5 for _ in range(14)), True]
        before, first = bisect.search(16, answers.__getitem__)
        assert first == before + 1
        assert not answers[before]
        assert answers[first]


def test_what_cannot_be_told_ends_the_search() -> None:
    assert bisect.search(9, lambda place: True if place == 4 else None) == (0, 4)


OFFERED = [
    "linux-image-6.1.0-9-cloud-amd64",
    "linux-image-6.1.0-10-amd64",
    "linux-image-6.1.0-10-cloud-amd64",
    "linux-image-6.1.0-10-rt-amd64",
    "linux-image-6.1.0-11-cloud-amd64",
    "linux-image-6.12.100+deb12-cloud-amd64",
    "linux-source-6.1",
]


@pytest.fixture
def offered(monkeypatch: pytest.MonkeyPatch) -> None:
    packages = [debian.Package(name, version, "0", 1) for name in OFFERED for version in ("2", "1")]
    monkeypatch.setattr(kernels, "offered", lambda: packages)


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(
    ("text", "flavour", "places"),
    [
        ("6.1.0-9..6.1.0-11", "cloud-amd64", [0, 2, 4]),
        ("6.1.0-9-cloud-amd64..6.12.100+deb12", "cloud-amd64", [0, 2, 4, 5]),
        ("linux-image-6.1.0-9-cloud-amd64 .. 6.1.0-10", "cloud-amd64", [0, 2]),
    ],
)
def test_a_range_is_over_one_flavour(text: str, flavour: str, places: list[int]) -> None:
    assert list(bisect.choose(text, flavour)) == [OFFERED[place] for place in places]


@pytest.mark.usefixtures("offered")
def test_a_list_is_taken_as_it_stands_and_may_hold_ranges() -> None:
    assert bisect.choose("6.1.0-2-amd64, 6.1.0-10..6.1.0-11", "cloud-amd64") == (
        "6.1.0-2-amd64",
        OFFERED[2],
        OFFERED[4],
    )


@pytest.mark.usefixtures("offered")
@pytest.mark.parametrize(
    ("text", "flavour", "wrong"),
    [
        ("6.1.0-9..6.1.0-12", "cloud-amd64", r"no kernel 6.1.0-12-cloud-amd64; .*: 6.1.0-9, 6.1.0-10, 6.1.0-11, 6.12"),
        ("6.1.0-10..6.1.0-10-rt", "amd64", "no kernel 6.1.0-10-rt-amd64; .*there are: 6.1.0-10$"),
        ("6.1.0-11..6.1.0-9", "cloud-amd64", "backwards"),
        ("6.1.0-9..6.1.0-9", "cloud-amd64", "two kernels or more"),
        ("6.1.0-9-amd64", "cloud-amd64", "two kernels or more"),
        ("", "cloud-amd64", "two kernels or more"),
        ("6.1.0-9-amd64,6.1.0-9-amd64", "cloud-amd64", "names a kernel twice"),
        ("6.1.0-9-amd64,bzImage", "cloud-amd64", "'bzImage' names no kernel"),
    ],
)
def test_wrong_kernels_are_said(text: str, flavour: str, wrong: str) -> None:
    with pytest.raises(InputError, match=wrong):
        bisect.choose(text, flavour)


TWO = "6.1.0-1-amd64,6.1.0-2-amd64"


@pytest.mark.parametrize(
    ("metric", "backend", "change", "wrong"),
    [
        ("boot.instructions", "qemu", None, "measures seconds, and boot.instructions is not one"),
        ("boot", "qemu-icount", None, "counts instructions, and boot is not one"),
        ("boot", "crun", None, "boots no kernel of its own"),
        ("boot", "emu", None, "no backend 'emu'"),
        ("boots", None, None, "no search for 'boots'"),
        ("density.cage", None, None, "no search for"),
        ("boot", None, 0.0, "--change 0: expected per cent, above 0"),
        ("boot", None, math.nan, "--change nan"),
        ("inside", None, None, "no search for 'inside'"),
        ("spawn.fio", None, None, "no search for 'spawn.fio': fio is not in the rootfs"),
    ],
)
def test_wrong_questions_are_said(metric: str, backend: str | None, change: float | None, wrong: str) -> None:
    with pytest.raises(InputError, match=wrong):
        bisect.ask(TWO, "amd64", metric, backend, change, 20)


def test_what_is_left_open_depends_on_the_metric() -> None:
    counted = bisect.ask(TWO, "amd64", "spawn.instructions", None, None, 20)
    timed = bisect.ask(TWO, "amd64", "spawn.sha256", None, None, 20)
    assert (counted.backend, counted.change) == ("qemu-icount", 0.001)
    assert (timed.backend, timed.change) == ("qemu", 0.05)
    assert bisect._scenario("spawn.sha256") == {"measures": ["spawn"], "workloads": ["sha256"]}
    assert bisect._scenario("boot.kernel.instructions") == {"measures": ["instructions"], "workloads": ["true"]}


class Quiet:
    """Hears what is said."""

    def __init__(self) -> None:
        self.said: list[str] = []

    def say(self, text: str) -> None:
        self.said.append(text)


class Bench:
    """Stands for the runner. figure(place): what a boot of that kernel gives; fails: a kernel that does not boot."""

    def __init__(self, question: Question, figure: Figure, unit: str = "instruction") -> None:
        self.question = question
        self.figure = figure
        self.unit = unit
        self.fails: int | None = None
        self.interrupt_after: int | None = None
        self.campaigns: list[tuple[str, list[int], int]] = []
        self.slots = 0

    def run(self, campaign: Campaign, top: Path, watcher: object, *, probe: bool, appoint: object) -> Path:
        assert not probe
        arms = {self.question.arm(place): place for place in range(len(self.question.kernels))}
        places = [arms[name] for name in campaign.arms]
        self.campaigns.append((campaign.name, places, campaign.blocks))
        folder = top / f"{campaign.name}-{len(self.campaigns):03}"
        folder.mkdir()
        plan = [{"slot": f"b{b}-{p}", "block": b, "place": p} for b in range(1, campaign.blocks + 1) for p in places]
        known = {"arms": {name: {"backend": "x", "family": "hypervisor"} for name in campaign.arms}, "slots": plan}
        (folder / "plan.json").write_text(json.dumps({**known, "baseline": campaign.baseline}))
        for slot in plan:
            self.slots += 1
            if self.interrupt_after is not None and self.slots > self.interrupt_after:
                raise KeyboardInterrupt
            with (folder / "journal.jsonl").open("a") as journal:
                journal.write(json.dumps(self._line(slot)) + "\n")
        return folder

    def _line(self, slot: dict[str, Any]) -> dict[str, Any]:
        place = slot["place"]
        bad = place == self.fails
        values = {"samples": [{"metric": self.question.metric, "values": [self.figure(place)], "unit": self.unit}]}
        return {
            "schema": 1,
            "slot": slot["slot"],
            "block": slot["block"],
            "order": 1,
            "scenario": "instructions",
            "arm": self.question.arm(place),
            "family": "hypervisor",
            "status": "failed" if bad else "ok",
            "reason": "it panicked" if bad else None,
            **({} if bad else values),
        }


def judged(question: Question) -> bisect.Judge:
    def judge(folders: Sequence[Path], base: str, new: str) -> Look:
        found = step.step(step.figures(folders), question.metric, base, new, question.change)
        return Look(found.ratio, found.moved, found.exact, found.text)

    return judge


def asked(count: int, metric: str = "boot.instructions", change: float = 0.001) -> Question:
    names = tuple(f"linux-image-6.1.0-{number}-cloud-amd64" for number in range(1, count + 1))
    return Question(names, metric, change, "qemu-icount" if metric.endswith("instructions") else "qemu", 8)


def searched(
    monkeypatch: pytest.MonkeyPatch, folder: Path, stand: Bench, *, everything: bool = False
) -> tuple[bisect.Found, Quiet]:
    monkeypatch.setattr(runner, "run", stand.run)
    quiet = Quiet()
    found = Search(stand.question, folder, judged(stand.question), quiet).run(everything=everything)  # type: ignore[arg-type]
    return found, quiet


@pytest.mark.parametrize("first", [1, 6, 11, 16])
def test_counts_are_searched_in_log2_boots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, first: int) -> None:
    """17 kernels that drift by less than what is asked for, and one step: found as by looking at all of them."""
    question = asked(17)
    stand = Bench(question, lambda place: 650_000_000 + 1000 * place + 700_000 * (place >= first))
    found, _ = searched(monkeypatch, tmp_path, stand)
    assert (found.before, found.first, found.certain, found.exact) == (first - 1, first, True, True)
    inside = sum(0 < place < 16 for place in (first - 1, first))
    assert found.boots == stand.slots == 4 + 4 + inside <= bisect.most_boots(17) == 10
    assert not found.astray
    (tmp_path / "all").mkdir()
    whole, _ = searched(monkeypatch, tmp_path / "all", Bench(question, stand.figure), everything=True)
    assert (whole.before, whole.first, len(whole.looks)) == (first - 1, first, 16)
    lines = "\n".join(bisect.tell(question, found, {"boot.instructions": 0.0011}))
    assert f"moved in 6.1.0-{first + 1}-cloud-amd64" in lines
    assert f"{16 - len(found.looks)} kernels were not measured" in lines
    assert json.loads(json.dumps(bisect.as_dict(question, tmp_path, found, {})))["first"] == question.kernels[first]


def test_two_kernels_need_four_boots(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    found, _ = searched(monkeypatch, tmp_path, Bench(asked(2), lambda place: 1000 + 2 * place))
    assert (found.before, found.first, found.boots) == (0, 1, 4)


def test_ends_alike_have_no_step(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no step between 6.1.0-1-.* and 6.1.0-9-.*\+0.050 % .*smaller --change"):
        searched(monkeypatch, tmp_path, Bench(asked(9), lambda place: 1_000_000 + 500 * (place == 8)))


def test_what_moves_and_comes_back_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Kernel 5 of 9 is better than the first, the last is worse."""
    figures = [1000, 1000, 1000, 1000, 990, 1000, 1000, 1005, 1005]
    found, _ = searched(monkeypatch, tmp_path, Bench(asked(9), figures.__getitem__))
    assert found.astray == [4]
    assert "moved the other way or back in: 6.1.0-5-cloud-amd64" in "\n".join(bisect.tell(asked(9), found, {}))
    (tmp_path / "all").mkdir()
    whole, _ = searched(monkeypatch, tmp_path / "all", Bench(asked(9), figures.__getitem__), everything=True)
    assert whole.first == 4
    assert whole.astray


def test_counts_that_do_not_repeat_are_judged_by_statistics(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    draw = random.Random(8)
    stand = Bench(asked(9, change=0.02), lambda place: round(1e6 * (1 + 0.1 * (place >= 4)) * draw.gauss(1, 0.002)))
    found, quiet = searched(monkeypatch, tmp_path, stand)
    assert (found.before, found.first, found.exact) == (3, 4, False)
    assert any("do not repeat" in line for line in quiet.said)
    assert all(name.startswith("compare") and places[0] == 0 for name, places, _ in stand.campaigns[1:])
    assert "judged by statistics" in "\n".join(bisect.tell(stand.question, found, {}))


def test_counts_that_repeat_at_the_ends_alone_are_judged_by_statistics(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    """Seen when the kernels beside the step are booted again."""
    draw = random.Random(9)

    def figure(place: int) -> float:
        return 1e6 * (1 + 0.1 * (place >= 4)) * (1 if place in (0, 8) else draw.gauss(1, 0.002))

    found, quiet = searched(monkeypatch, tmp_path, Bench(asked(9, change=0.02), figure))
    assert (found.before, found.first, found.exact) == (3, 4, False)
    assert any("do not repeat" in line for line in quiet.said)


def test_versions_of_one_package_are_different_arms() -> None:
    names = ("linux-image-6.1.0-9-amd64=6.1.1-1", "linux-image-6.1.0-9-amd64=6.1.2-1", "linux-image-6.1.0-10-amd64")
    question = Question(names, "boot.instructions", 0.001, "qemu-icount", 8)
    assert [question.arm(place) for place in range(3)] == [
        "qemu-icount-00",
        "qemu-icount-01",
        f"qemu-icount@{names[2][12:]}",
    ]


def test_times_are_compared_in_blocks(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    draw = random.Random(5)
    stand = Bench(asked(6, "boot", 0.05), lambda place: (1 + 0.3 * (place >= 2)) * draw.gauss(1, 0.01), "second")
    found, _ = searched(monkeypatch, tmp_path, stand)
    assert (found.before, found.first) == (1, 2)
    assert {blocks for _, _, blocks in stand.campaigns} == {8}


def test_times_too_noisy_leave_the_answer_open(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    draw = random.Random(6)
    stand = Bench(asked(6, "boot", 0.01), lambda place: draw.lognormvariate(0, 0.3), "second")
    found, _ = searched(monkeypatch, tmp_path, stand)
    assert not found.certain
    assert "could not be told" in "\n".join(bisect.tell(stand.question, found, {}))


def test_an_interrupted_search_goes_on(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    question = asked(17)
    folder = bisect.make_folder(tmp_path, question)
    stand = Bench(question, lambda place: 1000 + 10 * (place >= 11))
    stand.interrupt_after = 6
    with pytest.raises(KeyboardInterrupt):
        searched(monkeypatch, folder, stand)
    assert bisect.recall(folder) == question
    stand.interrupt_after = None
    found, _ = searched(monkeypatch, folder, stand)
    assert (found.before, found.first) == (10, 11)
    assert found.boots <= bisect.most_boots(17)


def test_a_kernel_that_does_not_boot_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand = Bench(asked(9), lambda place: 1000 + 10 * (place >= 3))
    stand.fails = 4
    with pytest.raises(InstanceError, match=r"qemu-icount@6.1.0-5-cloud-amd64 did not run: it panicked; see .*journal"):
        searched(monkeypatch, tmp_path, stand)


def test_no_search_in_a_folder(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no search there"):
        bisect.recall(tmp_path)


def test_an_unknown_metric_is_told_the_known_ones(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    stand = Bench(asked(3), lambda place: 1000)
    monkeypatch.setattr(runner, "run", stand.run)
    question = asked(3, "boot.kernels.instructions")
    with pytest.raises(InputError, match=r"no figure of 'boot.kernels.instructions'.*there are: boot.instructions"):
        Search(question, tmp_path, judged(question), Quiet()).run()  # type: ignore[arg-type]
