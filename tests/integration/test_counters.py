"""Counting in cages by the kernel's events. Where the processor counts nothing, the same path with a software event."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cage, counters, image, lock, mounts, state
from bench.backends import process
from bench.errors import HostError
from bench.measures import instructions
from bench.session import Place, Scenario, Session

BURN = "import sys, time\nsys.stdin.readline()\nwhile time.process_time() < {seconds}: pass"


def unified() -> Path:
    """The mount of cgroup v2, which perf_event is in wherever it is not mounted as a v1 hierarchy."""
    for line in Path("/proc/self/mounts").read_text().splitlines():
        _, folder, kind, *_ = line.split(" ")
        if kind == "cgroup2":
            return Path(folder)
    pytest.skip("no cgroup v2 is mounted")


@pytest.fixture
def group() -> Iterator[Path]:
    folder = unified() / f"tare-test-{os.getpid()}"
    (folder / "below").mkdir(parents=True)
    yield folder
    (folder / "below").rmdir()
    folder.rmdir()


def test_a_group_and_what_is_below_it_are_counted_and_nothing_else(group: Path) -> None:
    children = [
        subprocess.Popen([sys.executable, "-c", BURN.format(seconds=0.4)], stdin=subprocess.PIPE) for _ in range(2)
    ]
    (group / "below/cgroup.procs").write_text(str(children[0].pid))
    with counters.Counter(group, counters.CPU_TIME) as counter:
        assert counter.read() == 0
        for child in children:  # the other one is outside
            child.communicate(b"\n")
        assert 0.3e9 < counter.read() < 0.6e9


def test_a_processor_that_counts_or_says_why_not(group: Path) -> None:
    reason = counters.missing()
    if reason is None:
        with counters.Counter(group) as counter:
            assert counter.read() == 0
    else:
        assert "no hardware counter of instructions" in reason
        with pytest.raises(HostError):
            counters.Counter(group)


def test_the_measure_counts_boot_and_commands_in_the_cage(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nothing_left: None
) -> None:
    """A real instance, in cages that are in perf_event's hierarchy as well; CPU time in place of instructions."""
    monkeypatch.setattr(counters, "missing", lambda: None)
    assert instructions.lacking(process.Backend) is None
    found = cage.detect()
    if found.version == 1:
        found = cage.HierarchyV1({**found.mounts, cage.V1_COUNTER: unified()}, found.all)
    rootfs = image.build("tiny")
    with lock.hold(), state.enter("a test") as own:
        backend = process.Backend(tmp_path, process.Backend.Options())
        cpus = cage.divide_cpus(1)
        found.prepare()
        cage.Group(found, own.id)
        scenario = Scenario(("instructions",), warmups=1, values=3)
        session = Session(backend, scenario, Place(own.id, "s1", own.folder, found, cpus), rootfs, 128 << 20, None)
        try:
            instructions._by_processor(session, counters.CPU_TIME)
            group = session.group
            assert group is not None
            used = group.cpu_seconds()
        finally:
            session.release(by_force=True)
            cage.Group(found, own.id).remove(0)
            mounts.remove_tree(tmp_path)  # /dev is bound in it, and pytest's own process sees it there
    samples = {sample.metric: sample for sample in session.samples}
    assert list(samples) == ["boot.instructions", "spawn.instructions", "exec.instructions"]
    counted = sum(sum(sample.values) + sum(sample.warmups) for sample in samples.values()) / 1e9
    assert len(samples["spawn.instructions"].values) == 3
    assert all(value > 0 for sample in samples.values() for value in sample.values)
    assert 0.5 * used < counted < 1.1 * used
