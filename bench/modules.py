"""Modules out of a kernel package, for guests that find neither disk nor link without them."""

from __future__ import annotations

import lzma
from collections.abc import Iterable
from pathlib import Path

from bench import cpio, process
from bench.errors import InputError

#: virtio's disk, network and balloon on PCI, and Xen's disk and network.
GUESTS = ("virtio_pci", "virtio_blk", "virtio_net", "virtio_balloon", "xen-blkfront", "xen-netfront")
_DEPMOD_LIMIT = 120.0


def pack(tree: Path, release: str, wanted: Iterable[str]) -> bytes:
    """A cpio archive of modules below /drivers, named in the order in which they are to be loaded.

    tree: an unpacked package. Those that the kernel has built in, or has not at all, are left out.
    """
    top = next((tree / name for name in ("", "usr") if (tree / name / "lib/modules" / release).is_dir()), None)
    if top is None:
        return cpio.archive([], 0)
    process.run([process.require("depmod", "kmod"), "-b", top, release], timeout=_DEPMOD_LIMIT)
    folder = top / "lib/modules" / release
    members = [cpio.Member("drivers", 0o40755, links=2)]
    for number, path in enumerate(order((folder / "modules.dep").read_text(), wanted)):
        name = f"drivers/{number:02}-{_name(path)}.ko"
        members.append(cpio.Member(name, 0o100644, _content(folder / path)))
    return cpio.archive(members, 0)


def order(dependencies: str, wanted: Iterable[str]) -> list[str]:
    """The files of those wanted and of all that they need, each behind what it needs. dependencies: modules.dep."""
    needs: dict[str, list[str]] = {}
    for line in dependencies.splitlines():
        path, _, others = line.partition(":")
        needs[path] = others.split()
    by_name = {_name(path): path for path in needs}
    found: list[str] = []
    for name in wanted:
        if module := by_name.get(name.replace("-", "_")):
            # depmod lists all that a module needs, nearest first.
            found += [each for each in [*reversed(needs[module]), module] if each not in found]
    return found


def _name(path: str) -> str:
    return Path(path).name.partition(".")[0].replace("-", "_")


def _content(file: Path) -> bytes:
    if file.suffix == ".xz":
        return lzma.decompress(file.read_bytes())
    if file.suffix != ".ko":
        raise InputError(f"{file.name} is packed in a way that guests cannot load")
    return file.read_bytes()
