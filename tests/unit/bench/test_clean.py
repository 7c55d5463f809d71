"""What dead runs left: only theirs is found. Nothing here may touch the runs that live on this host."""

from __future__ import annotations

import os
import secrets
import subprocess
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
        removed = clean._folders({run.id})
        assert {thing.name for thing in removed} == {str(top / "0000dead"), str(top / "1111dead")}
        assert {thing.kind for thing in removed} == {"folder"}
        assert [path.name for path in top.iterdir()] == [run.id]
        assert (run.folder / "arm").is_dir()
        assert clean._folders({run.id}) == []


def test_what_bears_no_runs_name_is_not_ours(top: Path) -> None:
    (top / "precious").mkdir()
    (top / "note.txt").write_text("x")
    assert clean._folders(set()) == []
    assert sorted(path.name for path in top.iterdir()) == ["note.txt", "precious"]


@pytest.mark.parametrize(
    ("name", "dead"),
    [("0123abcd", True), ("0000aaaa", False), ("0123ABCD", False), ("0123abcde", False), ("", False), ("../x", False)],
)
def test_whose_name_is_a_dead_runs(name: str, dead: bool) -> None:
    assert clean._dead(name, {"0000aaaa"}) is dead


def test_a_process_of_a_dead_run_is_found(identity: str, marked: subprocess.Popen[bytes]) -> None:
    assert marked.pid in clean._find_processes(set())
    assert marked.pid not in clean._find_processes({identity})


@pytest.mark.parametrize("identity", ["", "x", "0123abcd5", "../../.."])
def test_a_process_with_another_programs_variable_is_not(marked: subprocess.Popen[bytes]) -> None:
    assert marked.pid not in clean._find_processes(set())


def test_a_process_that_is_dead_already_is_not(marked: subprocess.Popen[bytes]) -> None:
    marked.kill()
    os.waitid(os.P_PID, marked.pid, os.WEXITED | os.WNOWAIT)
    assert marked.pid not in clean._find_processes(set())


def test_we_ourselves_are_never_found(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TARE_RUN", "0123abcd")
    assert os.getpid() not in clean._find_processes(set())
