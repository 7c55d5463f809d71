"""Campaigns on a Slurm cluster of two nodes, whose daemons run here: dealt, followed, lost, found again, ended."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import clean
from bench.cluster import JOBS
from bench.results import LOST, read_nodes, read_plan

from .conftest import PROJECT
from .slurm import NODES as NODE_NAMES
from .slurm import Cluster
from .test_campaigns import journal, results, wait_for

pytestmark = pytest.mark.usefixtures("nothing_left", "no_jobs_left")

Start = Callable[..., subprocess.Popen[str]]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    # Slurm's sockets lie in there, whose paths may not be long.
    with tempfile.TemporaryDirectory(prefix="slurm-", dir="/tmp") as top, Cluster(Path(top)) as up:
        yield up


@pytest.fixture
def no_jobs_left(cluster: Cluster) -> Iterator[None]:
    yield
    assert cluster.run("squeue", "--noheader") == ""
    assert list(clean.JOB_FOLDERS.parent.glob(f"{clean.JOB_FOLDERS.name}*")) == []


@pytest.fixture
def tare(cluster: Cluster) -> Iterator[Start]:
    """Starts the command line; what still runs in the end is killed."""
    running: list[subprocess.Popen[str]] = []

    def start(*words: object) -> subprocess.Popen[str]:
        running.append(
            subprocess.Popen(
                [sys.executable, "-m", "bench", *map(str, words)],
                cwd=PROJECT,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                env={**os.environ, **cluster.environment},
                start_new_session=True,
            )
        )
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def campaign(folder: Path, blocks: int, options: str = "") -> Path:
    file = folder / "campaign.toml"
    file.write_text(
        f'name = "test"\nblocks = {blocks}\nbaseline = "process"\nengine = "slurm"\n'
        f"[slurm]\nnodes = 2\noptions = [{options}]\n"
        "[scenarios]\nlifecycle = {}\n[arms]\nprocess = {}\ncrun = {}\n"
    )
    return file


def assert_whole(folder: Path) -> None:
    """Every slot was run well, every block by one job on one node, and nothing is left of the jobs."""
    plan = read_plan(folder)
    assert plan
    lines = {line["slot"]: line for line in journal(folder)}
    assert lines.keys() == {slot["slot"] for slot in plan["slots"]}
    assert {line["status"] for line in lines.values()} == {"ok"}
    for block in range(1, plan["blocks"] + 1):
        assert len({(line["job"], line["host"]) for line in lines.values() if line["block"] == block}) == 1
    assert not (folder / JOBS).exists()
    assert not (folder / LOST).exists()


def by_job(lines: list[dict[str, Any]]) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for line in lines:
        found.setdefault(line["job"], []).append(line)
    return found


def test_blocks_are_dealt_to_nodes(tmp_path: Path, tare: Start) -> None:
    done = tare("run", campaign(tmp_path, 30), "--results", tmp_path)  # long enough for both nodes to be needed
    out, _ = done.communicate(timeout=240)
    assert done.returncode == 0, out
    folder = results(tmp_path)
    assert_whole(folder)
    lines = journal(folder)
    assert len(lines) == len({line["slot"] for line in lines})
    assert {line["host"] for line in lines} == set(read_nodes(folder)) == set(NODE_NAMES)
    assert sorted(sorted({line["block"] for line in each}) for each in by_job(lines).values()) == [
        list(range(1, 31, 2)),
        list(range(2, 31, 2)),
    ]
    assert "Nodes: blocks of n1, n2 count together" in (folder / "report.md").read_text()


def test_jobs_outlive_their_controller(tmp_path: Path, tare: Start, cluster: Cluster) -> None:
    first = tare("run", campaign(tmp_path, 50), "--results", tmp_path)
    wait_for(lambda: list(tmp_path.glob("test-*")) and journal(results(tmp_path)), 120)
    first.kill()
    first.wait()
    folder = results(tmp_path)
    known = len(journal(folder))
    ids = set(cluster.run("squeue", "--noheader", "--format=%i").split())
    assert known < 100
    assert len(ids) == 2
    rival = tare("resume", folder)
    wait_for(lambda: len(journal(folder)) > known)
    second = tare("resume", folder)
    out, _ = second.communicate(timeout=60)
    assert second.returncode == 4, out
    assert "is followed by another tare" in out
    out, _ = rival.communicate(timeout=240)
    assert rival.returncode == 0, out
    assert_whole(folder)
    # The same two jobs did all of it, and no slot was run or written down twice.
    assert len(by_job(journal(folder))) == 2
    assert len(journal(folder)) == 100


def test_an_interrupted_campaign_ends_its_jobs_and_is_gone_on_with(
    tmp_path: Path, tare: Start, cluster: Cluster
) -> None:
    run = tare("run", campaign(tmp_path, 40), "--results", tmp_path)
    wait_for(lambda: list(tmp_path.glob("test-*")) and journal(results(tmp_path)), 120)
    run.send_signal(signal.SIGINT)
    out, _ = run.communicate(timeout=150)
    assert run.returncode == 130, out
    assert cluster.run("squeue", "--noheader") == ""
    folder = results(tmp_path)
    resumed = tare("resume", folder)
    out, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 0, out
    assert_whole(folder)


def test_a_lost_node_s_blocks_are_run_by_another(tmp_path: Path, tare: Start, cluster: Cluster) -> None:
    run = tare("run", campaign(tmp_path, 40), "--results", tmp_path)
    wait_for(lambda: list(tmp_path.glob("test-*")) and journal(results(tmp_path)), 120)
    node = journal(results(tmp_path))[0]["host"]
    cluster.run("scontrol", "update", f"NodeName={node}", "State=DOWN", "Reason=test")
    try:
        out, _ = run.communicate(timeout=240)
    finally:
        cluster.run("scontrol", "update", f"NodeName={node}", "State=RESUME")
    assert run.returncode == 0, out
    assert "NODE_FAIL" in out
    assert_whole(results(tmp_path))


def test_a_job_that_cannot_end_is_told_and_marked(tmp_path: Path, tare: Start) -> None:
    """Its nodes have another Python than the campaign says: each job ends at once."""
    file = campaign(tmp_path, 2)
    run = tare("run", file, "--results", tmp_path)
    out, _ = run.communicate(timeout=240)
    assert run.returncode == 0, out
    folder = results(tmp_path)
    journal_file = folder / "journal.jsonl"
    journal_file.write_text("".join(journal_file.read_text().splitlines(keepends=True)[:2]))
    plan = folder / "plan.json"
    plan.write_text(plan.read_text().replace('"python3"', '"python2"'))
    resumed = tare("resume", folder)
    out, _ = resumed.communicate(timeout=240)
    assert resumed.returncode == 5, out
    assert "python2: not found" in " ".join(out.split())
    assert (folder / LOST).exists()
    assert "Lost:" in (folder / "report.md").read_text()
    plan.write_text(plan.read_text().replace('"python2"', '"python3"'))
    again = tare("resume", folder)
    out, _ = again.communicate(timeout=240)
    assert again.returncode == 0, out
    assert_whole(folder)


def test_what_slurm_refuses_is_one_line_and_leaves_nothing(tmp_path: Path, tare: Start, cluster: Cluster) -> None:
    file = campaign(tmp_path, 2, '"--partition=nowhere"')
    run = tare("run", file, "--results", tmp_path / "results")
    out, _ = run.communicate(timeout=120)
    assert run.returncode == 4, out
    assert out.splitlines()[-1].startswith("tare: Slurm does not take a job: "), out
    assert "Invalid partition" in out
    assert list((tmp_path / "results").iterdir()) == []
    cluster.end("slurmctld")
    try:
        run = tare("run", campaign(tmp_path, 2), "--results", tmp_path / "results")
        out, _ = run.communicate(timeout=120)
    finally:
        cluster.start_controller()
    assert run.returncode == 4, out
    assert len(out.splitlines()) == 1
    assert "Slurm does not answer" in out
    wait_for(lambda: cluster.run("sinfo", "--noheader", "--format=%T %D") == "idle 2")
