"""Making a lab host's disk from Debian packages, once, into the cache: whole or not at all.

    CACHE/lab/NAME-DIGEST/   disk.raw, kernel, initrd (and xen), key and key.pub, host_key.pub, lab.json

What runs while it is made is killed with its maker, and what a killed one left is removed by the next.
"""

from __future__ import annotations

import gzip
import io
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable
from pathlib import Path

from bench import debian, files, mounts, process
from bench.errors import HostError
from bench.lab._recipe import Recipe
from bench.lab._store import FACTS, Tell, held, image, is_built, store

#: Bytes that must be free: the tree, then the disk with the same in it.
ROOM = 6 << 30
_DISK_LIMIT = 600.0
_WAIT_LIMIT = 2 * debian.BOOTSTRAP_LIMIT
_SCRATCH = ".build-"
#: Nobody reads these there.
_LEFT_OUT = ("/usr/share/doc/*", "/usr/share/man/*", "/usr/share/locale/*", "/usr/share/info/*")


def require_tools() -> None:
    """Raises HostError with the package to install, or for who is not root."""
    for tool, package in {
        "mke2fs": "e2fsprogs",
        "ssh-keygen": "openssh-client",
    }.items():
        process.require(tool, package)
    debian.require_bootstrap()
    if os.geteuid() != 0:
        raise HostError("only root can build a lab host: it makes a system's files with their owners", hint="use sudo")


def build(recipe: Recipe, tell: Tell, *, again: bool = False) -> Path:
    """The folder of a lab host's disk in the cache, built where it is not there, or again: with today's packages.

    Raises HostError (a tool, room or the network is missing), InputError (a package), CommandError.
    """
    if is_built(recipe) and not again:
        return image(recipe)
    require_tools()
    try:
        with held(f"{recipe.name}.build", f"another tare that builds {recipe.name}", tell, _WAIT_LIMIT):
            if not is_built(recipe) or again:
                _build(recipe, tell)
    except OSError as error:
        raise HostError(f"the cache {store()} cannot be written: {error.strerror}", hint=debian.ROOM_HINT) from error
    return image(recipe)


def _build(recipe: Recipe, tell: Tell) -> None:
    scratch = store() / f"{_SCRATCH}{recipe.name}"
    mounts.remove_tree(scratch)
    free = shutil.disk_usage(store()).free
    if free < ROOM:
        raise HostError(
            f"building {recipe.name} needs {ROOM >> 30} GiB in {store()}, and {free >> 30} are free",
            hint=debian.ROOM_HINT,
        )
    scratch.mkdir(mode=0o700)
    begun = time.monotonic()

    def say(text: str) -> None:
        tell(f"{recipe.name} {text}: {time.monotonic() - begun:.0f} s")

    try:
        kernels = choose(debian.known("linux-image-", debian.SUITE), recipe.kernel_pattern, recipe.kernels)
        made = scratch / "made"
        made.mkdir(mode=0o700)
        _make_keys(recipe, made)
        _write_files(recipe, scratch, made)
        _bootstrap(recipe, [debian.find(name, suite=debian.SUITE).name for name in kernels], scratch, say)
        _take_boot_files(recipe, kernels, scratch / "tree", made)
        say("writing the disk")
        _make_disk(recipe, scratch, made)
        facts = {
            "name": recipe.name,
            "digest": recipe.digest,
            "kernels": [_release(name) for name in kernels],
            "built": time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime()),
            "seconds": round(time.monotonic() - begun, 1),
        }
        (made / FACTS).write_text(json.dumps(facts, indent=1) + "\n")
        for old in store().glob(f"{recipe.name}-{'?' * 12}"):  # also those of earlier recipes: they are large
            shutil.rmtree(old)
        files.publish(made, image(recipe))
        say("built")
    finally:
        mounts.remove_tree(scratch)


