"""Plans as people read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import config, plan, show
from bench.debian import Package
from bench.kernels import Kernel

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
    show.plan(
        made, plan.estimate(made), {"uml": "x will be built", "crun": "x will be built", "qemu": "y [is] fetched"}
    )
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


def test_kernels_that_are_not_there(printed: str) -> None:
    said = [line for line in printed.splitlines() if line.startswith("first: ")]
    assert said == ["first: x will be built (for uml, crun)", "first: y [is] fetched (for qemu)"]


def test_cost(printed: str) -> None:
    last = printed.splitlines()[-1]
    assert last.startswith("6 slots: about ")
    assert "of memory" in last
    assert "of disk" in last


KERNELS = [
    Kernel(
        "6.1.0-9-amd64", "machine", Path(__file__), "aa", {"package": "linux-image-6.1.0-9-amd64", "version": "1-1"}
    ),
    Kernel("6.1.9", "uml", Path(__file__), "bb", {"package": "linux-source-6.1", "version": "2", "options": ["A=y"]}),
    Kernel("6.2", "uml", Path(__file__), "cc", {}, "0123456789abcdef"),
]


def test_the_cache(capsys: pytest.CaptureFixture[str]) -> None:
    show.kernels(KERNELS)
    rows = [line.split() for line in capsys.readouterr().out.splitlines()]
    assert rows[1][:4] == ["6.1.0-9-amd64", "machine", "linux-image-6.1.0-9-amd64=1-1", "unknown"]
    assert rows[2][:5] == ["6.1.9", "uml", "linux-source-6.1=2", "(options:", "1)"]
    assert rows[3][:5] == ["6.2", "uml", "a", "file", "0123456789ab"]
    show.kernels([])
    assert "kernel fetch" in capsys.readouterr().out


def test_what_debian_has(capsys: pytest.CaptureFixture[str]) -> None:
    offered = [Package("linux-image-6.1.0-9-amd64", version, "aa", 3 << 20) for version in ("1-2", "1-1")]
    show.packages(offered, KERNELS)
    rows = [line.rstrip() for line in capsys.readouterr().out.splitlines()]
    assert [row.endswith("in the cache") for row in rows] == [False, False, True]
    assert "1-2      3 MiB" in rows[1]
