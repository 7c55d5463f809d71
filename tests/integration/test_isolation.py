"""Neighbours that misbehave, for real, in an instance of each family."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from .test_campaigns import journal, results

pytestmark = pytest.mark.usefixtures("nothing_left")

Tare = Callable[..., subprocess.CompletedProcess[str]]
ARMS = ("process", "crun", "uml")
KINDS = ("cpu", "memory", "fork", "disk", "network")


def campaign(folder: Path, arms: tuple[str, ...], changes: str) -> Path:
    file = folder / "campaign.toml"
    file.write_text(
        f'name = "test"\nblocks = 1\nbaseline = "{arms[0]}"\n[envelope]\ndisk = "64 MiB"\nlink = true\n'
        f"[scenarios]\nneighbours = {{ {changes} }}\n[arms]\n" + "".join(f"{arm} = {{}}\n" for arm in arms)
    )
    return file


def test_neighbours_are_contained_and_what_they_do_is_measured(tmp_path: Path, tare: Tare) -> None:
    """On one CPU a tenant has half of it beside busy loops: each instance weighs the same, however many processes."""
    done = tare("run", campaign(tmp_path, ARMS, "values = 3"), "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    lines = {line["arm"]: line for line in journal(results(tmp_path))}
    assert set(lines) == set(ARMS)
    for arm, line in lines.items():
        found = {sample["metric"].removeprefix("isolation."): sample["values"] for sample in line["samples"]}
        told = set(found) | {metric.removeprefix("isolation.") for metric in line.get("unfinished", {})}
        assert told == {"alone", *KINDS}, (arm, line.get("unfinished"))
        assert len(found["alone"]) == 3 * len(KINDS)
        assert 1.2 < found["cpu"][0] < 4, (arm, found)
    assert 'id="chart-isolation"' in (results(tmp_path) / "report.html").read_text()


def test_one_that_floods_its_link_is_heard_at_its_far_end(drive: Callable[..., dict[str, Any]]) -> None:
    found = drive("crun", ["flood", "network"], ["stop"], link=True)
    assert found["steps"][0] > 8 << 20  # bytes in a second: a twentieth of what it takes when quiet


def test_a_guest_beside_a_fork_bomb(tmp_path: Path, tare: Tare) -> None:
    """A machine's: what it forks are no processes of this host."""
    few = 'neighbours = ["fork"], warmups = 0, values = 1, timeout = "60 s"'
    done = tare("run", campaign(tmp_path, ("qemu",), few), "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = journal(results(tmp_path))
    found = {sample["metric"]: sample["values"] for sample in line["samples"]}
    assert "isolation.fork" in line.get("unfinished", {}) or found["isolation.fork"][0] > 1.2
