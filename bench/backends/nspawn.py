"""Containers by systemd-nspawn, neither registered with a daemon nor given a unit."""

from __future__ import annotations

import contextlib
import fcntl
import os
import struct
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from bench import confine, mounts
from bench.backends._command import CommandBackend, CommandInstance, nsenter, nsenter_launcher
from bench.backends.base import NAME_PREFIX, Order
from bench.disk import PLACE
from bench.process import require
from bench.state import Run

#: Where nspawn makes folders for each container, by which mounts enter it and sockets come out, and leaves them.
_PLACES = tuple(Path("/run/systemd/nspawn") / kind for kind in ("propagate", "unix-export"))
#: Where nspawn keeps a lock for each tree; one that is killed leaves it.
_LOCKS = Path("/run/systemd/nspawn/locks")

#: Its default filter would make it the only arm under seccomp, and cost most of its start; its own choice of what is
#: masked and read-only in /proc and /sys would be no other arm's.
_ENVIRONMENT = {"SYSTEMD_SECCOMP": "0", "SYSTEMD_NSPAWN_API_VFS_WRITABLE": "yes"}
if Path("/sys/fs/cgroup/cgroup.controllers").exists():
    # Otherwise, for a tree without a systemd of its own, it makes a v1 hierarchy beside the host's v2, which the host's
    # kernel keeps until it goes down.
    _ENVIRONMENT["SYSTEMD_NSPAWN_UNIFIED_HIERARCHY"] = "1"


class Backend(CommandBackend):
    family = "container"
    door = "nsenter"
    nests = True
    env = _ENVIRONMENT
    tools = {"systemd-nspawn": "systemd-container", "nsenter": "util-linux", "setpriv": "util-linux"}

    def __init__(self, folder: Path, options: Any) -> None:
        super().__init__(folder, options)
        mounts.enter_private_namespace()
        mounts.hide_hybrid_cgroup2()  # it would make groups there, outside the cage

    def command(self, order: Order) -> Sequence[str]:
        soft, hard = confine.files()
        # Not what is mounted below /sys: nspawn mounts the cgroups of this host for itself, and would make them
        # read-only for all.
        kept = [f"--bind-ro={path}:{path}:norbind" for path in ("/sys", *confine.read_only())]
        return (
            [
                require("systemd-nspawn", "systemd-container"),
                "--quiet",
                "--register=no",
                "--keep-unit",
                "--console=pipe",
            ]
            + [f"--machine={order.name}", f"--directory={order.rootfs.tree}", "--read-only", "--private-network"]
            + ["--resolv-conf=off", "--timezone=off", "--link-journal=no", "--tmpfs=/tmp"]
            + [f"--capability={_capabilities(confine.CAPABILITIES)}"]
            + [f"--drop-capability={_capabilities(confine.OTHERS)}", *kept]
            + ["--no-new-privileges=yes", f"--rlimit=RLIMIT_NOFILE={soft}:{hard}"]
            + ([f"--bind={order.data}:{PLACE}"] if order.data else [])
            + ["--", "/init"]
        )

    def client_launcher(self) -> Sequence[str]:
        return nsenter_launcher()

    def exec_command(self, instance: CommandInstance, argv: Sequence[str]) -> Sequence[str]:
        return nsenter(instance.leader, argv)

    def forget(self, instance: CommandInstance) -> None:
        for place in _PLACES:
            with contextlib.suppress(OSError):
                mounts.remove_tree(place / instance.order.name)
        with contextlib.suppress(OSError):
            tree = instance.order.rootfs.tree.stat()
            _drop_lock(_LOCKS / f"inode-{tree.st_dev}:{tree.st_ino}")

    @classmethod
    def leftovers(cls, run: Run) -> Iterator[Path]:
        for place in _PLACES:
            yield from place.glob(f"{NAME_PREFIX}{run.id}-*")


def _capabilities(names: Sequence[str]) -> str:
    return ",".join(f"CAP_{name.upper()}" for name in names)


def _drop_lock(file: Path) -> None:
    """Remove a lock that nobody holds, as nspawn itself does at its end. Raises OSError where somebody does."""
    with file.open("r+b") as opened:
        # struct flock: type, whence, start, length, pid
        fcntl.fcntl(opened, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0))
        file.unlink()
