"""QEMU without hardware help (TCG): runs anywhere, and pays for every instruction."""

from __future__ import annotations

from bench.backends._qemu import LibvirtBackend


class Backend(LibvirtBackend):
    accelerator = "tcg"
