"""Cages over folders that stand for the mounts of cgroup hierarchies."""

from __future__ import annotations

import errno
import os
import select
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest

from bench import cage

TOP = "/sys/fs/cgroup"
CPUS = cage.Cpus(frozenset({1, 3}), frozenset({0}))


def hierarchy(version: int, top: Path) -> cage.Hierarchy:
    if version == 2:
        found: cage.Hierarchy = cage.HierarchyV2({"unified": top / "unified"})
    else:
        mounts = {name: top / name for name in cage.V1_CONTROLLERS}
        found = cage.HierarchyV1(mounts, [top / "devices"])
    for mount in found.all:
        (mount / "tare-run").mkdir(parents=True)
    return found


def make(version: int, top: Path) -> cage.Cage:
    return cage.Cage(hierarchy(version, top), "run/cage", CPUS, 128 << 20)


@pytest.mark.parametrize("version", [1, 2])
def test_a_cage_has_its_cpus_and_its_limit(version: int, tmp_path: Path) -> None:
    made = make(version, tmp_path)
    cpus = next(tmp_path.rglob("cpuset.cpus"))
    assert cpus.parent.name == "cage"
    assert cpus.read_text() == "1,3"
    assert made.memory_limit() == 128 << 20


def test_what_is_caged_takes_no_swap_where_the_kernel_has_any(tmp_path: Path) -> None:
    found = hierarchy(2, tmp_path)
    guest = cage.Group(found, "guest")
    (guest.folders[0] / "memory.swap.max").write_text("max")
    cage.Cage(found, "guest", CPUS, None)  # whose memory is held by what it was given
    assert (guest.folders[0] / "memory.swap.max").read_text().startswith("0")
    container = make(2, tmp_path / "none")
    assert not (container.folders[0] / "memory.swap.max").exists()


def test_in_v1_memory_and_swap_together_are_held_to_the_limit(tmp_path: Path) -> None:
    found = hierarchy(1, tmp_path)
    folder = cage.Group(found, "run/cage").hierarchy.mounts["memory"] / "tare-run/cage"
    for name in ("memory.memsw.limit_in_bytes", "memory.swappiness"):
        (folder / name).write_text("")
    cage.Cage(found, "run/cage", CPUS, 128 << 20)
    assert int((folder / "memory.memsw.limit_in_bytes").read_text()) == 128 << 20
    assert (folder / "memory.swappiness").read_text() == "0"


def test_who_comes_later_enters_a_v2_cage_by_another_group(tmp_path: Path) -> None:
    made = make(2, tmp_path)
    (first,), (later,) = made.doors(), made.doors("clients")
    inside = tmp_path / "unified/tare-run/cage"
    assert Path(first) == inside / "launch/cgroup.procs"
    assert Path(later) == inside / "clients/cgroup.procs"
    assert Path(later).parent.is_dir()
    assert made.doors("clients") == [later]


def test_a_v1_cage_is_entered_itself_and_in_every_hierarchy_where_asked(tmp_path: Path) -> None:
    made = make(1, tmp_path)
    expected = {str(tmp_path / name / "tare-run/cage/cgroup.procs") for name in cage.V1_CONTROLLERS}
    assert set(made.doors()) == set(made.doors("clients")) == expected
    assert set(made.doors(everywhere=True)) - expected == {str(tmp_path / "devices/tare-run/cage/cgroup.procs")}


def test_what_ran_is_charged_before_it_is_read(tmp_path: Path) -> None:
    """Threads that run on are waited for, but not for ever."""
    made = make(1, tmp_path)
    (tmp_path / "cpuacct/tare-run/cage/cpuacct.usage").write_text("5000000")
    program = "import time\nend = time.monotonic() + 0.5\nwhile time.monotonic() < end: pass\nprint()\ntime.sleep(60)"
    with subprocess.Popen([sys.executable, "-uc", program], stdout=subprocess.PIPE) as child:
        try:
            made.take(child.pid)
            begin = time.monotonic()
            assert made.settled_cpu_seconds(0.05) == 0.005
            assert time.monotonic() - begin > 0.05
            assert child.stdout
            assert not _readable(child.stdout.fileno())
            assert made.settled_cpu_seconds(30) == 0.005
            assert _readable(child.stdout.fileno())
            assert time.monotonic() - begin < 20
        finally:
            child.kill()


def test_parts_that_do_not_make_up_the_total_are_read_again(tmp_path: Path) -> None:
    """The kernel sums them up late, at times; a total that they never make up is told all the same."""
    made = make(1, tmp_path)
    folder = tmp_path / "memory/tare-run/cage"
    (folder / "memory.usage_in_bytes").write_text(f"{200 << 20}")
    (folder / "memory.kmem.usage_in_bytes").write_text(f"{2 << 20}")
    stat = f"total_rss {5 << 20}\ntotal_cache {{cache}}\ntotal_shmem {{cache}}\n"
    (folder / "memory.stat").write_text(stat.format(cache=157 << 20))
    assert made.memory(0.1).shmem == 157 << 20
    late = threading.Timer(0.2, lambda: (folder / "memory.stat").write_text(stat.format(cache=193 << 20)))
    late.start()
    assert made.memory(20).shmem == 193 << 20
    late.join()


def test_kernel_memory_is_the_sum_of_its_parts_where_the_kernel_does_not_sum_it(tmp_path: Path) -> None:
    made = make(2, tmp_path)
    folder = tmp_path / "unified/tare-run/cage"
    (folder / "memory.current").write_text(f"{9 << 20}")
    (folder / "memory.stat").write_text(f"anon {6 << 20}\nfile 0\nshmem 0\nslab {2 << 20}\nkernel_stack {1 << 20}\n")
    assert made.memory(0).kernel == 3 << 20


def _readable(fd: int) -> bool:
    return bool(select.select([fd], [], [], 0)[0])


@pytest.mark.parametrize(
    ("user", "number", "remedy"),
    [
        (1000, errno.EACCES, "run as root"),
        (0, errno.EROFS, f"give this container a {TOP}"),
        (0, errno.EBUSY, f"mkdir {TOP}/own && "),
    ],
)
def test_the_remedy_fits_the_reason(user: int, number: int, remedy: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: user)
    error = OSError(number, os.strerror(number))  # of a write, which names no file
    assert remedy in cage._remedy(error, Path(TOP))
