"""Whole campaigns on this host: interruption, murder, rivalry, a full disk."""

from __future__ import annotations

import contextlib
import json
import os
import random
import re
import signal
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import state
from bench.process import tree
from bench.results import JOURNAL, read_journal, read_plan

from .conftest import ARMS, PROJECT

pytestmark = pytest.mark.usefixtures("nothing_left")

Tare = Callable[..., subprocess.CompletedProcess[str]]


def campaign(folder: Path, arms: dict[str, Any], *, blocks: int, scenarios: str = "lifecycle = {}") -> Path:
    """A campaign file in a folder."""
    lines = [
        'name = "test"',
        f"blocks = {blocks}",
        f"baseline = {json.dumps(next(iter(arms)))}",
        "[scenarios]",
        scenarios,
        "[arms]",
    ]
    for name, (backend, options) in arms.items():
        pairs = {"backend": backend, **options}
        lines.append(
            f"{json.dumps(name)} = {{ {', '.join(f'{key} = {json.dumps(value)}' for key, value in pairs.items())} }}"
        )
    file = folder / "campaign.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def start(*words: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "bench", *map(str, words)]
    return subprocess.Popen(
        argv, cwd=PROJECT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, start_new_session=True
    )


def results(folder: Path) -> Path:
    (found,) = folder.glob("test-*")
    return found


def family(leader: int) -> Iterator[tuple[int, list[str]]]:
    """A process and its descendants, leader first, each with its command line."""
    for pid in tree(leader):
        with contextlib.suppress(OSError):
            yield pid, Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]


def worker(runner: int) -> int:
    """Its worker, and none of the worker's forks that are on their way to another command."""
    return next(pid for pid, words in family(runner) if "bench.worker" in words)


def wait_for(condition: Callable[[], object], seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.02)


def journal(folder: Path) -> list[dict[str, Any]]:
    path = folder / JOURNAL
    return read_journal(path) if path.exists() else []


def assert_complete(folder: Path) -> None:
    """Every planned slot is in the journal exactly once, and ended well."""
    plan = read_plan(folder)
    assert plan is not None
    lines = journal(folder)
    assert Counter(line["slot"] for line in lines) == Counter(slot["slot"] for slot in plan["slots"])
    assert {line["status"] for line in lines} == {"ok"}, [line["reason"] for line in lines]


@pytest.fixture
def running() -> Iterator[list[subprocess.Popen[str]]]:
    """Processes that a test starts; those still there in the end are killed."""
    processes: list[subprocess.Popen[str]] = []
    yield processes
    for process in processes:
        process.kill()
        process.wait()
        if process.stdout:
            process.stdout.close()


@pytest.mark.parametrize("arm", sorted(set(ARMS) - {"qemu-icount"}))  # qemu, on another clock, and slow
def test_resumes_after_kill(
    arm: str,
    tmp_path: Path,
    tare: Tare,
    running: list[subprocess.Popen[str]],
    require_guest: Callable[[str, str], None],
) -> None:
    """The runner is killed in the middle of a slot; resuming runs exactly what the journal lacks."""
    require_guest(ARMS[arm][0], "linux")
    file = campaign(tmp_path, {arm: ARMS[arm]}, blocks=3, scenarios="spawn = {}")
    running.append(process := start("run", file, "--results", tmp_path))
    wait_for(lambda: [line for folder in tmp_path.glob("test-*") for line in journal(folder)], 180)
    process.kill()
    process.wait()
    folder = results(tmp_path)
    before = journal(folder)
    assert before
    done = tare("resume", folder)
    assert done.returncode == 0, done.stderr
    assert journal(folder)[: len(before)] == before
    assert_complete(folder)


@pytest.mark.parametrize("arm", ["process", "crun", "uml"])
def test_a_worker_that_dies_costs_its_slot_and_no_other(
    arm: str, tmp_path: Path, running: list[subprocess.Popen[str]]
) -> None:
    file = campaign(tmp_path, {arm: ARMS[arm]}, blocks=12, scenarios='neighbours = { neighbours = ["network"] }')
    file.write_text(f'{file.read_text()}\n[envelope]\nlink = true\ndisk = "64 MiB"\n')
    running.append(process := start("run", file, "--results", tmp_path))
    wait_for(lambda: [line for folder in tmp_path.glob("test-*") for line in journal(folder)], 180)
    os.kill(worker(process.pid), signal.SIGKILL)
    out, _ = process.communicate(timeout=300)
    assert process.returncode == 5, out
    assert Counter(line["status"] for line in journal(results(tmp_path))) == {"ok": 11, "failed": 1}


