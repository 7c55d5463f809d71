"""Plans as people read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import config, plan, show

CAMPAIGN = """
name = "look"
seed = 3
blocks = 5
baseline = "crun"
[arms]
crun = {}
uml = {}
[scenarios]
lifecycle = {}
density = { blocks = 1 }
"""


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> str:
    monkeypatch.setenv("COLUMNS", "120")
    made = plan.make(config.parse(CAMPAIGN, Path("look.toml")), {("uml", "linux"): "needs [brackets] and root"})
    show.plan(made, plan.estimate(made))
    return capsys.readouterr().out


def test_head(printed: str) -> None:
    assert "campaign look: 5 blocks, seed 3, baseline crun, envelope 1 CPU, 128 MiB, rootfs tiny" in printed


def test_matrix(printed: str) -> None:
    row = next(line for line in printed.splitlines() if "crun" in line and "│" in line)
    assert "boot, exec, spawn, teardown" in row
    row = next(line for line in printed.splitlines() if "uml" in line and "│" in line)
    assert row.count("–") == 2


def test_order_of_the_first_blocks(printed: str) -> None:
    lines = printed.splitlines()
    (first,) = [line for line in lines if line.startswith("block 1: ")]
    assert sorted(first.removeprefix("block 1: ").split(" → ")) == ["crun/density", "crun/lifecycle"]
    assert "block 3: crun/lifecycle" in lines
    assert not [line for line in lines if line.startswith("block 4")]
    assert "2 blocks more" in printed


def test_left_out_word_by_word(printed: str) -> None:
    assert "left out: uml in lifecycle:boot: needs [brackets] and root\n" in printed


def test_cost(printed: str) -> None:
    last = printed.splitlines()[-1]
    assert last.startswith("6 slots: about ")
    assert "of memory" in last
    assert "of disk" in last
