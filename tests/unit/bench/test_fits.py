"""What a plan asks for that this machine does not have."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from bench import disk, fits, limits
from bench.errors import HostError
from bench.plan import Estimate


def plan(*, cpus: int = 1, memory: int = 1 << 20, instances: int = 2, disk: int | None = None) -> dict[str, Any]:
    return {
        "envelope": {"cpus": cpus, "memory": memory, **({"disk": disk} if disk else {})},
        "scenarios": {"ramp": {"instances": instances}},
        "measures": {"ramp": {"crun": ["density"]}},
    }


def test_a_plan_that_fits_is_not_spoken_of() -> None:
    assert fits.misfits(plan(), Estimate(1.0, 1 << 20, 1 << 20)) == []


@pytest.mark.parametrize(
    ("made", "cost", "said"),
    [
        (
            plan(cpus=4096),
            Estimate(1, 1, 1),
            f"envelope.cpus = 4096, and this machine has {len(os.sched_getaffinity(0))}",
        ),
        (plan(memory=90000 << 30), Estimate(1, 1, 1), "envelope.memory = 90000 GiB, and this machine has"),
        (plan(), Estimate(1, 90000 << 30, 1), "take about 90000 GiB of memory at once"),
        (plan(disk=1 << 20), Estimate(1, 1, 90000 << 30), "data disks take about 90000 GiB in /var/tmp at once"),
        (plan(instances=10**9), Estimate(1, 1, 1), "a ramp of 1000000000 instances needs about 6000000064 open files"),
    ],
)
def test_what_does_not_fit_is_said(made: dict[str, Any], cost: Estimate, said: str) -> None:
    (text,) = fits.misfits(made, cost)
    assert said in text


def test_a_login_s_soft_limit_of_open_files_is_raised() -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    script = "import resource; from bench import limits; limits.raise_open_files(); "
    script += "print(resource.getrlimit(resource.RLIMIT_NOFILE)[0], limits.files_left() > 0)"
    soft = min(256, hard)
    done = subprocess.run(
        ["/bin/sh", "-c", f'ulimit -Sn {soft}; exec "$0" "$@"', sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": "."},
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout.split() == [str(hard), str(hard > 256)]


def test_what_is_left_leaves_a_reserve() -> None:
    soft = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    assert soft - 2 * limits.RESERVE - 1000 < limits.files_left() < soft - limits.RESERVE


def test_a_data_disk_leaves_room_for_others(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(disk.shutil, "disk_usage", lambda place: Usage(disk.RESERVE + 10))
    with pytest.raises(HostError, match=r"no room for a data disk in .*it would leave 511 MiB, and 512 MiB are kept"):
        disk.make(tmp_path / "images" / "one.ext4", 1 << 20)
    assert not (tmp_path / "images" / "one.ext4").exists()


class Usage:
    def __init__(self, free: int) -> None:
        self.free = free
