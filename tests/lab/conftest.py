"""The virtual lab, up for as long as the tests run, and what a host must not be left with."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from bench import lab
from bench.lab import LabHost

PROJECT = Path(__file__).resolve().parents[2]
#: Everything of Tare's that may be on a host: processes, groups, folders of runs, domains.
LEFT = """
grep -zls '^TARE_RUN=' /proc/[0-9]*/environ
ls -d /run/tare/* /var/lib/tare/*
find /sys/fs/cgroup -type d -name 'tare-*'
for uri in qemu:///system xen:///system; do virsh -qc $uri list --all --name | grep tare-; done
ls /sys/class/net | grep ^tare-
ls -d /dev/shm/tare-* /var/tmp/tare-*
losetup -l -n -O BACK-FILE
grep -o ' [^ ]*/tare/[^ ]* ' /proc/mounts
true
"""


def tare(*words: object, timeout: float = 900, **environment: str) -> subprocess.CompletedProcess[str]:
    """The command line, to its end."""
    return subprocess.run(
        [sys.executable, "-m", "bench", *map(str, words)],
        capture_output=True,
        text=True,
        timeout=timeout,
        cwd=PROJECT,
        check=False,
        env=_environment(environment),
    )


def start(*words: object, **environment: str) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "bench", *map(str, words)],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        cwd=PROJECT,
        env=_environment(environment),
        start_new_session=True,
    )


def _environment(more: dict[str, str]) -> dict[str, str]:
    return {**os.environ, **more}


def on(name: str, command: str) -> str:
    """What a command prints on a lab host."""
    argv = [*lab.ssh_argv(lab.running()[name]), command]
    return subprocess.run(argv, capture_output=True, text=True, timeout=120, check=True).stdout


class Coming:
    """A lab host that is started, and built where it is not. One that is up already is used, and left so."""

    def __init__(self, name: str) -> None:
        self.name = name
        self._starter = None if name in lab.running() else start("lab", "up", name)

    def wait(self) -> None:
        """Until it is up."""
        if self._starter:
            said, _ = self._starter.communicate(timeout=1800)
            assert self._starter.returncode == 0, said

    def down(self) -> None:
        """As it was before."""
        if self._starter:
            if self._starter.poll() is None:
                self._starter.terminate()
                self._starter.communicate()
            self._starter = None
            done = tare("lab", "down", self.name)
            assert done.returncode == 0, done.stderr
            assert self.name not in lab.running()


@contextlib.contextmanager
def _coming(name: str) -> Iterator[Coming]:
    host = Coming(name)
    try:
        yield host
    finally:
        host.down()


@pytest.fixture(scope="session")
def debian() -> Iterator[Callable[[], LabHost]]:
    """lab-debian, as it is up now: it may have been switched off and on."""
    with _coming("lab-debian") as host:
        host.wait()
        yield lambda: lab.running()["lab-debian"]


@pytest.fixture(scope="session")
def coming_xen(request: pytest.FixtureRequest, debian: object) -> Iterator[Coming | None]:
    """lab-xen takes minutes to come up, and one processor: the tests before the one that wants it need not wait."""
    if any("xen" in getattr(item, "fixturenames", ()) for item in request.session.items):
        with _coming("lab-xen") as host:
            yield host
    else:
        yield None


@pytest.fixture
def xen(coming_xen: Coming | None) -> Iterator[None]:
    assert coming_xen
    coming_xen.wait()
    yield
    try:
        assert_nothing_left("lab-xen")
    finally:
        coming_xen.down()


@pytest.fixture
def nothing_left(debian: object, coming_xen: object) -> Iterator[None]:
    """The test leaves the lab hosts as it found them."""
    yield
    for name in lab.running():
        assert_nothing_left(name)


def assert_nothing_left(name: str) -> None:
    deadline = time.monotonic() + 60
    while left := on(name, LEFT).strip():
        assert time.monotonic() < deadline, f"{name}: {left}"
        time.sleep(2)


class Cut:
    """A way to a host that can be cut: bytes are then neither passed on nor refused, as by a pulled cable."""

    def __init__(self, port: int) -> None:
        self._to = port
        self._open = threading.Event()
        self._open.set()
        self._listener = socket.create_server(("127.0.0.1", 0))
        self._ends: list[socket.socket] = []
        self.port: int = self._listener.getsockname()[1]
        threading.Thread(target=self._accept, daemon=True).start()

    def cut(self) -> None:
        self._open.clear()

    def mend(self) -> None:
        self._open.set()

    def close(self) -> None:
        self._open.set()
        for end in (self._listener, *self._ends):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)
            end.close()

    def _accept(self) -> None:
        while True:
            try:
                near, _ = self._listener.accept()
                far = socket.create_connection(("127.0.0.1", self._to))
            except OSError:
                return
            self._ends += [near, far]
            for source, target in ((near, far), (far, near)):
                threading.Thread(target=self._pass, args=(source, target), daemon=True).start()

    def _pass(self, source: socket.socket, target: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(1 << 16):
                self._open.wait()
                target.sendall(data)
        for end in (source, target):
            with contextlib.suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)


@pytest.fixture
def inventory(tmp_path: Path) -> Callable[..., dict[str, str]]:
    """inventory(name, port, …): an environment in which a lab host is also known by another name."""

    def write(name: str, host: LabHost, port: int | None = None, wait: str = "5 min") -> dict[str, str]:
        file = tmp_path / "hosts.toml"
        file.write_text(
            f'[{name}]\naddress = "127.0.0.1"\nuser = "root"\nport = {port or host.port}\nkey = "{host.key}"\n'
            f'known_hosts = "{_known(host, port or host.port, tmp_path)}"\nwait = "{wait}"\nemulated = true\n'
        )
        return {"TARE_HOSTS": str(file)}

    return write


def _known(host: LabHost, port: int, folder: Path) -> Path:
    """The host's key, as that of another port."""
    file = folder / "known_hosts"
    file.write_text(host.known_hosts.read_text().replace(f":{host.port} ", f":{port} "))
    return file
