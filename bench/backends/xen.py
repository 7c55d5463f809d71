"""Xen's guests by libvirt (libxl), from dom0: `pv`, `pvh` or `hvm`.

A guest is no process of dom0: its memory and its CPU time are Xen's, and no cgroup has them. It has one console, hvc0,
on which its kernel speaks until the init does; from then on nothing but the protocol is on it. The domain is made
without being let run, so that nothing is missed of what it says. What is timed: libxl has built the domain
(`spawned`); first byte on the console (`kernel`).
"""

from __future__ import annotations

import contextlib
import os
import threading
import time
import tty
import xml.etree.ElementTree as ElementTree
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Literal

from bench import mounts, process
from bench.backends._libvirt import Connection
from bench.backends._xen import Domain, describe
from bench.backends.base import Backend as Base
from bench.backends.base import Drive, Instance, Interface, Order, data_device, drives, initramfs, root_argument
from bench.cage import Cage
from bench.channel import Channel
from bench.disk import loop
from bench.errors import HostError, InstanceError, InstanceTimeout
from bench.launch import readable

_URI = "xen:///system"
_TYPE = Path("/sys/hypervisor/type")
_RIGHTS = Path("/proc/xen/capabilities")
_SETTLE = 5.0


class XenInstance(Instance):
    """One domain, and dom0's end of its console: the terminal that xenconsoled has for it."""

    def __init__(self, backend: Backend, order: Order, cage: Cage | None) -> None:
        super().__init__(order, cage)
        self._connection = backend.connection
        #: What keeps the loop devices behind the domain's disks.
        self._loops: list[int] = []
        self._xml = describe(backend.domain(order, self._looped(drives(order, "xvd"))))
        self._domain: Any = None
        self._error: Exception | None = None
        self._creation = threading.Thread(target=self._create, name="libvirt-create", daemon=True)
        self._console = -1
        self._ended = False

    def _looped(self, disks: list[Drive]) -> list[Drive]:
        """The same disks by loop devices: Xen's block backend takes no files, and another would be a QEMU for each."""
        found = []
        for drive in disks:
            path, kept = loop(drive.image, readonly=drive.readonly)
            self._loops.append(kept)
            found.append(replace(drive, image=Path(path)))
        return found

    def _create(self) -> None:
        try:
            self._domain = self._connection.create(self.order.name, self._xml, paused=True)
        except InstanceError as error:
            self._error = error

    def start(self, deadline: float) -> None:
        self.marks["requested"] = time.monotonic_ns()
        self._creation.start()
        self._creation.join(max(0.0, deadline - time.monotonic()))
        if self._creation.is_alive():
            raise InstanceTimeout("libvirt did not finish creating the domain within the time limit")
        if self._error:
            raise self._error
        self.marks["spawned"] = time.monotonic_ns()
        self._open_console()
        if self.order.link:
            self._connect_vif(self._domain.ID())
        self._domain.resume()
        self.channel = Channel(self._console, self._console)
        if not readable(self._console, deadline - time.monotonic()):
            raise InstanceTimeout("the domain ran, and nothing came from its console within the time limit")
        self.marks["kernel"] = time.monotonic_ns()
        self.marks["init"] = self.channel.expect("INIT", deadline)
        self.marks["ready"] = self.channel.expect("READY", deadline)

    def _connect_vif(self, domain: int) -> None:
        """Say what Xen's own script would after it had put the device into a bridge. Raises CommandError."""
        path = f"/local/domain/0/backend/vif/{domain}/0/hotplug-status"
        process.run([process.require("xenstore-write", "xenstore-utils"), path, "connected"])
        self.interface = Interface("eth0", "Xen's vif", f"vif{domain}.0")

    def _open_console(self) -> None:
        source = ElementTree.fromstring(self._domain.XMLDesc()).find("devices/console[@type='pty']/source")
        path = source.get("path") if source is not None else None
        if not path:
            raise InstanceError("libvirt does not tell the domain's console")
        try:
            self._console = os.open(path, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
            tty.setraw(self._console)
        except OSError as error:
            raise InstanceError(f"the domain's console {path} cannot be opened: {error.strerror}") from error

    def pids(self) -> list[int]:
        return []

    def allotted(self) -> int | None:
        return int(self._domain.info()[2]) << 10

    def stop(self, deadline: float) -> None:
        self.marks["stopping"] = time.monotonic_ns()
        self.channel.halt(deadline)
        if not self._connection.await_stopped(self.order.name, deadline):
            raise InstanceTimeout("the domain did not end within the time limit")
        self.marks["gone"] = time.monotonic_ns()
        self._tidy()

    def dismiss(self, deadline: float) -> None:
        self.kill(deadline)

    def kill(self, deadline: float) -> None:
        if self._ended:
            return
        self.marks.setdefault("stopping", time.monotonic_ns())
        if self._creation.ident is not None:
            self._creation.join(max(0.0, deadline - time.monotonic()))
            if self._creation.is_alive():
                raise InstanceError("libvirt neither finished creating the domain nor gave up")
        self._connection.destroy(self.order.name)
        if not self._connection.await_stopped(self.order.name, max(deadline, time.monotonic() + _SETTLE)):
            raise InstanceError("libvirt does not let go of the domain")
        self.marks["gone"] = time.monotonic_ns()
        self._tidy()

    def _tidy(self) -> None:
        self._ended = True
        if self._console >= 0:
            os.close(self._console)
            self._console = -1
        while self._loops:
            os.close(self._loops.pop())
        mounts.remove_tree(self.order.folder)


class Backend(Base):
    family = "hypervisor"
    memory_by_cage = False
    cageable = False
    accelerator = "xen"
    kernel = "machine"
    #: In a lab that is itself emulated, a guest of Xen takes a minute.
    probe_limit = 120.0
    remedy = "look at /var/log/xen and libvirt's log (/var/log/libvirt/libxl) for what Xen said"

    @dataclass(frozen=True)
    class Options:
        """mode: how much of the machine is Xen's own; kernel_arguments: more, like "nopti"."""

        mode: Literal["pv", "pvh", "hvm"] = "pvh"
        kernel_arguments: str = ""

    @classmethod
    def notes(cls, options: Options) -> list[str]:
        found = [
            "a domain's memory and CPU time are Xen's: no cgroup of dom0 has them, so its slots are uncaged, without "
            "figures of a cage, CPU seconds or PSS; MemAvailable is dom0's, and tells nothing of guests; what Xen "
            "has given the domain is noted as `domain`",
            "a link is connected by a command of dom0's, some ms between a domain's making and its first moment",
            "console and channel are one (hvc0, through xenconsoled), so the kernel's messages are part of its start",
            "virtual CPUs are pinned to Xen's CPUs of the envelope's numbers, where dom0 sees as many as Xen has; "
            "whether dom0 keeps off them is up to Xen's dom0_vcpus_pin and dom0_max_vcpus",
        ]
        if options.mode == "hvm":
            found.append("an hvm domain has a device model, a QEMU that libxl starts in dom0 outside every cage")
            found.append("nobody has seen Tare's hvm guests come up yet: pv and pvh have been run, in an emulated lab")
        return found

    def __init__(self, folder: Path, options: Any) -> None:
        super().__init__(folder, options)
        self._examine()
        (folder / "uri").write_text(_URI)  # for `tare clean`: libxl knows no domain that ends with its maker
        try:
            self.connection = Connection(_URI, folder)
        except HostError as error:
            hint = "apt-get install libvirt-daemon-driver-xen libvirt-daemon-system, and have libvirtd running"
            raise HostError(str(error), hint=hint) from error
        self._cpus = int(self.connection.handle.getInfo()[2])

    @staticmethod
    def _examine() -> None:
        kind, rights = "", ""
        with contextlib.suppress(OSError):
            kind = _TYPE.read_text().strip()
        with contextlib.suppress(OSError):
            rights = _RIGHTS.read_text()
        if kind != "xen":
            hint = "boot it with Xen (Debian: xen-system-amd64), or ./tare lab up xen"
            raise HostError("this host does not run under Xen", hint=hint)
        if "control_d" not in rights:
            raise HostError("this is a guest of Xen, not its dom0", hint=f"only dom0 makes guests ({_RIGHTS})")

    def domain(self, order: Order, disks: Sequence[Drive]) -> Domain:
        if order.kernel is None:
            raise HostError("no kernel for guests", hint="./tare kernel fetch")
        pinned = order.cpu_set if self._cpus == os.cpu_count() else frozenset[int]()
        return Domain(
            name=order.name,
            mode=self.options.mode,
            cpus=order.cpus,
            cpu_set=pinned,
            memory=order.memory,
            kernel=order.kernel.image,
            initramfs=initramfs(order, self.folder),
            disks=disks,
            link=order.link is not None,
            kernel_arguments=[*root_argument(disks), *self.options.kernel_arguments.split()],
        )

    def provision(self, order: Order, cage: Cage | None) -> Instance:
        instance = XenInstance(self, order, cage)
        instance.loads = bool(order.disk or order.link) and not order.rootfs.on_disk
        instance.disk = data_device(drives(order, "xvd"))
        return instance

    def close(self) -> None:
        self.connection.close()
