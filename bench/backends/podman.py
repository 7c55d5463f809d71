"""Containers by podman, each with a conmon of its own, on storage that lasts as long as the arm's worker."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench import confine, mounts, oom
from bench.backends._command import CommandBackend, CommandInstance
from bench.backends.base import Order
from bench.cage import Cage
from bench.disk import PLACE
from bench.process import require

#: Its locks would lie in /dev/shm under one name for all; limits that nobody names it raises, which takes a right.
_CONFIGURATION = """\
[containers]
default_ulimits = [{limits}]
[engine]
lock_type = "file"
"""
#: What its versions mask by themselves.
_MASKED = (
    *("/proc/acpi", "/proc/asound", "/proc/interrupts", "/proc/kcore", "/proc/keys", "/proc/latency_stats"),
    *("/proc/sched_debug", "/proc/scsi", "/proc/timer_list", "/proc/timer_stats", "/sys/dev", "/sys/dev/block"),
    *("/sys/devices/virtual/powercap", "/sys/firmware", "/sys/fs/selinux"),
)


class Backend(CommandBackend):
    family = "container"
    door = "podman exec"
    tools: ClassVar[Mapping[str, str]] = {"podman": "podman", "conmon": "conmon"}

    @dataclass(frozen=True)
    class Options:
        """runtime: the OCI runtime that podman starts containers by."""

        runtime: Literal["crun", "runc"] = "crun"

    def __init__(self, folder: Path, options: Any) -> None:
        super().__init__(folder, options)
        mounts.enter_private_namespace()
        mounts.hide_hybrid_cgroup2()
        configuration = folder / "containers.conf"
        soft, hard = confine.files()
        configuration.write_text(_CONFIGURATION.format(limits=f'"nofile={soft}:{hard}", "nproc=1024:1024"'))
        # Its newer versions say at each command that cgroup v1 is deprecated.
        self.env = {"CONTAINERS_CONF": str(configuration), "PODMAN_IGNORE_CGROUPSV1_WARNING": "1"}
        self._cage: Cage | None = None

    @classmethod
    def required(cls, options: Options) -> Mapping[str, str]:
        return {**cls.tools, options.runtime: options.runtime}

    def _do(self, *words: str) -> list[str]:
        places = (f"--{name}={self.folder / name}" for name in ("root", "runroot", "tmpdir"))
        drivers = ("--storage-driver=vfs", "--cgroup-manager=cgroupfs", "--events-backend=none")
        runtime = (f"--runtime={self.options.runtime}", f"--runtime-flag=root={self.folder / 'runtime'}")
        return [require("podman", "podman"), *places, *drivers, *runtime, *words]

    def command(self, order: Order) -> Sequence[str]:
        alike = ["--rm", "--interactive", "--log-driver=none", "--hostname=tare", "--no-hosts", "--network=none"]
        alike += ["--read-only", "--read-only-tmpfs=false", "--tmpfs=/tmp", "--ipc=private", "--pids-limit=0"]
        # As the other containers: no filter, nothing masked.
        alike += ["--security-opt=seccomp=unconfined", "--security-opt=apparmor=unconfined"]
        alike += [f"--security-opt=unmask={':'.join(_MASKED)}", "--security-opt=no-new-privileges", "--cap-drop=all"]
        alike.append(f"--oom-score-adj={oom.INSTANCE}")
        alike.append(f"--cap-add={','.join(confine.CAPABILITIES)}")
        if order.data:
            alike.append(f"--volume={order.data}:{PLACE}")
        if self._cage is not None:
            alike.append(f"--cgroup-parent=/{self._cage.path}")
        return self._do("run", f"--name={order.name}", *alike, "--rootfs", str(order.rootfs.tree), "/init")

    def provision(self, order: Order, cage: Cage | None) -> CommandInstance:
        self._cage = cage
        return CommandInstance(self, order, cage)

    def exec_command(self, instance: CommandInstance, argv: Sequence[str]) -> Sequence[str]:
        return self._do("exec", instance.order.name, *argv)

    def kill_command(self, instance: CommandInstance) -> Sequence[str]:
        return self._do("rm", "--force", "--time=0", instance.order.name)
