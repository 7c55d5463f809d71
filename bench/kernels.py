"""Kernels that arms boot: found in the cache by what a campaign calls them, or else fetched, built or copied into it.

One folder each in the cache, with the kernel and kernel.json beside it. Nothing is installed, and a kernel that was
given by its path is copied, so that a campaign goes on with what it began with whatever becomes of the file.
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import json
import mmap
import os
import re
import shutil
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, Any, Final, Literal

from bench import debian, files, home, kbuild, locks, modules, process, units
from bench.backends.base import GuestKernel, KernelKind
from bench.errors import HostError, InputError, MissingFile, TareError
from bench.shape import Needed, fault
from bench.state import cache_folder
from bench.text import one_line

#: The meta-package whose newest release is the kernel of machines that name none.
DEFAULT_PACKAGE: Final = "linux-image-cloud-amd64"
#: The same for User-Mode Linux: an installed program, and the package that has it.
DEFAULT_UML: Final = ("linux", "user-mode-linux")
#: What each kind is, in words.
KINDS: Final[Mapping[KernelKind, str]] = {
    "machine": "a kernel for machines (bzImage or vmlinux)",
    "uml": "a User-Mode Linux program",
}

_FACTS = "kernel.json"
#: How a Debian package (an ar archive) begins.
_PACKAGE = b"!<arch>\ndebian-binary"
#: Another list of modules is another file: a kernel that has not got it is fetched anew.
_DRIVERS = f"drivers-{'-'.join(modules.GUESTS)}.cpio"
_KNOWN = {
    **dict.fromkeys(("release", "kind", "image", "sha256"), Needed(str)),
    "origin": Needed({"package": str, "version": str, "key": str, "options": list}),
    "config": str,
    "drivers": str,
}
_SOURCE = {"sha256": Needed(str), "package": Needed(str)}
_SCRATCH = ".work-"
#: Seconds: a kernel is built in some minutes, and emulated machines build too.
_MAKE_LIMIT = 3600.0
#: A vmlinux with all its debugging information.
_LARGEST_IMAGE = 2 << 30
_OFFERED = re.compile(r"linux-(image-\d+\.\d+\.\S+(?<!-dbg)(?<!-unsigned)|source-\d+\.\d+)\Z")
#: Of a release in a file's name: who builds a kernel may give it any.
_LONGEST_NAME = 100
_LOCALVERSION = re.compile(r"[a-z0-9][a-z0-9.]{0,31}\Z")

Tell = Callable[[str], None]


@dataclass(frozen=True)
class Kernel:
    """A kernel in the cache. release: as `uname -r` has it; sha256: of the image; origin: the Debian package and
    version that it is from, and for a build its options and compiler; config: SHA-256 of its configuration; drivers: an
    archive of those modules that disks and links need, of a package that has them as modules."""

    release: str
    kind: KernelKind
    image: Path
    sha256: str
    origin: Mapping[str, Any]
    config: str | None = None
    drivers: Path | None = None

    def facts(self) -> dict[str, Any]:
        """What the record says of it, and what find_again() needs. No path of this host."""
        return {
            "release": self.release,
            "kind": self.kind,
            "sha256": self.sha256,
            "config": self.config,
            **self.origin,
        }

    @property
    def booted(self) -> GuestKernel:
        """What guests are given of it."""
        return GuestKernel(self.image, self.drivers)

    @property
    def size(self) -> int:
        """Bytes of its image."""
        return self.image.stat().st_size

    @property
    def source(self) -> str:
        """Where it is from, in a few words."""
        if "package" not in self.origin:
            return "a file"
        options = f" (options: {len(self.origin['options'])})" if self.origin.get("options") else ""
        return f"{self.origin['package']}={self.origin['version']}{options}"


@dataclass(frozen=True)
class Wish:
    """What a campaign calls a kernel: see parse(). options: those of a source, by name without CONFIG_."""

    form: Literal["default", "release", "package", "source", "path"] = "default"
    name: str = ""
    version: str | None = None
    options: Mapping[str, str] = field(default_factory=dict)

    def __str__(self) -> str:
        text = self.name + (f"={self.version}" if self.version else "")
        return text + (" with " + ", ".join(kbuild.show_options(self.options)) if self.options else "")


def parse(text: str, options: Mapping[str, str] | None = None) -> Wish:
    """A kernel by any of its names: "6.1.0-50-cloud-amd64" (a release; its first parts are enough for one in the
    cache), "linux-image-6.1.0-50-cloud-amd64" or "linux-source-6.1", both with or without "=VERSION", or a path, which
    has a slash in it. Raises InputError."""
    wish = _parse(text)
    if not options:
        return wish
    if wish.form != "source":
        raise InputError(f"only a source package is built with options, and {text!r} is none", hint="linux-source-6.1")
    return Wish(wish.form, wish.name, wish.version, dict(options))


def _parse(text: str) -> Wish:
    if "/" in text:
        return Wish("path", text)
    name, equals, version = text.partition("=")
    if equals and not debian.VERSION.match(version):
        raise InputError(f"{text!r}: {version!r} is no version", hint="like linux-source-6.1=6.1.170-3")
    if match := re.match(r"linux-(image|source)-[a-z0-9]", name if debian.NAME.match(name) else ""):
        return Wish("package" if match[1] == "image" else "source", name, version or None)
    if not equals and re.match(r"\d[A-Za-z0-9.+~_-]*\Z", name):
        return Wish("release", name)
    raise InputError(
        f"{text!r} names no kernel",
        hint="a release like 6.1.0-50-cloud-amd64, linux-image-… or linux-source-… (with =VERSION), or a path with a /",
    )


def check_kind(wish: Wish, kind: KernelKind) -> None:
    """Raises InputError where a wish is for another kind of kernel than the one needed, or for a path that is none."""
    given: KernelKind = kind
    if wish.form in ("package", "source"):
        given = "machine" if wish.form == "package" else "uml"
    elif wish.form == "path":
        path = Path(wish.name)
        given = "machine" if is_package(path) else inspect(path)[0]
    if given != kind:
        raise InputError(f"{wish} is {KINDS[given]}, and this arm boots {KINDS[kind]}")


def inspect(path: Path) -> tuple[KernelKind, str]:
    """Kind and release of a kernel image, as it says itself. Raises InputError where it is none."""
    try:
        with _image(path) as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as data:
            if words := _banner(data).split():
                return "machine", words[0].decode(errors="replace")
            if data[:4] == b"\x7fELF" and (banner := re.search(rb"Linux version (\d[!-~]*) ", data)):
                return ("uml" if data.find(b"umid=") >= 0 else "machine"), banner[1].decode()
    except MissingFile as error:
        raise InputError(f"there is no kernel image {path}") from error
    except (OSError, ValueError):  # an empty file cannot be mapped
        pass
    raise InputError(f"{path} is no kernel: neither a bzImage nor a Linux kernel in ELF")


def _image(path: Path) -> IO[bytes]:
    return files.opened(path, limit=_LARGEST_IMAGE)


def _banner(data: mmap.mmap) -> bytes:
    """What a bzImage says of itself: RELEASE (WHO@WHERE) VERSION; nothing of what is none."""
    if data[0x202:0x206] != b"HdrS":
        return b""
    start = 0x200 + int.from_bytes(data[0x20E:0x210], "little")
    return data[start : start + 256].partition(b"\0")[0]


def version(image: Path) -> str | None:
    """What `uname -v` says where this image runs, which tells builds of a release apart; None where it is no bzImage.

    Raises InputError.
    """
    with _image(image) as file, contextlib.suppress(ValueError):  # an empty file cannot be mapped
        data = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
        with data:
            return _banner(data).partition(b") ")[2].decode(errors="replace") or None
    return None


def folder() -> Path:
    return cache_folder() / "kernels"


def available(kind: KernelKind | None = None) -> list[Kernel]:
    """What the cache holds, oldest release and version first. Raises HostError where it cannot be read."""
    try:
        entries = list(folder().iterdir())
    except (FileNotFoundError, NotADirectoryError):
        entries = []
    except OSError as error:
        hint = "set XDG_CACHE_HOME to a folder of your own"
        raise HostError(f"the cache {folder()} cannot be read: {error.strerror}", hint=hint) from error
    found = [kernel for entry in entries if (kernel := _there(entry / _FACTS))]
    return sorted((k for k in found if kind in (None, k.kind)), key=_order)


def _there(file: Path) -> Kernel | None:
    """A kernel in the cache; none that an older Tare put there without all that is needed now."""
    with contextlib.suppress(InputError, OSError):
        return _read(file)
    return None


def _read(file: Path) -> Kernel:
    """Raises InputError, also for what a power cut left of one."""
    known = files.read_json(file)
    wrong = fault(known, _KNOWN)
    if wrong or known["kind"] not in KINDS or known.get("drivers") not in (None, _DRIVERS):
        raise InputError(f"{file}: {wrong or 'is of another Tare'}")
    if Path(known["image"]).name != known["image"] or not file.with_name(known["image"]).is_file():
        raise InputError(f"{file}: there is no image beside it")
    return Kernel(
        known["release"],
        known["kind"],
        file.with_name(known["image"]),
        known["sha256"],
        {key: value for key, value in known["origin"].items() if value is not None},
        known.get("config"),
        file.with_name(known["drivers"]) if known.get("drivers") else None,
    )


def _order(kernel: Kernel) -> tuple[list[int], list[int], str]:
    return _numbers(kernel.release), _numbers(kernel.origin.get("version", "")), kernel.sha256


def _numbers(text: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", text)]


def find(wish: Wish, kind: KernelKind) -> Kernel | None:
    """The kernel that is meant, where the cache has it: the newest of those that fit, and without a wish the one that
    Debian's newest cloud kernel was at the last `tare kernel fetch`, or the installed User-Mode Linux.

    Raises InputError where a release may mean several kernels.
    """
    there = available(kind)
    if wish.form == "default":
        return _default(kind)
    if wish.form == "path":
        digest = debian.digest(Path(wish.name), limit=_LARGEST_IMAGE)
        return next((kernel for kernel in there if digest in (kernel.sha256, kernel.origin.get("file"))), None)
    if wish.form == "release":
        return _of_release(wish.name, there, kind)
    if wish.form == "source":
        there = [k for k in there if k.origin.get("key") == _key(wish.name, k.origin.get("version", ""), wish.options)]
    fitting = [
        kernel
        for kernel in there
        if kernel.origin.get("package") == wish.name and wish.version in (None, kernel.origin["version"])
    ]
    return fitting[-1] if fitting else None


def _default(kind: KernelKind) -> Kernel | None:
    if kind == "machine":
        with contextlib.suppress(InputError):
            return _there(folder() / files.read_text(folder() / "default").strip() / _FACTS)
        return None
    program = process.which(DEFAULT_UML[0])
    return _copy(Path(program)) if program else None


def _of_release(wanted: str, there: list[Kernel], kind: KernelKind) -> Kernel | None:
    """The kernel of just this release, or the newest that begins like it; of several builds the one without options.

    Copies of files are not meant by a release.
    """
    if kind == "uml" and (installed := _default(kind)) and installed not in there:
        there = sorted([*there, installed], key=_order)
    fitting = [kernel for kernel in there if fits(wanted, kernel.release) and "package" in kernel.origin]
    if not fitting:
        return None
    fitting = [kernel for kernel in fitting if kernel.release == wanted] or fitting
    fitting = [kernel for kernel in fitting if not kernel.origin.get("options")] or fitting
    newest = [kernel for kernel in fitting if kernel.release == fitting[-1].release]
    if kind == "uml" and len(newest) > 1:
        names = "; ".join(kernel.source for kernel in newest)
        raise InputError(f"{wanted} may be several kernels in the cache ({names})", hint="name its source package")
    return newest[-1]


def fits(wanted: str, release: str) -> bool:
    """Whether a release is the wanted one, or begins like it: 6.1.0-50-amd64 is a 6.1.0-50, and no 6.1.0-5."""
    return re.match(rf"{re.escape(wanted)}(?![0-9])", release) is not None


def default(kind: KernelKind) -> Kernel | str:
    """The kernel of arms that name none, or why there is none; fetches nothing."""
    try:
        return find(Wish(), kind) or _missing(kind)
    except TareError as error:
        return str(error)


def _missing(kind: KernelKind) -> str:
    if kind == "uml":
        return f"{DEFAULT_UML[0]} is not installed: apt-get install {DEFAULT_UML[1]}"
    return "no kernel for guests in the cache: ./tare kernel fetch"


def foresee(wish: Wish, kind: KernelKind) -> str | None:
    """What will be done for a kernel that the cache lacks, in a few words; None where it is there.

    Raises InputError where there is no such kernel, HostError where this host cannot have it.
    """
    check_kind(wish, kind)
    if find(wish, kind):
        return None
    if wish.form == "path":
        verb = "unpacked" if is_package(Path(wish.name)) else "copied"
        return f"{wish} will be {verb} into the cache"
    package = _package(wish, kind)
    if wish.form != "source":
        return f"{package} will be fetched ({units.show_size(package.size)})"
    kbuild.require_tools()
    there = _packed(package.name, package.version).is_file()
    fetched = "" if there else f"fetched ({units.show_size(package.size)}) and "
    return f"{package} will be {fetched}built: some minutes, {units.show_size(kbuild.ROOM)} of disk meanwhile"


def _package(wish: Wish, kind: KernelKind) -> debian.Package:
    """The Debian package that has a kernel which is not in the cache."""
    if wish.form == "default" and kind == "uml":
        raise HostError(_missing(kind))
    if wish.form == "release" and kind == "uml":
        raise InputError(
            f"there is no User-Mode Linux {wish} in the cache (there: {_releases(kind)})",
            hint="./tare kernel build linux-source-… makes one",
        )
    if wish.form == "release":
        with contextlib.suppress(InputError):
            return debian.find(f"linux-image-{wish.name}")
        raise InputError(
            f"there is no kernel {wish}, neither in the cache (there: {_releases(kind)}) nor in Debian",
            hint="./tare kernel list --remote shows which there are",
        )
    package = debian.find(wish.name or DEFAULT_PACKAGE, wish.version)
    if match := re.search(r"(linux-image-\d[^\s,]*)(?: \(= ([^)]+)\))?", package.depends):  # it was a meta-package
        package = debian.find(match[1], match[2])
    return package


def _releases(kind: KernelKind) -> str:
    return ", ".join(kernel.release for kernel in available(kind)) or "none"


def prepare(wish: Wish, kind: KernelKind, tell: Tell) -> Kernel:
    """The kernel that is meant, fetched, built or copied where the cache lacks it. tell: hears what is being done.

    Raises InputError where there is no such kernel, HostError where this host cannot have it or where what is in the
    cache is damaged.
    """
    check_kind(wish, kind)
    found = find(wish, kind)
    if found is None:
        if wish.form == "path":
            path = Path(wish.name)
            return _unpack(path, tell) if is_package(path) else _copy(path)
        package = _package(wish, kind)
        if wish.form == "source":
            return build(wish.name, package.version, wish.options, tell)
        return fetch(package.name, package.version, tell) if wish.name else fetch(tell=tell)
    return _sound(found)


def _sound(kernel: Kernel) -> Kernel:
    if debian.digest(kernel.image) != kernel.sha256:
        raise HostError(
            f"the kernel {kernel.release} in the cache is damaged", hint=f"remove {kernel.image.parent}, and try again"
        )
    return kernel


def find_again(facts: Mapping[str, Any], tell: Tell) -> Kernel:
    """The very kernel that a plan was made with, by its facts(). Raises as prepare(), InputError for another one."""
    for kernel in available(facts["kind"]):
        if kernel.sha256 == facts["sha256"]:
            return _sound(kernel)
    if "package" in facts:
        text = f"{facts['package']}={facts['version']}"
        # What was installed is had again by what is installed now, or not at all.
        debians = re.match("linux-(image|source)-", facts["package"])
        wish = parse(text, kbuild.parse_options(facts.get("options") or [])) if debians else Wish()
        if (kernel := prepare(wish, facts["kind"], tell)).sha256 == facts["sha256"]:
            return kernel
    raise InputError(
        f"the kernel {facts['release']} that this was begun with is not to be had any more",
        hint="start the campaign anew",
    )


def fetch(package: str = DEFAULT_PACKAGE, version: str | None = None, tell: Tell = lambda text: None) -> Kernel:
    """Download and unpack a kernel package. Raises InputError (no such package or version), HostError (no network)."""
    found = _package(Wish("package", package, version), "machine")
    final = folder() / f"{found.name.removeprefix('linux-image-')}_{found.version}"
    with making(final.name, tell) as scratch:
        if not _there(final / _FACTS):
            tell(f"fetching {found} ({units.show_size(found.size)})")
            archive = debian.download(found, scratch)
            origin = {"package": found.name, "version": found.version, "archive": found.sha256}
            _keep_package(final, scratch, archive, str(found), origin)
        if package == DEFAULT_PACKAGE:
            files.write(folder() / "default", final.name + "\n")
    return _read(final / _FACTS)


def build(package: str, version: str | None, options: Mapping[str, str], tell: Tell) -> Kernel:
    """Build User-Mode Linux from a linux-source package, unless the cache has it with these options.

    Raises InputError (no such package, an option that does not take, a kernel that does not build), HostError.
    """
    version = version or debian.find(package).version
    key = _key(package, version, options)
    final = folder() / f"uml-{version}-{key}"
    with making(final.name, tell) as scratch:
        if not _there(final / _FACTS):
            kbuild.require_tools()
            kbuild.require_room(scratch)
            packed, digest = _source(package, version, scratch, tell)
            built = kbuild.build(packed, options, scratch, folder() / "ccache", tell)
            origin = {
                "package": package,
                "version": version,
                "archive": digest,
                "key": key,
                "options": kbuild.show_options(options),
                "compiler": built.compiler,
            }
            _keep(final, scratch, built.release, "uml", built.program, built.config, origin)
    return _read(final / _FACTS)


def named(options: Mapping[str, str], name: str) -> dict[str, str]:
    """Options of a build whose release ends with a name: 6.1.170-NAME. Raises InputError."""
    if not _LOCALVERSION.match(name):
        raise InputError(f"{name!r} is no name for a kernel: small letters, digits and dots")
    return {**options, "LOCALVERSION": f'"-{name}"'}


def _key(package: str, version: str, options: Mapping[str, str]) -> str:
    whole = [package, version, kbuild.show_options({**kbuild.base_options(), **options})]
    return hashlib.sha256(json.dumps(whole).encode()).hexdigest()[:12]


def _packed(package: str, version: str) -> Path:
    return folder() / "sources" / f"{package}_{version}.tar.zst"


def _source(package: str, version: str, scratch: Path, tell: Tell) -> tuple[Path, str]:
    """A source as kbuild takes it, kept in the cache for other builds, and the SHA-256 of the package that it is of."""
    packed = _packed(package, version)
    beside = packed.with_suffix(".json")
    with contextlib.suppress(OSError, InputError):
        known = files.read_json(beside)
        if not fault(known, _SOURCE) and known["sha256"] == debian.digest(packed):
            return packed, str(known["package"])
    found = debian.find(package, version)
    tell(f"fetching {found} ({units.show_size(found.size)})")
    kbuild.repack(debian.download(found, scratch), scratch / packed.name, tell)
    packed.parent.mkdir(exist_ok=True)
    beside.unlink(missing_ok=True)
    known = {"sha256": debian.digest(scratch / packed.name), "package": found.sha256}
    files.publish(scratch / packed.name, packed)
    files.write(beside, json.dumps(known) + "\n")
    return packed, found.sha256


def is_package(path: Path) -> bool:
    """Whether a file is a Debian package, whatever its name."""
    try:
        with _image(path) as file:
            return file.read(len(_PACKAGE)) == _PACKAGE
    except (OSError, InputError):
        return False


def _keep_package(final: Path, scratch: Path, archive: Path, name: str, origin: Mapping[str, Any]) -> None:
    """Put the kernel of a package into the cache, with its configuration and its guests' drivers."""
    tree = scratch / "tree"
    debian.unpack(archive, tree)
    images = [path for path in (tree / "boot").glob("vmlinuz-*") if _lies_in(tree, path)]
    if len(images) != 1:
        raise InputError(f"{name} holds {'more than one' if images else 'no'} kernel image (boot/vmlinuz-RELEASE)")
    release = images[0].name.removeprefix("vmlinuz-")
    kind, told = inspect(images[0])
    if kind != "machine":
        raise InputError(f"{name} holds {KINDS[kind]}, and this arm boots {KINDS['machine']}")
    config = images[0].with_name(f"config-{release}")
    drivers = scratch / _DRIVERS
    drivers.write_bytes(modules.pack(tree, release, modules.GUESTS))
    _keep(final, scratch, told, kind, images[0], config if _lies_in(tree, config) else None, origin, drivers)


