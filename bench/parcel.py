"""Kernels that hosts are to boot and may not have: image, modules and configuration in one file that is sent there.

A kernel is given by a path, to a Debian package of one or to a folder with its image (vmlinuz* or bzImage, also below
boot/) and what `make modules_install` leaves (lib/modules/RELEASE); or it is Debian's, by its release. The file lies in
the cache under the SHA-256 of its content, so that a campaign goes on with what it began with whatever becomes of the
path.
"""

from __future__ import annotations

import gzip
import json
import re
import tarfile
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import debian, files, kernels, process, units
from bench.errors import InputError
from bench.kernels import Tell
from bench.shape import Needed, fault

#: What uname -r may say, and what may be a file's name.
RELEASE = re.compile(r"[0-9][A-Za-z0-9.+~_-]{0,63}\Z")
_IMAGE = re.compile(r"(boot/)?(vmlinuz[^/]*|bzImage)\Z")
_MODULES = re.compile(r"(?:usr/)?lib/modules/([^/]+)\Z")
_DIGEST = re.compile(r"[0-9a-f]{64}\Z")
_KNOWN = {"release": Needed(str), "sha256": Needed(str)}
_LIST_LIMIT = 300.0


@dataclass(frozen=True)
class Parcel:
    """A packed kernel: a gzipped tar with vmlinuz, modules/ and, where it is known, config.

    file: named by the SHA-256 of its content; origin: the Debian package and version that it is from, or nothing.
    """

    release: str
    file: Path
    origin: Mapping[str, str]

    def facts(self) -> dict[str, Any]:
        """What the record says of it, and what find_again() needs. No path of this machine."""
        return {"release": self.release, "sha256": self.file.name, **self.origin}


def look(path: Path) -> str:
    """The release of the kernel that lies at a path. Raises InputError where there is none, or more than one."""
    if path.is_dir():
        return _look(path)[2]
    if not path.is_file():
        raise InputError(f"there is no {path}", hint="a .deb of a kernel, or a folder with its image and lib/modules")
    if path.suffix != ".deb":
        raise InputError(f"{path} is neither a .deb nor a folder", hint="its modules are needed beside the image")
    listed = process.run([process.require("dpkg-deb", "dpkg"), "-c", path], timeout=_LIST_LIMIT, check=False)
    if listed.returncode:
        raise InputError(f"{path} is no Debian package")
    lines = listed.stdout.decode(errors="replace").splitlines()
    return choose(path, [line.split(maxsplit=5)[-1].removeprefix("./").rstrip("/") for line in lines])[2]


def choose(path: Path, names: Iterable[str]) -> tuple[str, str, str]:
    """Image, modules and release among the names that lie at a path, relative to it. Raises InputError."""
    names = list(names)
    images = [name for name in names if _IMAGE.match(name)]
    modules = [name for name in names if _MODULES.match(name)]
    for found, what in ((images, "a kernel image (vmlinuz* or bzImage)"), (modules, "modules (lib/modules/RELEASE)")):
        if not found:
            raise InputError(f"{path} holds no kernel: it lacks {what}")
        if len(found) > 1:
            raise InputError(f"{path} holds more than one kernel: {' and '.join(sorted(found))}")
    release = modules[0].rpartition("/")[2]
    if not RELEASE.match(release):
        raise InputError(f"{path}: {modules[0]} is not named by a kernel's release, like 6.1.0-50-amd64")
    return images[0], modules[0], release


def _look(folder: Path) -> tuple[Path, Path, str]:
    """Image, modules and release of the kernel in a folder. Raises InputError."""
    top = folder.resolve()
    images = [path for name in ("vmlinuz*", "bzImage", "boot/vmlinuz*") for path in folder.glob(name) if path.is_file()]
    trees = [path for name in ("lib", "usr/lib") for path in folder.glob(f"{name}/modules/*") if path.is_dir()]
    there = {path.resolve(): path for path in images + trees}  # vmlinuz is often a link to one with a release
    for real, path in there.items():
        _check_inside(top, real, path)
    image, modules, release = choose(folder, [str(path.relative_to(folder)) for path in there.values()])
    told = kernels.inspect(folder / image)[1]
    if told != release:
        raise InputError(f"{folder}: {image} is a kernel {told}, and the modules are {release}'s")
    return folder / image, folder / modules, release


def _check_inside(top: Path, real: Path, path: Path) -> None:
    """Raises InputError where a link leads to what is not the kernel's: it would be sent to the hosts."""
    if not real.is_relative_to(top):
        raise InputError(f"{path} is a link that leads out of {top}", hint="put the file itself there")


