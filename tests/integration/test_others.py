"""Other people's things, called as Tare's are, stand whatever Tare does; what a killed run left goes."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import image, process, state

from .conftest import ARMS, PROJECT
from .test_campaigns import campaign, journal, results, wait_for, worker

pytestmark = pytest.mark.usefixtures("nothing_left")

Words = list[str | Path]
#: In namespaces of its own, as what `docker run` starts.
APART: Words = ["unshare", "--pid", "--net", "--mount", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc"]
#: With state of its own, too: nothing that is written down in there is seen outside.
ALONE = 'mkdir -p /var/lib/tare "$0"; for d in /run /var/lib /var/tmp; do mount -t tmpfs t $d; done; exec "$@"'
_LIMIT = 30.0


def hierarchies() -> list[Path]:
    lines = [line.split() for line in Path("/proc/self/mounts").read_text().splitlines()]
    return [Path(place) for _, place, kind, *_ in lines if kind in ("cgroup", "cgroup2") and os.access(place, os.W_OK)]


class Zoo:
    """Other people's things. name: 8 hex digits, as a date is, which no run has."""

    def __init__(self, stack: contextlib.ExitStack, tmp: Path, name: str) -> None:
        self._stack = stack
        self._name = name
        self._files: list[Path] = []
        self._groups: list[Path] = []
        self.processes: list[subprocess.Popen[bytes]] = []
        # The network that Tare is to think the host's: a device in the real one would be a risk.
        self.network: Words = [process.require("nsenter", "util-linux"), f"--net={self._own_network()}"]
        self.start("/usr/bin/qemu-system-x86_64", f"-drive file=/srv/tare/{name}/payroll.qcow2")
        self.start(tmp / "qemu-notes/viewer", "-pidfile", f"/home/ann/tare/{name}/notes.txt", f"/run/tare/{name}/x")
        self.start("sleep", TARE_RUN=name)
        self._make_files()
        self._make_groups()
        for words in (
            ["link", "set", "lo", "up"],
            ["link", "add", f"tare-{name}", "type", "veth", "peer", "name", f"tare-{name}n"],
        ):
            subprocess.run([*self.network, process.require("ip", "iproute2"), *words], check=True)

    def _own_network(self) -> str:
        holder = subprocess.Popen(["unshare", "--net", "sleep", "3000"])
        self._stack.callback(holder.wait)
        self._stack.callback(holder.kill)
        wait_for(lambda: b"sleep" in Path(f"/proc/{holder.pid}/cmdline").read_bytes()[:5], _LIMIT)
        return f"/proc/{holder.pid}/ns/net"

    def start(self, called: str | Path, *words: str, **environment: str) -> subprocess.Popen[bytes]:
        argv = [str(called), "-c", "sleep 3000; true", *words]
        child = subprocess.Popen(argv, executable="/bin/sh", env={**os.environ, **environment}, start_new_session=True)
        self._stack.callback(child.wait)
        self._stack.callback(os.killpg, child.pid, signal.SIGKILL)
        self.processes.append(child)
        return child

    def _make_files(self) -> None:
        name = self._name
        for place in (
            *(f"/var/tmp/tare-job-{name}", f"/var/tmp/tare-disk-{name}", f"/var/tmp/tare-{name}"),
            *(f"/dev/shm/tare-{name}", f"/run/tare/{name}", f"/run/lxc/lock/run/tare/{name}"),
            *(f"/run/systemd/nspawn/propagate/tare-{name}-s1-1", f"/lib/modules/.tare-{name}"),
        ):
            for folder in reversed(Path(place).parents):
                if not folder.exists():
                    folder.mkdir()
                    self._stack.callback(folder.rmdir)
            Path(place).mkdir()
            self._stack.callback(shutil.rmtree, place)
            (Path(place) / "owner.json").write_text('{"pid": 1, "born": -5}')
            self._files.append(Path(place) / "owner.json")
        shared = Path(f"/dev/shm/tare-{name}-cache")
        shared.write_text("x")
        self._stack.callback(shared.unlink)
        self._files.append(shared)

    def _make_groups(self) -> None:
        """One with a process in it, and others that are empty."""
        for mount in hierarchies():
            for path in (f"annslab/tare/{self._name}", f"tare/{self._name}/in", f"tare-{self._name}"):
                for folder in reversed((mount / path, *(mount / path).parents)):
                    if not folder.exists():
                        folder.mkdir()
                        self._stack.callback(folder.rmdir)
                self._groups.append(mount / path)
            with contextlib.suppress(OSError):  # a group that has no CPUs yet
                (mount / path / "cgroup.procs").write_text(str(self.processes[0].pid))
                self._stack.callback((mount / "cgroup.procs").write_text, str(self.processes[0].pid))

    def assert_stands(self) -> None:
        assert [each.args for each in self.processes if each.poll() is not None] == []
        assert [str(path) for path in (*self._files, *self._groups) if not path.exists()] == []
        devices = [*self.network, process.require("ip", "iproute2"), "-brief", "link"]
        seen = subprocess.run(devices, check=True, capture_output=True, text=True).stdout
        assert f"tare-{self._name}" in seen
        assert f"tare-{self._name}n" in seen


