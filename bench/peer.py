"""A link's far end, as a program: `python -m bench.peer PARENT NAMESPACE TREE ROOT COMMAND…` becomes a server.

It answers what a guest sends: whoever breaks into it must not be root on this host. So it is nobody, without any right,
reads a tree that it cannot write, with a small /tmp of its own, and has three devices and next to nothing of /proc.
"""

from __future__ import annotations

import ctypes
import os
import resource
import signal
import sys
from collections.abc import Sequence
from pathlib import Path

from bench import mounts, oom
from bench.errors import HostError

NOBODY = 65534
_CLONE_NEWNET, _CLONE_NEWIPC = 0x40000000, 0x08000000
_PR_SET_PDEATHSIG, _PR_CAPBSET_READ, _PR_CAPBSET_DROP, _PR_SET_NO_NEW_PRIVS = 1, 23, 24, 38
#: Bytes, of what it says and of each file in its /tmp: iperf3 keeps a block of what it sends there, of 1 MiB at most.
_LARGEST_FILE = 4 << 20
_libc = ctypes.CDLL(None, use_errno=True)


def _do(result: int, what: str) -> None:
    if result < 0:
        raise HostError(f"cannot {what}: {os.strerror(ctypes.get_errno())}")


def _lose_rights() -> None:
    """Only root can: what it takes to drop the rest is dropped last."""
    capability = 0
    while _libc.prctl(_PR_CAPBSET_READ, capability, 0, 0, 0) >= 0:
        _do(_libc.prctl(_PR_CAPBSET_DROP, capability, 0, 0, 0), "drop a capability")
        capability += 1
    _do(_libc.prctl(_PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0), "set no_new_privs")
    os.setgroups([])
    os.setresgid(NOBODY, NOBODY, NOBODY)
    os.setresuid(NOBODY, NOBODY, NOBODY)


def _bound_files() -> None:
    """What makes it talk without an end must not fill this host's disk. A write beyond the bound fails and, because
    Python has the signal for it ignored, ends nothing."""
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    most = _LARGEST_FILE if hard == resource.RLIM_INFINITY else min(hard, _LARGEST_FILE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))


def become(namespace: str, tree: Path, root: Path, argv: Sequence[str], parent: int) -> None:
    """parent: with whom it ends. Raises HostError or OSError."""
    oom.offer(os.getpid())
    place = os.open(namespace, os.O_RDONLY | os.O_CLOEXEC)
    _do(_libc.setns(place, _CLONE_NEWNET), "enter the network namespace")
    _do(_libc.unshare(_CLONE_NEWIPC), "make an IPC namespace")
    mounts.enter_private_namespace()
    mounts.show_bare_root(tree, root)
    os.chroot(root)
    os.chdir("/")
    _bound_files()
    _lose_rights()
    # Not before: a change of user takes it away.
    _do(_libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0), "die with its parent")
    if os.getppid() != parent:
        raise HostError("the worker is gone")
    known = {name: os.environ[name] for name in ("TARE_RUN",) if name in os.environ}
    os.execvpe(argv[0], list(argv), {"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", **known})


def main() -> None:
    parent, namespace, tree, root, *argv = sys.argv[1:]
    try:
        become(namespace, Path(tree), Path(root), argv, int(parent))
    except (HostError, OSError) as error:
        sys.exit(f"{argv[0]}: {error}")


if __name__ == "__main__":
    main()
