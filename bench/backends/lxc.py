"""LXC system containers by its own tools, without a daemon."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import confine, mounts
from bench.backends._command import CommandBackend, CommandInstance
from bench.backends.base import Order
from bench.cage import Cage
from bench.disk import PLACE
from bench.process import require
from bench.state import Run

_CONFIG = """\
lxc.uts.name = tare
lxc.rootfs.path = dir:{tree}
lxc.rootfs.options = ro
lxc.init.cmd = /init
lxc.net.0.type = empty
lxc.apparmor.profile = unconfined
lxc.no_new_privs = 1
lxc.cap.keep = {given}
lxc.mount.auto = proc:rw sys:ro
lxc.mount.entry = tmpfs tmp tmpfs nosuid,nodev 0 0
lxc.autodev = 1
lxc.pty.max = 0
lxc.tty.max = 0
lxc.console.path = none
"""

#: Where LXC keeps a lock for each container, in folders named like those that the containers are in, for ever.
_LOCKS = Path("/run/lxc/lock")


class Backend(CommandBackend):
    family = "container"
    door = "lxc-attach"
    nests = True
    tools = {"lxc-start": "lxc", "lxc-attach": "lxc", "lxc-stop": "lxc"}

    def __init__(self, folder: Path, options: Any) -> None:
        super().__init__(folder, options)
        mounts.enter_private_namespace()
        mounts.hide_hybrid_cgroup2()
        self._cage: Cage | None = None

    def provision(self, order: Order, cage: Cage | None) -> CommandInstance:
        self._cage = cage
        return CommandInstance(self, order, cage)

    def command(self, order: Order) -> Sequence[str]:
        config = _CONFIG.format(tree=order.rootfs.tree, given=" ".join(confine.CAPABILITIES))
        for path in confine.read_only():
            config += f"lxc.mount.entry = {path} {path.lstrip('/')} none bind,ro 0 0\n"
        if order.data:
            config += f"lxc.mount.entry = {order.data} {PLACE.lstrip('/')} none bind,rw 0 0\n"
        if self._cage is not None:
            config += f"lxc.cgroup.relative = 1\nlxc.cgroup.dir = {order.name}\n"
        (order.folder / "config").write_text(config)
        argv = [
            require("lxc-start", "lxc"),
            *self._which(order),
            "--foreground",
            "--rcfile",
            str(order.folder / "config"),
        ]
        return [*argv, "--logpriority", "WARN", "--logfile", "/dev/stderr"]

    def exec_command(self, instance: CommandInstance, argv: Sequence[str]) -> Sequence[str]:
        return [require("lxc-attach", "lxc"), *self._which(instance.order), "--", *argv]

    def kill_command(self, instance: CommandInstance) -> Sequence[str]:
        return [require("lxc-stop", "lxc"), *self._which(instance.order), "--kill"]

    def forget(self, instance: CommandInstance) -> None:
        (_lock_folder(instance.order.folder.parent) / f".{instance.order.name}").unlink(missing_ok=True)

    def close(self) -> None:
        # Not sooner: LXC makes the folders and the lock in two steps.
        folder = _lock_folder(self.folder.parent)
        with contextlib.suppress(OSError):
            while folder != _LOCKS:
                folder.rmdir()
                folder = folder.parent

    @classmethod
    def leftovers(cls, run: Run) -> Iterator[Path]:
        if (folder := _lock_folder(run.folder)).exists():
            yield folder

    def _which(self, order: Order) -> list[str]:
        return ["--lxcpath", str(order.folder.parent), "--name", order.name]


def _lock_folder(folder: Path) -> Path:
    return _LOCKS / folder.relative_to("/")
