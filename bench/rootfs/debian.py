"""Debian 12 with the tools that this field measures with, less what none of them reads.

Not of Debian are the init, and the host's busybox, which runs it as in every other rootfs.
"""

from __future__ import annotations

import hashlib
import re
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path, PurePosixPath

from bench import debian
from bench.errors import HostError
from bench.rootfs import EPOCH, INIT, PACKAGES_FILE, Tell, add_init

TOOLS = (
    "fio",
    "iperf3",
    "linux-perf",
    "nginx-light",
    "qperf",
    "redis-server",
    "rt-tests",
    "sqlite3",
    "sysbench",
    "wrk",
)
on_disk = True
#: Bytes of disk that it takes while it is made.
_ROOM = 2 << 30
_STATUS = "var/lib/dpkg/status"
#: Folders that stay, and nothing in them: what a running system fills, and what only people and scripts read.
_EMPTY = (
    "boot",
    "dev",
    "proc",
    "sys",
    "tmp",
    "usr/lib/python3",
    "usr/lib/python3.11",
    "usr/lib/x86_64-linux-gnu/perl",
    "usr/share/bash-completion",
    "usr/share/doc",
    "usr/share/info",
    "usr/share/locale",
    "usr/share/man",
    "usr/share/perl",
    "usr/share/perl5",
    "usr/share/zoneinfo",
    "var/cache",
    "var/lib/apt",
    "var/lib/dpkg",
    "var/log",
)
#: Written by what is installed, at a moment or by chance.
_CHANCE = ("etc/.pwd.lock", "etc/hostname", "etc/machine-id", "etc/resolv.conf", "etc/ld.so.cache~")


def key() -> str:
    """Which packages, which files of them, and the init; not the packages' versions: those in the cache stay."""
    return hashlib.sha256(Path(__file__).read_bytes() + INIT.read_bytes()).hexdigest()


def make(tree: Path, tell: Tell) -> None:
    """Raises HostError (a tool, the network or room is missing), CommandError."""
    free = shutil.disk_usage(tree.parent).free
    if free < _ROOM:
        raise HostError(f"the rootfs debian needs {_ROOM >> 30} GiB in {tree.parent}", hint=debian.ROOM_HINT)
    tell("rootfs debian: fetching and installing packages")
    packed = tree.parent / "debian.tar"
    debian.bootstrap(packed, TOOLS, lambda line: tell(f"rootfs debian: {line}"), epoch=EPOCH)
    tell("rootfs debian: unpacking")
    tree.mkdir()
    with tarfile.open(packed) as archive:
        archive.extraction_filter = getattr(tarfile, "tar_filter", None)
        archive.extractall(tree, members=_wanted(archive))
        status = archive.extractfile(f"./{_STATUS}")
        assert status
        found = _packages(status.read().decode())
    packed.unlink()
    (tree / PACKAGES_FILE).write_text("".join(f"{name} {version}\n" for name, version in found))
    (tree / "data").mkdir()
    add_init(tree)
    poweroff = tree / "sbin/poweroff"
    if not poweroff.exists():
        poweroff.symlink_to("/bin/busybox")


def _wanted(archive: tarfile.TarFile) -> Iterator[tarfile.TarInfo]:
    for member in archive:
        path = PurePosixPath(member.name)
        inside = any(path != PurePosixPath(folder) and path.is_relative_to(folder) for folder in _EMPTY)
        if not inside and str(path) not in _CHANCE and not member.isdev():
            yield member


def _packages(status: str) -> list[tuple[str, str]]:
    """dpkg's list of what is installed → (name, version), sorted."""
    stanzas = (dict(re.findall(r"^(Package|Status|Version): (.*)$", text, re.M)) for text in status.split("\n\n"))
    return sorted(
        (stanza["Package"], stanza["Version"])
        for stanza in stanzas
        if stanza.get("Status", "").endswith(" installed") and "Package" in stanza
    )
