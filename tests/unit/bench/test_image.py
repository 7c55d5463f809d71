"""The rootfs: one tree, three packings, the same bytes wherever and whenever it is made."""

from __future__ import annotations

import hashlib
import os
import re
import stat
import subprocess
import time
import tracemalloc
from pathlib import Path

import pytest

from bench import files, image, process
from bench.backends.base import Rootfs
from bench.errors import InputError


@pytest.fixture(scope="module")
def first(tmp_path_factory: pytest.TempPathFactory) -> Rootfs:
    return image.build("tiny", tmp_path_factory.mktemp("one"))


@pytest.fixture(scope="module")
def second(tmp_path_factory: pytest.TempPathFactory) -> Rootfs:
    """Made in another cache, in another second, by someone with another umask."""
    old = os.umask(0o077)
    try:
        time.sleep(1.1)
        return image.build("tiny", tmp_path_factory.mktemp("another-and-longer"))
    finally:
        os.umask(old)


def sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_two_builds_are_the_same_bytes(first: Rootfs, second: Rootfs) -> None:
    assert first.tree != second.tree
    assert first.digest == second.digest
    assert sha256(first.initramfs) == sha256(second.initramfs)
    assert sha256(first.ext4) == sha256(second.ext4)


def test_the_trees_are_the_same_too(first: Rootfs, second: Rootfs) -> None:
    def look(tree: Path) -> dict[str, tuple[int, float]]:
        return {str(p.relative_to(tree)): (p.lstat().st_mode, p.lstat().st_mtime) for p in tree.rglob("*")}

    assert look(first.tree) == look(second.tree)
    assert {moment for _, moment in look(first.tree).values()} == {image.EPOCH}
    assert stat.S_IMODE(second.tree.stat().st_mode) == 0o755


def test_all_of_it_is_on_the_disk_before_it_has_its_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    published: list[Path] = []
    publish = files.publish

    def note(made: Path, final: Path) -> None:
        assert {path.name for path in made.iterdir()} >= {"tree", "initramfs.cpio", "root.ext4"}
        published.append(final)
        publish(made, final)

    monkeypatch.setattr(files, "publish", note)
    made = image.build("tiny", tmp_path)
    assert published == [made.tree.parent]


def test_every_packing_carries_the_digest(first: Rootfs) -> None:
    line = first.digest + "\n"
    assert re.fullmatch(r"sha256:[0-9a-f]{64}", first.digest)
    assert (first.tree / image.DIGEST_FILE).read_text() == line
    assert line.encode() in first.initramfs.read_bytes()
    debugfs = [process.require("debugfs", "e2fsprogs"), "-R", f"cat /{image.DIGEST_FILE}", first.ext4]
    assert subprocess.run(debugfs, capture_output=True, check=True, timeout=10).stdout == line.encode()


def test_the_digest_is_that_of_the_tree_without_it(first: Rootfs) -> None:
    file = first.tree / image.DIGEST_FILE
    kept, times = file.read_text(), (first.tree / "etc").stat()
    file.unlink()
    try:
        assert "sha256:" + hashlib.sha256(image.initramfs(first.tree)).hexdigest() == first.digest
    finally:
        file.write_text(kept)
        file.chmod(0o644)
        os.utime(file, (image.EPOCH, image.EPOCH))
        os.utime(file.parent, (times.st_atime, times.st_mtime))
    assert image.initramfs(first.tree) == first.initramfs.read_bytes()


def test_the_ext4_image_is_sound_and_roots(first: Rootfs) -> None:
    checked = subprocess.run(
        [process.require("e2fsck", "e2fsprogs"), "-fn", first.ext4],
        capture_output=True,
        text=True,
        check=False,
        timeout=30,
    )
    assert checked.returncode == 0, checked.stdout
    debugfs = [process.require("debugfs", "e2fsprogs"), "-R", "stat /init", first.ext4]
    said = subprocess.run(debugfs, capture_output=True, text=True, check=True, timeout=10).stdout
    assert re.search(r"Mode:\s+0755", said)
    assert re.search(r"User:\s+0\s+Group:\s+0", said)


