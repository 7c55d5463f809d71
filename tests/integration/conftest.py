"""What the integration tests share: the backends there are, which of them run here, and a check for anything left."""

from __future__ import annotations

import functools
import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import cage, doctor, image, kernels, lock, state, workers
from bench.backends import base

PROJECT = Path(__file__).resolve().parents[2]
DRIVE = Path(__file__).with_name("drive.py")

#: Backends by file name, each found as `tare doctor` finds it, and one more packing of the rootfs.
ARMS: dict[str, tuple[str, dict[str, Any]]] = {name: (name, {}) for name in base.names() if name != "oci"} | {
    "oci": ("oci", {"runtime": "crun"}),
    "uml-ext4": ("uml", {"root": "ext4"}),
}


@functools.cache
def proved(backend: str) -> dict[str, doctor.Answer]:
    """What the doctor says of a backend on this host, by guest."""
    return {answer.guest: answer for answer in doctor.examine(names=[backend])}


@pytest.fixture
def require_guest() -> Callable[[str, str], None]:
    """Skips what this host cannot run, with the doctor's reason; .ci/run makes such a skip a failure."""

    def check(backend: str, guest: str) -> None:
        answer = proved("crun" if backend == "oci" else backend)[guest]
        if not answer.runs:
            pytest.skip(f"{backend} ({guest}): {answer.reason}")

    return check


def things() -> dict[str, set[str]]:
    """Everything of Tare's on this host, by kind."""
    found: dict[str, set[str]] = {"process": set(), "folder": set()}
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit() and int(entry.name) != os.getpid():
            try:
                environment = (entry / "environ").read_bytes()
            except OSError:
                continue
            if b"\0TARE_RUN=" in b"\0" + environment:
                found["process"].add(f"{entry.name} {(entry / 'comm').read_text().strip()}")
    if state.top().is_dir():
        found["folder"].update(str(path) for path in state.top().iterdir() if path.is_dir())
    found["record"] = {str(path) for path in state.records().glob("*")}
    found["mount"] = {line for line in Path("/proc/self/mounts").read_text().splitlines() if "tare" in line.split()[1]}
    kept = [*Path("/run/lxc/lock").glob("run/**/*"), *Path("/run/systemd/nspawn").glob("*/*")]
    # A lock of the tree and of no run: a killed campaign leaves it, and the next container of that tree removes it.
    found["runtime's file"] = {str(path) for path in kept if "/locks/inode-" not in str(path)}
    groups = [path for folder in _own_groups() for path in folder.iterdir() if path.is_dir()]
    found["cgroup"] = {str(path) for path in groups}
    found["device"] = {path.name for path in Path("/sys/class/net").iterdir()}
    found["disk"] = {str(path) for path in Path("/var/tmp").glob("tare-*")} | {
        file.read_text() for file in Path("/sys/block").glob("loop*/loop/backing_file")
    }
    found["shared memory"] = {path.name for path in Path("/dev/shm").iterdir()}
    return found


def _own_groups() -> Iterator[Path]:
    """Where a runtime that is not told where would make groups: each hierarchy's root, and the group that we are in."""
    mounted = [line.split(" ") for line in Path("/proc/self/mounts").read_text().splitlines()]
    ours = [line.split(":", 2)[1:] for line in Path("/proc/self/cgroup").read_text().splitlines()]
    for _, folder, kind, options, *_ in mounted:
        if kind in ("cgroup", "cgroup2"):
            yield Path(folder)
            for names, path in ours:
                if path != "/" and (set(names.split(",")) <= set(options.split(",")) if names else kind == "cgroup2"):
                    group = Path(folder) / path.lstrip("/")
                    if group.is_dir():
                        yield group


@pytest.fixture
def nothing_left() -> Iterator[None]:
    """The test leaves this host as it found it."""
    before = things()
    yield
    after = things()
    left = {kind: sorted(after[kind] - before[kind]) for kind in after if after[kind] - before[kind]}
    assert not left, left


@pytest.fixture
def drive(tmp_path: Path) -> Callable[..., dict[str, Any]]:
    """drive(arm, *steps): run steps on a real instance; see drive.py. disk: bytes of a data disk for it; link: whether
    it has one."""

    def run(arm: str, *steps: list[Any], disk: int | None = None, link: bool = False) -> dict[str, Any]:
        backend, options = ARMS[arm]
        rootfs = image.build("tiny")
        booted = base.load(backend).kernel
        kernel = kernels.prepare(kernels.Wish(), booted, print).booted if booted else None
        envelope = {"memory": 128 << 20, "disk": disk, "link": link}
        with lock.hold(), state.enter("a test") as own:
            spec = {"backend": backend, "options": options}
            cpus = cage.divide_cpus(1)
            setup = workers.setup(own.id, own.folder / arm, arm, spec, rootfs, envelope, cpus, kernel)
            done = subprocess.run(
                [sys.executable, DRIVE],
                input=json.dumps({"setup": setup, "steps": steps}),
                capture_output=True,
                text=True,
                timeout=240,
                cwd=PROJECT,
                env={**os.environ, "PYTHONPATH": str(PROJECT), "TARE_RUN": own.id},
            )
            assert done.returncode == 0, done.stderr
            from bench import clean

            assert clean.release(own) == []
        found: dict[str, Any] = json.loads(done.stdout)
        return found

    return run


@pytest.fixture(scope="session")
def tare() -> Callable[..., subprocess.CompletedProcess[str]]:
    """tare(*words): the command line, to its end."""

    def run(*words: object, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        argv = [sys.executable, "-m", "bench", *map(str, words)]
        return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, cwd=PROJECT)

    return run