@pytest.mark.parametrize("arm", ["process", "crun"])
def test_a_harness_that_was_stopped_says_so_of_its_slot(
    arm: str, tmp_path: Path, running: list[subprocess.Popen[str]]
) -> None:
    """Everything stands still for two seconds, as where a machine is paused, in the middle of a slot."""
    file = campaign(tmp_path, {arm: ARMS[arm]}, blocks=4, scenarios="spawn = { values = 600 }")
    running.append(process := start("run", file, "--results", tmp_path))
    wait_for(lambda: [line for folder in tmp_path.glob("test-*") for line in journal(folder)], 60)
    # Not between two slots: within the one that has begun, which has instances.
    wait_for(lambda: [words for _, words in family(process.pid) if "/init" in words], 60)
    everyone = tree(process.pid)
    for pid in everyone:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGSTOP)
    time.sleep(2)
    for pid in reversed(everyone):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGCONT)
    out, _ = process.communicate(timeout=120)
    lines = journal(results(tmp_path))
    (marked,) = [line for line in lines if line["status"] != "ok"]
    assert "the harness" in marked["reason"], marked["reason"]
    assert process.returncode == 5, out


def test_more_instances_than_a_login_may_open_files_for(tmp_path: Path) -> None:
    """The soft limit is raised for them; nobody is told to do so by hand."""
    file = campaign(tmp_path, {"bwrap": ARMS["bwrap"]}, blocks=1, scenarios="density = { instances = 80, step = 20 }")
    argv = [sys.executable, "-m", "bench", "run", str(file), "--results", str(tmp_path)]
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -Sn 256; exec "$0" "$@"', *argv],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (line,) = journal(results(tmp_path))
    assert [point["n"] for point in line["ramp"]] == [20, 40, 60, 80]


