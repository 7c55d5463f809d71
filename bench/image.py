"""The rootfs: one tree, one digest, packed as a directory, an initramfs and an ext4 image, byte for byte reproducible.

The digest is the SHA-256 of the tree's initramfs before the digest itself is written into it as /etc/tare-rootfs, from
where every instance reports it.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import json
import os
import shutil
import stat
import tarfile
import tempfile
from functools import partial
from pathlib import Path
from typing import IO

from bench import cpio, files, home, locks, mounts, process, rootfs, state
from bench.backends.base import Rootfs
from bench.debian import ROOM_HINT
from bench.errors import CommandError, HostError, InputError
from bench.rootfs import EPOCH, Tell

DIGEST_FILE = "etc/tare-rootfs"
_COMPLETE = "complete"
#: Seconds that another process may take to make one, packages and all.
_MAKE_LIMIT = 1800.0
#: All packings in one file, and its SHA-256.
_ARCHIVE, _ARCHIVE_SUM = "packed.tar.gz", "packed.sha256"
_LOADER = Path(__file__).with_name("loader.sh")
_EXT4_UUID = "7a2e0000-0000-4000-8000-000000000001"
#: Bytes: of an image with little in it, and how much larger than its files any other is.
_EXT4_LEAST = 16 << 20
_EXT4_MORE = 1.4
_FIXED_INODE_FIELDS = {"uid": "0", "gid": "0", "atime": f"@{EPOCH}", "ctime": f"@{EPOCH}", "mtime": f"@{EPOCH}"}


def names() -> list[str]:
    """The rootfs there are."""
    return rootfs.names()


def build(name: str, cache: Path | None = None, tell: Tell = lambda text: None) -> Rootfs:
    """The rootfs of this name, from the cache where it is there and undamaged. tell: hears of what takes long.

    Raises InputError, HostError, CommandError.
    """
    recipe = rootfs.load(name)
    folder = (cache or state.cache_folder()) / "rootfs"
    with home.keeping(), contextlib.ExitStack() as stack:
        folder.mkdir(parents=True, exist_ok=True)
        lock = stack.enter_context((folder / ".lock").open("w"))
        locks.wait(lock.fileno(), f"another tare that makes the rootfs {name}", tell, _MAKE_LIMIT)
        for mark in folder.glob(f".{name}-*/{files.UNFINISHED}"):
            mounts.remove_tree(mark.parent)
        return _find(recipe, folder) or _build(recipe, folder, tell)


def _find(recipe: rootfs.Recipe, folder: Path) -> Rootfs | None:
    """The newest one in the cache that was made by this recipe, of one that is not made each time."""
    key = _key(recipe)
    if key is None:
        return None
    made = sorted(folder.glob(f"{recipe.name}-*/{_COMPLETE}"), key=lambda file: file.stat().st_mtime, reverse=True)
    for file in made:
        if _complete(file.parent).get("key") == key and _is_whole(file.parent):
            return _packed((file.parent / "tree" / DIGEST_FILE).read_text().strip(), file.parent, recipe)
    return None


def _key(recipe: rootfs.Recipe) -> str | None:
    """What changes with what would be made; None of what is made each time."""
    if recipe.key is None:
        return None
    return hashlib.sha256(recipe.key().encode() + (_LOADER.read_bytes() if recipe.on_disk else b"")).hexdigest()


def _build(recipe: rootfs.Recipe, folder: Path, tell: Tell) -> Rootfs:
    with tempfile.TemporaryDirectory(prefix=f".{recipe.name}-", dir=folder) as scratch:
        (Path(scratch) / files.UNFINISHED).touch()
        made = Path(scratch) / "made"
        made.mkdir()
        tree = made / "tree"
        recipe.make(tree, tell)
        _settle(tree)
        digest = "sha256:" + hashlib.sha256(initramfs(tree)).hexdigest()
        final = folder / f"{recipe.name}-{digest[7:23]}"
        (tree / DIGEST_FILE).write_text(digest + "\n")
        _settle(tree)
        packed = initramfs(tree)
        if not _is_whole(final, packed):
            (made / "initramfs.cpio").write_bytes(_loader(tree) if recipe.on_disk else packed)
            try:
                ext4(tree, made / "root.ext4")
            except CommandError as error:
                what = f"the rootfs {recipe.name} cannot be packed in {folder}: {error.what}"
                raise HostError(what, detail=error.detail, hint=ROOM_HINT) from error
            _finish(made, _key(recipe))
            mounts.remove_tree(final)
            files.publish(made, final)
    return _packed(digest, final, recipe)


def _packed(digest: str, folder: Path, recipe: rootfs.Recipe) -> Rootfs:
    return Rootfs(digest, folder / "tree", folder / "initramfs.cpio", folder / "root.ext4", recipe.on_disk)


def _loader(tree: Path) -> bytes:
    """What leads to a root file system on a disk: the tree's busybox and a script."""
    members = [cpio.Member(name, 0o40755, links=2) for name in (".", "bin", "dev", "root")]
    members.append(cpio.Member("bin/busybox", 0o100755, (tree / "bin/busybox").read_bytes()))
    members.append(cpio.Member("init", 0o100755, _LOADER.read_bytes()))
    return cpio.archive(members, EPOCH)


def packed(made: Rootfs) -> Path:
    """All packings in one archive, for a host that makes none itself; packed once, and the same bytes for the same
    rootfs. Raises HostError."""
    folder = made.tree.parent
    archive, known = folder / _ARCHIVE, folder / _ARCHIVE_SUM
    try:
        with (folder.parent / ".lock").open("w") as lock:
            locks.wait(lock.fileno(), "another tare that makes a rootfs", lambda text: None, _MAKE_LIMIT)
            if not (archive.is_file() and known.is_file() and known.read_text() == _sha256(archive)):
                with files.writing(archive) as raw:
                    pack(made, raw)
                files.write(known, _sha256(archive))
    except OSError as error:
        raise HostError(f"the rootfs cannot be packed in {folder}: {error}", hint="make room there") from error
    return archive


