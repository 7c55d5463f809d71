"""OpenVZ by libvirt: says whether this host could run its containers. It makes none: see Backend.provision."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from bench.backends import _libvirt
from bench.backends.base import Backend as Base
from bench.backends.base import Instance, Order
from bench.cage import Cage
from bench.errors import HostError

_URI = "openvz:///system"
_CONTROL = Path("/proc/vz")


class Backend(Base):
    family = "container"
    door = "vzctl exec"
    remedy = "it takes a host that runs an OpenVZ kernel"

    @classmethod
    def notes(cls, options: Any) -> list[str]:
        return ["nobody has run Tare on an OpenVZ kernel: this backend only tells whether there is one"]

    def __init__(self, folder: Path, options: Any) -> None:
        """Raises HostError: for the driver, which is a part of libvirt itself (Debian: libvirt0), or for the kernel."""
        super().__init__(folder, options)
        try:
            self._connection = _libvirt.connect(_URI)
        except HostError as error:
            hint = "libvirt has no such driver here" if _CONTROL.exists() else self.remedy
            raise HostError(str(error), hint=hint) from error

    def provision(self, order: Order, cage: Cage | None) -> Instance:
        """OpenVZ starts /sbin/init of a template below /vz, and libvirt's driver hands out no console.

        So the init has no channel to the harness. One could be laid through the container's folder; that has to be
        written and tried on such a kernel, where CPUs and memory are limited by beancounters instead of by a cage.
        """
        raise HostError(
            "libvirt's OpenVZ driver gives no way to talk to a container's init",
            hint="bench/backends/openvz.py says what is missing: it has to be written on a host with an OpenVZ kernel",
        )

    def close(self) -> None:
        self._connection.close()
