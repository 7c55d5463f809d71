"""Mount namespaces of the worker's own: what is mounted here is seen by our instances only and ends with them.

And the end of a folder in which something may be mounted.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import re
import shutil
from pathlib import Path

from bench import confine
from bench.errors import HostError

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_NOSUID, _MS_NODEV = 1, 2, 4
_MS_REMOUNT, _MS_BIND, _MS_REC, _MS_PRIVATE, _MS_RELATIME = 32, 4096, 16384, 1 << 18, 1 << 21
#: nosuid, nodev, noexec, noatime, nodiratime: for statvfs as for mount.
_SAME_FLAGS, _ST_RELATIME = 2 | 4 | 8 | 1024 | 2048, 4096
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8
#: The system call's number; the C library has no function for it.
_PIVOT_ROOT = 155
_ON_THE_WAY = os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC
#: What a root of next to nothing has of this host.
_LITTLE = {"dev": ("null", "urandom", "zero"), "proc": ("cpuinfo", "stat")}
_ESCAPED = re.compile(rb"\\([0-7]{3})")
_libc = ctypes.CDLL(None, use_errno=True)
_entered = False
_in_user_namespace = False


def _check(result: int, what: str) -> None:
    if result != 0:
        raise HostError(f"cannot {what}: {os.strerror(ctypes.get_errno())}")


def enter_private_namespace(*, become_root: bool = False) -> None:
    """Move this process into a mount namespace of its own; an ordinary user needs become_root, a user namespace."""
    global _entered, _in_user_namespace
    if _entered:
        return
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 and become_root:
        _check(
            _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "make a user namespace (kernel.unprivileged_userns_clone?)"
        )
        _in_user_namespace = True
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    else:
        _check(_libc.unshare(_CLONE_NEWNS), "make a mount namespace")
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "make mounts private")
    _entered = True


def leave_chroot() -> None:
    """Make this process's root that of a mount namespace of its own, where root runs us in a folder of a larger tree.

    Whoever joins an instance's mounts, as a runtime's exec command does, begins at the root of their namespace; of an
    instance that was started in a chroot, that is the tree around the chroot. To be called before there are threads.
    Where it cannot be done all stays as it is.
    """
    if os.geteuid() != 0:
        return
    with contextlib.ExitStack() as stack, contextlib.suppress(OSError):
        inside = os.open("/", _ON_THE_WAY)
        stack.callback(os.close, inside)
        own = os.open("/proc/self/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
        stack.callback(os.close, own)
        before = os.open(".", _ON_THE_WAY)
        stack.callback(os.close, before)
        cwd = Path.cwd()
        if _libc.setns(own, _CLONE_NEWNS) != 0:  # which brings us to the namespace's root
            return
        os.fchdir(inside)
        if _is_root():
            os.fchdir(before)
            return
        try:
            place = os.fsencode(Path.cwd())
            enter_private_namespace()
            _check(_libc.mount(place, place, None, _MS_BIND | _MS_REC, None), "mount a chroot's folder on itself")
            os.chdir(place)
            _check(_libc.syscall(_PIVOT_ROOT, b".", b"."), "make a chroot's folder the root")
            _check(_libc.umount2(b".", _MNT_DETACH), "leave the tree around a chroot")
        except (HostError, OSError):
            os.fchdir(inside)
        os.chroot(".")
        os.chdir(cwd)


def _is_root() -> bool:
    """Whether this process's working folder, which has a /proc, is its root. Raises OSError."""
    root = os.open("/", _ON_THE_WAY)
    here = os.open(".", _ON_THE_WAY)
    try:
        known = [
            Path(f"proc/self/fdinfo/{each}").read_text().partition("mnt_id:")[2].split()[0] for each in (root, here)
        ]
        return os.path.sameopenfile(root, here) and known[0] == known[1]
    finally:
        os.close(root)
        os.close(here)


def bind(source: Path, target: Path, *, recursive: bool = False, readonly: bool = False) -> None:
    """Show source at target too."""
    flags = _MS_BIND | (_MS_REC if recursive else 0)
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, flags, None), f"mount {source} on {target}")
    if readonly:
        # In a user namespace nothing that the mount below it is held to may be taken away.
        has = os.statvfs(target).f_flag
        flags = _MS_BIND | _MS_REMOUNT | _MS_RDONLY | has & _SAME_FLAGS
        flags |= _MS_RELATIME if has & _ST_RELATIME else 0
        _check(_libc.mount(None, os.fsencode(target), None, flags, None), f"make {target} read-only")