def pack(made: Rootfs, to: IO[bytes]) -> None:
    """The archive of packed()."""
    with (
        gzip.GzipFile("", "wb", 6, to, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in (made.tree, made.initramfs, made.ext4):
            archive.add(path, path.name, filter=_settled)


def _settled(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = EPOCH
    if "/" not in member.name and member.isreg():  # what is in the tree has the modes that it is to have
        member.mode = 0o644
    return member


def unpack(packed: Path, name: str, digest: str, folder: Path) -> Rootfs:
    """A rootfs from its archive, below folder, where it is not there already whole.

    Raises HostError where the archive is not that of this digest, or there is no room.
    """
    final = folder / "rootfs" / f"{name}-{digest[7:23]}"
    found = _packed(digest, final, rootfs.load(name))
    if not _is_unpacked(found):
        shutil.rmtree(final, ignore_errors=True)
        try:
            final.mkdir(parents=True)
            with tarfile.open(packed, "r:gz") as archive:
                # Newer Pythons would leave out links; the file came by its SHA-256.
                archive.extraction_filter = getattr(tarfile, "fully_trusted_filter", None)
                archive.extractall(final)
            for path in [*found.tree.rglob("*"), found.tree]:
                os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
            _finish(final, None)
        except (OSError, tarfile.TarError) as error:
            raise HostError(f"the rootfs cannot be unpacked in {final}: {error}") from error
        if not _is_unpacked(found):
            raise HostError(f"the rootfs in {packed} is not {digest}")
    return found


def _is_unpacked(found: Rootfs) -> bool:
    try:
        told = (found.tree / DIGEST_FILE).read_text().strip() == found.digest
        return told and _is_whole(found.tree.parent)
    except OSError:
        return False


def _finish(folder: Path, key: str | None) -> None:
    """Write down what all packings are; whoever finds this knows that they are all there."""
    sums = {name: _sha256(folder / name) for name in ("initramfs.cpio", "root.ext4")}
    sums["tree"] = hashlib.sha256(initramfs(folder / "tree")).hexdigest()
    files.write(folder / _COMPLETE, json.dumps(sums | ({"key": key} if key else {})))


def _complete(folder: Path) -> dict[str, str]:
    try:
        found = files.read_json(folder / _COMPLETE)
    except InputError:
        return {}
    return found if isinstance(found, dict) else {}


def _is_whole(folder: Path, packed: bytes | None = None) -> bool:
    """Whether all three packings in a cache folder are still what was put there. packed: the tree as it should be."""
    sums = _complete(folder)
    try:
        tree = initramfs(folder / "tree")
        return (
            all(sums.get(name) == _sha256(folder / name) for name in ("initramfs.cpio", "root.ext4"))
            and sums.get("tree") == hashlib.sha256(tree).hexdigest()
            and packed in (None, tree)
        )
    except OSError:
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _settle(tree: Path) -> None:
    """Modes and times that do not depend on umask or clock."""
    for path in sorted(tree.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.stat().st_mode & 0o100 else 0o644)
        os.utime(path, (EPOCH, EPOCH), follow_symlinks=False)
    tree.chmod(0o755)
    os.utime(tree, (EPOCH, EPOCH))


def initramfs(tree: Path) -> bytes:
    """The tree as a cpio archive, all of it root's, uncompressed so that no guest pays for unpacking."""
    return cpio.archive(map(partial(_member, tree), [tree, *sorted(tree.rglob("*"))]), EPOCH)


def _member(tree: Path, path: Path) -> cpio.Member:
    mode = path.lstat().st_mode
    name = "." if path == tree else str(path.relative_to(tree))
    if stat.S_ISDIR(mode):
        return cpio.Member(name, mode, links=2)
    return cpio.Member(name, mode, os.fsencode(path.readlink()) if stat.S_ISLNK(mode) else path.read_bytes())


def _ext4_size(tree: Path) -> int:
    files = sum(path.lstat().st_size + 4096 for path in tree.rglob("*"))
    return max(_EXT4_LEAST, int(files * _EXT4_MORE) >> 20 << 20)


def ext4(tree: Path, image: Path) -> None:
    """The tree as an ext4 image. Raises CommandError, HostError.

    mke2fs copies each file's change time, which nobody can set; 128-byte inodes have no finer times than seconds, and
    debugfs then sets what is left.
    """
    env = {
        **os.environ,
        "E2FSPROGS_FAKE_TIME": str(EPOCH),
        "SOURCE_DATE_EPOCH": str(EPOCH),
        "PATH": os.defpath + ":/sbin:/usr/sbin",
    }
    mke2fs, debugfs = (process.require(tool, "e2fsprogs") for tool in ("mke2fs", "debugfs"))
    process.run(
        [
            mke2fs,
            "-q",
            "-F",
            "-t",
            "ext4",
            "-I",
            "128",
            "-m",
            "0",
            "-O",
            "^metadata_csum,^resize_inode",
            "-U",
            _EXT4_UUID,
        ]
        + ["-E", f"hash_seed={_EXT4_UUID},root_owner=0:0,lazy_itable_init=0"]
        + ["-d", tree, image, f"{_ext4_size(tree) >> 10}K"],
        env=env,
    )
    script = []
    for path in [".", *(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))]:
        name = "/" + path.removeprefix(".")
        script += [f'sif "{name}" {field} {value}' for field, value in _FIXED_INODE_FIELDS.items()]
    process.run([debugfs, "-w", "-f", "-", image], stdin="\n".join(script).encode(), env=env)
