"""Counted instructions of real guests, with other work on the machine and without: nothing for nothing, and a
thousandth for a thousandth."""

from __future__ import annotations

import contextlib
import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pytest

from analysis import step
from analysis.judge import Test, Verdict, judge
from bench import kernels
from bench.results import JOURNAL, last_of_each_slot, read_journal

Tare = Callable[..., subprocess.CompletedProcess[str]]

pytestmark = pytest.mark.usefixtures("nothing_left")

#: A turn of a loop of the shell, in instructions, as far as that can be said of any shell.
TURN = 14_300
CAMPAIGN = """
name = "counted"
blocks = 2
baseline = "a"
[scenarios]
instructions = { warmups = 1, values = 2 }
[arms]
a = { backend = "qemu-icount" }
"""
SAME_AGAIN = 'b = { backend = "qemu-icount" }\n'
PHASES = ["boot.instructions", "boot.setup.instructions", "boot.kernel.instructions", "boot.init.instructions"]


@contextlib.contextmanager
def busy() -> Iterator[None]:
    """Something else that wants a processor, by fits and starts."""
    code = "import time\nwhile True:\n  end = time.time() + 0.03\n  while time.time() < end: pass\n  time.sleep(0.02)"
    with subprocess.Popen([sys.executable, "-c", code]) as load:
        try:
            yield
        finally:
            load.kill()


def run(top: Path, tree: Path, campaign: str) -> Path:
    """A campaign, by the code in a tree; its results folder."""
    (top / "counted.toml").write_text(campaign)
    words = ["-m", "bench", "run", str(top / "counted.toml"), "--results", str(top / "results"), "--json"]
    argv = [sys.executable, *words]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=900, cwd=tree)
    assert done.returncode == 0, done.stdout + done.stderr
    return Path(json.loads(done.stdout)["folder"])


def copy(top: Path, turns: int) -> Path:
    """The project, with so many turns planted into its init."""
    tree = top / "copy"
    subprocess.run([sys.executable, Path(__file__).with_name("plant.py"), tree, str(turns)], check=True)
    return tree


@pytest.fixture(scope="module")
def plain(tmp_path_factory: pytest.TempPathFactory) -> Path:
    top = tmp_path_factory.mktemp("plain")
    with busy():
        return run(top, copy(top, 0), CAMPAIGN + SAME_AGAIN)


@pytest.fixture(autouse=True)
def require_icount(require_guest: Callable[[str, str], None]) -> None:
    require_guest("qemu-icount", "linux")


def counts(folder: Path, arm: str) -> dict[str, list[float]]:
    """By metric, a figure a boot."""
    medians = step.figures([folder])
    return {metric: rows["value"].tolist() for metric, rows in medians[medians["arm"] == arm].groupby("metric")}


def verdict(base: list[float], new: list[float]) -> Verdict:
    (found,) = judge([Test(np.array(base), np.array(new), paired=False, delta=0.0005, exact=True)])
    return found


def test_the_same_kernel_differs_by_exactly_nothing(plain: Path) -> None:
    first, second = counts(plain, "a"), counts(plain, "b")
    assert set(first) == {*PHASES, "spawn.instructions"}
    assert first == second
    for metric, values in first.items():
        assert len(values) == 2
        assert len(set(values)) == 1, metric
        assert verdict(values, second[metric]).kind == "equivalent"
    assert sum(first[metric][0] for metric in PHASES[1:]) == first[PHASES[0]][0]


def test_every_run_of_a_command_repeats_too(plain: Path) -> None:
    """Not their median only: warm-ups, and each value in its place."""
    found = {
        (tuple(sample["warmups"]), tuple(sample["values"]))
        for line in last_of_each_slot(read_journal(plain / JOURNAL))
        for sample in line["samples"]
        if sample["metric"] == "spawn.instructions"
    }
    ((warmups, values),) = found
    assert (len(warmups), len(values)) == (1, 2)


def test_nothing_of_it_is_in_seconds(plain: Path) -> None:
    lines = last_of_each_slot(read_journal(plain / JOURNAL))
    assert {sample["unit"] for line in lines for sample in line["samples"]} == {"instruction"}
    assert "Instructions are not seconds" in (plain / "report.html").read_text()


def test_a_planted_thousandth_is_called_and_placed(plain: Path, tmp_path: Path) -> None:
    before = counts(plain, "a")
    turns = round(before["boot.instructions"][0] / 1000 / TURN)
    planted = counts(run(tmp_path, copy(tmp_path, turns), CAMPAIGN), "a")
    found = verdict(before["boot.instructions"], planted["boot.instructions"])
    assert (found.kind, found.exact, found.count) == ("regressed", True, 2)
    more = {metric: planted[metric][0] - before[metric][0] for metric in PHASES}
    # Whatever shell and kernel there are: about as much as was planted, and nearly all of it where it was planted.
    assert 0.0003 < more[PHASES[0]] / before[PHASES[0]][0] < 0.003
    assert more["boot.init.instructions"] > 0.95 * more[PHASES[0]]


def test_a_search_without_a_step_says_so(tare: Tare, tmp_path: Path) -> None:
    """The same kernel under two names."""
    default = kernels.default("machine")
    assert isinstance(default, kernels.Kernel)
    for name in ("old", "new"):
        (tmp_path / name).symlink_to(default.image)
    done = tare("bisect", "--kernels", f"{tmp_path}/old,{tmp_path}/new", "--results", tmp_path / "results", timeout=900)
    assert done.returncode == 2, done.stdout + done.stderr
    assert "no step between" in done.stderr
    assert "+0.000 % (+0), 2 boots" in done.stderr
