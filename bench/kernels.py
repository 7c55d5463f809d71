"""Linux kernels for guests: Debian packages, fetched and unpacked, never installed. One folder each in the cache."""

from __future__ import annotations

import re
import shutil
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

from bench import process
from bench.errors import HostError, InputError, TareError
from bench.state import cache_folder

#: The meta-package whose newest release is the kernel of arms that name none.
DEFAULT_PACKAGE = "linux-image-cloud-amd64"


@dataclass(frozen=True)
class Kernel:
    """release: as `uname -r` has it; image: a bzImage."""

    release: str
    image: Path


def folder() -> Path:
    return cache_folder() / "kernels"


def available() -> list[Kernel]:
    """What the cache holds, oldest release first."""
    images = folder().glob("*/vmlinuz-*")
    return sorted(
        (Kernel(image.name.removeprefix("vmlinuz-"), image) for image in images), key=lambda k: _order(k.release)
    )


def _order(release: str) -> list[int]:
    return [int(number) for number in re.findall(r"\d+", release)]


def find(wanted: str | None) -> Kernel:
    """The kernel at this path, or the newest of this release (its first parts are enough: 6.1 is not 6.12).

    Without a wish the newest of all. Raises InputError, HostError.
    """
    if wanted and "/" in wanted:
        image = Path(wanted)
        if not image.is_file():
            raise InputError(f"there is no kernel image {wanted}")
        return Kernel(image.name.removeprefix("vmlinuz-"), image)
    there = available()
    fitting = [kernel for kernel in there if not wanted or re.match(rf"{re.escape(wanted)}(?![0-9])", kernel.release)]
    if not fitting:
        names = ", ".join(kernel.release for kernel in there) or "none"
        raise HostError(f"no kernel {wanted or 'for guests'} in the cache (there: {names})", hint="./tare kernel fetch")
    return fitting[-1]


def fetch(package: str = DEFAULT_PACKAGE) -> Kernel:
    """Download and unpack a kernel package. Raises HostError or CommandError (no network, no such package)."""
    apt_cache = process.require("apt-cache", "apt")
    if not re.search(r"-\d+\.\d", package):
        depends = process.run([apt_cache, "depends", package]).stdout.decode()
        match = re.search(r"Depends: (linux-image-\d\S*)", depends)
        if match is None:
            raise HostError(f"{package} names no kernel package", hint="apt-get update")
        package = match[1]
    release = package.removeprefix("linux-image-")
    final = folder() / release
    if not (final / f"vmlinuz-{release}").is_file():
        folder().mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory(prefix=".fetch-", dir=folder()) as scratch:
            process.run([process.require("apt-get", "apt"), "download", package], cwd=Path(scratch), timeout=600)
            (archive,) = Path(scratch).glob("*.deb")
            process.run([process.require("dpkg-deb", "dpkg"), "-x", archive, Path(scratch) / "tree"], timeout=300)
            made = Path(scratch) / "made"
            made.mkdir()
            for name in ("vmlinuz", "config"):
                shutil.copyfile(Path(scratch) / f"tree/boot/{name}-{release}", made / f"{name}-{release}")
            (made / "package").write_text(archive.name + "\n")
            shutil.rmtree(final, ignore_errors=True)
            made.rename(final)
    return Kernel(release, final / f"vmlinuz-{release}")


if __name__ == "__main__":
    try:
        print(f"kernel for guests: {fetch(*sys.argv[2:3]).release}")
    except TareError as error:
        sys.exit(f"tare: {error}")
