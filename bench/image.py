"""The rootfs: one tree, one digest, packed as a directory, an initramfs and an ext4 image, byte for byte reproducible.

The digest is the SHA-256 of the tree's initramfs before the digest itself is written into it as /etc/tare-rootfs, from
where every instance reports it.
"""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import io
import os
import shutil
import stat
import tarfile
import tempfile
from functools import partial
from pathlib import Path

from bench import cpio, process, state
from bench.backends.base import Rootfs
from bench.errors import HostError, InputError

EPOCH = 1767225600  # 2026-01-01, the time of every file in the tree
DIGEST_FILE = "etc/tare-rootfs"
_FOLDERS = ("bin", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "usr/bin", "var")
_EXT4_UUID = "7a2e0000-0000-4000-8000-000000000001"
_EXT4_SIZE = "16M"
_FIXED_INODE_FIELDS = {"uid": "0", "gid": "0", "atime": f"@{EPOCH}", "ctime": f"@{EPOCH}", "mtime": f"@{EPOCH}"}


def names() -> list[str]:
    """The rootfs there are."""
    return ["tiny"]


def build(name: str, cache: Path | None = None) -> Rootfs:
    """The rootfs of this name, from the cache where it is there and undamaged.

    Raises InputError, HostError, CommandError.
    """
    if name not in names():
        raise InputError(f"there is no rootfs {name!r}", hint=f"one of: {', '.join(names())}")
    folder = (cache or state.cache_folder()) / "rootfs"
    folder.mkdir(parents=True, exist_ok=True)
    with (folder / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        for unfinished in folder.glob(f".{name}-*"):
            shutil.rmtree(unfinished, ignore_errors=True)
        return _build(name, folder)


def _build(name: str, folder: Path) -> Rootfs:
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=folder) as scratch:
        made = Path(scratch) / "made"
        tree = made / "tree"
        _make_tiny(tree)
        digest = "sha256:" + hashlib.sha256(initramfs(tree)).hexdigest()
        final = folder / f"{name}-{digest[7:23]}"
        (tree / DIGEST_FILE).write_text(digest + "\n")
        _settle(tree)
        packed = initramfs(tree)
        if not _is_whole(final, packed):
            (made / "initramfs.cpio").write_bytes(packed)
            ext4(tree, made / "root.ext4")
            (made / "complete").write_text(_sha256(made / "root.ext4"))
            shutil.rmtree(final, ignore_errors=True)
            made.rename(final)
    return Rootfs(digest, final / "tree", final / "initramfs.cpio", final / "root.ext4")


def pack(rootfs: Rootfs) -> bytes:
    """All packings in one archive, for a host that makes none itself; the same bytes for the same rootfs."""
    packed = io.BytesIO()
    with (
        gzip.GzipFile(fileobj=packed, mode="wb", compresslevel=6, mtime=0) as squeezed,
        tarfile.open(fileobj=squeezed, mode="w", format=tarfile.PAX_FORMAT) as archive,
    ):
        for path in (rootfs.tree, rootfs.initramfs, rootfs.ext4):
            archive.add(path, path.name, filter=_settled)
    return packed.getvalue()


def _settled(member: tarfile.TarInfo) -> tarfile.TarInfo:
    member.uid = member.gid = 0
    member.uname = member.gname = ""
    member.mtime = EPOCH
    return member


def unpack(packed: Path, name: str, digest: str, folder: Path) -> Rootfs:
    """A rootfs from its archive, below folder, where it is not there already whole.

    Raises HostError where the archive is not that of this digest, or there is no room.
    """
    final = folder / "rootfs" / f"{name}-{digest[7:23]}"
    found = Rootfs(digest, final / "tree", final / "initramfs.cpio", final / "root.ext4")
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
            (final / "complete").write_text(_sha256(found.ext4))
        except (OSError, tarfile.TarError) as error:
            raise HostError(f"the rootfs cannot be unpacked in {final}: {error}") from error
        if not _is_unpacked(found):
            raise HostError(f"the rootfs in {packed} is not {digest}")
    return found


def _is_unpacked(found: Rootfs) -> bool:
    try:
        told = (found.tree / DIGEST_FILE).read_text().strip() == found.digest
        return told and _is_whole(found.tree.parent, initramfs(found.tree))
    except OSError:
        return False


def _is_whole(final: Path, packed: bytes) -> bool:
    """Whether all three packings in a cache folder are still what was put there."""
    try:
        complete = (final / "complete").read_text() == _sha256(final / "root.ext4")
        return complete and (final / "initramfs.cpio").read_bytes() == initramfs(final / "tree") == packed
    except OSError:
        return False


def _sha256(file: Path) -> str:
    with file.open("rb") as opened:
        return hashlib.file_digest(opened, "sha256").hexdigest()


def _make_tiny(tree: Path) -> None:
    """Debian's busybox-static, its applets as links, and our init."""
    busybox = process.require("busybox", "busybox-static")
    if b"ELF" not in Path(busybox).read_bytes()[:4] or _is_dynamic(Path(busybox)):
        raise HostError(f"{busybox} is not a static busybox", hint="apt-get install busybox-static")
    tree.mkdir(parents=True)
    for folder in _FOLDERS:
        (tree / folder).mkdir()
    shutil.copyfile(busybox, tree / "bin/busybox")
    for applet in process.run([busybox, "--list"]).stdout.decode().split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    shutil.copyfile(Path(__file__).with_name("init.sh"), tree / "init")
    (tree / "etc/os-release").write_text('ID=tare\nNAME="Tare tiny"\n')
    _settle(tree)


def _is_dynamic(program: Path) -> bool:
    """Whether an ELF file asks for a dynamic loader (has a PT_INTERP header)."""
    data = program.read_bytes()
    start, size, count = (int.from_bytes(data[a:b], "little") for a, b in ((32, 40), (54, 56), (56, 58)))
    return any(int.from_bytes(data[start + i * size :][:4], "little") == 3 for i in range(count))


def _settle(tree: Path) -> None:
    """Modes and times that do not depend on umask or clock."""
    executable = {tree / "bin/busybox", tree / "init"}
    for path in sorted(tree.rglob("*"), reverse=True):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path in executable else 0o644)
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
        + ["-E", f"hash_seed={_EXT4_UUID},root_owner=0:0,lazy_itable_init=0", "-d", tree, image, _EXT4_SIZE],
        env=env,
    )
    script = []
    for path in [".", *(str(path.relative_to(tree)) for path in sorted(tree.rglob("*")))]:
        name = "/" + path.removeprefix(".")
        script += [f'sif "{name}" {field} {value}' for field, value in _FIXED_INODE_FIELDS.items()]
    process.run([debugfs, "-w", "-f", "-", image], stdin="\n".join(script).encode(), env=env)
