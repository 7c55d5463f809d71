"""A Docker daemon of the worker's own, with a containerd of its own: nobody else's containers, and nothing that stays.

Both die with the worker, however it dies. What they keep lies in the worker's folder or, where Docker lets nobody
choose the place (shims' sockets in /run/containerd, network namespaces), in a /run that only the worker and its
children see.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterable, Sequence
from pathlib import Path

from bench import mounts, process, state
from bench.backends._command import bare_environment
from bench.errors import CommandError, HostError

#: The package of its command, which is in one with the daemon up to Debian 12.
CLIENT = "docker.io (Debian 13: docker-cli)"
_START_LIMIT = 40.0
_STOP_LIMIT = 10.0
_SHIM = "containerd-shim-runc-v2"

#: containerd tells its shims no group, and Docker hands on none: this stands before the real shim in containerd's PATH,
#: and puts the one that stays (the action, `start`, is the last word) into the cage of the instance that is starting.
#: Docker can also mask nothing only where it protects nothing; so what it masks is taken out of the bundle, in which
#: containerd starts shims.
_SHIM_SCRIPT = """\
#!/bin/sh
for action; do :; done
if [ "$action" = start ]; then
	while read -r door; do echo 0 >"$door" || exit 97; done <'{doors}'
	sed -i 's/"maskedPaths":\\[[^]]*]/"maskedPaths":[]/' config.json || exit 97
fi
exec '{shim}' "$@"
"""

_CONTAINERD = """\
version = 2
root = "{folder}/containerd"
state = "{folder}/containerd-state"
disabled_plugins = ["io.containerd.grpc.v1.cri", "io.containerd.internal.v1.opt", "io.containerd.snapshotter.v1.aufs",
  "io.containerd.snapshotter.v1.btrfs", "io.containerd.snapshotter.v1.devmapper", "io.containerd.snapshotter.v1.zfs"]
[debug]
level = "warn"
[grpc]
address = "{folder}/containerd.sock"
"""


class Daemon:
    """containerd and dockerd, running. host: how clients reach it; the worker must have a private mount namespace."""

    def __init__(self, folder: Path) -> None:
        """Raises HostError with the daemon's last words where it does not come up."""
        self._folder = folder
        self.host = f"unix://{folder / 'docker.sock'}"
        mounts.empty(Path("/run"), state.top())
        # Where it is to be seen, AppArmor gets a profile from dockerd, which would stay loaded.
        mounts.hide(Path("/sys/kernel/security"))
        if Path("/etc/docker").is_dir():  # dockerd leaves a key there
            (folder / "etc").mkdir()
            mounts.bind(folder / "etc", Path("/etc/docker"))
        self._doors = folder / "doors"
        self._write_settings()
        self._children: list[subprocess.Popen[bytes]] = []
        containerd, dockerd = process.require("containerd", "containerd"), process.require("dockerd", "docker.io")
        try:
            self._start("containerd", [containerd, "--config", str(folder / "containerd.toml")])
            self._await("containerd", folder / "containerd.sock")
            self._start("dockerd", [dockerd, "--config-file", str(folder / "daemon.json")])
            self._await("dockerd", folder / "docker.sock")
            self._prove()
        except BaseException:
            self.close()
            raise

    def _write_settings(self) -> None:
        folder = self._folder
        (folder / "containerd.toml").write_text(_CONTAINERD.format(folder=folder))
        settings = {
            "hosts": [self.host],
            "containerd": str(folder / "containerd.sock"),
            "data-root": str(folder / "data"),
            "exec-root": str(folder / "exec"),
            "pidfile": str(folder / "dockerd.pid"),
            "exec-opts": ["native.cgroupdriver=cgroupfs"],
            "bridge": "none",
            "iptables": False,
            "ip6tables": False,
            "ip-forward": False,
            "ip-masq": False,
            "userland-proxy": False,
            "log-level": "warn",
        }
        (folder / "daemon.json").write_text(json.dumps(settings))
        (folder / "bin").mkdir()
        mounts.programs(folder / "bin")
        shim = folder / "bin" / _SHIM
        shim.write_text(_SHIM_SCRIPT.format(doors=self._doors, shim=process.require(_SHIM, "containerd")))
        shim.chmod(0o755)

    def _start(self, name: str, argv: Sequence[str]) -> None:
        environment = bare_environment({})
        environment["PATH"] = f"{self._folder / 'bin'}:{environment['PATH']}"
        with self._log(name).open("wb") as log:
            self._children.append(
                subprocess.Popen(
                    [process.require("setpriv", "util-linux"), "--pdeathsig", "KILL", *argv],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=log,
                    cwd=self._folder,
                    env=environment,
                )
            )

    def _log(self, name: str) -> Path:
        return self._folder / f"{name}.log"

    def _await(self, name: str, socket: Path) -> None:
        deadline = time.monotonic() + _START_LIMIT
        while not socket.exists():
            if self._children[-1].poll() is not None or time.monotonic() > deadline:
                said = self._log(name).read_text(errors="replace").strip().splitlines()
                raise HostError(f"{name} did not come up: {said[-1] if said else 'it said nothing'}"[:500])
            time.sleep(0.02)

    def _prove(self) -> None:
        """The socket is there before somebody listens, and a client may be too new for a daemon."""
        argv = [process.require("docker", CLIENT), "--host", self.host, "version"]
        try:
            process.run(argv, timeout=_START_LIMIT, env=bare_environment({}))
        except CommandError as error:
            raise HostError(f"Docker's client and its daemon do not work together: {error}") from error

    def lead_to(self, doors: Iterable[str]) -> None:
        """The shim of the next container enters by these files."""
        self._doors.write_text("".join(f"{door}\n" for door in doors))

    def keep_to(self, cpus: Iterable[int]) -> None:
        """Both daemons' threads run on these CPUs."""
        for child in self._children:
            for task in Path(f"/proc/{child.pid}/task").iterdir():
                with contextlib.suppress(OSError):
                    os.sched_setaffinity(int(task.name), cpus)

    def close(self) -> None:
        while self._children:
            child = self._children.pop()
            child.send_signal(signal.SIGTERM)
            try:
                child.wait(_STOP_LIMIT)
            except subprocess.TimeoutExpired:
                child.kill()
                with contextlib.suppress(subprocess.TimeoutExpired):
                    child.wait(_STOP_LIMIT)