def show_root(tree: Path, root: Path) -> None:
    """Make a folder that shows a tree, read-only, with this host's /proc, /sys and /dev, and a /tmp of its own.

    /sys and what is dangerous in /proc are read-only, as in containers. Only in the private namespace. The folder may
    be there: a worker that died leaves it, and nothing in it.
    """
    root.mkdir(exist_ok=True)
    bind(tree, root, readonly=True)
    scratch(root / "tmp")
    bind(Path("/dev"), root / "dev", recursive=True)
    # What is mounted below the others would stay writable, but in a user namespace nothing may be shown without it.
    bind(Path("/proc"), root / "proc", recursive=_in_user_namespace)
    for path in ("/sys", *confine.read_only()):
        bind(Path(path), root / path.lstrip("/"), recursive=_in_user_namespace, readonly=True)


def show_bare_root(tree: Path, root: Path) -> None:
    """Make a folder that shows a tree, read-only, with a /tmp of its own, and of this host three devices and how many
    processors it has and how busy they are, which tools ask for.

    Only in the private namespace.
    """
    root.mkdir(exist_ok=True)
    bind(tree, root, readonly=True)
    scratch(root / "tmp", "mode=1777,size=64m")
    for folder, names in _LITTLE.items():
        place = root / folder
        scratch(place, "mode=755,size=64k")
        for name in names:
            (place / name).touch()
            bind(Path("/") / folder / name, place / name, readonly=folder == "proc")


def scratch(place: Path, options: str = "mode=1777") -> None:
    """An empty folder in memory at a place. Only in the private namespace."""
    _need_own()
    flags = _MS_NOSUID | _MS_NODEV
    made = _libc.mount(b"tmpfs", os.fsencode(place), b"tmpfs", flags, options.encode())
    _check(made, f"mount a tmpfs on {place}")


def hide_hybrid_cgroup2() -> None:
    """In the hybrid layout, take away the v2 mount that has no controllers. Only in the private namespace."""
    place = Path("/sys/fs/cgroup/unified")
    if hide(place):
        # crun makes groups there nevertheless: as folders of what is below the mount, which is the host's.
        scratch(place)


def hide(place: Path) -> bool:
    """Take away what is mounted at a place; whether anything was. Only in the private namespace."""
    _need_own()
    if not place.is_mount():
        return False
    _check(_libc.umount2(os.fsencode(place), _MNT_DETACH), f"unmount {place}")
    return True


def empty(folder: Path, keep: Path) -> None:
    """Show an empty folder instead, with nothing in it but `keep`, which stays as it is.

    Only in the private namespace.
    """
    _need_own()
    kept = os.open(keep, os.O_PATH | os.O_CLOEXEC)
    try:
        where = os.fsencode(folder)
        _check(_libc.mount(b"tmpfs", where, b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=755"), f"cover {folder}")
        keep.mkdir(parents=True)
        bind(Path(f"/proc/self/fd/{kept}"), keep)
    finally:
        os.close(kept)


def programs(folder: Path) -> None:
    """Let programs be run from an empty folder, which /run may forbid. Only in the private namespace."""
    _need_own()
    _check(_libc.mount(b"tmpfs", os.fsencode(folder), b"tmpfs", _MS_NOSUID | _MS_NODEV, b"mode=755"), f"mount {folder}")


def _need_own() -> None:
    if not _entered:
        raise HostError("hiding mounts needs a private namespace")


def below(folder: Path) -> list[Path]:
    """Where something is mounted at or below a folder, as this process sees it, the innermost first."""
    top = os.fsencode(folder.parent.resolve() / folder.name)
    found = []
    for line in Path("/proc/self/mountinfo").read_bytes().splitlines():
        place = _ESCAPED.sub(lambda code: bytes([int(code[1], 8)]), line.split(b" ")[4])
        if place == top or place.startswith(top + b"/"):
            found.append(Path(os.fsdecode(place)))
    return sorted(found, reverse=True)


def remove_tree(folder: Path) -> None:
    """Remove a folder with all that is in it, as far as that can be.

    What is mounted there is unmounted first; where that cannot be, all stays. It may be a bind of the host's own /dev.
    """
    for place in below(folder):
        with contextlib.suppress(OSError):
            _unmount(place, folder)
    if not below(folder):
        shutil.rmtree(folder, ignore_errors=True)


def _unmount(place: Path, folder: Path) -> None:
    """Detach what is mounted at a place at or below a folder, on a way there on which no link is followed.

    Whoever may write in there can put one into the way at any moment. Raises OSError.
    """
    top = folder.parent.resolve() / folder.name
    above = os.open(top.parent, _ON_THE_WAY)
    try:
        for name in (place.parent.relative_to(top.parent)).parts:
            step = os.open(name, _ON_THE_WAY | os.O_NOFOLLOW, dir_fd=above)
            os.close(above)
            above = step
        target = f"/proc/self/fd/{above}/{place.name}"
        if _libc.umount2(os.fsencode(target), _MNT_DETACH | _UMOUNT_NOFOLLOW) != 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()), str(place))
    finally:
        os.close(above)