def _lies_in(tree: Path, path: Path) -> bool:
    """Whether there is such a file, and no link leads out of the tree to it."""
    return path.is_file() and path.resolve().is_relative_to(tree.resolve())


def _unpack(path: Path, tell: Tell) -> Kernel:
    """The kernel of a package that lies beside the campaign."""
    digest = debian.digest(path)
    final = folder() / f"file-{digest[:12]}"
    with making(final.name, tell) as scratch:
        if not _there(final / _FACTS):
            tell(f"unpacking {path.name}")
            _keep_package(final, scratch, path, str(path), {"file": digest})
    return _read(final / _FACTS)


def _copy(path: Path) -> Kernel:
    """A kernel of this host, in the cache."""
    digest = debian.digest(path)
    final = folder() / f"copy-{digest[:12]}"
    if not _there(final / _FACTS):
        kind, release = inspect(path)
        with making(final.name) as scratch:
            _keep(final, scratch, release, kind, path, None, debian.owner(path))
    return _read(final / _FACTS)


@contextlib.contextmanager
def making(name: str, tell: Tell = lambda text: None) -> Iterator[Path]:
    """A scratch folder in the cache for who makes the entry of this name: one at a time, and gone afterwards.

    Its maker holds it locked, so that what a killed one left can be told from what is under way. Raises HostError where
    the cache cannot be written.
    """
    scratch = folder() / f"{_SCRATCH}{name}"
    with home.keeping():
        clean()
        held = _hold(scratch, tell)
        try:
            yield scratch
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
            os.close(held)


