"""Which modules a guest must load, and in what order."""

from __future__ import annotations

import lzma
import subprocess
from pathlib import Path

import pytest

from bench import modules, process
from bench.errors import InputError

DEPENDENCIES = """\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko: kernel/drivers/virtio/virtio.ko
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio_ring.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/block/xen-blkfront.ko.xz:
"""


def names(wanted: list[str]) -> list[str]:
    return [Path(path).name for path in modules.order(DEPENDENCIES, wanted)]


def test_each_comes_behind_what_it_needs_and_once() -> None:
    assert names(["virtio_pci", "virtio_blk"]) == ["virtio.ko", "virtio_ring.ko", "virtio_pci.ko", "virtio_blk.ko"]


def test_a_hyphen_is_an_underscore_and_what_is_built_in_is_left_out() -> None:
    assert names(["xen_blkfront", "ext4"]) == ["xen-blkfront.ko.xz"]


def test_packed_modules_are_unpacked(tmp_path: Path) -> None:
    (tmp_path / "a.ko.xz").write_bytes(lzma.compress(b"module"))
    (tmp_path / "a.ko").write_bytes(b"module")
    (tmp_path / "a.ko.zst").write_bytes(b"?")
    assert modules._content(tmp_path / "a.ko.xz") == modules._content(tmp_path / "a.ko") == b"module"
    with pytest.raises(InputError, match=r"a\.ko\.zst"):
        modules._content(tmp_path / "a.ko.zst")


def test_a_package_without_modules_gives_an_empty_archive(tmp_path: Path) -> None:
    archive = modules.pack(tmp_path, "6.1", ["virtio_blk"])
    listed = subprocess.run([process.require("cpio", "cpio"), "-t"], input=archive, capture_output=True, check=True)
    assert listed.stdout == b""
