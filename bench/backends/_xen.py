"""The libvirt domain of one guest of Xen: processors, memory and a console."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal
from xml.sax.saxutils import escape, quoteattr

from bench.backends.base import Drive
from bench.cage import cpu_list

#: What each argument of the guest's kernel is for. Those that QEMU's guests get too are there for the same reasons.
KERNEL_ARGUMENTS: Mapping[str, str] = {
    "console=hvc0": "Xen's console, the only way to the guest; the channel is there too",
    "earlyprintk=xen": "the kernel speaks there from its first moments on",
    "loglevel=6": "notices and worse only: every line goes through xenconsoled",
    "cryptomgr.notests": "self-tests of algorithms that no instance uses",
    "rdinit=/init": "the root file system is the initramfs, as for the other families",
    "panic=-1": "a guest that panics ends at once instead of waiting for someone to look",
    "TARE_GUEST=/dev/hvc0": "where the init finds its channel",
}

#: libvirt's words: the kind of machine that libxl builds.
_MACHINES = {
    "pv": '<type arch="x86_64" machine="xenpv">linux</type>',
    "pvh": '<type arch="x86_64" machine="xenpvh">xenpvh</type>',
    "hvm": '<type arch="x86_64" machine="xenfv">hvm</type>',
}

#: With a script that does nothing: what it would put into a bridge is taken elsewhere.
_VIF = '<interface type="ethernet"><script path="/bin/true"/></interface>'


@dataclass(frozen=True)
class Domain:
    """What a domain is made of. memory: bytes; cpu_set: Xen's CPUs that it runs on, any where there are none."""

    name: str
    mode: Literal["pv", "pvh", "hvm"]
    cpus: int
    cpu_set: frozenset[int]
    memory: int
    kernel: Path
    initramfs: Path
    disks: Sequence[Drive] = ()
    link: bool = False
    kernel_arguments: Sequence[str] = ()


def describe(domain: Domain) -> str:
    """The domain's XML. The guest's end, however it comes about, ends it: all on_… are destroy."""
    arguments = " ".join([*KERNEL_ARGUMENTS, *domain.kernel_arguments])
    pinned = f' placement="static" cpuset={quoteattr(cpu_list(domain.cpu_set))}' if domain.cpu_set else ""
    features = "<features><acpi/><apic/></features>" if domain.mode == "hvm" else ""
    return f"""\
<domain type="xen">
  <name>{escape(domain.name)}</name>
  <memory unit="b">{domain.memory}</memory>
  <vcpu{pinned}>{domain.cpus}</vcpu>
  <os>
    {_MACHINES[domain.mode]}
    <kernel>{escape(str(domain.kernel))}</kernel><initrd>{escape(str(domain.initramfs))}</initrd>
    <cmdline>{escape(arguments)}</cmdline>
  </os>
  {features}
  <on_poweroff>destroy</on_poweroff>
  <on_reboot>destroy</on_reboot>
  <on_crash>destroy</on_crash>
  <devices>
    {"".join(map(_disk, domain.disks))}
    {_VIF if domain.link else ""}
    <console type="pty"><target type="xen" port="0"/></console>
  </devices>
</domain>
"""


def _disk(drive: Drive) -> str:
    """A block device of dom0's."""
    name = quoteattr(Path(drive.device).name)
    return (
        f'<disk type="block" device="disk"><driver name="phy" type="raw"/><source dev={quoteattr(str(drive.image))}/>'
        f'<target dev={name} bus="xen"/>{"<readonly/>" if drive.readonly else ""}</disk>'
    )
