"""What root file systems are made of: one file each in this folder, found by its name.

`make(tree, tell)` fills a folder that is not there yet. A module may have `key()`, a text that changes with what `make`
would do: where making takes long, a rootfs of the same key is taken from the cache. One that says `on_disk = True` is
too large for guests' memory, and a disk of theirs. Every rootfs has a busybox at /bin/busybox, which runs the one init
of all, and an empty /data, where an instance's disk goes; what is in it as Debian packages is listed in PACKAGES_FILE,
a line "name version" each.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from bench import process
from bench.errors import HostError, InputError

INIT = Path(__file__).parent.parent / "init.sh"
PACKAGES_FILE = "etc/tare-packages"
EPOCH = 1767225600  # 2026-01-01, the time of every file in a rootfs

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Recipe:
    name: str
    make: Callable[[Path, Tell], None]
    key: Callable[[], str] | None
    on_disk: bool = False


def names() -> list[str]:
    """The rootfs there are."""
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@functools.cache
def load(name: str) -> Recipe:
    """The rootfs in bench/rootfs/<name>.py. Raises InputError with the names there are."""
    if name not in names():
        raise InputError(f"there is no rootfs {name!r}", hint=f"one of: {', '.join(names())}")
    module = importlib.import_module(f"bench.rootfs.{name}")
    return Recipe(name, module.make, getattr(module, "key", None), getattr(module, "on_disk", False))


def packages(tree: Path) -> dict[str, str]:
    """The Debian packages that a tree lists: name → version."""
    try:
        lines = (tree / PACKAGES_FILE).read_text().splitlines()
    except FileNotFoundError:
        return {}
    return dict(line.split(" ", 1) for line in lines)


def add_init(tree: Path) -> None:
    """This host's static busybox, and our init. Raises HostError."""
    busybox = Path(process.require("busybox", "busybox-static"))
    if b"ELF" not in busybox.read_bytes()[:4] or _is_dynamic(busybox):
        raise HostError(f"{busybox} is not a static busybox", hint="apt-get install busybox-static")
    for source, name in ((busybox, "bin/busybox"), (INIT, "init")):
        shutil.copyfile(source, tree / name)
        (tree / name).chmod(0o755)


def _is_dynamic(program: Path) -> bool:
    """Whether an ELF file asks for a dynamic loader (has a PT_INTERP header)."""
    data = program.read_bytes()
    start, size, count = (int.from_bytes(data[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    return any(int.from_bytes(data[start + i * size :][:4], "little") == 3 for i in range(count))