def test_the_archive_unpacks_to_the_tree(first: Rootfs, tmp_path: Path) -> None:
    """By busybox's cpio, a reader that is not ours."""
    busybox = process.require("busybox", "busybox-static")
    with first.initramfs.open("rb") as archive:
        subprocess.run(
            [busybox, "cpio", "-id"], stdin=archive, cwd=tmp_path, capture_output=True, check=True, timeout=30
        )
    there = {str(path.relative_to(first.tree)) for path in first.tree.rglob("*")}
    assert {str(path.relative_to(tmp_path)) for path in tmp_path.rglob("*")} == there
    assert (tmp_path / "init").read_bytes() == (first.tree / "init").read_bytes()
    assert os.access(tmp_path / "init", os.X_OK)
    assert (tmp_path / "bin/sh").readlink() == Path("busybox")


def test_a_second_call_takes_it_from_the_cache(first: Rootfs) -> None:
    before = first.ext4.stat()
    again = image.build("tiny", first.tree.parents[2])
    assert again == first
    assert again.ext4.stat().st_mtime_ns == before.st_mtime_ns
    assert again.ext4.stat().st_ino == before.st_ino


def test_what_a_killed_build_left_goes_and_nothing_else(tmp_path: Path, first: Rootfs) -> None:
    for name in (".tiny-killed", ".tiny-mine"):
        (tmp_path / "rootfs" / name / "in").mkdir(parents=True)
    (tmp_path / "rootfs/.tiny-killed" / files.UNFINISHED).touch()
    image.build("tiny", tmp_path)
    assert {path.name for path in (tmp_path / "rootfs").glob(".tiny-*")} == {".tiny-mine"}


def test_a_build_that_was_cut_short_is_made_again(tmp_path: Path, first: Rootfs) -> None:
    torn = tmp_path / "rootfs" / first.tree.parent.name
    torn.mkdir(parents=True)
    (torn / "initramfs.cpio").write_bytes(b"half")
    made = image.build("tiny", tmp_path)
    assert made.initramfs.parent == torn
    assert sha256(made.initramfs) == sha256(first.initramfs)
    assert sorted(path.name for path in (tmp_path / "rootfs").iterdir()) == [".lock", torn.name]


@pytest.mark.parametrize("damage", ["tree/init", "initramfs.cpio", "root.ext4"])
def test_a_damaged_cache_is_made_again(tmp_path: Path, damage: str) -> None:
    made = image.build("tiny", tmp_path)
    file = made.tree.parent / damage
    whole = file.read_bytes()
    file.write_bytes(whole[:-1] + b"#")
    assert image.build("tiny", tmp_path) == made
    assert file.read_bytes() == whole
    file.unlink()
    image.build("tiny", tmp_path)
    assert file.read_bytes() == whole


def test_an_unknown_rootfs_makes_nothing(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no rootfs 'nosuch'.*debian, tiny"):
        image.build("nosuch", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def test_it_is_packed_once_and_unpacked_the_same(first: Rootfs, second: Rootfs, tmp_path: Path) -> None:
    packed = image.packed(first)
    before = packed.stat().st_mtime_ns
    assert image.packed(first) == packed
    assert packed.stat().st_mtime_ns == before
    assert sha256(image.packed(second)) == sha256(packed)
    there = image.unpack(packed, "tiny", first.digest, tmp_path)
    assert (sha256(there.initramfs), sha256(there.ext4)) == (sha256(first.initramfs), sha256(first.ext4))


@pytest.mark.parametrize("damage", [b"", b"half"])
def test_a_damaged_archive_is_packed_anew(first: Rootfs, damage: bytes) -> None:
    packed = image.packed(first)
    whole = sha256(packed)
    packed.write_bytes(damage)
    assert sha256(image.packed(first)) == whole
    assert not [*packed.parent.glob("*.partial")]


def test_packing_takes_no_memory_for_what_is_large(tmp_path: Path) -> None:
    (tmp_path / "made/tree").mkdir(parents=True)
    packings = [tmp_path / "made" / name for name in ("initramfs.cpio", "root.ext4")]
    for file in packings:
        with file.open("wb") as large:
            large.truncate(20 << 20)
    tracemalloc.start()
    try:
        image.packed(Rootfs("sha256:aa", tmp_path / "made/tree", *packings, on_disk=False))
        assert tracemalloc.get_traced_memory()[1] < 8 << 20
    finally:
        tracemalloc.stop()
