"""Another host into the kernel that was loaded there, by kexec, and the proof that it came up.

Its boot loader is never touched, so that switching it off and on brings it back as it was.
"""

from __future__ import annotations

import contextlib
import json
import math
import time
from collections.abc import Callable
from dataclasses import dataclass

from bench import inventory
from bench.errors import HostError, HostLost, Unreachable
from bench.host import Ssh

_BOOT_LIMIT = 600.0
_STEP = 3.0
_LEARN_LIMIT = 30.0
_LAST_LINES = "5"
_PANICS = ("/sys/fs/pstore", "/var/lib/systemd/pstore")


class WrongKernel(HostError):
    """The host is there, and does not run the kernel that it was to boot."""


class Gone(HostLost):
    """The host was restarted, and has not come back."""


@dataclass(frozen=True)
class Running:
    """What a host runs: its kernel's release and version (uname -r, -v), and the id of this boot."""

    release: str
    version: str
    boot_id: str


def running(host: inventory.Host) -> Running:
    """Raises HostLost, Unreachable."""
    with Ssh(host) as ssh:
        return _ask(ssh)


def _ask(ssh: Ssh) -> Running:
    status, out, err = ssh.run("uname -r && uname -v && cat /proc/sys/kernel/random/boot_id")
    lines = out.decode(errors="replace").splitlines()
    if status or len(lines) != 3:
        raise HostError(f"the host does not say what it runs: {err.decode(errors='replace').strip()[-200:]}")
    return Running(*lines)


def boot(
    host: inventory.Host,
    release: str | None,
    version: str | None,
    tell: Callable[[str], None],
    cancelled: Callable[[], bool] = lambda: False,
) -> Running:
    """Restart a host by `systemctl kexec` into the kernel that is loaded there, and prove that it runs this one.

    release: None to restart it as it always starts; version: the kernel's `uname -v`, if that is known; cancelled:
    whether to wait no longer, which raises KeyboardInterrupt. Raises WrongKernel where it comes back with another one,
    Gone where it does not come back within 10 minutes, HostLost where there is no way to it before.
    """
    with Ssh(host) as ssh:
        before = _ask(ssh)
        tell(f"{host.name}: {f'kexec from {before.release} into {release}' if release else 'restarts'}")
        with contextlib.suppress(HostLost):  # the way breaks as it goes down
            ssh.run_as_root("systemctl", "kexec" if release else "reboot", limit=30)
    begin = time.monotonic()
    last = "it answered nothing"
    while time.monotonic() - begin < _BOOT_LIMIT:
        time.sleep(_STEP)
        if cancelled():
            raise KeyboardInterrupt
        try:
            now = running(host)
        except (HostLost, Unreachable) as error:  # whoever is not root is not let in before all has started
            last = str(error)
            continue
        if now.boot_id == before.boot_id:
            last = f"it still runs {now.release}, as before"
            continue
        if (now.release, now.version) == (release or now.release, version or now.version):
            tell(f"{host.name}: runs {now.release} after {time.monotonic() - begin:.0f} s")
            return now
        which = now.release if now.release != release else f"{release}, another build of it ({now.version})"
        raise WrongKernel(
            f"{release} did not come up: {host.name} came back with {which}"
            + _learnt(host, before, time.monotonic() - begin)
        )
    what = f"{host.name} did not come up with {release or 'its own kernel'} within {_BOOT_LIMIT / 60:g} min ({last})"
    if last.startswith("it still runs"):
        raise WrongKernel(what)
    raise Gone(what, hint="switched off and on it comes up with its own kernel again; then ./tare resume")


def _learnt(host: inventory.Host, before: Running, seconds: float) -> str:
    """The last words of a kernel that failed some seconds ago at most, as far as the host kept them."""
    with contextlib.suppress(HostError), Ssh(host) as ssh:
        minutes = f"-{math.ceil(seconds / 60)}"
        panics = ["find", *_PANICS, "-type", "f", "-mmin", minutes, "-exec", "tail", "-n", _LAST_LINES, "{}", "+"]
        words = ssh.run_as_root(*panics, limit=_LEARN_LIMIT)[1].decode(errors="replace")
        if not words.strip():
            journal = ["journalctl", "-q", "-b", "-1", "-n", _LAST_LINES, "-o", "json", "--no-pager"]
            said = ssh.run_as_root(*journal, limit=_LEARN_LIMIT)[1]
            words = last_words(said.decode(errors="replace"), before.boot_id)
        if words.strip():
            return f"; its last words: {' '.join(words.split())[-400:]}"
    return ""


def last_words(journal: str, known: str) -> str:
    """The messages in lines of `journalctl -o json`, but for those of a boot whose id is known.

    A kernel that came too short a way leaves no journal, and the boot before it is then taken for the last one.
    """
    found = []
    for line in journal.splitlines():
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if entry.get("_BOOT_ID") != known.replace("-", "") and isinstance(entry.get("MESSAGE"), str):
                found.append(entry["MESSAGE"])
    return " / ".join(found)
