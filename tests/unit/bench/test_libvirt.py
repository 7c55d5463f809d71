"""Which of its zombies a process that uses libvirt may reap, and which are libvirt's own to wait for."""

from __future__ import annotations

import os
import shutil
import time
from pathlib import Path

import pytest

from bench.backends import _libvirt


def _zombie(program: Path, *, detached: bool) -> int:
    """The pid of a child that has ended and that nobody has waited for."""
    pid = os.posix_spawn(program, [program.name], {}, setsid=detached)
    os.waitid(os.P_PID, pid, os.WEXITED | os.WNOWAIT)
    return pid


def _is_there(pid: int) -> bool:
    return Path(f"/proc/{pid}").exists()


@pytest.mark.parametrize(
    ("name", "detached", "reaped"),
    [("qemu-system-x86_64", True, True), ("qemu-system-x86_64", False, False), ("other", True, False)],
)
def test_only_detached_qemus_are_reaped(tmp_path: Path, name: str, detached: bool, reaped: bool) -> None:
    program = tmp_path / name
    shutil.copy("/bin/true", program)
    pid = _zombie(program, detached=detached)
    try:
        _libvirt.reap_orphans()
        assert _is_there(pid) != reaped
    finally:
        if not reaped:
            os.waitpid(pid, 0)


def test_stopped_is_true_at_once_of_a_domain_that_never_was(tmp_path: Path) -> None:
    connection = object.__new__(_libvirt.Connection)
    connection._stopped = {}
    begin = time.monotonic()
    assert connection.await_stopped("tare-none", begin + 5)
    assert time.monotonic() - begin < 1
