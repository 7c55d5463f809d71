"""What every instance on this host's kernel is held to, in whatever a runtime calls it: the same for all of them.

Filters of system calls (seccomp) and AppArmor are off: what they cost is the filter's, not the runtime's.
"""

from __future__ import annotations

import resource
from collections.abc import Iterable
from pathlib import Path

#: By their order in the kernel, whose number for each is its place here.
_KERNELS = (
    "chown dac_override dac_read_search fowner fsetid kill setgid setuid setpcap linux_immutable net_bind_service "
    "net_broadcast net_admin net_raw ipc_lock ipc_owner sys_module sys_rawio sys_chroot sys_ptrace sys_pacct sys_admin "
    "sys_boot sys_nice sys_resource sys_time sys_tty_config mknod lease audit_write audit_control setfcap mac_override "
    "mac_admin syslog wake_alarm block_suspend audit_read perfmon bpf checkpoint_restore"
)
_ALL = _KERNELS.split()

#: What Docker, Podman and containerd give to a container that asks for nothing.
_GIVEN = (
    "chown dac_override fowner fsetid kill setgid setuid setpcap net_bind_service net_raw sys_chroot mknod audit_write "
    "setfcap"
)
CAPABILITIES = _GIVEN.split()
#: Those that a runtime has to be told to take away, as it gives them; the last ones are newer than some runtimes.
OTHERS = [name for name in _ALL[: _ALL.index("perfmon")] if name not in CAPABILITIES]

#: Open files, soft and hard: what Linux gives to its first process, and so to a guest's.
FILES = (1024, 4096)

#: What root could reach this host through: /proc/sys/kernel/core_pattern names a program that the host's kernel runs.
READ_ONLY = ("/proc/bus", "/proc/fs", "/proc/irq", "/proc/sys", "/proc/sysrq-trigger")


def files() -> tuple[int, int]:
    """The limits of open files, as far as this process may give them."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    most = min(FILES[1], hard) if hard != resource.RLIM_INFINITY else FILES[1]
    return min(FILES[0], most), most


def read_only() -> list[str]:
    """Which of them this host has."""
    return [path for path in READ_ONLY if Path(path).exists()]


def named(mask: int) -> list[str]:
    """The capabilities in a mask, as /proc/PID/status has them; a number where this file knows no name."""
    return [
        _ALL[bit] if bit < len(_ALL) else f"capability {bit}" for bit in range(mask.bit_length()) if mask >> bit & 1
    ]


def held(setpriv: str) -> list[str]:
    """What has root's setpriv start a program that has these capabilities, and can gain no others."""
    return [setpriv, f"--bounding-set={_only(CAPABILITIES)}", "--no-new-privs"]


def held_and(setpriv: str, more: Iterable[str]) -> list[str]:
    """The same, with more capabilities for as long as nobody takes them from what programs inherit."""
    return [setpriv, f"--inh-caps={_only(more)}", *held(setpriv)]


def _only(names: Iterable[str]) -> str:
    return ",".join(["-all", *(f"+{name}" for name in names)])
