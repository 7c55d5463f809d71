"""The one door to helper commands: argument lists, a time limit, process-group kill, output kept for the error.

Measured processes do not go through here; bench.launch starts those.
"""

from __future__ import annotations

import contextlib
import os
import selectors
import shlex
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from pathlib import Path

from bench.errors import CommandError, HostError

#: Where Debian keeps administrators' tools that an ordinary user's PATH leaves out.
EXTRA_PATH = "/usr/local/sbin:/usr/sbin:/sbin"
#: Bytes of output: more than any command prints that is run for what it says.
_MOST = 64 << 20
_CHUNK = 1 << 16
_LONGEST_LINE = 1 << 16
#: Processes that are held at once, each by a descriptor.
_HELD = 200
#: Seconds: for what a command leaves behind to close its output, and for a killed process to be gone.
_DAEMON_LIMIT = 1.0
_KILL_LIMIT = 5.0


def which(tool: str) -> str | None:
    """The absolute path of a tool, looked up in PATH and the system's own folders; None where there is none."""
    return shutil.which(tool, path=os.environ.get("PATH", os.defpath) + ":" + EXTRA_PATH)


def require(tool: str, package: str) -> str:
    """The absolute path of a tool, or a HostError that names the Debian package to install."""
    path = which(tool)
    if path is None:
        raise HostError(f"{tool} is not installed", hint=f"apt-get install {package}")
    return path


