"""The physical floor: the same init in a chroot, with no namespace, runtime or guest around it.

It has containers' capabilities and limits, and reads what they read: they are given to the shell that it is launched
by, before anything is timed, so that it differs by its namespaces and its runtime alone.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import confine, mounts
from bench.backends._command import CommandBackend, CommandInstance
from bench.backends.base import Order
from bench.process import require


class Backend(CommandBackend):
    family = "process"
    door = "chroot"
    needs_root = False
    tools = {"chroot": "coreutils", "setpriv": "util-linux"}

    def __init__(self, folder: Path, options: Any) -> None:
        super().__init__(folder, options)
        mounts.enter_private_namespace(become_root=True)

    def launcher(self) -> Sequence[str]:
        return confine.held(require("setpriv", "util-linux"))

    def command(self, order: Order) -> Sequence[str]:
        return [require("chroot", "coreutils"), str(self._tree(order)), "/init"]

    def exec_command(self, instance: CommandInstance, argv: Sequence[str]) -> Sequence[str]:
        return [require("chroot", "coreutils"), str(self._tree(instance.order)), *argv]

    def _tree(self, order: Order) -> Path:
        """The tree with /proc, /sys and /dev, mounted once in the worker's own mount namespace; an instance's own where
        it has a disk."""
        root = (order.folder if order.data else self.folder) / "root"
        if not mounts.below(root):
            mounts.show_root(order.rootfs.tree, root)
            if order.data:
                mounts.bind(order.data, root / "data")
        return root
