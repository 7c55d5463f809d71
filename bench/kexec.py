"""This host into another kernel: one of its own, or one that was sent, unpacked and given an initramfs. Only root can.

/boot is only read, and neither a boot loader nor a default is touched. A kernel that was sent has its modules in
/lib/modules/RELEASE, where there were none before, with a mark in them; the rest lies in the folder of Tare's files.
"""

from __future__ import annotations

import contextlib
import os
import re
import shutil
from pathlib import Path

from bench import kernels, process, state
from bench.errors import CommandError, HostError

MODULES = Path("/lib/modules")
_BOOT = Path("/boot")
_CONFIGURATION = Path("/etc/initramfs-tools")
_INITRDS = ("initrd.img-{}", "initramfs-{}.img")
#: Holds the digest of what modules were unpacked from.
_MARK = ".tare"
_DIGEST = re.compile(r"([0-9a-f]{64})\s*\Z")
_SCRATCH = ".tare-"
_UNPACK_LIMIT = 600.0
_LOAD_LIMIT = 120.0
#: Some hundred processes, each of which an emulated machine takes its time for.
MAKE_LIMIT = 1800.0
#: Only what this machine needs, and quickly packed. The last word on each, as the file that is read last.
_CONFIG = "MODULES={}\nCOMPRESS=zstd\nCOMPRESSLEVEL=1\nRESUME=none\n"
#: mkinitramfs asks /boot for the kernel's configuration. It is shown a folder with that in its place.
_INSTEAD_OF_BOOT = 'mount --bind "$1" /boot && shift && exec "$@"'
#: So that a kernel which panics or finds no root restarts the machine, and it comes back with its own.
_GUARDS = ("panic=10", "rd.shell=0", "rd.emergency=reboot")


def require() -> None:
    """Raises HostError where no other kernel can be booted here at all."""
    if os.geteuid() != 0:
        hint = 'user = "root" or sudo = true in the inventory'
        raise HostError("only root can boot another kernel", hint=hint)
    process.require("kexec", "kexec-tools")


def own(release: str) -> tuple[Path, Path] | None:
    """Image and initramfs of a kernel that the host has itself."""
    image = _BOOT / f"vmlinuz-{release}"
    for name in _INITRDS:
        if image.is_file() and (initrd := _BOOT / name.format(release)).is_file():
            return image, initrd
    return None


def load(release: str, packed: Path | None, *, keep: bool) -> dict[str, str | bool | None]:
    """Have the next `systemctl kexec` boot a kernel: {"runs": whether it runs already, "version": its `uname -v`}.

    packed: what was sent of it, see bench.parcel; None for one of the host's own. keep: False to see whether it can be
    loaded, and not to leave it so. Raises HostError.
    """
    found = _settled(release, packed) if packed else own(release)
    if found is None:
        there = sorted(path.name.removeprefix("vmlinuz-") for path in _BOOT.glob("vmlinuz-*"))
        raise HostError(f"there is no kernel {release} (there: {', '.join(there) or 'none'})")
    image, initrd = found
    version = kernels.version(image)
    runs = os.uname().release == release and version in (None, os.uname().version)
    if not runs:
        _kexec(image, initrd, keep=keep)
    return {"runs": runs, "version": version}


def guarded(line: str) -> str:
    """This boot's command line for the next one: without what the boot loader said of itself."""
    words = [word for word in line.split() if not word.startswith("BOOT_IMAGE=")]
    names = {word.partition("=")[0] for word in words}
    return " ".join(words + [word for word in _GUARDS if word.partition("=")[0] not in names])


def _kexec(image: Path, initrd: Path | None, *, keep: bool) -> None:
    tool = process.require("kexec", "kexec-tools")
    more = [f"--initrd={initrd}"] if initrd else []
    line = guarded(Path("/proc/cmdline").read_text())
    try:
        process.run([tool, "-l", image, f"--command-line={line}", *more], timeout=_LOAD_LIMIT)
        if not keep:
            process.run([tool, "-u"], timeout=_LOAD_LIMIT)
    except CommandError as error:
        last = (error.detail.splitlines() or [error.what])[-1]
        raise HostError(f"kexec takes no such kernel: {last[-200:]}", detail=error.detail) from error


def is_settled(release: str, packed: Path) -> bool:
    """Whether what was sent under this name is unpacked, with its initramfs."""
    return (_place(release, packed) / "initrd").is_file() and _mark(MODULES / release) == packed.name


def _settled(release: str, packed: Path) -> tuple[Path, Path]:
    place = _place(release, packed)
    if not is_settled(release, packed):
        try:
            _unpack(release, packed, place)
            _kexec(place / "vmlinuz", None, keep=False)  # what is no kernel shows at once, and not after minutes
            _make_initramfs(release, place)
        except OSError as error:
            what = f"the kernel {release} cannot be unpacked: {error.strerror}"
            raise HostError(what, hint="make room there") from error
        except CommandError as error:
            raise HostError(f"the kernel {release} cannot be made ready: {error.what}", detail=error.detail) from error
    return place / "vmlinuz", place / "initrd"