def run(
    argv: Sequence[str | Path],
    *,
    timeout: float = 30.0,
    stdin: bytes = b"",
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    check: bool = True,
    most: int = _MOST,
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end. At the time limit, or after `most` bytes of output, its process group is killed.

    A process that the command leaves behind with its output open is waited for for a second.
    Raises CommandError with the command and the tail of its output; not for its exit status where `check` is off.
    """
    shown = shlex.join(str(word) for word in argv)
    kept = {"stdout": bytearray(), "stderr": bytearray()}

    def keep(stream: str, data: bytes) -> None:
        kept[stream] += data
        if len(kept["stdout"]) + len(kept["stderr"]) > most:
            raise CommandError(f"{shown} wrote more than {most / (1 << 20):g} MiB", detail=_tail(data))

    with _started(argv, shown, env=env, cwd=cwd, stdin=subprocess.PIPE, stderr=subprocess.PIPE) as child:
        in_time = _converse(child, stdin, time.monotonic() + timeout, keep)
    out, err = bytes(kept["stdout"]), bytes(kept["stderr"])
    if not in_time:
        raise CommandError(f"{shown} did not end within {timeout:g} s", detail=_tail(err or out))
    if check and child.returncode != 0:
        tail = _tail(err or out)
        last = tail.splitlines()[-1] if tail else "no output"
        raise CommandError(f"{shown} ended with status {child.returncode}: {last}", detail=tail)
    return subprocess.CompletedProcess(child.args, child.returncode, out, err)


def follow(
    argv: Sequence[str | Path],
    heard: Callable[[str], None],
    *,
    timeout: float,
    env: Mapping[str, str],
    cwd: Path,
    kept: int = 30,
) -> None:
    """Run a long command, telling `heard` each line of its output as it comes. Whatever ends this call ends the group.

    Raises CommandError with the last `kept` lines as its detail where the command fails or takes too long.
    """
    shown = shlex.join(str(word) for word in argv)
    tail: deque[str] = deque(maxlen=kept)
    rest = bytearray()

    def tell(line: bytes | bytearray) -> None:
        tail.append(line.decode(errors="replace"))
        heard(tail[-1])

    def split(stream: str, data: bytes) -> None:
        rest.extend(data)
        *lines, last = rest.split(b"\n")
        if len(last) > _LONGEST_LINE:
            lines, last = [*lines, last], bytearray()
        rest[:] = last
        for line in lines:
            tell(line)

    with _started(argv, shown, env=env, cwd=cwd, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT) as child:
        in_time = _converse(child, b"", time.monotonic() + timeout, split)
    if rest:
        tell(rest)
    if not in_time:
        raise CommandError(f"{shown} did not end within {timeout:g} s", detail="\n".join(tail))
    if child.returncode != 0:
        raise CommandError(f"{shown} ended with status {child.returncode}", detail="\n".join(tail))


def _tail(output: bytes) -> str:
    return output[-2000:].decode(errors="replace").strip()


@contextlib.contextmanager
def _started(
    argv: Sequence[str | Path],
    shown: str,
    *,
    env: Mapping[str, str] | None,
    cwd: Path | None,
    stdin: int,
    stderr: int,
) -> Iterator[subprocess.Popen[bytes]]:
    """A command in a session of its own. What is left of its process group when the block ends is killed, unless the
    command itself has ended and closed its output."""
    try:
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdin=stdin,
            stdout=subprocess.PIPE,
            stderr=stderr,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(f"cannot start {shown}: {error.strerror}") from error
    try:
        yield child
    finally:
        if child.returncode is None:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        for pipe in (child.stdin, child.stdout, child.stderr):
            if pipe is not None:
                pipe.close()
        # Only a process that the kernel itself cannot end is still there after that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(_KILL_LIMIT)


def _converse(
    child: subprocess.Popen[bytes], stdin: bytes, deadline: float, heard: Callable[[str, bytes], None]
) -> bool:
    """Write a child's input and hand its output ("stdout" or "stderr", and the bytes) to `heard`, until it has ended
    and its output is closed, or is still open a second later. False where it still runs at the deadline."""
    exited = os.pidfd_open(child.pid)
    with contextlib.ExitStack() as stack:
        stack.callback(os.close, exited)
        selector = stack.enter_context(selectors.DefaultSelector())
        selector.register(exited, selectors.EVENT_READ, "exit")
        if child.stdin is not None:
            os.set_blocking(child.stdin.fileno(), False)
            selector.register(child.stdin.fileno(), selectors.EVENT_WRITE, "stdin")
        for name, pipe in (("stdout", child.stdout), ("stderr", child.stderr)):
            if pipe is not None:
                os.set_blocking(pipe.fileno(), False)
                selector.register(pipe.fileno(), selectors.EVENT_READ, name)
        running = True
        while selector.get_map():
            left = deadline - time.monotonic()
            if left <= 0:
                break
            for key, _ in selector.select(left):
                if key.data == "exit":
                    selector.unregister(exited)
                    running = False
                    deadline = min(deadline, time.monotonic() + _DAEMON_LIMIT)
                elif key.data == "stdin":
                    stdin = _write(key.fd, stdin)
                    if not stdin:
                        selector.unregister(key.fd)
                        assert child.stdin is not None
                        child.stdin.close()
                else:
                    data = os.read(key.fd, _CHUNK)
                    if data:
                        heard(key.data, data)
                    else:
                        selector.unregister(key.fd)
        held_open = bool(selector.get_map())
    if running:
        return False
    if held_open:
        # Before the child is reaped, while its process group cannot be anybody else's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, signal.SIGKILL)
    child.wait(_KILL_LIMIT)
    return True


def _write(fd: int, data: bytes) -> bytes:
    """What is left of data to be written; nothing where nobody reads."""
    try:
        return data[os.write(fd, data) :]
    except BlockingIOError:
        return data
    except BrokenPipeError:
        return b""


def tree(leader: int) -> list[int]:
    """A process and all its descendants, leader first."""
    found = [leader]
    for pid in found:
        try:
            for task in Path(f"/proc/{pid}/task").iterdir():
                found += [int(child) for child in (task / "children").read_text().split()]
        except OSError:
            continue
    return found


def kill_members(members: Callable[[], Collection[int]]) -> tuple[set[int], set[int]]:
    """SIGKILL to all that are members; their pids, and those among them that may not be killed.

    Each is asked for again once it is held: a pid that another process has taken meanwhile hits nobody.
    """
    found, refused = set(members()), set()
    for first in range(0, len(found), _HELD):
        held: dict[int, int] = {}
        try:
            for pid in sorted(found)[first : first + _HELD]:
                with contextlib.suppress(ProcessLookupError):
                    held[pid] = os.pidfd_open(pid)
            still = members()
            for pid, fd in held.items():
                if pid in still:
                    try:
                        signal.pidfd_send_signal(fd, signal.SIGKILL)
                    except ProcessLookupError:
                        pass
                    except PermissionError:
                        refused.add(pid)
        finally:
            for fd in held.values():
                os.close(fd)
    return found, refused
