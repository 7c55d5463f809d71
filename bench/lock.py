"""One campaign at a time on a host, whoever runs it.

An abstract Unix socket, which the kernel releases with its holder.
"""

from __future__ import annotations

import contextlib
import errno
import os
import socket
import struct
from collections.abc import Callable, Iterator
from pathlib import Path

from bench import clean, state
from bench.backends._command import RUN_VARIABLE
from bench.errors import HostError

_ADDRESS = "\0tare-host"
#: Who asks for the holder's name stays in its queue, because the holder is busy measuring and never accepts.
_ASKERS = 4096
_CREDENTIALS = struct.Struct("3i")


@contextlib.contextmanager
def occupy(
    what: str,
    cleaned: Callable[[list[clean.Removed]], None],
    warned: Callable[[str], None],
    resisted: Callable[[str], None] | None = None,
) -> Iterator[state.Run]:
    """A run on this host, which is held for it and rid of what dead runs left.

    cleaned: told what that was; warned: told what of this run resists its removal; resisted: told what of dead runs
    does, warned by default. Raises as hold().
    """

    def end(own: state.Run) -> bool:
        left = clean.release(own)
        for each in left:
            warned(f"could not be removed: {each}")
        return not left

    with hold(), state.enter(what, end) as own, _marked(own.id):
        cleaned(clean.clean(resisted or warned))
        yield own


@contextlib.contextmanager
def _marked(identity: str) -> Iterator[None]:
    """What is started bears the run's id, and what this process starts after the run does not."""
    before = os.environ.get(RUN_VARIABLE)
    os.environ[RUN_VARIABLE] = identity
    try:
        yield
    finally:
        if before is None:
            del os.environ[RUN_VARIABLE]
        else:
            os.environ[RUN_VARIABLE] = before


@contextlib.contextmanager
def hold() -> Iterator[None]:
    """Hold this host. Raises HostError that names the holder where somebody else does."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as mine:
        try:
            mine.bind(_ADDRESS)
        except OSError as error:
            raise HostError(f"this host is held by {_holder()}", hint="wait for it to end") from error
        mine.listen(_ASKERS)
        yield


def is_held() -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        return probe.connect_ex(_ADDRESS) in (0, errno.EAGAIN)


def _holder() -> str:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as probe:
        probe.setblocking(False)
        answer = probe.connect_ex(_ADDRESS)
        if answer == errno.EAGAIN:
            return "another campaign that too many have asked for"
        if answer != 0:
            return "another campaign that is just ending"
        raw = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    pid, uid, _ = _CREDENTIALS.unpack(raw)
    with contextlib.suppress(HostError):
        for run in state.runs():
            if run.pid == pid:
                return f"{run.what} (pid {pid}, uid {uid}, since {run.started})"
    with contextlib.suppress(OSError):
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        return f"pid {pid}, uid {uid}: {b' '.join(words).decode(errors='replace').strip()[:120]}"
    return f"pid {pid}, uid {uid}" if pid else "a process in another container"
