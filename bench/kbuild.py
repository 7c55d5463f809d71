"""User-Mode Linux kernels from Debian's source packages: options over a lean base, built the same way every time."""

from __future__ import annotations

import os
import re
import shutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import debian, process, units
from bench.errors import CommandError, HostError, InputError

#: What a build needs, beside gcc: program → Debian package.
TOOLS = {
    "gcc": "gcc libc6-dev",
    "make": "make",
    "flex": "flex",
    "bison": "bison",
    "bc": "bc",
    "ccache": "ccache",
    "xz": "xz-utils",
    "zstd": "zstd",
    "tar": "tar",
    "dpkg-deb": "dpkg",
}
#: Bytes of disk that an unpacked and built source takes while it is there.
ROOM = 1 << 30
#: More than half of a source: other processors, and drivers of hardware that User-Mode Linux cannot have.
_LEFT_OUT = (
    "arch/[!ux]*/*.[chS]",
    "arch/[!ux]*/*.dts*",
    "Documentation/*.rst",
    "drivers/gpu/*.[ch]",
    "drivers/infiniband/*.[ch]",
    "drivers/media/*.[ch]",
    "drivers/net/ethernet/*.[ch]",
    "drivers/net/wireless/*.[ch]",
    "drivers/staging/*.[ch]",
    "sound/*.[ch]",
)
_UNPACK_LIMIT = 900.0
_BUILD_LIMIT = 3600.0
_OPTION = re.compile(r"CONFIG_([A-Za-z0-9_]+)=(y|n|-?[0-9]+|0x[0-9A-Fa-f]+|\"[^\"\\]*\")\Z")
_UNSET = re.compile(r"# CONFIG_([A-Za-z0-9_]+) is not set\Z")
_BASE = Path(__file__).with_name("uml.config")
#: Where Debian keeps the names of compilers that go through ccache, and how much of them it keeps.
_CCACHE_PATH = "/usr/lib/ccache"
_CCACHE_SIZE = "500M"
#: Whatever would otherwise tell one build of the same source from another.
_FIXED = {
    "KBUILD_BUILD_TIMESTAMP": "2026-01-01",
    "KBUILD_BUILD_USER": "tare",
    "KBUILD_BUILD_HOST": "tare",
    "KBUILD_BUILD_VERSION": "1",
    "LC_ALL": "C",
}

Options = Mapping[str, str]


@dataclass(frozen=True)
class Built:
    """program: the UML kernel; config: its whole configuration; compiler: as the configuration names it."""

    release: str
    program: Path
    config: Path
    compiler: str


def parse_options(lines: Iterable[str]) -> dict[str, str]:
    """A fragment's options by name without CONFIG_, "n" for those not set. Raises InputError naming the line."""
    found: dict[str, str] = {}
    for number, raw in enumerate(lines, start=1):
        line = raw.strip()
        match = _OPTION.match(line)
        unset = _UNSET.match(line)
        if match is None and unset is None:
            if not line or line.startswith("#"):
                continue
            right = 'CONFIG_NAME=y, =n, a number or a "text" (guests load no modules: no =m)'
            raise InputError(f"line {number} of the options, {line[:80]!r}, is none", hint=f"write {right}")
        name, value = (match[1], match[2]) if match else (unset[1] if unset else "", "n")
        if found.setdefault(name, value) != value:
            raise InputError(
                f"line {number} of the options: CONFIG_{name} is there twice, as {found[name]} and {value}"
            )
    return found


def base_options() -> dict[str, str]:
    """What every kernel that Tare builds begins with."""
    return parse_options(_BASE.read_text().splitlines())


def show_options(options: Options) -> list[str]:
    """Options as lines of a configuration."""
    return [f"# CONFIG_{k} is not set" if v == "n" else f"CONFIG_{k}={v}" for k, v in sorted(options.items())]


def require_tools() -> None:
    """Raises HostError that names what is missing to build a kernel."""
    for tool, package in TOOLS.items():
        process.require(tool, package)


def require_room(folder: Path) -> None:
    """Raises HostError where a source cannot be unpacked and built."""
    free = shutil.disk_usage(folder).free
    if free < ROOM:
        raise HostError(
            f"building a kernel needs {units.show_size(ROOM)} of disk for a while, and {folder} has "
            f"{units.show_size(free)}",
            hint=debian.ROOM_HINT,
        )


def repack(package: Path, packed: Path, tell: Callable[[str], None]) -> None:
    """Make of a linux-source package the archive that build() takes: what User-Mode Linux needs, quick to unpack.

    Beside it there must be room for the source. The package goes. Raises HostError.
    """
    tell(f"unpacking {package.name}, once for all builds")
    outer, tree = packed.with_name("package"), packed.with_name("source")
    left_out = [f"--exclude=linux-source-*/{pattern}" for pattern in _LEFT_OUT]
    tar = process.require("tar", "tar")
    tree.mkdir()
    try:
        process.run([process.require("dpkg-deb", "dpkg"), "-x", package, outer], timeout=_UNPACK_LIMIT)
        package.unlink()
        (source,) = outer.glob("usr/src/linux-source-*.tar.xz")
        process.run(
            [tar, "-xJf", source, "--strip-components=1", "--anchored", *left_out, "-C", tree], timeout=_UNPACK_LIMIT
        )
        shutil.rmtree(outer)
        process.run([tar, "-C", tree, "--zstd", "-cf", packed, "."], timeout=_UNPACK_LIMIT)
    except CommandError as error:
        _require_disk(tree, error)
        raise HostError(f"{package.name} cannot be unpacked: {error.what}", detail=error.detail) from error
    shutil.rmtree(tree)