def _place(release: str, packed: Path) -> Path:
    return state.cache_folder() / "booted" / f"{release}-{packed.name[:12]}"


def _mark(modules: Path) -> str | None:
    """The name of what modules were unpacked from, a SHA-256; None of modules that are not ours."""
    with contextlib.suppress(OSError, UnicodeDecodeError):
        found = _DIGEST.match((modules / _MARK).read_text())
        return found[1] if found and modules.lstat().st_uid == os.geteuid() else None
    return None


def _unpack(release: str, packed: Path, place: Path) -> None:
    """Modules are there whole or not at all."""
    modules, scratch = MODULES / release, MODULES / f"{_SCRATCH}{release}"
    there = _mark(modules)
    if there is None and modules.exists():
        raise HostError(
            f"the host has modules of its own in {modules}, which are never overwritten",
            hint="a kernel of another build needs a release of its own: CONFIG_LOCALVERSION",
        )
    shutil.rmtree(place, ignore_errors=True)
    place.mkdir(parents=True)
    _begin(scratch, packed)
    process.run([process.require("tar", "tar"), "-xzf", packed, "-C", scratch], timeout=_UNPACK_LIMIT)
    for name in ("vmlinuz", "config"):
        if (scratch / name).exists():
            shutil.move(scratch / name, place / name)
    if there != packed.name:
        if there is not None:
            shutil.rmtree(modules)
        (scratch / "modules" / _MARK).write_text(packed.name + "\n")
        os.sync()  # thousands of files: what is there by its name is whole also after a power cut
        (scratch / "modules").rename(modules)
    shutil.rmtree(scratch)
    if not (modules / "modules.dep").exists():
        process.run([process.require("depmod", "kmod"), release], timeout=_UNPACK_LIMIT)


def _begin(scratch: Path, packed: Path) -> None:
    """An empty folder with the mark in it that it is ours. What is there by its name, and is not, stays."""
    if _mark(scratch):
        shutil.rmtree(scratch)
    scratch.mkdir(parents=True, exist_ok=True)
    if any(scratch.iterdir()):
        raise HostError(f"{scratch} is not Tare's, and in the way", hint="move it elsewhere")
    (scratch / _MARK).write_text(packed.name + "\n")


def _make_initramfs(release: str, place: Path) -> None:
    """By what the host makes its own with."""
    made = place / "initrd.made"
    (place / "tmp").mkdir()
    env = {
        **os.environ,
        "TMPDIR": str(place / "tmp"),
        "PATH": f"{os.environ.get('PATH', os.defpath)}:{process.EXTRA_PATH}",
    }
    try:
        if tool := process.which("mkinitramfs"):
            # It finds what the root is on by the device that is mounted there; some have none (overlays, networks).
            for modules in ("dep", "most"):
                argv = _mkinitramfs(tool, release, place, made, modules)
                if process.run(argv, timeout=MAKE_LIMIT, env=env, check=modules == "most").returncode == 0:
                    break
        elif tool := process.which("dracut"):
            process.run([tool, "--force", "--hostonly", "--kver", release, made], timeout=MAKE_LIMIT, env=env)
        else:
            raise HostError("nothing there makes an initramfs", hint="apt-get install initramfs-tools")
        made.rename(place / "initrd")
    finally:
        shutil.rmtree(place / "tmp", ignore_errors=True)


def _mkinitramfs(tool: str, release: str, place: Path, made: Path, modules: str) -> list[str | Path]:
    """The command, with a configuration of its own that is the host's but for which modules, and how it is packed."""
    config, boot = place / "tmp/config", place / "tmp/boot"
    shutil.rmtree(config, ignore_errors=True)
    shutil.copytree(_CONFIGURATION, config, symlinks=True)
    (config / "conf.d").mkdir(exist_ok=True)
    (config / "conf.d/zz-tare").write_text(_CONFIG.format(modules))
    boot.mkdir(exist_ok=True)
    given = place / "config"
    # Of a kernel that came without one it is not known, and this is what nearly all can unpack.
    (boot / f"config-{release}").write_text(given.read_text() if given.exists() else "CONFIG_RD_GZIP=y\n")
    unshare: list[str | Path] = [
        process.require("unshare", "util-linux"),
        "--mount",
        "sh",
        "-c",
        _INSTEAD_OF_BOOT,
        "sh",
        boot,
    ]
    return [*unshare, tool, "-d", config, "-o", made, release]


def remove() -> list[Path]:
    """Take away what this user's load() put outside the folder of Tare's files; what it was. Raises HostError."""
    removed = []
    with contextlib.suppress(FileNotFoundError):
        for folder in sorted(MODULES.iterdir()):
            if _mark(folder) and not folder.is_symlink():
                try:
                    shutil.rmtree(folder)
                except OSError as error:
                    raise HostError(f"{folder} cannot be removed: {error.strerror}") from error
                removed.append(folder)
    return removed
