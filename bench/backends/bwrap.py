"""Plain namespaces by bubblewrap: no daemon, no image, no cgroup of its own."""

from __future__ import annotations

import os
from collections.abc import Sequence

from bench import confine
from bench.backends._command import CommandBackend, CommandInstance, nsenter, nsenter_launcher
from bench.backends.base import Order
from bench.disk import PLACE
from bench.process import require

#: Those of the other containers. An ordinary user's bwrap adds a user namespace by itself; root's needs none, and in a
#: chroot could not have one.
_NAMESPACES = ("--unshare-pid", "--unshare-net", "--unshare-ipc", "--unshare-uts")

#: Capabilities that it needs for that, and takes from itself.
_TO_MAKE = ("sys_admin", "net_admin")


class Backend(CommandBackend):
    family = "container"
    door = "nsenter"
    needs_root = False
    tools = {"bwrap": "bubblewrap", "nsenter": "util-linux", "setpriv": "util-linux"}

    @classmethod
    def shut(cls) -> str | None:
        # The outer one, which owns the rest, has no process in it through which nsenter could enter.
        return None if os.geteuid() == 0 else "an ordinary user's bwrap nests two user namespaces, and lets nobody in"

    def command(self, order: Order) -> Sequence[str]:
        given = [word for name in confine.CAPABILITIES for word in ("--cap-add", f"CAP_{name.upper()}")]
        kept = [word for path in confine.read_only() for word in ("--ro-bind", path, path)]
        return (
            [require("bwrap", "bubblewrap"), *_NAMESPACES, "--die-with-parent", "--hostname", "tare"]
            + ["--cap-drop", "ALL", *given]
            + ["--ro-bind", str(order.rootfs.tree), "/", "--proc", "/proc", "--dev", "/dev", "--tmpfs", "/tmp"]
            + (["--bind", str(order.data), PLACE] if order.data else [])
            + ["--ro-bind", "/sys", "/sys", *kept, "--as-pid-1", "--", "/init"]
        )

    def launcher(self) -> Sequence[str]:
        # It takes nothing from the bounding set. As an ordinary user it has its rights in a namespace of its own.
        if os.geteuid() != 0:
            return ()
        return confine.held_and(require("setpriv", "util-linux"), _TO_MAKE)

    def client_launcher(self) -> Sequence[str]:
        return nsenter_launcher()

    def exec_command(self, instance: CommandInstance, argv: Sequence[str]) -> Sequence[str]:
        return nsenter(instance.leader, argv)
