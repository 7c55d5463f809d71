"""The "newc" cpio format, in which Linux takes its initramfs. Archives may follow one another in one file.

Written here because GNU cpio copies each folder's link count, which differs between file systems.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Member:
    """A file, folder or link: its path, its mode with the type, and its content (a link's target)."""

    name: str
    mode: int
    data: bytes = b""
    links: int = 1


def archive(members: Iterable[Member], mtime: int) -> bytes:
    """All of it root's and of that time (seconds since 1970); its length is a multiple of 4."""
    out = bytearray()
    for number, member in enumerate(members, start=1):
        _append(out, member, number, mtime)
    _append(out, Member("TRAILER!!!", 0), 0, mtime)
    return bytes(out)


def _append(out: bytearray, member: Member, number: int, mtime: int) -> None:
    name = os.fsencode(member.name) + b"\0"
    fields = (number, member.mode, 0, 0, member.links, mtime, len(member.data), 0, 0, 0, 0, len(name), 0)
    for part in (b"070701" + b"".join(b"%08X" % field for field in fields) + name, member.data):
        out += part
        out += b"\0" * (-len(out) % 4)


def join(archives: Iterable[Path], whole: Path) -> None:
    """One file of several archives; in what it unpacks to, later ones come over earlier ones."""
    with whole.open("wb") as out:
        for part in archives:
            with part.open("rb") as archive:
                shutil.copyfileobj(archive, out)
