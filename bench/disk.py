"""Data disks: the same image behind a guest's driver, and behind a loop device for who has no kernel of their own.

ext4 on a file of the host's, through the host's page cache; what is flushed inside goes to the host's disk.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import shutil
import stat
import struct
from pathlib import Path

from bench import mounts, process
from bench.errors import CommandError, HostError, InstanceError

#: A folder for each run, where files lie on a disk and outlive no run.
FOLDERS = Path("/var/tmp/tare-disk-")
#: Where it is inside.
PLACE = "/data"
#: Bytes that stay free where the images lie, whatever a ramp asks for.
RESERVE = 512 << 20
#: Everything is written before the first start: nothing of it is left for a guest's kernel to do while it is measured.
_OPTIONS = "nodiscard,lazy_itable_init=0,lazy_journal_init=0"
#: Some runtimes give these to whatever they are given.
FLAGS = ("nosuid", "nodev")
_MAKE_LIMIT = 120.0
_MOUNT_LIMIT = 30.0
_LOOP_TRIES = 20
_LOOP_CTL_GET_FREE, _LOOP_CONFIGURE, _AUTOCLEAR = 0x4C82, 0x4C0A, 4
#: struct loop_config: the image's descriptor, and of struct loop_info64 the flags, of which read-only is 1.
_LOOP_CONFIG = struct.Struct("<I4x40x12xI64x64x32x16x64x")
#: Runs inside a guest, with the device as its $0.
_ATTACH = (
    'i=0; until [ -b "$0" ] || [ $i -ge 50 ]; do sleep 0.1; i=$((i+1)); done; '
    f'mount -t ext4 -o {",".join(FLAGS)} "$0" {PLACE}'
)


def folder(run: str) -> Path:
    return FOLDERS.with_name(FOLDERS.name + run)


def make(image: Path, size: int) -> None:
    """An image of so many bytes, all of them allocated. Raises HostError where there is no room."""
    _own_folder(image.parent)
    left = shutil.disk_usage(image.parent).free - size
    if left < RESERVE:
        why = f"it would leave {max(left, 0) >> 20} MiB, and {RESERVE >> 20} MiB are kept for others"
        raise HostError(f"no room for a data disk in {image.parent}: {why}", hint="make room there")
    try:
        with image.open("xb") as file:
            os.posix_fallocate(file.fileno(), 0, size)
        mke2fs = process.require("mke2fs", "e2fsprogs")
        process.run([mke2fs, "-q", "-F", "-t", "ext4", "-m", "0", "-E", _OPTIONS, image], timeout=_MAKE_LIMIT)
        # Or the first to flush anything inside would wait for all this to be written.
        with image.open("rb") as file:
            os.fsync(file.fileno())
    except OSError as error:
        remove(image)
        raise HostError(f"no data disk in {image.parent}: {error.strerror}", hint="make room there") from error
    except CommandError:
        remove(image)
        raise


def _own_folder(place: Path) -> None:
    """Raises HostError where somebody else could put something there: everybody may make folders where it lies."""
    with contextlib.suppress(FileExistsError):
        place.mkdir(mode=0o700)
    found = place.lstat()
    if not stat.S_ISDIR(found.st_mode) or found.st_uid != os.geteuid() or found.st_mode & 0o022:
        raise HostError(f"{place} is not a folder of ours alone", hint="remove it, and ask who made it")


def remove(image: Path) -> None:
    """An image, and its run's folder with the last one."""
    image.unlink(missing_ok=True)
    with contextlib.suppress(OSError):
        image.parent.rmdir()


def mount(image: Path, place: Path) -> None:
    """Show what is in an image at a place, in this worker's own mount namespace. Raises HostError."""
    mounts.enter_private_namespace(become_root=True)
    place.mkdir()
    try:
        tool = process.require("mount", "mount")
        process.run([tool, "-t", "ext4", "-o", ",".join(["loop", *FLAGS]), image, place], timeout=_MOUNT_LIMIT)
    except CommandError as error:
        hint = "only root can, where there are loop devices (/dev/loop-control)"
        raise HostError(f"the data disk cannot be mounted: {error.what}", hint=hint, detail=error.detail) from error


def loop(image: Path, *, readonly: bool) -> tuple[str, int]:
    """A loop device with an image behind it: its path, and a descriptor that keeps it.

    It is gone when nobody has it open any more, whatever became of us. Raises HostError.
    """
    mode = os.O_RDONLY if readonly else os.O_RDWR
    try:
        for _ in range(_LOOP_TRIES):
            control = os.open("/dev/loop-control", os.O_RDWR | os.O_CLOEXEC)
            try:
                path = f"/dev/loop{fcntl.ioctl(control, _LOOP_CTL_GET_FREE)}"
            finally:
                os.close(control)
            device, file = os.open(path, mode | os.O_CLOEXEC), os.open(image, mode | os.O_CLOEXEC)
            try:
                fcntl.ioctl(device, _LOOP_CONFIGURE, _LOOP_CONFIG.pack(file, _AUTOCLEAR | int(readonly)))
                return path, device
            except OSError as error:
                os.close(device)
                if error.errno != errno.EBUSY:  # somebody else has taken it
                    raise
            finally:
                os.close(file)
    except OSError as error:
        raise HostError(f"no loop device for {image.name}: {error.strerror}", hint="modprobe loop") from error
    raise HostError(f"no loop device for {image.name}: others take them all", hint="try again")


def attach(device: str) -> tuple[str, ...]:
    """The command that mounts it inside a guest."""
    return ("/bin/busybox", "sh", "-c", _ATTACH, device)


def check_attached(status: int, output: bytes) -> None:
    """Raises InstanceError where the guest said that it could not."""
    if status:
        said = output.decode(errors="replace").strip()[-300:] or f"status {status}"
        raise InstanceError(f"the guest cannot mount its data disk: {said}")
