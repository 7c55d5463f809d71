"""What a lab host is made of: data that a recipe file gives, and the digest that names what is made from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

#: Changes where the way of building does, so that what was built before is built anew.
FORMAT = 1

#: What every lab host has: systemd, SSH, and the Python that Tare's worker runs in.
BASE_PACKAGES = (
    "apt ca-certificates dbus e2fsprogs init initramfs-tools iproute2 kmod libpam-systemd openssh-server procps python3 "
    "python3-libvirt systemd-sysv udev util-linux zstd"
).split()

#: Units of those packages that would only take time or ask for a network. Those that a host has not are ignored.
_MASKED = (
    "apt-daily.timer apt-daily-upgrade.timer dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer "
    "logrotate.timer systemd-networkd-wait-online.service systemd-pstore.service getty@tty1.service "
    "libvirt-guests.service lxc.service lxc-net.service lxc-monitord.service podman.service podman.socket "
    "podman-auto-update.service podman-auto-update.timer podman-restart.service podman-clean-transient.service "
    "containerd.service uml-utilities.service dnsmasq.service apparmor.service xendomains.service kexec-load.service "
    "iscsid.service open-iscsi.service blk-availability.service dm-event.socket lvm2-monitor.service"
).split()

_BASE_FILES = {
    "etc/fstab": "/dev/root / ext4 noatime 0 0\n",
    "etc/systemd/network/10-lab.network": "[Match]\nName=e*\n\n[Network]\nAddress=10.0.2.15/24\nLinkLocalAddressing=no\n",
    "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=volatile\n",
    "etc/ssh/sshd_config.d/lab.conf": (
        "HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nUseDNS no\n"
    ),
    "etc/initramfs-tools/conf.d/lab": "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\nRESUME=none\n",
}

#: Runs inside the new system, as its root, when all packages are there.
_BASE_SETUP = """
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/ssh/ssh_host_*
cp -a /lab-keys/. /etc/ssh/ && rm -r /lab-keys
systemd-machine-id-setup
passwd -l root
systemctl enable systemd-networkd.service
"""


@dataclass(frozen=True)
class Recipe:
    """A lab host. name: lab-FILE; about: in a few words; disk: MiB, memory: MiB.

    kernels: how many releases of Debian's `kernel_pattern` are installed, newest first; the first is what it boots.
    modules: what its initramfs must load to find the disk. files: path → text; setup: shell, run inside at build.
    enabled, disabled: units. machine: QEMU's CPU, disk and network. boot: by Linux itself, or by Xen.
    append: the kernel's command line; xen: the hypervisor's. ready: run by SSH until it succeeds; up is up then.
    """

    name: str
    about: str
    packages: Sequence[str]
    kernel_pattern: str
    kernels: int
    modules: Sequence[str]
    machine: Sequence[str]
    append: str
    ready: str
    memory: int
    disk: int
    boot: Literal["linux", "xen"] = "linux"
    xen: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    setup: str = ""
    enabled: Sequence[str] = ()
    disabled: Sequence[str] = ()

    @property
    def digest(self) -> str:
        """12 hex digits that change with all that is built. How it is started is no part of that."""
        run = {"about", "machine", "append", "ready", "memory", "xen"}
        facts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in run}
        whole = [FORMAT, facts, self.all_packages(), self.all_files(), self.whole_setup()]
        return hashlib.sha256(json.dumps(whole, sort_keys=True, default=list).encode()).hexdigest()[:12]

    def all_packages(self) -> list[str]:
        """Without the kernels, which are chosen when it is built."""
        return sorted({*BASE_PACKAGES, *self.packages})

    def all_files(self) -> dict[str, str]:
        own = {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost {self.name}\n",
            "etc/initramfs-tools/modules": "".join(f"{module}\n" for module in self.modules),
        }
        return {**_BASE_FILES, **own, **self.files}

    def whole_setup(self) -> str:
        """The script that ends the build inside the new system."""
        lines = ["set -eux", _BASE_SETUP.strip()]
        if self.disabled:
            lines.append(f"systemctl disable {' '.join(self.disabled)}")
        lines.append(f"systemctl mask {' '.join(_MASKED)}")
        if self.enabled:
            lines.append(f"systemctl enable {' '.join(self.enabled)}")
        return "\n".join([*lines, self.setup.strip(), ""])
