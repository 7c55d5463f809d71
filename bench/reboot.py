"""Another host into another of its kernels, by kexec: its boot loader is never touched, so that switching it off and on
brings it back as it was.
"""

from __future__ import annotations

import contextlib
import re
import shlex
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import inventory
from bench.errors import HostError, HostLost
from bench.host import Ssh

_BOOT_LIMIT = 600.0
_STEP = 3.0
_RELEASE = re.compile(r"[0-9][A-Za-z0-9.+~_-]*\Z")


@dataclass(frozen=True)
class Running:
    """What a host runs: its kernel's release, and the id of this boot."""

    release: str
    boot_id: str


def running(host: inventory.Host) -> Running:
    """Raises HostLost, Unreachable."""
    with Ssh(host) as ssh:
        return _ask(ssh)


def _ask(ssh: Ssh) -> Running:
    status, out, err = ssh.run("uname -r && cat /proc/sys/kernel/random/boot_id")
    words = out.decode(errors="replace").split()
    if status or len(words) != 2:
        raise HostError(f"the host does not say what it runs: {err.decode(errors='replace').strip()[-200:]}")
    return Running(*words)


def boot(
    host: inventory.Host, release: str, tell: Callable[[str], None], cancelled: Callable[[], bool] = lambda: False
) -> Running:
    """Have a host run the kernel of this release, and prove that it does; nothing happens where it does already.

    cancelled: whether to wait no longer, which raises KeyboardInterrupt. Raises HostError where the host has no such
    kernel or cannot kexec, where it does not come back within 10 minutes, or comes back with another kernel.
    """
    with Ssh(host) as ssh:
        before = _ask(ssh)
        if before.release == release:
            return before
        _load(ssh, host, release)
        tell(f"{host.name}: kexec from {before.release} into {release}")
        with contextlib.suppress(HostLost):  # the way breaks as it goes down
            ssh.run("systemctl kexec", limit=30)
    return _await(host, before, release, tell, cancelled)


def _load(ssh: Ssh, host: inventory.Host, release: str) -> None:
    if not _RELEASE.match(release):
        raise HostError(f"{release!r} is not the release of a kernel", hint="like 6.1.0-50-amd64")
    image, initrd = shlex.quote(f"/boot/vmlinuz-{release}"), shlex.quote(f"/boot/initrd.img-{release}")
    status, out, _ = ssh.run(f"test -r {image} && test -r {initrd} || ls /boot")
    if out or status:
        there = re.findall(r"^vmlinuz-(.*)$", out.decode(errors="replace"), re.MULTILINE)
        raise HostError(
            f"{host.name} has no kernel {release} (there: {', '.join(there) or 'none'})",
            hint=f"apt-get install linux-image-{release} there",
        )
    status, _, err = ssh.run(f"kexec -l {image} --initrd={initrd} --reuse-cmdline")
    if status:
        words = err.decode(errors="replace").strip().splitlines()[-1:] or ["it does not say why"]
        hint = "apt-get install kexec-tools there" if status == 127 else ""
        raise HostError(f"{host.name} cannot load the kernel {release}: {words[0][-200:]}", hint=hint)


def _await(
    host: inventory.Host, before: Running, release: str, tell: Callable[[str], None], cancelled: Callable[[], bool]
) -> Running:
    begin = time.monotonic()
    last = "it answered nothing"
    while time.monotonic() - begin < _BOOT_LIMIT:
        time.sleep(_STEP)
        if cancelled():
            raise KeyboardInterrupt
        try:
            now = running(host)
        except HostLost as error:
            last = str(error)
            continue
        if now.boot_id == before.boot_id:
            last = f"it still runs {now.release}, as before"
            continue
        if now.release != release:
            raise HostError(f"{host.name} came back with the kernel {now.release} instead of {release}")
        tell(f"{host.name}: runs {release} after {time.monotonic() - begin:.0f} s")
        return now
    raise HostError(
        f"{host.name} did not come up with the kernel {release} within {_BOOT_LIMIT / 60:g} min ({last})",
        hint="switched off and on it comes up with its own kernel again; then ./tare resume",
    )