def build(packed: Path, options: Options, scratch: Path, compiled: Path, tell: Callable[[str], None]) -> Built:
    """Unpack a source that repack() made into `scratch`, and build User-Mode Linux there.

    options: merged over base_options(). compiled: a folder that may outlive the call, in which ccache keeps what the
    next build needs not compile again. tell: hears what is being done. Raises InputError where an option does not take
    or the kernel does not build with it, HostError where this host cannot build.
    """
    require_tools()
    require_room(scratch)
    try:
        tree = _unpack(packed, scratch, tell)
        environment = _environment(compiled)
        config = _configure(tree, options, scratch, environment)
        return _compile(tree, config, environment, tell)
    except CommandError as error:
        _require_disk(scratch, error)
        raise InputError(f"the kernel does not build: {error.what}", detail=error.detail) from error


def _require_disk(folder: Path, error: CommandError) -> None:
    """Raises HostError where a command failed because the disk is full."""
    if shutil.disk_usage(folder).free < ROOM // 32:
        raise HostError(f"the disk of {folder.parent} is full", hint=debian.ROOM_HINT) from error


def _unpack(packed: Path, scratch: Path, tell: Callable[[str], None]) -> Path:
    tell(f"unpacking {packed.name}")
    tree = scratch / "source"
    tree.mkdir()
    process.run([process.require("tar", "tar"), "--zstd", "-xf", packed, "-C", tree], timeout=_UNPACK_LIMIT)
    return tree


def _environment(compiled: Path) -> dict[str, str]:
    """Nothing of the caller's own kernel work (ARCH, CC, KCFLAGS …) gets in."""
    kept = {name: os.environ[name] for name in ("HOME", "TARE_RUN") if name in os.environ}
    return {
        **kept,
        **_FIXED,
        "PATH": f"{_CCACHE_PATH}:{os.environ.get('PATH', os.defpath)}",
        "CCACHE_DIR": str(compiled),
        "CCACHE_MAXSIZE": _CCACHE_SIZE,
        # Each source is unpacked into a folder of another name, which is none of an object's business.
        "CCACHE_NOHASHDIR": "1",
    }


def _configure(tree: Path, options: Options, scratch: Path, environment: Mapping[str, str]) -> Path:
    wanted = scratch / "wanted.config"
    wanted.write_text("\n".join(show_options({**base_options(), **options})) + "\n")
    _make([f"KCONFIG_ALLCONFIG={wanted}", "allnoconfig"], tree, environment, lambda line: None)
    config = tree / ".config"
    check_options(options, config.read_text(), lambda name: _knows(tree, name))
    return config


def check_options(options: Options, config: str, knows: Callable[[str], bool]) -> None:
    """Every option asked for must be in the configuration that came of it. Raises InputError naming the first that is
    not.

    knows: whether the source has an option of this name at all.
    """
    got = dict(re.findall(r"^CONFIG_(\w+)=(.*)$", config, re.MULTILINE))
    got |= dict.fromkeys(re.findall(r"^# CONFIG_(\w+) is not set$", config, re.MULTILINE), "n")
    for name, value in options.items():
        if name not in got and not knows(name):
            raise InputError(f"this kernel has no option CONFIG_{name}", hint="leave it out, or build another source")
        if got.get(name, "n") != value:
            why = (
                "another option selects it" if value == "n" else "it depends on one that is not set, or cannot be that"
            )
            raise InputError(f"CONFIG_{name}={value} did not take, it is {got.get(name, 'n')}: {why}")


def _knows(tree: Path, name: str) -> bool:
    entry = re.compile(rf"^\s*(?:menu)?config\s+{name}\s*$", re.MULTILINE)
    return any(
        entry.search((Path(folder) / file).read_text(errors="replace"))
        for folder, _, files in os.walk(tree)
        for file in files
        if file.startswith("Kconfig")
    )


def _compile(tree: Path, config: Path, environment: Mapping[str, str], tell: Callable[[str], None]) -> Built:
    count = 0

    def heard(line: str) -> None:
        nonlocal count
        if line.startswith(("  CC ", "  AS ")):
            count += 1
            if count % 10 == 0:
                tell(f"building User-Mode Linux: {count} files compiled")

    _make([f"-j{len(os.sched_getaffinity(0))}", "linux"], tree, environment, heard)
    release = (tree / "include/config/kernel.release").read_text().strip()
    match = re.search(r'^CONFIG_CC_VERSION_TEXT="(.*)"$', config.read_text(), re.MULTILINE)
    return Built(release, tree / "linux", config, match[1] if match else "unknown")


def _make(words: Sequence[str], tree: Path, environment: Mapping[str, str], heard: Callable[[str], None]) -> None:
    argv = [process.require("make", "make"), "ARCH=um", *words]
    process.follow(argv, heard, timeout=_BUILD_LIMIT, env=environment, cwd=tree)
