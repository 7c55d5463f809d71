"""The field's own tools, for real, in an instance of each family; and what becomes of one that fails."""

from __future__ import annotations

import math
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import workloads
from bench.results import read_facts

from .test_campaigns import journal, results

pytestmark = pytest.mark.usefixtures("nothing_left")

Tare = Callable[..., subprocess.CompletedProcess[str]]
#: One of a family each, and the floor.
ARMS = ("process", "crun", "uml", "qemu")
#: All but the one that needs a right which containers are not given.
TOOLS = [name for name in workloads.names() if workloads.load(name).rootfs == "debian" and name != "cyclictest"]


#: One of a kind each for QEMU, which emulates and takes as long for them as the other families for all.
SOME = list({workloads.load(name).area: name for name in TOOLS}.values())
TOOLS_OF = dict.fromkeys(ARMS, TOOLS) | {"qemu": SOME}


def campaign(folder: Path, arms: tuple[str, ...], names: list[str], more: str = "") -> Path:
    file = folder / "campaign.toml"
    listed = ", ".join(f'"{name}"' for name in names)
    file.write_text(
        'name = "test"\nblocks = 1\nbaseline = "process"\n'
        '[envelope]\nrootfs = "debian"\nmemory = "256 MiB"\ndisk = "64 MiB"\nlink = true\n'
        f"[scenarios]\ninside = {{ workloads = [{listed}], warmups = 0, values = 1 {more}}}\n"
        "[arms]\n" + "".join(f"{arm} = {{}}\n" for arm in arms)
    )
    return file


@pytest.fixture(scope="module")
def lines(tmp_path_factory: pytest.TempPathFactory, tare: Tare) -> dict[str, dict[str, Any]]:
    """A slot of every tool, by arm."""
    found = {}
    for arms, names in ((("process", "crun", "uml"), TOOLS), (("process", "qemu"), SOME)):
        folder = tmp_path_factory.mktemp("inside")
        done = tare("run", campaign(folder, arms, names), "--results", folder, timeout=900)
        assert done.returncode == 0, done.stdout + done.stderr
        assert (read_facts(results(folder)) or {})["rootfs"]["packages"]["fio"]
        found = {line["arm"]: line for line in journal(results(folder))} | found
    return found


@pytest.mark.parametrize("arm", ARMS)
def test_every_tool_measures_in_every_family(arm: str, lines: dict[str, dict[str, Any]]) -> None:
    line = lines[arm]
    assert line["status"] == "ok", line["reason"]
    found = {sample["metric"].partition(".")[0] for sample in line["samples"] if not sample["metric"].endswith(".cpu")}
    assert found == set(TOOLS_OF[arm])
    assert all(value > 0 and math.isfinite(value) for sample in line["samples"] for value in sample["values"])
    assert line["seen"]["rootfs"] == lines["process"]["seen"]["rootfs"]


def test_a_system_call_of_uml_costs_many_of_a_container(lines: dict[str, dict[str, Any]]) -> None:
    cost = {
        arm: sample["values"][0]
        for arm, line in lines.items()
        for sample in line["samples"]
        if sample["metric"] == "perf_syscall.call"
    }
    assert cost["uml"] > 5 * cost["process"]
    assert 1 / 3 < cost["crun"] / cost["process"] < 3


def test_the_instances_clocks_are_looked_at(lines: dict[str, dict[str, Any]]) -> None:
    for arm in ("process", "crun"):  # whose clock is the host's
        clocks = {sample["clock"] for sample in lines[arm]["samples"] if "clock" in sample}
        assert clocks
        assert all(abs(clock - 1) < 0.1 for clock in clocks), clocks


def test_what_fails_inside_is_a_failed_slot_with_its_words(tmp_path: Path, tare: Tare) -> None:
    """A tool that takes a second has less."""
    done = tare(
        "run", campaign(tmp_path, ("process", "crun"), ["iperf3"], ', timeout = "700 ms"'), "--results", tmp_path
    )
    assert done.returncode == 5, done.stdout + done.stderr
    for line in journal(results(tmp_path)):
        assert line["status"] == "timeout"
        assert [sample for sample in line["samples"] if sample["metric"].startswith("iperf3")] == []
