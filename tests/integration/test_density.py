"""Memory that adds up: what the host lost is what the cages, and the kernel for them, hold."""

from __future__ import annotations

import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from .test_campaigns import journal, results

pytestmark = pytest.mark.usefixtures("nothing_left")

Tare = Callable[..., subprocess.CompletedProcess[str]]


@pytest.mark.parametrize(("arm", "count"), [("process", 50), ("crun", 50), ("lxc", 50), ("uml", 8), ("qemu", 3)])
def test_what_the_host_lost_is_explained(arm: str, count: int, tmp_path: Path, tare: Tare) -> None:
    """To 5 %, or, since a host does other things too, 8 MiB."""
    file = tmp_path / "campaign.toml"
    file.write_text(
        f'name = "test"\nblocks = 1\nbaseline = "{arm}"\n[arms]\n{arm} = {{}}\n'
        f"[scenarios]\ndensity = {{ instances = {count}, step = {max(1, count // 4)} }}\n"
    )
    done = tare("run", file, "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = journal(results(tmp_path))
    last = line["ramp"][-1]
    assert last["n"] == count
    assert abs(last["residual"]) <= max(0.05 * last["memavailable"], 8 << 20), last
    if arm in ("uml", "qemu"):
        assert count * (16 << 20) < last["ram"] <= count * (128 << 20)
        assert last["ram"] + last["vmm"] == pytest.approx(last["pss"], rel=0.05)
    else:
        assert last["ram"] is None


def test_tenants_at_work_are_counted_and_weighed(tmp_path: Path, tare: Tare) -> None:
    """Each has a server of its own, also without a namespace around it; pages are merged, and then no longer."""
    before = Path("/sys/kernel/mm/ksm/run").read_text()
    file = tmp_path / "campaign.toml"
    file.write_text(
        'name = "test"\nblocks = 1\nbaseline = "process"\n[arms]\nprocess = {}\ncrun = {}\n'
        'qemu = { balloon = true }\n[envelope]\nrootfs = "debian"\nmemory = "256 MiB"\n[scenarios]\n'
        'working = { instances = 3, ksm = "on", cache = "cold", p99_limit = "10 s" }\n'
    )
    done = tare("run", file, "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert Path("/sys/kernel/mm/ksm/run").read_text() == before
    lines = {line["arm"]: line for line in journal(results(tmp_path))}
    for line in lines.values():
        last = line["ramp"][-1]
        assert last["n"] == 3
        assert all(point["p99"] > 0 for point in line["ramp"])
        assert last["cage_anon"] > 3 * (1 << 20), "a server's own memory"
        assert abs(last["residual"]) <= max(0.05 * last["memavailable"], 8 << 20), last
        (fits,) = (sample["values"] for sample in line["samples"] if sample["metric"] == "density.n")
        assert fits == [3]
    assert lines["qemu"]["ramp"][-1]["ksm"] > 16 << 20 > lines["process"]["ramp"][-1]["ksm"]
    page = (results(tmp_path) / "report.html").read_text()
    assert 'id="chart-density-p99"' in page
    assert "room for at least 3 of process" in page
