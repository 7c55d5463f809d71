"""Mount namespaces of the worker's own: what is mounted here is seen by our instances only and ends with them."""

from __future__ import annotations

import ctypes
import os
from pathlib import Path

from bench.errors import HostError

_CLONE_NEWNS, _CLONE_NEWUSER = 0x00020000, 0x10000000
_MS_RDONLY, _MS_BIND, _MS_REC, _MS_PRIVATE = 1, 4096, 16384, 1 << 18
_MNT_DETACH = 2
_libc = ctypes.CDLL(None, use_errno=True)
_entered = False


def _check(result: int, what: str) -> None:
    if result != 0:
        raise HostError(f"cannot {what}: {os.strerror(ctypes.get_errno())}")


def enter_private_namespace(*, become_root: bool = False) -> None:
    """Move this process into a mount namespace of its own; an ordinary user needs become_root, a user namespace."""
    global _entered
    if _entered:
        return
    uid, gid = os.geteuid(), os.getegid()
    if uid != 0 and become_root:
        _check(
            _libc.unshare(_CLONE_NEWUSER | _CLONE_NEWNS), "make a user namespace (kernel.unprivileged_userns_clone?)"
        )
        Path("/proc/self/setgroups").write_text("deny")
        Path("/proc/self/uid_map").write_text(f"0 {uid} 1")
        Path("/proc/self/gid_map").write_text(f"0 {gid} 1")
    else:
        _check(_libc.unshare(_CLONE_NEWNS), "make a mount namespace")
    _check(_libc.mount(b"none", b"/", None, _MS_REC | _MS_PRIVATE, None), "make mounts private")
    _entered = True


def bind(source: Path, target: Path, *, recursive: bool = False) -> None:
    """Show source at target too."""
    flags = _MS_BIND | (_MS_REC if recursive else 0)
    _check(_libc.mount(os.fsencode(source), os.fsencode(target), None, flags, None), f"mount {source} on {target}")


def hide_hybrid_cgroup2() -> None:
    """In the hybrid layout, take away the v2 mount that has no controllers. Only in the private namespace."""
    if not _entered:
        raise HostError("hiding mounts needs a private namespace")
    hybrid = Path("/sys/fs/cgroup/unified")
    if hybrid.is_mount():
        _check(_libc.umount2(os.fsencode(hybrid), _MNT_DETACH), f"unmount {hybrid}")
