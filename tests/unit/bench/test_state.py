"""Runs and whether their owners live."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

import pytest

from bench import state


@pytest.fixture(autouse=True)
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "top", lambda: tmp_path / "runs")
    return tmp_path / "runs"


def leave(top: Path, identity: str, owner: str) -> None:
    (top / identity).mkdir(parents=True)
    (top / identity / "owner.json").write_text(owner)


def test_a_run_lives_as_long_as_its_block(top: Path) -> None:
    with state.enter("campaign x") as run:
        assert run.alive
        assert run.folder == top / run.id
        assert run.folder.stat().st_mode & 0o777 == 0o700
        assert state.runs() == [run]
        with state.enter("another") as other:
            assert {found.id for found in state.runs()} == {run.id, other.id}
    assert not top.exists()


def test_an_error_inside_takes_the_folder_away(top: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), state.enter("x") as run:
        (run.folder / "arm").mkdir()
        raise ZeroDivisionError
    assert not top.exists()


def test_birth_tells_processes_apart() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        born = state.birth(child.pid)
        child.kill()
    assert born is not None
    assert state.birth(os.getpid()) is not None
    assert state.birth(child.pid) is None
    assert state.birth(0) is None


def test_an_owner_that_was_killed_and_not_yet_waited_for_is_dead() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        child.kill()
        os.waitid(os.P_PID, child.pid, os.WEXITED | os.WNOWAIT)
        assert state.birth(child.pid) is None


def test_a_name_with_a_bracket_does_not_confuse_birth(tmp_path: Path) -> None:
    odd = tmp_path / "a) R 1 (b"
    odd.symlink_to("/bin/sleep")
    with subprocess.Popen(["/bin/sleep", "60"]) as plain, subprocess.Popen([str(odd), "60"]) as strange:
        try:
            born, other = state.birth(plain.pid), state.birth(strange.pid)
            assert born is not None
            assert other is not None
            assert abs(born - other) < 500
        finally:
            plain.kill()
            strange.kill()


def test_a_reused_pid_is_another_process(top: Path) -> None:
    born = state.birth(os.getpid())
    assert born is not None
    leave(top, "00000001", json.dumps({"pid": os.getpid(), "born": born, "what": "mine", "started": "now"}))
    leave(top, "00000002", json.dumps({"pid": os.getpid(), "born": born - 1, "what": "old", "started": "then"}))
    assert [(run.id, run.what, run.alive) for run in state.runs()] == [
        ("00000001", "mine", True),
        ("00000002", "old", False),
    ]


@pytest.mark.parametrize("owner", ["", "{", "[]", "5", "null", '{"pid": "1", "born": "2"}', '{"pid": null}', "{}"])
def test_an_owner_that_cannot_be_read_is_dead(top: Path, owner: str) -> None:
    leave(top, "0000000a", owner)
    (run,) = state.runs()
    assert run.id == "0000000a"
    assert not run.alive


def test_a_folder_without_an_owner_is_a_dead_runs(top: Path) -> None:
    (top / "0000000b").mkdir(parents=True)
    assert [run.alive for run in state.runs()] == [False]


def test_no_runs_at_all() -> None:
    assert state.runs() == []
