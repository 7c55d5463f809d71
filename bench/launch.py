"""Starts measured processes: each waits inside its cage, with its pipes open, until the word to go.

A tiny shell enters the cage, takes its limits, says so, and replaces itself by the command when it reads a line.
Entering the cage (milliseconds on a busy kernel) so stays outside the timed window, alike for every family, and the
harness itself never forks.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import signal
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import confine, oom
from bench.errors import InstanceError

_SCRIPT = (
    'set -f; for door in $1; do echo 0 >"$door" || exit 97; done; cd "$2" || exit 97; shift 2; '
    # What is lower here already stays so.
    "ulimit -c 0; { "
    f"ulimit -Sn {confine.FILES[0]}; ulimit -Hn {confine.FILES[1]}; echo {oom.INSTANCE} >/proc/self/oom_score_adj; "
    '} 2>/dev/null; echo >&3; read -r go <&4 || exit 98; exec "$@" 3>&- 4<&-'
)
_JOIN_LIMIT = 10.0


def _pipe() -> tuple[int, int]:
    """A pipe clear of descriptors 0 to 4, which the child's wiring overwrites."""
    ends = os.pipe()
    if min(ends) > 4:
        return ends
    high = tuple(fcntl.fcntl(end, fcntl.F_DUPFD_CLOEXEC, 10) for end in ends)
    for end in ends:
        os.close(end)
    return high[0], high[1]


def readable(fd: int, seconds: float) -> bool:
    """Whether a descriptor becomes readable, or its other end closes, within some seconds."""
    poller = select.poll()
    poller.register(fd, select.POLLIN)
    return bool(poller.poll(max(0.0, seconds) * 1000))


def _drain(fd: int) -> bytes:
    chunks = []
    with contextlib.suppress(OSError):
        while chunk := os.read(fd, 65536):
            chunks.append(chunk)
    return b"".join(chunks)


class Launched:
    """A process in its cage, first waiting, then running. Owns its descriptors and its pid.

    input, output, errors: our ends of its standard streams; `exited` polls readable once it has ended.
    """

    def __init__(
        self,
        argv: Sequence[str],
        *,
        doors: Sequence[str] = (),
        env: Mapping[str, str] | None = None,
        errors_to_output: bool = False,
        folder: Path | str = "/",
        by: Sequence[str] = (),
    ) -> None:
        """folder: where it works; by: a command, an absolute program first, that starts the waiting shell."""
        child_in, self.input = _pipe()
        self.output, child_out = _pipe()
        self.errors, child_err = _pipe()
        self._status, child_status = _pipe()
        child_go, self._go = _pipe()
        self.status: int | None = None
        wiring = [(child_in, 0), (child_out, 1), (child_out if errors_to_output else child_err, 2)]
        wiring += [(child_status, 3), (child_go, 4)]
        try:
            shell = [*by, "/bin/sh", "-c", _SCRIPT, "tare-launch", "\n".join(doors), str(folder), *argv]
            self.pid = os.posix_spawn(
                shell[0],
                shell,
                os.environ if env is None else env,
                file_actions=[(os.POSIX_SPAWN_DUP2, source, target) for source, target in wiring],
                setsid=True,
                setsigdef=[signal.SIGPIPE],
            )
        finally:
            for fd in (child_in, child_out, child_err, child_status, child_go):
                os.close(fd)
        self.exited = os.pidfd_open(self.pid)
        for fd in (self.output, self.errors, self._status):
            os.set_blocking(fd, False)
        self._await_cage()

    def _await_cage(self) -> None:
        if not readable(self._status, _JOIN_LIMIT) or os.read(self._status, 1) != b"\n":
            reason = (self.drain_errors() or _drain(self.output)).decode(errors="replace").strip()
            self.kill()
            self.close()
            raise InstanceError(f"cannot enter the cage: {reason or 'no answer'}")

    def go(self) -> int:
        """Let it run; the host's monotonic clock in ns just before."""
        now = time.monotonic_ns()
        try:
            os.write(self._go, b"\n")
        except BrokenPipeError as error:
            raise InstanceError("the waiting process died before its start") from error
        return now

    @property
    def spawned(self) -> int:
        """A descriptor that becomes readable (end of file) when the command has replaced the waiting shell."""
        return self._status

    def wait(self, deadline: float) -> bool:
        """Reap it; False when it still runs at the deadline (time.monotonic seconds)."""
        if self.status is not None:
            return True
        if not readable(self.exited, deadline - time.monotonic()):
            return False
        _, status = os.waitpid(self.pid, 0)
        self.status = os.waitstatus_to_exitcode(status)
        return True

    def kill(self) -> None:
        """SIGKILL to its whole session's process group, then reap it."""
        if self.status is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.wait(time.monotonic() + 10)

    def drain_errors(self) -> bytes:
        return _drain(self.errors)

    def close(self) -> None:
        for name in ("input", "output", "errors", "_status", "_go", "exited"):
            fd = getattr(self, name, -1)
            if fd >= 0:
                with contextlib.suppress(OSError):
                    os.close(fd)
                setattr(self, name, -1)