def pack(path: Path, tell: Tell) -> Parcel:
    """The parcel of what lies at a path, made where the cache lacks it. Raises InputError, HostError."""
    if path.is_dir():
        return _pack(path, {}, tell)
    return _pack_package(path, debian.digest(path), {}, tell)


def fetch(release: str, tell: Tell) -> Parcel:
    """The parcel of Debian's kernel of a release. Raises InputError where Debian has none, HostError (no network)."""
    try:
        found = debian.find(f"linux-image-{release}")
    except InputError as error:
        hint = "./tare kernel list --remote shows which there are"
        raise InputError(f"Debian has no kernel {release}", hint=hint) from error
    origin = {"package": found.name, "version": found.version}
    if made := _indexed(found.sha256, origin):
        return made
    with kernels.making(f"{release}-download", tell) as scratch:
        tell(f"fetching {found} ({units.show_size(found.size)})")
        return _pack_package(debian.download(found, scratch), found.sha256, origin, tell)


def find_again(facts: Mapping[str, Any], tell: Tell) -> Parcel:
    """The very parcel that a plan was made with, by its facts(). Raises InputError where it is not to be had."""
    origin = {key: facts[key] for key in ("package", "version") if key in facts}
    file = _folder() / facts["sha256"]
    if file.is_file() and debian.digest(file) == file.name:
        return Parcel(facts["release"], file, origin)
    if origin and (made := fetch(facts["release"], tell)).file.name == file.name:
        return made
    raise InputError(
        f"the kernel {facts['release']} that this was begun with is not to be had any more",
        hint="start the campaign anew",
    )


def _folder() -> Path:
    return kernels.folder() / "parcels"


def _indexed(package: str, origin: Mapping[str, str]) -> Parcel | None:
    """What was packed of the package with this SHA-256 before."""
    try:
        known = files.read_json(_folder() / f"{package}.json")
    except InputError:
        return None
    if fault(known, _KNOWN) or not RELEASE.match(known["release"]) or not _DIGEST.match(known["sha256"]):
        return None
    file = _folder() / known["sha256"]
    return Parcel(known["release"], file, origin) if file.is_file() and debian.digest(file) == file.name else None


def _pack_package(archive: Path, digest: str, origin: Mapping[str, str], tell: Tell) -> Parcel:
    if made := _indexed(digest, origin):
        return made
    with kernels.making(f"{digest[:12]}-unpacked", tell) as scratch:
        debian.unpack(archive, scratch / "tree")
        made = _pack(scratch / "tree", origin, tell)
    files.write(_folder() / f"{digest}.json", json.dumps(made.facts()) + "\n")
    return made


def _pack(tree: Path, origin: Mapping[str, str], tell: Tell) -> Parcel:
    image, modules, release = _look(tree)
    tell(f"packing the kernel {release}")
    with kernels.making(f"{release}-parcel", tell) as scratch:
        packed = scratch / "packed"
        write(packed, image, modules, _config(tree, release))
        file = _folder() / debian.digest(packed)
        file.parent.mkdir(exist_ok=True)
        files.publish(packed, file)
    return Parcel(release, file, origin)


def _config(tree: Path, release: str) -> Path | None:
    """The configuration that a kernel was built with: its initramfs is to be of a kind that it can unpack."""
    names = (f"boot/config-{release}", f"config-{release}", "config", ".config")
    found = next((tree / name for name in names if (tree / name).is_file()), None)
    if found:
        _check_inside(tree.resolve(), found.resolve(), found)
    return found


def write(packed: Path, image: Path, modules: Path, config: Path | None) -> None:
    """The same bytes for the same content, whoever owns it and whenever it was made."""
    with (
        packed.open("wb") as raw,
        gzip.GzipFile("", "wb", 1, raw, mtime=0) as thin,
        tarfile.open(fileobj=thin, mode="w", format=tarfile.GNU_FORMAT) as archive,
    ):
        _add(archive, image.resolve(), "vmlinuz")
        if config:
            _add(archive, config.resolve(), "config")
        _add(archive, modules, "modules")
        for path in sorted(modules.rglob("*")):
            # Those two are links to where it was built, which are of no use elsewhere.
            if path.parent != modules or path.name not in ("build", "source"):
                _check_inside(modules.resolve(), path.resolve(), path)
                _add(archive, path, f"modules/{path.relative_to(modules)}")


def _add(archive: tarfile.TarFile, path: Path, name: str) -> None:
    member = archive.gettarinfo(path, name)
    member.uid = member.gid = member.mtime = 0
    member.uname = member.gname = ""
    member.mode = 0o755 if member.isdir() else 0o644
    if not member.isreg():
        archive.addfile(member)
        return
    with path.open("rb") as content:
        archive.addfile(member, content)
