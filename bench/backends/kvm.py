"""QEMU with KVM, and never without: where the guest cannot run under KVM, the arm fails."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from bench.backends._qemu import LibvirtBackend
from bench.errors import HostError

_DEVICE = Path("/dev/kvm")


class Backend(LibvirtBackend):
    accelerator = "kvm"
    #: With hardware help a kernel is never silent for a second; one that is has hung, or is being emulated.
    silence_limit = 4.0
    remedy = "nothing can be done here: a machine that is a guest itself needs working nested KVM from its host"

    def __init__(self, folder: Path, options: Any) -> None:
        if not _DEVICE.exists():
            hint = "load kvm_intel or kvm_amd, or switch virtualization on in the firmware"
            raise HostError(f"there is no {_DEVICE}", hint=hint)
        if not os.access(_DEVICE, os.R_OK | os.W_OK):
            raise HostError(f"{_DEVICE} is not yours to use", hint="add yourself to the group kvm")
        super().__init__(folder, options)
