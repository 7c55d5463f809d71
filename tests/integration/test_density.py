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
        assert 0 < last["ram"] <= count * (128 << 20)
        assert last["ram"] + last["vmm"] == pytest.approx(last["pss"], rel=0.05)
    else:
        assert last["ram"] is None