@pytest.fixture
def zoo(tmp_path: Path) -> Iterator[Zoo]:
    with contextlib.ExitStack() as stack:
        yield Zoo(stack, tmp_path, secrets.token_hex(4))


def tare(*words: object, before: Words | None = None, timeout: float = 300) -> subprocess.CompletedProcess[str]:
    """The command line, to its end. before: words before it."""
    argv = [*(before or []), sys.executable, "-m", "bench", *map(str, words)]
    return subprocess.run(argv, capture_output=True, text=True, timeout=timeout, cwd=PROJECT)


@pytest.fixture
def start() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """As tare(), of a campaign that goes on for long; it is killed in the end."""
    running: list[subprocess.Popen[str]] = []

    def begin(folder: Path, *arms: str, before: Words | None = None, blocks: int = 2000) -> subprocess.Popen[str]:
        file = campaign(folder, {arm: ARMS[arm] for arm in arms}, blocks=blocks, scenarios="spawn = {}")
        argv = [*(before or []), sys.executable, "-m", "bench", "run", file, "--results", folder]
        running.append(subprocess.Popen(argv, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, cwd=PROJECT))
        return running[-1]

    yield begin
    for each in running:
        each.kill()
        each.communicate()


def measured(folder: Path) -> list[dict[str, Any]]:
    return [line for each in folder.glob("test-*") for line in journal(each)]


def test_others_things_stand_and_a_killed_runs_go(
    tmp_path: Path, zoo: Zoo, start: Callable[..., subprocess.Popen[str]]
) -> None:
    arms = ("process", "crun", "lxc", "nspawn")
    done = tare("doctor", *arms, before=zoo.network)
    assert done.returncode == 0, done.stderr
    zoo.assert_stands()
    killed = start(tmp_path, *arms, before=zoo.network, blocks=3)
    wait_for(lambda: len(measured(tmp_path)) > 4, 120)
    os.kill(worker(killed.pid), signal.SIGSTOP)  # it would be killed with the other
    killed.kill()
    killed.wait()
    zoo.assert_stands()
    done = tare("resume", results(tmp_path), before=zoo.network)
    assert done.returncode == 0, done.stderr
    zoo.assert_stands()
    killed = start(tmp_path / "again", *arms, before=zoo.network) if (tmp_path / "again").mkdir() is None else None
    assert killed
    wait_for(lambda: measured(tmp_path / "again"), 120)
    killed.kill()
    killed.wait()
    (run,) = [found for found in state.runs() if found.pid == killed.pid]
    done = tare("clean", before=zoo.network)
    assert done.returncode == 0, done.stderr
    assert str(run.folder) in done.stdout
    assert zoo._name not in done.stdout
    assert tare("clean", before=zoo.network).stdout == "nothing to remove\n"
    zoo.assert_stands()


