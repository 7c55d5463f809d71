"""Containers by Docker: by a daemon of the worker's own, or by the one that the user has running."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench import confine, mounts, oom, process, state
from bench.backends._command import RUN_VARIABLE, CommandBackend, CommandInstance, bare_environment
from bench.backends._dockerd import CLIENT, Daemon
from bench.backends.base import Order
from bench.cage import Cage
from bench.disk import PLACE
from bench.errors import CommandError, HostError, InstanceError
from bench.process import require

_SOCKET = "unix:///var/run/docker.sock"
#: The images that Tare makes, under a name that no registry can have (RFC 6761); their tags are runs' ids.
_REPOSITORY = "tare.invalid/rootfs"
#: On images and containers: the id of the run whose they are.
_LABEL = "invalid.tare.run"
#: What a run's record holds of a Docker that is not its own: where it listens. See state.note.
NOTE = "docker"
_IMPORT_LIMIT = 300.0
_REMOVE_LIMIT = 5.0
_LEFTOVERS_LIMIT = 30.0
#: How often a daemon is looked at for what a dead run made, and seconds between two looks.
_LOOKS, _LOOK_AGAIN = 10, 0.5


class DockerInstance(CommandInstance):
    """The launched process is the client, `docker run`; the container is a child of its shim's."""

    def __init__(self, backend: Backend, order: Order, cage: Cage) -> None:
        super().__init__(backend, order, cage)
        self._docker = backend

    def start(self, deadline: float) -> None:
        assert self.cage is not None
        if self._docker.daemon:
            self._docker.daemon.lead_to(self.cage.doors())
        super().start(deadline)
        if not self._docker.daemon:
            self._take_shim()

    def _take_shim(self) -> None:
        """The user's containerd knows nothing of cages."""
        assert self.cage is not None
        for pid in self.cage.pids():
            with contextlib.suppress(OSError):
                parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1]
                if Path(f"/proc/{parent}/comm").read_text().startswith("containerd-shim"):
                    self.cage.take(int(parent))

    def kill(self, deadline: float) -> None:
        ended = self._process.exited < 0
        super().kill(deadline)
        if not ended:
            self._docker.remove(self.order.name, deadline)