def choose(known: list[str], pattern: str, count: int) -> list[str]:
    """The newest packages of a pattern with one number in it, the newest first. Raises HostError where they lack."""
    found = sorted(((int(match[1]), name) for name in known if (match := re.fullmatch(pattern, name))), reverse=True)
    if len(found) < count:
        raise HostError(
            f"apt knows {len(found)} kernels like {pattern}, and {count} are needed",
            hint="lab hosts are made of Debian 12: the sources that apt has must offer its kernels",
        )
    return [name for _, name in found[:count]]


def _release(package: str) -> str:
    return package.removeprefix("linux-image-")


def _make_keys(recipe: Recipe, made: Path) -> None:
    """The host's own key and the user's, so that neither side has to believe the other at the first connection."""
    keygen = process.require("ssh-keygen", "openssh-client")
    for file, comment in (("key", "tare lab"), ("host_key", recipe.name)):
        process.run([keygen, "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", made / file])


def _write_files(recipe: Recipe, scratch: Path, made: Path) -> None:
    """What is put into the new system, as root's; the private half of the host's key is nowhere else."""
    with tarfile.open(scratch / "files.tar", "w") as archive:

        def add(name: str, text: str, mode: int) -> None:
            member = tarfile.TarInfo(f"./{name}")
            member.size, member.mode = len(text.encode()), mode
            archive.addfile(member, io.BytesIO(text.encode()))

        for name, mode in (("root/.ssh", 0o700), ("lab-keys", 0o700)):
            member = tarfile.TarInfo(f"./{name}")
            member.type, member.mode = tarfile.DIRTYPE, mode
            archive.addfile(member)
        for path, text in recipe.all_files().items():
            add(path, text, 0o644)
        add("root/.ssh/authorized_keys", (made / "key.pub").read_text(), 0o600)
        add("lab-keys/ssh_host_ed25519_key", (made / "host_key").read_text(), 0o600)
        add("lab-keys/ssh_host_ed25519_key.pub", (made / "host_key.pub").read_text(), 0o644)
        add("lab-setup", recipe.whole_setup(), 0o755)
    (made / "host_key").unlink()


def _bootstrap(recipe: Recipe, kernels: list[str], scratch: Path, say: Callable[[str], None]) -> None:
    """The new system's files, in scratch/tree."""
    say("fetching and installing packages")
    debian.bootstrap(
        scratch / "tree",
        [*recipe.all_packages(), *kernels],
        say,
        [
            "--format=directory",
            "--skip=cleanup/reproducible",  # the machine-id stays: without one every start would be a first boot
            *(f"--dpkgopt=path-exclude={path}" for path in _LEFT_OUT),
            # Between the essential packages and all others: the kernels' initramfs is made by what stands in these.
            "--essential-hook=tar-in files.tar /",
            '--customize-hook=chroot "$1" sh /lab-setup',
            '--customize-hook=rm "$1/lab-setup"',
        ],
    )


def _take_boot_files(recipe: Recipe, kernels: list[str], tree: Path, made: Path) -> None:
    """What QEMU boots by itself, out of the new system."""
    boot = tree / "boot"
    shutil.copyfile(boot / f"vmlinuz-{_release(kernels[0])}", made / "kernel")
    shutil.copyfile(boot / f"initrd.img-{_release(kernels[0])}", made / "initrd")
    if recipe.boot == "xen":
        (packed,) = boot.glob("xen-4*.gz")
        with gzip.open(packed) as source, (made / "xen").open("wb") as target:
            shutil.copyfileobj(source, target)


def _make_disk(recipe: Recipe, scratch: Path, made: Path) -> None:
    mke2fs = process.require("mke2fs", "e2fsprogs")
    options = ["-q", "-F", "-t", "ext4", "-m", "0", "-L", "lab", "-E", "lazy_itable_init=1,root_owner=0:0"]
    disk = made / "disk.raw"
    argv: list[str | Path] = [
        *debian.dying_with_us(),
        mke2fs,
        *options,
        "-d",
        scratch / "tree",
        disk,
        f"{recipe.disk}M",
    ]
    process.run(argv, timeout=_DISK_LIMIT)