@pytest.mark.parametrize("shared", [True, False], ids=["same state", "state of its own"])
def test_a_run_in_a_container_lives_whatever_the_host_does(
    shared: bool, tmp_path: Path, start: Callable[..., subprocess.Popen[str]]
) -> None:
    """And the other way round: the host's run is none of the container's business."""
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    apart = [*APART, *([] if shared else ["sh", "-c", ALONE, inside])]
    contained = start(inside, "process", "crun", before=apart)
    wait_for(lambda: measured(inside), 120)
    assert tare("clean").stdout == "nothing to remove\n"
    own = campaign(outside, {"process": ARMS["process"]}, blocks=2)
    done = tare("run", own, "--results", outside)
    assert done.returncode == 0, done.stderr
    count = len(measured(inside))
    wait_for(lambda: len(measured(inside)) > count + 2, 120)
    assert contained.poll() is None
    contained.send_signal(signal.SIGINT)
    for pid in process.tree(contained.pid):
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGINT)
    contained.wait(60)
    assert {line["status"] for line in measured(inside)} == {"ok"}
    shutil.rmtree(outside)
    outside.mkdir()
    host = start(outside, "process", "crun")
    wait_for(lambda: measured(outside), 120)
    begin = time.monotonic()
    done = tare("run", own_again(inside), "--results", inside / "again", before=apart)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "cannot be removed" not in done.stdout + done.stderr
    assert time.monotonic() - begin < 60
    count = len(measured(outside))
    wait_for(lambda: len(measured(outside)) > count + 2, 120)
    assert host.poll() is None
    host.send_signal(signal.SIGINT)
    host.wait(60)
    assert {line["status"] for line in measured(outside)} == {"ok"}


def own_again(folder: Path) -> Path:
    (folder / "again").mkdir()
    return campaign(folder / "again", {"process": ARMS["process"], "crun": ARMS["crun"]}, blocks=2)


def test_nothing_is_left_wherever_a_run_is_killed(tmp_path: Path, start: Callable[..., subprocess.Popen[str]]) -> None:
    """From its first moment on."""
    for number in range(12):
        folder = tmp_path / str(number)
        folder.mkdir()
        run = start(folder, "process", "crun")
        time.sleep(0.3 + 0.17 * number)
        run.kill()
        run.wait()
        if number % 3 == 2:
            assert tare("clean").returncode == 0
    assert tare("clean").returncode == 0
    assert tare("clean").stdout == "nothing to remove\n"
    assert state.runs() == []
    assert not state.records().exists()


@pytest.fixture
def servers(zoo: Zoo) -> Iterator[Callable[..., str]]:
    """Somebody's Redis on the port that people take for it, and what listens on others; asks the Redis."""
    tree = image.build("debian").tree
    with contextlib.ExitStack() as stack:
        place = Path(stack.enter_context(_folder()))
        argv = [*zoo.network, process.require("unshare", "util-linux"), "--mount", "sh", "-c"]
        script = (
            'mount --bind "$0" "$1" && mount -t tmpfs t "$1/tmp" && mount --rbind /dev "$1/dev" && '
            "exec chroot $1 redis-server --port 6399 --save '' --dir /tmp"
        )
        redis = subprocess.Popen([*argv, script, tree, place], stdout=subprocess.DEVNULL)
        stack.callback(redis.wait)
        stack.callback(redis.kill)

        def ask(*words: str) -> str:
            inside = [*zoo.network, "chroot", tree, "redis-cli", "-p", "6399", *words]
            return subprocess.run(inside, capture_output=True, text=True, timeout=30).stdout.strip()

        wait_for(lambda: ask("ping") == "PONG", _LIMIT)
        assert ask("set", "mine", "precious") == "OK"
        yield ask
        assert redis.poll() is None


@contextlib.contextmanager
def _folder() -> Iterator[str]:
    place = Path("/tmp") / f"others-{secrets.token_hex(4)}"
    place.mkdir()
    try:
        yield str(place)
    finally:
        place.rmdir()


def test_somebodys_servers_are_neither_asked_nor_ended(tmp_path: Path, zoo: Zoo, servers: Callable[..., str]) -> None:
    """Where the arm has no network of its own, and the ports are the host's."""
    names = ("redis", "redis_serving", "nginx", "iperf3")
    listed = ", ".join(f'"{name}"' for name in names)
    inside = f"inside = {{ workloads = [{listed}], warmups = 0, values = 2 }}"
    file = campaign(tmp_path, {"process": ARMS["process"]}, blocks=1, scenarios=inside)
    file.write_text(f'{file.read_text()}\n[envelope]\nrootfs = "debian"\nmemory = "256 MiB"\n')
    before = servers("info", "commandstats")
    done = tare("run", file, "--results", tmp_path, before=zoo.network)
    assert done.returncode == 0, done.stdout + done.stderr
    (line,) = measured(tmp_path)
    assert {sample["metric"].partition(".")[0] for sample in line["samples"]} >= set(names)
    assert servers("get", "mine") == "precious"
    assert servers("dbsize") == "1"
    after = servers("info", "commandstats")
    assert {word for word in ("cmdstat_config", "cmdstat_shutdown", "cmdstat_auth") if word in after} == set()
    assert after.count("cmdstat_ping:calls=1,") == before.count("cmdstat_ping:calls=1,")
    zoo.assert_stands()