def test_a_ramp_that_the_hard_limit_ends_keeps_its_points(tmp_path: Path) -> None:
    file = campaign(tmp_path, {"bwrap": ARMS["bwrap"]}, blocks=1, scenarios="density = { instances = 80, step = 5 }")
    argv = [sys.executable, "-m", "bench", "run", str(file), "--results", str(tmp_path)]
    done = subprocess.run(
        ["/bin/sh", "-c", 'ulimit -n 256; exec "$0" "$@"', *argv],
        cwd=PROJECT,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    (line,) = journal(results(tmp_path))
    assert len(line["ramp"]) >= 3
    assert line["stop"].startswith("open files: this host lets a process have 256")
    report = (results(tmp_path) / "report.md").read_text()
    assert "open files" in report


def test_a_peer_goes_with_its_worker(tmp_path: Path, running: list[subprocess.Popen[str]]) -> None:
    inside = 'inside = { workloads = ["link_latency"], values = 100, timeout = "5 min" }'
    file = campaign(tmp_path, {"process": ARMS["process"]}, blocks=1, scenarios=inside)
    file.write_text(f'{file.read_text()}\n[envelope]\nlink = true\nrootfs = "debian"\n')
    running.append(process := start("run", file, "--results", tmp_path))

    def peers() -> list[int]:
        return [pid for pid, words in family(process.pid) if words[-2:] == ["--listen_port", "19765"]]

    wait_for(peers, 180)
    peer = peers()[0]
    os.kill(process.pid, signal.SIGSTOP)  # or it would tidy up itself
    os.kill(worker(process.pid), signal.SIGKILL)
    # Who is dead and has no parent to hear of it has no command line left.
    wait_for(lambda: not [words for pid, words in family(peer) if words], 10)
    os.kill(process.pid, signal.SIGCONT)
    out, _ = process.communicate(timeout=60)
    assert process.returncode == 5, out


def test_fault_sweep(tmp_path: Path, tare: Tare, running: list[subprocess.Popen[str]]) -> None:
    """kill -9 of the runner at 20 random moments: every slot exactly once, and nothing left over."""
    seed = os.environ.get("TARE_SWEEP_SEED") or str(random.SystemRandom().randrange(10**6))
    draw = random.Random(seed)
    arms = {name: ARMS[name] for name in ("process", "bwrap", "crun", "runc", "lxc", "nspawn", "uml", "qemu")}
    file = campaign(tmp_path, arms, blocks=7)
    running.append(process := start("run", file, "--results", tmp_path))
    for _ in range(20):
        time.sleep(draw.uniform(0.1, 4))
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        found = [folder for folder in tmp_path.glob("test-*") if (folder / "facts.json").exists()]
        again = ("resume", found[0]) if found else ("run", file, "--results", tmp_path)
        running.append(process := start(*again))
    output, _ = process.communicate(timeout=300)
    assert process.returncode == 0, f"TARE_SWEEP_SEED={seed}: {output}"
    folder = next(folder for folder in tmp_path.glob("test-*") if (folder / "facts.json").exists())
    assert_complete(folder)
    assert tare("clean").stdout == "nothing to remove\n"


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_interruption(number: signal.Signals, tmp_path: Path, tare: Tare, running: list[subprocess.Popen[str]]) -> None:
    """The running slot is taken down, the journal is whole, the exit code says so, and resuming finishes the rest."""
    file = campaign(tmp_path, {"crun": ARMS["crun"], "uml": ARMS["uml"]}, blocks=3)
    running.append(process := start("run", file, "--results", tmp_path))
    wait_for(lambda: [line for folder in tmp_path.glob("test-*") for line in journal(folder)])
    process.send_signal(number)
    output, _ = process.communicate(timeout=60)
    assert process.returncode == 130, output
    assert "resume" in output
    assert tare("clean").stdout == "nothing to remove\n"
    assert len(journal(results(tmp_path))) < 6
    assert tare("resume", results(tmp_path)).returncode == 0
    assert_complete(results(tmp_path))


def test_second_campaign_is_told_who_holds_the_host(
    tmp_path: Path, tare: Tare, running: list[subprocess.Popen[str]]
) -> None:
    file = campaign(tmp_path, {"uml": ARMS["uml"]}, blocks=20)
    running.append(process := start("run", file, "--results", tmp_path))
    wait_for(lambda: [line for folder in tmp_path.glob("test-*") for line in journal(folder)])
    second = tare("run", file, "--results", tmp_path / "second")
    assert second.returncode == 4
    assert f"pid {process.pid}" in second.stderr
    assert "campaign test" in second.stderr
    assert not (tmp_path / "second").exists()
    process.send_signal(signal.SIGINT)
    process.wait(60)


def test_full_disk(tmp_path: Path, tare: Tare) -> None:
    """A journal that cannot grow ends the campaign with a clear error; what it held stays, and resuming goes on."""
    small = tmp_path / "small"
    small.mkdir()
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=96k", "small", small], check=True)
    try:
        file = campaign(tmp_path, {"process": ARMS["process"], "crun": ARMS["crun"]}, blocks=20)
        full = tare("run", file, "--results", small)
        assert full.returncode == 5
        assert "disk is full" in full.stderr
        assert "Traceback" not in full.stderr
        folder = results(small)
        lines = journal(folder)
        assert 0 < len(lines) < 40
        assert {line["status"] for line in lines} == {"ok"}
        subprocess.run(["mount", "-o", "remount,size=64m", small], check=True)
        assert tare("resume", folder).returncode == 0
        assert_complete(folder)
    finally:
        subprocess.run(["umount", small], check=True)


def test_failing_slots_are_data(tmp_path: Path, tare: Tare) -> None:
    """A slot that cannot succeed is journaled with its reason; the others go on, and the exit code tells."""
    file = campaign(
        tmp_path,
        {"process": ARMS["process"], "uml": ARMS["uml"]},
        blocks=2,
        scenarios='boot = { timeout = "300 ms" }\nspawn = { workloads = ["sha256"] }',
    )
    done = tare("run", file, "--results", tmp_path)
    assert done.returncode == 5, done.stderr
    statuses = {(line["arm"], line["scenario"], line["status"]) for line in journal(results(tmp_path))}
    assert statuses == {
        ("process", "boot", "ok"),
        ("uml", "boot", "timeout"),
        ("process", "spawn", "ok"),
        ("uml", "spawn", "ok"),
    }
    late = next(line for line in journal(results(tmp_path)) if line["status"] == "timeout")
    assert "READY" in late["reason"] or "INIT" in late["reason"]
    assert "Checking that ptrace" in late["console"]
    assert "uml" in (results(tmp_path) / "report.md").read_text()


def test_groups_beside_our_own_go_too(tmp_path: Path, tare: Tare, running: list[subprocess.Popen[str]]) -> None:
    """A container runtime may follow its own group, or PID 1's, instead of the path that it is given."""
    mounts = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    hierarchy = next(Path(folder) for _, folder, kind, *_ in mounts if kind in ("cgroup", "cgroup2"))
    if not os.access(hierarchy, os.W_OK):
        pytest.skip("no cgroup may be made here")
    beside = hierarchy / f"beside-{os.getpid()}"
    beside.mkdir()
    try:
        file = campaign(tmp_path, {"process": ARMS["process"]}, blocks=50)
        enter = 'echo 0 >"$0" && exec "$@"'
        argv = [sys.executable, "-m", "bench", "run", file, "--results", tmp_path]
        running.append(
            process := subprocess.Popen(["sh", "-c", enter, beside / "cgroup.procs", *argv], cwd=PROJECT, text=True)
        )
        wait_for(lambda: [line for folder in tmp_path.glob("test-*") for line in journal(folder)], 180)
        (run,) = [found for found in state.runs() if found.pid == process.pid]
        process.kill()
        process.wait()
        group, stays = beside / f"tare-{run.id}/lxc/tare-{run.id}-1", beside / "tare/20261130"
        for folder in (group, stays):
            folder.mkdir(parents=True)
        done = tare("clean")
        assert str(beside / f"tare-{run.id}") in done.stdout
        assert sorted(path.name for path in beside.iterdir() if path.is_dir()) == ["tare"]
        assert stays.is_dir()
    finally:
        for inner, _, _ in os.walk(beside, topdown=False):
            Path(inner).rmdir()


def test_doctor_tells_of_kvm(tare: Tare) -> None:
    """/dev/kvm is no proof: the answer is that of a guest that was started."""
    done = tare("doctor", "--json", "kvm", "crun")
    answers = {(answer["backend"], answer["guest"]): answer for answer in json.loads(done.stdout)}
    assert answers["crun", "linux"]["runs"]
    assert {backend for backend, _ in answers} == {"kvm", "crun"}
    for answer in answers.values():
        # Each "no" is one line: why, and then what to do about it.
        assert answer["runs"] or re.fullmatch(r".+[;:] .+", answer["reason"]), answer


def test_exports(tmp_path: Path, tare: Tare) -> None:
    """pyperf reads what a campaign wrote."""
    file = campaign(tmp_path, {"process": ARMS["process"], "crun": ARMS["crun"]}, blocks=3)
    assert tare("run", file, "--results", tmp_path).returncode == 0
    folder = results(tmp_path)
    for words in (
        ["stats", folder / "pyperf/crun.json"],
        ["compare_to", folder / "pyperf/process.json", folder / "pyperf/crun.json"],
    ):
        done = subprocess.run([sys.executable, "-m", "pyperf", *words], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        assert "boot" in done.stdout
    assert {"report.html", "report.md", "slots.parquet", "samples.parquet"} <= {path.name for path in folder.iterdir()}


#: Shows the project ($1) in a folder ($2) that everyone may enter, and runs what follows there.
SHOWN = 'mount --bind "$1" "$2" && cd "$2" && shift 2 && exec "$@"'


def test_an_ordinary_user_measures_what_he_can() -> None:
    """Without rights: User-Mode Linux, and what only needs a user namespace, run uncaged; runc is left out with its
    reason, and nothing stays.
    """
    somebody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--no-new-privs")
    runs = {"uml": 2}
    # In a chroot the kernel makes nobody a user namespace.
    if subprocess.run([*somebody, "unshare", "--user", "true"], stderr=subprocess.DEVNULL).returncode == 0:
        runs |= {"process": 2, "bwrap": 2}
    with tempfile.TemporaryDirectory(prefix="tare-somebody-") as home:
        folder, project = Path(home), Path(home) / "project"
        project.mkdir()
        os.chown(folder, 65534, 65534)
        file = campaign(folder, {name: (name, {}) for name in ("uml", "process", "bwrap", "runc")}, blocks=2)
        python = project / Path(sys.executable).relative_to(PROJECT)
        done = subprocess.run(
            [
                *("unshare", "--mount", "--propagation", "private", "sh", "-c", SHOWN, "shown", PROJECT, project),
                *(*somebody, python, "-m", "bench", "run", file, "--results", home),
            ],
            capture_output=True,
            text=True,
            timeout=300,
            env={"PATH": os.environ["PATH"], "HOME": home, "LANG": "C.UTF-8"},
        )
        assert done.returncode == 0, done.stdout + done.stderr
        lines = read_journal(results(folder) / JOURNAL)
        assert Counter(line["arm"] for line in lines if line["status"] == "ok") == runs
        assert not any(line["equivalence"]["caged"] for line in lines)
        plan = read_plan(results(folder))
        assert plan is not None
        assert any(entry["arm"] == "runc" and "root" in entry["reason"] for entry in plan["left_out"]), plan["left_out"]
        assert "uncaged" in (results(folder) / "report.md").read_text()
        assert not Path("/tmp/tare-65534").exists()
        assert not [pid for pid, environ in environments() if f"HOME={home}" in environ]


def environments() -> Iterator[tuple[str, list[str]]]:
    """Of every process on this host: its pid and its variables."""
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            yield folder.name, (folder / "environ").read_text(errors="replace").split("\0")
