"""The physical floor: the same init in a chroot, with no namespace, runtime or guest around it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from bench import mounts
from bench.backends._command import CommandBackend, CommandInstance
from bench.backends.base import Order, Rootfs
from bench.process import require


class Backend(CommandBackend):
    family = "process"
    door = "chroot"
    needs_root = False
    tools = {"chroot": "coreutils"}

    def __init__(self, folder: Path, options: Any) -> None:
        super().__init__(folder, options)
        mounts.enter_private_namespace(become_root=True)
        self._root: Path | None = None

    def command(self, order: Order) -> Sequence[str]:
        return [require("chroot", "coreutils"), str(self._tree(order.rootfs)), "/init"]

    def exec_command(self, instance: CommandInstance, argv: Sequence[str]) -> Sequence[str]:
        return [require("chroot", "coreutils"), str(self._tree(instance.order.rootfs)), *argv]

    def _tree(self, rootfs: Rootfs) -> Path:
        """The tree with /proc, /sys and /dev, mounted once in the worker's own mount namespace."""
        if self._root is None:
            self._root = self.folder / "root"
            self._root.mkdir()
            mounts.bind(rootfs.tree, self._root)
            for name in ("proc", "sys", "dev"):
                mounts.bind(Path("/") / name, self._root / name, recursive=True)
        return self._root
