"""What all that share the host's kernel are held to."""

from __future__ import annotations

import resource
import subprocess
from pathlib import Path

import pytest

from bench import confine, process


def test_the_set_is_dockers() -> None:
    """As /proc/PID/status has it in any of its containers."""
    assert confine.named(0xA80425FB) == confine.CAPABILITIES
    assert len(confine.CAPABILITIES) == 14


def test_every_capability_is_given_or_taken_away() -> None:
    newest = ["perfmon", "bpf", "checkpoint_restore"]
    assert sorted([*confine.CAPABILITIES, *confine.OTHERS, *newest]) == sorted(confine.named(2**41 - 1))
    assert confine.named(1 << 50) == ["capability 50"]


def test_the_limit_of_files_is_never_above_ones_own(monkeypatch: pytest.MonkeyPatch) -> None:
    for own, given in (((256, 512), (512, 512)), ((20000, 20000), (1024, 4096)), ((1, -1), (1024, 4096))):
        monkeypatch.setattr(resource, "getrlimit", lambda which, own=own: own)
        assert confine.files() == given


def test_what_is_protected_is_there() -> None:
    assert set(confine.read_only()) <= set(confine.READ_ONLY)
    assert "/proc/sys" in confine.read_only()
    assert all(Path(path).exists() for path in confine.read_only())


def test_setpriv_knows_these_words() -> None:
    """Whoever may not do it is told so, and not that there is no such capability."""
    setpriv = process.require("setpriv", "util-linux")
    for words in (confine.held(setpriv), confine.held_and(setpriv, ("sys_admin", "sys_ptrace"))):
        done = subprocess.run([*words, "/bin/true"], capture_output=True, text=True, check=False, timeout=10)
        assert done.returncode == 0 or "not permitted" in done.stderr, done.stderr
