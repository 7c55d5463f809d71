"""Views of memory, and which processes share one address space."""

from __future__ import annotations

import contextlib
import ctypes
import mmap
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import memory

_CLONE_VM = 0x100
_libc = ctypes.CDLL(None, use_errno=True)


@contextlib.contextmanager
def sharing_child() -> Iterator[int]:
    """A child process in our own address space, as UML's helpers are in their kernel's: it waits in pause(2)."""
    stack = ctypes.create_string_buffer(1 << 16)
    top = (ctypes.addressof(stack) + len(stack)) & ~15
    _libc.clone.argtypes = [ctypes.c_void_p, ctypes.c_void_p, ctypes.c_int, ctypes.c_void_p]
    pid = _libc.clone(ctypes.cast(_libc.pause, ctypes.c_void_p), top, _CLONE_VM | signal.SIGCHLD, None)
    assert pid > 0, os.strerror(ctypes.get_errno())
    try:
        yield pid
    finally:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)


@contextlib.contextmanager
def other_child() -> Iterator[int]:
    with subprocess.Popen(["sleep", "60"]) as child:
        try:
            yield child.pid
        finally:
            child.kill()


def test_meminfo_in_bytes() -> None:
    text = "MemTotal:  2048 kB\nMemAvailable: 1024 kB\nHugePages_Total:       3\nbroken\nOdd: x kB\n"
    assert memory.meminfo(text) == {"MemTotal": 2048 * 1024, "MemAvailable": 1024 * 1024}
    assert memory.guest_used(text) == 1024 * 1024


def test_the_hosts_available_memory() -> None:
    total = memory.meminfo(Path("/proc/meminfo").read_text())["MemTotal"]
    assert 1 << 20 < memory.available() <= total


def test_free_pages_that_a_hypervisor_has_out_for_a_look_are_spare(monkeypatch: pytest.MonkeyPatch) -> None:
    out = iter([900, 900, 1000, *[900] * 10_000])
    monkeypatch.setattr(memory, "_spare", lambda: next(out))
    monkeypatch.setattr(memory, "_REPORTING", 0.05)
    assert memory.spare() == 1000


def test_what_the_host_can_spare_is_about_what_it_has_free() -> None:
    fields = memory.meminfo(Path("/proc/meminfo").read_text())
    assert fields["MemFree"] // 2 < memory.spare() < fields["MemTotal"]


def test_who_shares_an_address_space_counts_once() -> None:
    with sharing_child() as sharing, other_child() as other:
        mine = os.getpid()
        assert memory.distinct_address_spaces([mine, sharing, other]) == [mine, other]
        assert memory.distinct_address_spaces([sharing, mine]) == [sharing]
        assert memory.distinct_address_spaces([]) == []


def test_pss_counts_a_shared_address_space_once() -> None:
    with sharing_child() as sharing:
        alone, both = memory.pss([os.getpid()]), memory.pss([os.getpid(), sharing])
    assert alone > 1 << 20
    assert both == pytest.approx(alone, rel=0.1)


def test_pss_adds_different_processes_and_ignores_those_gone() -> None:
    child = subprocess.Popen(["sleep", "0"])
    child.wait()
    with other_child() as other:
        assert memory.pss([os.getpid(), other]) > memory.pss([other]) > 0
        assert memory.pss([child.pid]) == 0


def test_only_the_chosen_mappings_count(tmp_path: Path) -> None:
    file = tmp_path / "held"
    file.write_bytes(b"x" * (3 << 20))
    with file.open("r+b") as opened, mmap.mmap(opened.fileno(), 0) as held:
        held.write(b"y" * (2 << 20))
        assert memory.resident([os.getpid()], lambda size, path: size == 3 << 20 and path == str(file)) == 2 << 20
        assert memory.resident([os.getpid()], lambda size, path: path.startswith("/nowhere")) == 0
    assert memory.resident([], lambda size, path: True) == 0
