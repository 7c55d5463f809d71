"""What a lab host is made of: data that a recipe file gives, and the digest that names what is made from it."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

#: Changes where the way of building does, so that what was built before is built anew.
FORMAT = 2

#: What every lab host has: systemd, SSH, and the Python that Tare's worker runs in.
_PACKAGES = """
    apt ca-certificates dbus e2fsprogs init initramfs-tools iproute2 kmod libpam-systemd openssh-server procps python3
    python3-libvirt systemd-sysv udev util-linux zstd
"""

#: Units of those packages that would only take time or ask for a network. Those that a host has not are ignored.
_MASKED = """
    apparmor.service apt-daily.timer apt-daily-upgrade.timer binfmt-support.service blk-availability.service
    containerd.service dm-event.socket dpkg-db-backup.timer e2scrub_all.timer e2scrub_reap.service fstrim.timer
    getty@tty1.service kexec-load.service libvirt-guests.service logrotate.timer lvm2-monitor.service lxc.service
    lxc-monitord.service lxc-net.service modprobe@drm.service podman.service podman.socket podman-auto-update.service
    podman-auto-update.timer podman-clean-transient.service podman-restart.service proc-sys-fs-binfmt_misc.automount
    systemd-binfmt.service systemd-pstore.service uml-utilities.service xendomains.service
"""

#: The address that QEMU's user network gives its guest, as soon as its card is there: no daemon, no lease, no waiting.
_NETWORK = (
    'ACTION=="add", SUBSYSTEM=="net", KERNEL=="eth0", '
    'RUN+="/bin/ip address replace 10.0.2.15/24 dev eth0", RUN+="/bin/ip link set eth0 up"\n'
)

_BASE_FILES = {
    "etc/fstab": "/dev/root / ext4 noatime 0 0\n",
    "etc/udev/rules.d/80-lab-network.rules": _NETWORK,
    # Emulated on a busy machine, everything takes its time.
    "etc/systemd/system.conf.d/lab.conf": "[Manager]\nDefaultTimeoutStartSec=600\nDefaultDeviceTimeoutSec=600\n",
    "etc/systemd/journald.conf.d/lab.conf": "[Journal]\nStorage=volatile\n",
    "etc/ssh/sshd_config.d/lab.conf": (
        "HostKey /etc/ssh/ssh_host_ed25519_key\nPermitRootLogin prohibit-password\nPasswordAuthentication no\n"
        "KbdInteractiveAuthentication no\nUseDNS no\n"
    ),
    "etc/initramfs-tools/conf.d/lab": "MODULES=list\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\nRESUME=none\n",
}

#: Runs inside the new system, as its root, when all packages are there.
_BASE_SETUP = """
rm -f /etc/apt/sources.list /etc/apt/sources.list.d/* /etc/apt/apt.conf.d/99mmdebstrap /etc/ssh/ssh_host_*
cp -a /lab-keys/. /etc/ssh/ && rm -r /lab-keys
systemd-machine-id-setup
passwd -l root
systemctl set-default multi-user.target
"""


@dataclass(frozen=True)
class Recipe:
    """A lab host. name: lab-FILE; about: in a few words; disk, memory: MiB. Lists are words with spaces between them.

    kernels: how many releases of Debian's `kernel_pattern` are installed, newest first; the first is what it boots.
    modules: what its initramfs must load to find the disk. files: path → text; setup: shell, run inside at build.
    enabled, disabled: units. machine: QEMU's CPU, disk and network. boot: by Linux itself, or by Xen.
    append: the kernel's command line; xen: the hypervisor's. ready: run by SSH until it succeeds; up is up then.
    """

    name: str
    about: str
    packages: str
    kernel_pattern: str
    kernels: int
    modules: str
    machine: str
    append: str
    ready: str
    memory: int
    disk: int
    boot: Literal["linux", "xen"] = "linux"
    xen: str = ""
    files: Mapping[str, str] = field(default_factory=dict)
    setup: str = ""
    enabled: str = ""
    disabled: str = ""

    @property
    def digest(self) -> str:
        """12 hex digits that change with all that is built. How it is started is no part of that."""
        run = {"about", "machine", "append", "ready", "memory", "xen"}
        facts = {f.name: getattr(self, f.name) for f in dataclasses.fields(self) if f.name not in run}
        whole = [FORMAT, facts, self.all_packages(), self.all_files(), self.whole_setup()]
        return hashlib.sha256(json.dumps(whole, sort_keys=True, default=dict).encode()).hexdigest()[:12]

    def all_packages(self) -> list[str]:
        """Without the kernels, which are chosen when it is built."""
        return sorted({*_PACKAGES.split(), *self.packages.split()})

    def all_files(self) -> dict[str, str]:
        own = {
            "etc/hostname": f"{self.name}\n",
            "etc/hosts": f"127.0.0.1 localhost {self.name}\n",
            "etc/initramfs-tools/modules": "".join(f"{module}\n" for module in self.modules.split()),
        }
        return {**_BASE_FILES, **own, **self.files}

    def whole_setup(self) -> str:
        """The script that ends the build inside the new system."""
        lines = ["set -eux", _BASE_SETUP.strip()]
        for verb, units in (("disable", self.disabled), ("mask", _MASKED), ("enable", self.enabled)):
            if units:
                lines.append(f"systemctl {verb} {' '.join(units.split())}")
        return "\n".join([*lines, self.setup.strip(), ""])
