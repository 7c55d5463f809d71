"""Containers by any OCI runtime that keeps to runc's command line (crun, runc, youki, runsc, kata-runtime …)."""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import confine, mounts
from bench.backends._command import CommandBackend, CommandInstance
from bench.backends.base import Order
from bench.cage import Cage
from bench.disk import FLAGS, PLACE

_NAMESPACES = ("pid", "network", "ipc", "uts", "mount")


class OciBackend(CommandBackend):
    """Derive from it and give `runtime`: the program's path or name, and `arguments` before its sub-command."""

    family = "container"
    door = "exec"
    arguments: Sequence[str] = ()

    def __init__(self, folder: Path, options: Any) -> None:
        super().__init__(folder, options)
        mounts.enter_private_namespace()
        # crun refuses the hybrid layout; without the empty v2 mount it sees plain v1, which every runtime here can use.
        mounts.hide_hybrid_cgroup2()
        self._state = folder / "state"

    @property
    def runtime(self) -> str:
        raise NotImplementedError

    def _do(self, *words: str) -> list[str]:
        return [self.runtime, *self.arguments, "--root", str(self._state), *words]

    def command(self, order: Order) -> Sequence[str]:
        (order.folder / "config.json").write_text(json.dumps(self.config(order)))
        return self._do("run", "--bundle", str(order.folder), order.name)

    def provision(self, order: Order, cage: Cage | None) -> CommandInstance:
        self._cage = cage
        return CommandInstance(self, order, cage)

    def bare_command(self, order: Order, cage: Cage) -> Sequence[str]:
        """What provision() would start, for the bare loop that the harness is measured against."""
        self._cage = cage
        return self.command(order)

    def exec_command(self, instance: CommandInstance, argv: Sequence[str]) -> Sequence[str]:
        return self._do("exec", "--no-new-privs", instance.order.name, *argv)

    def kill_command(self, instance: CommandInstance) -> Sequence[str]:
        return self._do("delete", "--force", instance.order.name)

    def config(self, order: Order) -> dict[str, object]:
        """The bundle's config.json (OCI runtime specification 1.0).

        The fewest mounts and limits that all families share.
        """
        given = [f"CAP_{name.upper()}" for name in confine.CAPABILITIES]
        soft, hard = confine.files()
        linux: dict[str, object] = {
            "namespaces": [{"type": name} for name in _NAMESPACES],
            "maskedPaths": [],
            "readonlyPaths": list(confine.READ_ONLY),
        }
        if self._cage is not None:
            linux["cgroupsPath"] = f"/{self._cage.path}/{order.name}"
        return {
            "ociVersion": "1.0.2",
            "hostname": "tare",
            "root": {"path": str(order.rootfs.tree), "readonly": True},
            "process": {
                "terminal": False,
                "user": {"uid": 0, "gid": 0},
                "args": ["/init"],
                "env": ["PATH=/usr/sbin:/usr/bin:/sbin:/bin"],
                "cwd": "/",
                "capabilities": dict.fromkeys(("bounding", "permitted", "effective"), given),
                "rlimits": [{"type": "RLIMIT_NOFILE", "soft": soft, "hard": hard}],
                "noNewPrivileges": True,
            },
            "mounts": [
                {"destination": "/proc", "type": "proc", "source": "proc"},
                _mount("/dev", "tmpfs", ["nosuid", "mode=755", "size=65536k"]),
                _mount("/dev/pts", "devpts", ["nosuid", "noexec", "newinstance", "ptmxmode=0666", "mode=0620"]),
                _mount("/tmp", "tmpfs", ["nosuid", "nodev"]),
                {**_mount("/sys", "sysfs", ["nosuid", "noexec", "nodev", "ro"]), "source": "sysfs"},
                *([{**_mount(PLACE, "none", ["bind", "rw", *FLAGS]), "source": str(order.data)}] if order.data else []),
            ],
            "linux": linux,
        }


def _mount(destination: str, kind: str, options: list[str]) -> dict[str, object]:
    return {"destination": destination, "type": kind, "source": kind, "options": options}
