"""What dead runs left: only theirs is found. Nothing here may touch the runs that live on this host."""

from __future__ import annotations

import json
import os
import secrets
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import clean, state


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setattr(state, "top", lambda: folder)
    return folder


@pytest.fixture
def identity() -> str:
    return secrets.token_hex(4)


@pytest.fixture
def marked(identity: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that bears a run's id as ours do, and ends in any case."""
    with subprocess.Popen(["sleep", "60"], env={**os.environ, "TARE_RUN": identity}) as child:
        deadline = time.monotonic() + 5
        while b"sleep" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline
        yield child
        child.kill()


def test_folders_of_the_dead_go_and_those_of_the_living_stay(top: Path) -> None:
    for name in ("0000dead", "1111dead"):
        (top / name / "crun").mkdir(parents=True)
        (top / name / "owner.json").write_text('{"pid": 1, "born": -5}')
    with state.enter("alive") as run:
        (run.folder / "arm").mkdir()
        removed = clean._folders()
        assert {thing.name for thing in removed} == {str(top / "0000dead"), str(top / "1111dead")}
        assert {thing.kind for thing in removed} == {"folder"}
        assert [path.name for path in top.iterdir()] == [run.id]
        assert (run.folder / "arm").is_dir()
        assert clean._folders() == []


def test_what_bears_no_runs_name_is_not_ours(top: Path) -> None:
    (top / "precious").mkdir()
    (top / "note.txt").write_text("x")
    assert clean._folders() == []
    assert sorted(path.name for path in top.iterdir()) == ["note.txt", "precious"]


def test_a_folder_that_nobody_signed_goes_when_it_is_not_just_being_made(top: Path) -> None:
    (top / "0000dead").mkdir()
    assert clean._folders() == []
    os.utime(top / "0000dead", (0, 0))
    assert [thing.name for thing in clean._folders()] == [str(top / "0000dead")]


@pytest.mark.usefixtures("top")
def test_whose_name_is_a_dead_runs() -> None:
    with state.enter("alive") as run:
        assert not clean._dead(run.id)
    assert clean._dead(run.id)
    for name in ("0123ABCD", "0123abcde", "", "../x"):
        assert not clean._dead(name)


def test_a_run_of_another_user_or_session_lives_too(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="tare-test-", dir="/tmp") as other:
        with monkeypatch.context() as context:
            context.setattr(state, "top", lambda: Path(other))
            entered = state.enter("elsewhere")
            run = entered.__enter__()
        assert state.top() == top
        assert not clean._dead(run.id)
        (run.folder / "owner.json").write_text('{"pid": 1, "born": -5}')
        assert clean._dead(run.id)


def test_a_process_of_a_dead_run_is_found(marked: subprocess.Popen[bytes]) -> None:
    assert marked.pid in clean._find_processes()


def test_a_process_of_a_living_run_is_not(top: Path, identity: str, marked: subprocess.Popen[bytes]) -> None:
    (top / identity).mkdir()
    born = state.birth(os.getpid())
    (top / identity / "owner.json").write_text(json.dumps({"pid": os.getpid(), "born": born}))
    assert marked.pid not in clean._find_processes()


@pytest.mark.parametrize("identity", ["", "x", "0123abcd5", "../../.."])
def test_a_process_with_another_programs_variable_is_not(marked: subprocess.Popen[bytes]) -> None:
    assert marked.pid not in clean._find_processes()


def test_a_process_that_is_dead_already_is_not(marked: subprocess.Popen[bytes]) -> None:
    marked.kill()
    os.waitid(os.P_PID, marked.pid, os.WEXITED | os.WNOWAIT)
    assert marked.pid not in clean._find_processes()


def test_we_ourselves_are_never_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TARE_RUN", "0123abcd")
    assert os.getpid() not in clean._find_processes()