@pytest.fixture
def docker(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., list[str]]]:
    """A Docker daemon that somebody has running, by which DOCKER_HOST leads; asks it."""
    client, dockerd = process.require("docker", "docker.io"), process.require("dockerd", "docker.io")
    # Its sockets lie in there, whose paths may not be long.
    with tempfile.TemporaryDirectory(prefix="docker-", dir="/tmp") as place:
        folder = Path(place)
        host = f"unix://{folder / 'docker.sock'}"
        # As in bench.backends._dockerd: nothing stays in /run, and no profile is loaded.
        hidden = (
            "for d in /run/containerd /run/docker /sys/kernel/security; do mkdir -p $d && mount -t tmpfs t $d; done; "
        )
        argv = ["unshare", "--mount", "sh", "-c", hidden + 'exec "$@"', place, dockerd, "--host", host]
        argv += [f"--{name}={folder / name}" for name in ("data-root", "exec-root", "pidfile")]
        argv += ["--bridge=none", "--iptables=false", "--exec-opt=native.cgroupdriver=cgroupfs", "--storage-driver=vfs"]
        with (folder / "log").open("wb") as log:
            daemon = subprocess.Popen(argv, stdout=log, stderr=log)
        monkeypatch.setenv("DOCKER_HOST", host)
        monkeypatch.setenv("DOCKER_CONFIG", place)

        def ask(*words: str, check: bool = True) -> list[str]:
            done = subprocess.run([client, *words], capture_output=True, text=True, timeout=60, check=False)
            assert done.returncode == 0 or not check, done.stderr
            return done.stdout.split()

        try:
            wait_for(lambda: ask("version", "--format", "{{.Server.Version}}", check=False), 60)
            yield ask
        finally:
            daemon.terminate()
            daemon.wait(60)


def test_somebodys_docker_keeps_its_images(
    tmp_path: Path, docker: Callable[..., list[str]], start: Callable[..., subprocess.Popen[str]]
) -> None:
    empty = tmp_path / "empty.tar"
    subprocess.run(["tar", "-cf", empty, "--files-from", "/dev/null"], check=True)
    for name in ("tare:latest", "tare:20261130", "tare.invalid/rootfs:20261130", "tare:deadbeef"):
        docker("import", "--change", "LABEL invalid.tare.run=20261130", str(empty), name)
    docker("create", "--name=tare-20261130-s1-1", "--label=invalid.tare.run=20261130", "tare:latest", "/init")

    def there() -> list[str]:
        images = docker("image", "ls", "--all", "--no-trunc", "--format={{.Repository}}:{{.Tag}}={{.ID}}")
        return sorted(images + docker("container", "ls", "--all", "--no-trunc", "--format={{.Names}}={{.ID}}"))

    before = there()
    assert len(before) == 5
    arm = {"docker": ("docker", {"daemon": "user"})}
    file = campaign(tmp_path, arm, blocks=2, scenarios="spawn = {}")
    done = tare("run", file, "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    assert there() == before
    (tmp_path / "again").mkdir()
    file = campaign(tmp_path / "again", arm, blocks=200, scenarios="spawn = {}")
    argv = [sys.executable, "-m", "bench", "run", file, "--results", tmp_path / "again"]
    with subprocess.Popen(argv, stdout=subprocess.DEVNULL, cwd=PROJECT) as killed:
        try:
            wait_for(lambda: measured(tmp_path / "again"), 120)
        finally:
            killed.kill()
    (run,) = [found for found in state.runs() if found.pid == killed.pid]
    assert docker("image", "ls", "--quiet", "--filter", f"label=invalid.tare.run={run.id}")
    done = tare("clean")
    assert "removed Docker image" in done.stdout, done
    # What has ended is forgotten by the daemon itself, soon.
    wait_for(lambda: there() == before, 60)
    assert tare("clean").stdout == "nothing to remove\n"
