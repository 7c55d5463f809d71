"""The one door to helper commands: argument lists, a time limit, process-group kill, output kept for the error.

Measured processes do not go through here; bench.launch starts those.
"""

from __future__ import annotations

import contextlib
import os
import select
import shlex
import shutil
import signal
import subprocess
import time
from collections import deque
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from bench.errors import CommandError, HostError

#: Where Debian keeps administrators' tools that an ordinary user's PATH leaves out.
EXTRA_PATH = "/usr/local/sbin:/usr/sbin:/sbin"


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
) -> subprocess.CompletedProcess[bytes]:
    """Run a command to its end. On the time limit its whole process group is killed.

    Raises CommandError with the command and the tail of its output, unless `check` is off.
    """
    shown = shlex.join(str(word) for word in argv)
    try:
        child = subprocess.Popen(
            [str(word) for word in argv],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=None if env is None else dict(env),
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        raise CommandError(f"cannot start {shown}: {error.strerror}") from error
    try:
        out, err = child.communicate(stdin, timeout=timeout)
    except BaseException as error:
        os.killpg(child.pid, signal.SIGKILL)
        out, err = child.communicate()
        if isinstance(error, subprocess.TimeoutExpired):
            tail = (err or out).decode(errors="replace")[-2000:]
            raise CommandError(f"{shown} did not end within {timeout:g} s", detail=tail) from error
        raise
    if check and child.returncode != 0:
        tail = (err or out).decode(errors="replace").strip()[-2000:]
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
    deadline = time.monotonic() + timeout
    with subprocess.Popen(
        [str(word) for word in argv],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        env=dict(env),
        cwd=cwd,
        start_new_session=True,
    ) as child:
        assert child.stdout is not None
        try:
            rest = b""
            while select.select([child.stdout], [], [], max(0.0, deadline - time.monotonic()))[0]:
                data = os.read(child.stdout.fileno(), 1 << 16)
                if not data:
                    break
                *lines, rest = (rest + data).split(b"\n")
                for line in lines:
                    tail.append(line.decode(errors="replace"))
                    heard(tail[-1])
            child.wait(max(0.0, deadline - time.monotonic()))
        except subprocess.TimeoutExpired as error:
            raise CommandError(f"{shown} did not end within {timeout:g} s", detail="\n".join(tail)) from error
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
    if child.returncode != 0:
        raise CommandError(f"{shown} ended with status {child.returncode}", detail="\n".join(tail))


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