def _hold(scratch: Path, tell: Tell) -> int:
    """The locked descriptor of a folder, made where it is not there."""
    while True:
        scratch.mkdir(parents=True, exist_ok=True)
        held = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY)
        locks.wait(held, f"another tare that makes {scratch.name.removeprefix(_SCRATCH)}", tell, _MAKE_LIMIT)
        with contextlib.suppress(FileNotFoundError):
            if scratch.stat().st_ino == os.fstat(held).st_ino:
                break
        os.close(held)  # who had it has removed it
    if not (scratch / files.UNFINISHED).is_file() and any(scratch.iterdir()):
        os.close(held)
        raise HostError(f"{scratch} is not Tare's, and in the way", hint="move it elsewhere")
    (scratch / files.UNFINISHED).touch()
    return held


def _lock(held: int) -> bool:
    try:
        fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def clean() -> list[Path]:
    """Remove what killed makers left in the cache; what was removed."""
    removed = []
    for scratch in folder().glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError):
            held = os.open(scratch, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW)
            if (scratch / files.UNFINISHED).is_file() and _lock(held):
                shutil.rmtree(scratch, ignore_errors=True)
                removed.append(scratch)
            os.close(held)
    return removed


def _keep(
    final: Path,
    scratch: Path,
    release: str,
    kind: KernelKind,
    image: Path,
    config: Path | None,
    origin: Mapping[str, Any],
    drivers: Path | None = None,
) -> None:
    """Put a kernel into the cache, whole or not at all."""
    made = scratch / "made"
    made.mkdir()
    plain = re.sub(r"[^A-Za-z0-9.+~_-]", "_", release)[:_LONGEST_NAME]
    name = f"{'vmlinuz' if kind == 'machine' else 'linux'}-{plain}"
    shutil.copyfile(image, made / name)
    (made / name).chmod(0o755 if kind == "uml" else 0o644)
    if config:
        shutil.copyfile(config, made / f"config-{plain}")
    if drivers:
        drivers.rename(made / _DRIVERS)
    known = {
        "release": release,
        "kind": kind,
        "image": name,
        "sha256": debian.digest(made / name),
        "config": debian.digest(config) if config else None,
        "origin": dict(origin),
        "drivers": _DRIVERS if drivers else None,
    }
    (made / _FACTS).write_text(json.dumps(known, indent=1) + "\n")
    shutil.rmtree(final, ignore_errors=True)
    files.publish(made, final)


def offered() -> list[debian.Package]:
    """Every kernel image and source that Debian has, in each version that apt's lists know; oldest release first."""
    names = [name for prefix in ("linux-image-", "linux-source-") for name in debian.known(prefix)]
    return debian.offered(sorted((name for name in names if _OFFERED.match(name)), key=lambda n: (n[:12], _numbers(n))))


if __name__ == "__main__":
    try:
        print(f"kernel for guests: {fetch().release}")
    except TareError as error:
        print(f"tare: {one_line(error)}", file=sys.stderr)
        sys.exit(error.exit_code)