class Backend(CommandBackend):
    family = "container"
    door = "docker exec"
    tools: ClassVar[Mapping[str, str]] = {"docker": CLIENT, "dockerd": "docker.io", "containerd": "containerd"}

    @dataclass(frozen=True)
    class Options:
        """daemon: one that lives as long as the arm's worker, or the user's own (DOCKER_HOST, a socket here)."""

        daemon: Literal["private", "user"] = "private"

    def __init__(self, folder: Path, options: Any) -> None:
        # A worker that takes a dead one's place finds that one's files.
        super().__init__(Path(tempfile.mkdtemp(dir=folder)), options)
        self._image: str | None = None
        self._cage: Cage | None = None
        self.daemon: Daemon | None = None
        # Not the user's: what it says of proxies would be in every container's environment.
        self.env = {"DOCKER_CONFIG": str(self.folder / "client")}
        if options.daemon == "private":
            mounts.enter_private_namespace()
            mounts.hide_hybrid_cgroup2()
            self.daemon = Daemon(self.folder)
            self.env["DOCKER_HOST"] = self.daemon.host
        else:
            self.env["DOCKER_HOST"] = os.environ.get("DOCKER_HOST", _SOCKET)
            self._examine_users()

    @classmethod
    def required(cls, options: Options) -> Mapping[str, str]:
        return cls.tools if options.daemon == "private" else {"docker": CLIENT}

    @classmethod
    def notes(cls, options: Options) -> list[str]:
        found = [
            "dockerd and containerd serve all containers of the arm: what they use is in no instance's cage",
            "the root file system is Docker's own copy of the tree, by the storage driver that it chose for this host",
        ]
        if options.daemon == "private":
            return [
                *found,
                "dockerd and containerd are the worker's own, and share the instances' CPUs with them",
                "a container's shim is started through a shell that enters its cage first",
            ]
        return [
            *found,
            "a container's shim is put into its cage at READY, so that what it used before is not counted",
            "what this Docker masks in /proc and /sys, other containers see: equivalence names it",
        ]

    def _examine_users(self) -> None:
        """Raises HostError where the user's daemon cannot be used."""
        host = self.env["DOCKER_HOST"]
        if not host.startswith("unix://"):
            raise HostError(
                f"{host} may be another machine's Docker", hint='use a unix:// socket, or daemon = "private"'
            )
        try:
            driver = self._run("info", "--format", "{{.CgroupDriver}}").strip()
        except CommandError as error:
            raise HostError(f"no Docker daemon answers at {host}: {error}", hint='daemon = "private"') from error
        if driver != "cgroupfs":
            hint = 'let it use native.cgroupdriver=cgroupfs, or use daemon = "private"'
            raise HostError(f"this Docker makes its groups by {driver}, which does not make them in a cage", hint=hint)
        try:
            state.note(self._of, NOTE, host)
        except OSError as error:
            raise HostError(f"cannot write down what is made in {host}: {error.strerror}") from error

    @property
    def _of(self) -> str:
        """The run that this is a part of."""
        return os.environ.get(RUN_VARIABLE) or "none"

    def _do(self, *words: str) -> list[str]:
        return [require("docker", CLIENT), *words]

    def _run(self, *words: str, timeout: float = 30.0, check: bool = True) -> str:
        done = process.run(self._do(*words), timeout=timeout, env=bare_environment(self.env), check=check)
        return done.stdout.decode(errors="replace")

    def _import(self, tree: Path) -> str:
        """The rootfs as an image."""
        archive = self.folder / "rootfs.tar"
        process.run([require("tar", "tar"), "-C", tree, "--numeric-owner", "-cf", archive, "."], timeout=_IMPORT_LIMIT)
        name = f"{_REPOSITORY}:{self._of}"
        label = f"LABEL {_LABEL}={self._of}"
        self._run("import", "--change", label, str(archive), name, timeout=_IMPORT_LIMIT)
        archive.unlink()
        return name

    def provision(self, order: Order, cage: Cage | None) -> CommandInstance:
        if cage is None:
            raise HostError("without a cage, nobody could tell which processes are the instance's")
        if self._image is None:
            self._image = self._import(order.rootfs.tree)
        if self.daemon:
            self.daemon.keep_to(cage.cpus.caged)
        self._cage = cage
        return DockerInstance(self, order, cage)

    def command(self, order: Order) -> Sequence[str]:
        assert self._cage is not None
        assert self._image is not None
        alike = ["--rm", "--interactive", "--log-driver=none", "--hostname=tare", "--network=none", "--pull=never"]
        alike += ["--read-only", "--tmpfs=/tmp", "--ipc=private", "--cgroupns=host", f"--label={_LABEL}={self._of}"]
        # As the other containers: no filter. What Docker masks by itself, a daemon of our own leaves open.
        alike += [f"--security-opt={what}=unconfined" for what in ("seccomp", "apparmor")]
        alike += ["--security-opt=no-new-privileges", "--cap-drop=ALL"]
        alike += [f"--cap-add={name.upper()}" for name in confine.CAPABILITIES]
        alike += [f"--ulimit=nofile={':'.join(map(str, confine.files()))}", "--ulimit=core=0"]
        alike.append(f"--oom-score-adj={oom.INSTANCE}")
        if order.data:
            if self.daemon is None:
                raise HostError("the user's Docker does not see what a worker mounts", hint='daemon = "private"')
            alike.append(f"--volume={order.data}:{PLACE}")
        return self._do(
            "run", f"--name={order.name}", *alike, f"--cgroup-parent=/{self._cage.path}", self._image, "/init"
        )

    def exec_command(self, instance: CommandInstance, argv: Sequence[str]) -> Sequence[str]:
        return self._do("exec", instance.order.name, *argv)

    def kill_command(self, instance: CommandInstance) -> Sequence[str]:
        return self._do("rm", "--force", instance.order.name)

    def remove(self, name: str, deadline: float) -> None:
        """Have the daemon forget a container whose processes have been killed. Raises InstanceError."""
        while True:
            with contextlib.suppress(CommandError):
                self._run("rm", "--force", name, timeout=_REMOVE_LIMIT, check=False)
                if not self._run("ps", "--all", "--quiet", "--filter", f"name=^/?{name}$", timeout=_REMOVE_LIMIT):
                    return
            if time.monotonic() > deadline:
                raise InstanceError(f"Docker does not let go of the container {name}")

    def close(self) -> None:
        if self.daemon:
            self.daemon.close()
        elif self._image:
            with contextlib.suppress(CommandError, HostError):
                remove_leftovers(self.env["DOCKER_HOST"], self._of)


def remove_leftovers(host: str, run: str) -> list[tuple[str, str]]:
    """Remove a dead run's containers and images from a Docker that is not its own; (kind, id) of each.

    What its daemon was asked for by a client that was killed may still come: it is looked for again until nothing is
    there. Raises CommandError, HostError where that cannot be asked, or where something stays.
    """
    tool = require("docker", CLIENT)
    removed: dict[tuple[str, str], None] = {}
    refused = ""
    with tempfile.TemporaryDirectory() as client:
        environment = bare_environment({"DOCKER_HOST": host, "DOCKER_CONFIG": client})

        def ask(*words: str) -> list[str]:
            done = process.run([tool, *words], timeout=_LEFTOVERS_LIMIT, env=environment)
            return done.stdout.decode(errors="replace").split()

        alike = ("--all", "--quiet", "--no-trunc", "--filter", f"label={_LABEL}={run}")
        kinds = (("Docker container", "container"), ("Docker image", "image"))
        for _ in range(_LOOKS):
            there = [(kind, group, found) for kind, group in kinds for found in dict.fromkeys(ask(group, "ls", *alike))]
            if not there:
                return list(removed)
            for kind, group, found in there:
                try:
                    ask(group, "rm", "--force", found)
                except CommandError as error:  # the daemon may be about to
                    refused = str(error)
                else:
                    removed[kind, found[:19]] = None
            time.sleep(_LOOK_AGAIN)
        raise HostError(f"Docker at {host} keeps what a dead run made: {refused or 'it comes again and again'}")
