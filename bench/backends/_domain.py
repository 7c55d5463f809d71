"""The libvirt domain of one guest: a machine with nothing in it that the measurement does not need.

The same for every accelerator, so that `qemu` and `kvm` differ in one word. No USB, no display, and no disk
or network but what is asked for; no HPET, as is usual for guests, so that the kernel does not calibrate against it; no
option ROM for the local APIC, which only old Windows uses.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from bench.backends.base import Drive

QEMU_NAMESPACE = "http://libvirt.org/schemas/domain/qemu/1.0"

#: What each argument of the guest's kernel is for.
KERNEL_ARGUMENTS: Mapping[str, str] = {
    "console=ttyS0": "the kernel speaks on the first serial port; the channel is the second",
    "earlyprintk=ttyS0": "… and from its first moments on: without it the `kernel` mark comes late",
    "loglevel=6": "notices and worse only: under KVM each character of 21 kB of log costs an exit",
    "no_timer_check": "the timer is a hypervisor's and needs no test, as kernels assume by themselves under KVM",
    "cryptomgr.notests": "self-tests of algorithms that no instance uses",
    "rdinit=/init": "the root file system is the initramfs, as for the other families",
    "panic=-1": "a guest that panics ends at once instead of waiting for someone to look",
    "TARE_GUEST=/dev/ttyS1": "where the init finds its channel",
}

#: The disk on the controller that the machine has anyway. A floppy's timeouts are too short for a slow KVM.
_FIRST_DISK = {"pc": "hda", "q35": "sda"}


@dataclass(frozen=True)
class Machine:
    """What a domain is made of. memory: bytes; kernel and initramfs: for Linux, image: for a boot sector."""

    name: str
    domain_type: str
    emulator: str
    machine: str
    cpus: int
    memory: int
    console: Path
    channel: Path
    kernel: Path | None = None
    initramfs: Path | None = None
    kernel_arguments: Sequence[str] = ()
    image: Path | None = None
    #: virtio-blk, through the host's page cache, with flushes that reach the host's disk.
    disks: Sequence[Drive] = ()
    #: The device of this host's behind a virtio-net, which libvirt makes; None without one.
    tap: str | None = None
    #: A balloon that reports free pages.
    balloon: bool = False
    cpu: str | None = None
    environment: Mapping[str, str] = field(default_factory=dict)
    as_root: bool = False
    #: What console and channel are: sockets that QEMU connects to, or pairs of FIFOs (path.in, path.out).
    serial: Literal["unix", "pipe"] = "unix"
    #: QEMU's own arguments, behind those that libvirt makes of the rest.
    arguments: Sequence[str] = ()


def describe(machine: Machine) -> str:
    """The domain's XML. The guest's end, however it comes about, ends QEMU: all on_… are destroy."""
    environment = "".join(
        f"<qemu:env name={quoteattr(name)} value={quoteattr(value)}/>" for name, value in machine.environment.items()
    )
    arguments = "".join(
        f"<qemu:arg value={quoteattr(argument)}/>"
        for argument in ("-global", "apic-common.vapic=off", *machine.arguments)
    )
    return f"""\
<domain type={quoteattr(machine.domain_type)} xmlns:qemu="{QEMU_NAMESPACE}">
  <name>{escape(machine.name)}</name>
  <memory unit="b">{machine.memory}</memory>
  <vcpu>{machine.cpus}</vcpu>
  <os>
    <type arch="x86_64" machine={quoteattr(machine.machine)}>hvm</type>
    {_boot(machine)}
  </os>
  <features><acpi/><apic/></features>
  {_cpu(machine.cpu)}
  <clock offset="utc"><timer name="hpet" present="no"/></clock>
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    <emulator>{escape(machine.emulator)}</emulator>
    {_disk(machine.image, machine.machine)}
    {"".join(map(_virtio, machine.disks))}
    {_tap(machine.tap)}
    {_serial(0, machine.console, machine.serial)}
    {_serial(1, machine.channel, machine.serial)}
    <controller type="usb" model="none"/>
    {'<memballoon model="virtio" freePageReporting="on"/>' if machine.balloon else '<memballoon model="none"/>'}
  </devices>
  {_label(machine.as_root)}
  <qemu:commandline>
    {arguments}
    {environment}
  </qemu:commandline>
</domain>
"""


def _boot(machine: Machine) -> str:
    if machine.image is not None:
        return '<boot dev="hd"/>'
    arguments = " ".join([*KERNEL_ARGUMENTS, *machine.kernel_arguments])
    return (
        f"<kernel>{escape(str(machine.kernel))}</kernel><initrd>{escape(str(machine.initramfs))}</initrd>"
        f"<cmdline>{escape(arguments)}</cmdline>"
    )


def _cpu(model: str | None) -> str:
    if model is None:
        return ""
    if model in ("host-passthrough", "host-model", "maximum"):
        return f"<cpu mode={quoteattr(model)}/>"
    name = f'<model fallback="forbid">{escape(model)}</model>'
    return f'<cpu mode="custom" match="exact" check="none">{name}</cpu>'


def _disk(image: Path | None, machine: str) -> str:
    """Left to itself, libvirt opens a shared disk with O_DIRECT, which tmpfs has only since Linux 6.6."""
    if image is None:
        return ""
    return (
        '<disk type="file" device="disk"><driver name="qemu" type="raw" cache="writethrough"/>'
        f"<source file={quoteattr(str(image))}/><target dev={quoteattr(_FIRST_DISK[machine])}/>"
        "<shareable/></disk>"
    )


def _virtio(drive: Drive) -> str:
    """Nobody writes to what is read-only, and many read it."""
    name = quoteattr(Path(drive.device).name)
    return (
        '<disk type="file" device="disk"><driver name="qemu" type="raw" cache="writeback"/>'
        f'<source file={quoteattr(str(drive.image))}/><target dev={name} bus="virtio"/>'
        f"{'<readonly/>' if drive.readonly else ''}</disk>"
    )


def _tap(name: str | None) -> str:
    """Without the ROM that would boot from it."""
    if name is None:
        return ""
    return (
        f'<interface type="ethernet"><target dev={quoteattr(name)}/><model type="virtio"/>'
        '<rom enabled="no"/></interface>'
    )


def _serial(port: int, path: Path, kind: Literal["unix", "pipe"]) -> str:
    mode = 'mode="connect" ' if kind == "unix" else ""
    return f'<serial type="{kind}"><source {mode}path={quoteattr(str(path))}/><target port="{port}"/></serial>'


def _label(as_root: bool) -> str:
    """A daemon's QEMU runs as another user by default, who cannot reach our sockets."""
    label = '<seclabel type="static" model="dac" relabel="no"><label>+0:+0</label></seclabel>'
    return label if as_root else ""
