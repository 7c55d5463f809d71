"""User-Mode Linux: a Linux kernel as an ordinary process, its console on two pipes."""

from __future__ import annotations

import dataclasses
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


class Guest(CommandInstance):
    """Its memory is a file without a name, which its kernel and what runs in it map."""

    def ram(self) -> int | None:
        return memory.resident(self.pids(), lambda size, path: path.startswith("/dev/shm/"))


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
        self.env = {"TMPDIR": "/dev/shm"}
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
        instance = Guest(self, order, cage)
        instance.disk = data_device(self._disks(order))
        instance.interface = Interface("vec0", "UML's vector")
        return instance

    def kernel_mark(self, instance: CommandInstance) -> int:
        return instance.channel.first_console or instance.marks["init"]
