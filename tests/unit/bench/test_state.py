"""Runs and whether their owners live."""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import time
from pathlib import Path

import pytest

from bench import state
from bench.errors import HostError


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


def signed(**changes: object) -> str:
    return json.dumps({"pid": os.getpid(), "born": state.birth(os.getpid()), **changes})


def test_only_who_owns_the_folder_signs_for_it(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    leave(top, "0000000a", signed())
    assert [run.alive for run in state.runs()] == [True]
    monkeypatch.setattr(state, "_user", lambda pid: os.geteuid() + 1)
    assert [run.alive for run in state.runs()] == [False]


def test_the_user_of_a_process() -> None:
    assert state._user(os.getpid()) == os.geteuid()
    assert state._user(0) is None


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_file_in_a_folder_signs_nothing(top: Path) -> None:
    leave(top, "0000000a", signed())
    os.chown(top / "0000000a" / "owner.json", 1234, 1234)
    assert [run.alive for run in state.runs()] == [False]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_users_run_does_not_make_roots_things_alive(top: Path) -> None:
    with subprocess.Popen(["sleep", "60"], user=1234, group=1234, extra_groups=[]) as child:
        try:
            leave(top, "0000000a", signed(pid=child.pid, born=state.birth(child.pid)))
            leave(top, "0000000b", signed())
            assert "0000000b" in state.living(0)
            for path in (top, top / "0000000a", top / "0000000a" / "owner.json"):
                os.chown(path, 1234, 1234)
            assert "0000000a" not in state.living(0)
            assert "0000000a" in state.living(1234)
            assert "0000000b" not in state.living(1234)  # made by nobody who can make folders there
        finally:
            child.kill()


def test_what_is_no_small_plain_file_neither_signs_nor_hangs(top: Path, tmp_path: Path) -> None:
    (tmp_path / "owner").write_text(signed())
    for name in ("0000000a", "0000000b", "0000000c", "0000000d"):
        (top / name).mkdir(parents=True)
    os.mkfifo(top / "0000000a" / "owner.json")
    (top / "0000000b" / "owner.json").symlink_to(tmp_path / "owner")
    (top / "0000000c" / "owner.json").write_text(signed(what="x" * 5000))
    (top / "0000000d" / "owner.json").write_text("[" * 4000)
    leave(tmp_path, "elsewhere", signed())
    (top / "0000000e").symlink_to(tmp_path / "elsewhere")
    assert [(run.id[-1], run.alive) for run in state.runs()] == [(letter, False) for letter in "abcde"]


def test_a_top_that_others_can_write_is_refused(top: Path) -> None:
    top.mkdir()
    top.chmod(0o775)
    with pytest.raises(HostError, match=r"can be written by others.*remove it"), state.enter("x"):
        pytest.fail("entered")
    with pytest.raises(HostError, match="cannot be trusted"):
        state.runs()
    assert list(top.iterdir()) == []


def test_a_top_that_is_a_link_is_refused(top: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir(mode=0o700)
    top.symlink_to(tmp_path / "victim")
    with pytest.raises(HostError, match="is no folder"), state.enter("x"):
        pytest.fail("entered")
    assert list((tmp_path / "victim").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_top_of_another_user_is_refused(top: Path) -> None:
    top.mkdir(mode=0o700)
    os.chown(top, 1234, 1234)
    with pytest.raises(HostError, match="belongs to uid 1234"), state.enter("x"):
        pytest.fail("entered")


def test_a_top_that_is_a_file_is_refused(top: Path) -> None:
    top.write_text("")
    with pytest.raises(HostError, match="cannot make a folder"), state.enter("x"):
        pytest.fail("entered")


@pytest.mark.parametrize(("user", "mode"), [(0, 0o711), (1234, 0o700)])
def test_who_may_look_into_the_top(top: Path, monkeypatch: pytest.MonkeyPatch, user: int, mode: int) -> None:
    monkeypatch.setattr(state, "_check", lambda folder: None)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with state.enter("x"):
        assert top.stat().st_mode & 0o777 == mode


def test_a_run_that_cannot_sign_leaves_nothing(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_text", full)
    with pytest.raises(OSError, match="No space"), state.enter("x"):
        pytest.fail("entered")
    assert list(top.iterdir()) == []


def test_folders_of_runs_that_died_while_making_them(top: Path) -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    old = time.time() - 100
    for name, seconds in [
        (f".new-{child.pid}-old", old),
        (f".new-{child.pid}-young", time.time()),
        (f".new-{os.getpid()}-mine", old),
        (".new-nobody", old),
    ]:
        (top / name).mkdir(parents=True)
        os.utime(top / name, (seconds, seconds))
    assert state.stillborn() == [top / f".new-{child.pid}-old"]
