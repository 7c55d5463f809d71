"""User-Mode Linux: a Linux kernel as an ordinary process, its console on two pipes."""

from __future__ import annotations

import dataclasses
import os
import shutil
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import memory
from bench.backends import _uml_xstate
from bench.backends._command import CommandBackend, CommandInstance
from bench.backends.base import Drive, Interface, Order, data_device, drives, root_argument
from bench.cage import Cage
from bench.errors import HostError
from bench.link import MTU
from bench.process import require

#: Where each guest's memory lies, and is run from.
_SHM = Path("/dev/shm")
#: Bytes of it that a guest has touched when it is up, if it does nothing.
_LEAST = 32 << 20


def _check_shm() -> None:
    """Raises HostError where no guest can have its memory."""
    try:
        flags = os.statvfs(_SHM).f_flag
    except OSError as error:
        hint = f"mount -t tmpfs tmpfs {_SHM}"
        raise HostError(f"{_SHM}, where User-Mode Linux keeps its memory: {error.strerror}", hint=hint) from error
    for flag, word, hint in ((os.ST_NOEXEC, "noexec", "exec"), (os.ST_RDONLY, "read-only", "rw")):
        if flags & flag:
            raise HostError(
                f"{_SHM} is mounted {word}, and User-Mode Linux runs in memory from there",
                hint=f"mount -o remount,{hint} {_SHM}",
            )


def _check_room() -> None:
    """Raises HostError where a guest would be killed for the want of it, with nothing but SIGSEGV for its last word."""
    free = shutil.disk_usage(_SHM).free
    if free < _LEAST:
        raise HostError(
            f"{_SHM} has {free >> 20} MiB free, and a User-Mode Linux takes {_LEAST >> 20} MiB of it or more",
            hint=f"mount -o remount,size=50% {_SHM}",
        )


class Guest(CommandInstance):
    """Its memory is a file without a name, which its kernel and what runs in it map."""

    def ram(self) -> int | None:
        return memory.resident(self.pids(), lambda size, path: path.startswith(f"{_SHM}/"))


class Backend(CommandBackend):
    family = "uml"
    needs_root = False
    memory_by_cage = False
    kernel = "uml"
    tools = {"setarch": "util-linux"}

    @dataclass(frozen=True)
    class Options:
        """root: what it mounts as /, of a rootfs that fits in memory."""

        root: Literal["initramfs", "ext4"] = "initramfs"

    @classmethod
    def notes(cls, options: Any) -> list[str]:
        return [_uml_xstate.NOTE] if _uml_xstate.needed() else []

    def __init__(self, folder: Path, options: Any) -> None:
        super().__init__(folder, options)
        _check_shm()
        self.env = {"TMPDIR": str(_SHM)}
        if _uml_xstate.needed():
            self.env["LD_PRELOAD"] = str(_uml_xstate.library())

    def command(self, order: Order) -> Sequence[str]:
        # Under address-space randomisation this kernel adds the gap to its heap, a random amount of up to a gigabyte,
        # to its physical memory, and pays for it in page structures. Later UML kernels switch randomisation off
        # themselves.
        if order.kernel is None:
            raise HostError("no User-Mode Linux kernel", hint="apt-get install user-mode-linux")
        argv = [require("setarch", "util-linux"), "--addr-no-randomize", str(order.kernel.image)]
        argv += [f"mem={order.memory >> 20}M", f"umid={order.name}", f"uml_dir={order.folder}/"]
        argv += ["con=null", "con0=fd:0,fd:1", "ssl=null", "TARE_GUEST=-", "panic=-1"]
        if self.options.root == "ext4" and not order.rootfs.on_disk:
            cow = order.folder / "root.cow"
            argv += [f"ubd0={cow},{order.rootfs.ext4}", "root=/dev/ubda", "rw", "init=/init"]
        else:
            argv += [f"initrd={order.rootfs.initramfs}", "rdinit=/init"]
        disks = self._disks(order)
        argv += [f"ubd{'abc'.index(each.device[-1])}{'r' * each.readonly}={each.image}" for each in disks]
        if order.link:
            # Without gro it drops what is larger than a packet, which it has told the tap that it takes.
            argv.append(f"vec0:transport=tap,ifname={order.link.name},mtu={MTU},gro=1")
        return [*argv, *root_argument(disks)]

    def _disks(self, order: Order) -> list[Drive]:
        """The option's root is the first disk, too."""
        found = drives(order, "ubd")
        if self.options.root == "initramfs" or order.rootfs.on_disk:
            return found
        return [dataclasses.replace(each, device="/dev/ubdb") for each in found]

    def provision(self, order: Order, cage: Cage | None) -> CommandInstance:
        _check_room()
        instance = Guest(self, order, cage)
        instance.disk = data_device(self._disks(order))
        instance.interface = Interface("vec0", "UML's vector")
        return instance

    def kernel_mark(self, instance: CommandInstance) -> int:
        return instance.channel.first_console or instance.marks["init"]
