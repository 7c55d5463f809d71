"""Runs, their records, and whether they live."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import home, state
from bench.errors import HostError

#: Not that of the tests.
_RECORDS = state.records
PROJECT = Path(__file__).resolve().parents[3]
#: Enters a run, in a process of its own.
RUN = """
import sys
from pathlib import Path
from bench import state
state.top = lambda: Path(sys.argv[1]) / "runs"
state.records = lambda: Path(sys.argv[1]) / "records"
with state.enter("elsewhere") as run:
    print(run.id, flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "top", lambda: tmp_path / "runs")
    return tmp_path / "runs"


@pytest.fixture(autouse=True)
def records(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(state, "records", lambda: tmp_path / "records")
    return tmp_path / "records"


@contextlib.contextmanager
def elsewhere(tmp_path: Path, *before: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A run of another process, and its id. before: words before the command."""
    argv = [*before, sys.executable, "-c", RUN, str(tmp_path)]
    with subprocess.Popen(argv, cwd=PROJECT, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as child:
        assert child.stdout
        identity = child.stdout.readline().strip()
        try:
            yield child, identity
        finally:
            child.kill()


def leave(records: Path, identity: str, content: str = "{}") -> Path:
    """A dead run's record."""
    records.mkdir(mode=0o700, exist_ok=True)
    (records / f"{identity}.json").write_text(content)
    return records / f"{identity}.json"


def test_a_run_lives_as_long_as_its_block(top: Path, records: Path) -> None:
    with state.enter("campaign x") as run:
        assert run.alive
        assert run.of_this_boot
        assert run.visible
        assert run.folder == top / run.id
        assert run.folder.stat().st_mode & 0o777 == 0o700
        assert records.stat().st_mode & 0o777 == 0o700
        assert state.runs() == [run]
        with state.enter("another") as other:
            assert {found.id for found in state.runs()} == {run.id, other.id}
    assert not run.alive
    assert not top.exists()
    assert not records.exists()


def test_the_record_is_there_before_the_folder_and_longer(
    top: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    seen = []

    def look(*_: object) -> None:
        seen.extend(len(list(records.glob("*.json"))) for _ in [0] if not top.exists())

    really = state._make
    monkeypatch.setattr(state, "_make", lambda folder: (look(), really(folder))[1])
    with state.enter("x"):
        monkeypatch.setattr(state, "forget", look)
    assert seen == [1, 1]


def test_an_error_inside_takes_the_folder_and_the_record_away(top: Path, records: Path) -> None:
    with contextlib.suppress(ZeroDivisionError), state.enter("x") as run:
        (run.folder / "arm").mkdir()
        raise ZeroDivisionError
    assert not top.exists()
    assert not records.exists()


@pytest.mark.parametrize("fails", [False, True])
def test_the_record_stays_while_something_of_the_run_does(top: Path, fails: bool) -> None:
    def end(run: state.Run) -> bool:
        if fails:
            raise KeyboardInterrupt
        return False

    with contextlib.suppress(KeyboardInterrupt), state.enter("x", end) as run:
        pass
    assert not top.exists()
    (found,) = state.runs()
    assert (found.id, found.alive) == (run.id, False)


def test_a_killed_owner_is_dead_at_once_and_its_record_stays(tmp_path: Path) -> None:
    with elsewhere(tmp_path) as (child, identity):
        (run,) = state.runs()
        assert (run.id, run.pid, run.alive) == (identity, child.pid, True)
        with state.claimed(run) as ours:
            assert not ours
        child.kill()
        child.wait()
        assert not run.alive
        with state.claimed(run) as ours:
            assert ours
            assert run.alive  # or two would remove the same
            with state.claimed(run) as twice:
                assert not twice
        state.forget(run.id)
        assert state.runs() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make namespaces everywhere")
def test_a_run_in_other_namespaces_lives(tmp_path: Path) -> None:
    apart = ("unshare", "--pid", "--net", "--mount", "--ipc", "--uts", "--fork", "--kill-child", "--mount-proc")
    with elsewhere(tmp_path, *apart) as (child, identity):
        (run,) = state.runs()
        assert (run.id, run.alive) == (identity, True)
        run.signal(signal.SIGKILL)  # it has a pid that is another process's here
        time.sleep(0.1)
        assert run.alive
        child.kill()
        child.wait()
        deadline = time.monotonic() + 5
        while run.alive:
            assert time.monotonic() < deadline
            time.sleep(0.01)


def test_a_signal_reaches_the_owner_and_nobody_who_has_its_pid_now(tmp_path: Path) -> None:
    with elsewhere(tmp_path) as (child, _):
        (run,) = state.runs()
        for wrong in ({"born": run.born - 1}, {"boot": "another"}, {"space": run.space + 1}, {"pid": 2**22 + 1}):
            state.Run(**{**vars(run), **wrong}).signal(signal.SIGKILL)
        time.sleep(0.05)
        assert child.poll() is None
        run.signal(signal.SIGKILL)
        assert child.wait(5) == -9


def test_what_a_worker_notes_is_in_the_record_once() -> None:
    with state.enter("x") as run:
        for text in ("unix:///a", "unix:///b", "unix:///a"):
            state.note(run.id, "docker", text)
        assert state.notes(run.id, "docker") == ["unix:///a", "unix:///b"]
        assert state.notes(run.id, "other") == []
        assert state.runs() == [run]
    assert state.notes(run.id, "docker") == []
    with pytest.raises(FileNotFoundError):
        state.note(run.id, "docker", "unix:///a")


def test_birth_tells_processes_apart() -> None:
    with subprocess.Popen(["sleep", "60"]) as child:
        born = state.birth(child.pid)
        child.kill()
    assert born is not None
    assert state.birth(os.getpid()) is not None
    assert state.birth(child.pid) is None
    assert state.birth(0) is None


def test_who_was_killed_and_not_yet_waited_for_is_dead() -> None:
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


@pytest.mark.parametrize(
    "content",
    [
        *("", "{", "[]", "5", "null", '{"pid": "1", "born": "2"}', "{}", "[" * 4000),
        *(f'{{"folder": "{folder}"}}' for folder in ("/", "/home", "0000000a", "/home/../etc")),
    ],
)
def test_a_record_that_is_damaged_stands_for_what_its_name_says(top: Path, records: Path, content: str) -> None:
    leave(records, "0000000a", content)
    (run,) = state.runs()
    assert (run.id, run.folder, run.alive, run.of_this_boot) == ("0000000a", top / "0000000a", False, False)


def test_a_torn_note_is_left_out(records: Path) -> None:
    leave(records, "0000000a", '{}\n["docker", "unix:///a"]\n["docker", "uni')
    assert state.notes("0000000a", "docker") == ["unix:///a"]
    (run,) = state.runs()
    assert run.id == "0000000a"


def test_what_is_no_record_is_left_alone(records: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("{}")
    for name in ("20261130", "20261130.json.bak", "notes.json", "ABCDEF01.json"):
        leave(records, "x").rename(records / name)
    (records / "0000000a.json").symlink_to(tmp_path / "victim")
    os.mkfifo(records / "0000000b.json")
    (records / "0000000c.json").mkdir()
    assert state.runs() == []
    state.forget_unfinished()
    assert len(list(records.iterdir())) == 7


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_another_users_file_is_no_record(records: Path) -> None:
    os.chown(leave(records, "0000000a"), 1234, 1234)
    assert state.runs() == []


def test_no_runs_at_all() -> None:
    assert state.runs() == []
    state.forget_unfinished()


def test_a_record_that_was_never_finished_goes(records: Path) -> None:
    leave(records, "x").rename(records / ".new-0000000a")
    state.forget_unfinished()
    assert not records.exists()


def test_one_that_is_just_being_written_stays(records: Path) -> None:
    with leave(records, "x").rename(records / ".new-0000000a").open("rb+") as writing:
        assert state._hold(writing.fileno())
        state.forget_unfinished()
        assert (records / ".new-0000000a").exists()


def test_who_is_taken_for_killed_while_writing_writes_again(records: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really, lost = state._hold, [1, 2]

    def hold(opened: int) -> bool:
        if lost:
            lost.pop()
            (new,) = records.glob(".new-*")
            new.unlink()  # by who cleans up,
            if len(lost) == 1:
                return False  # and has it still
        return really(opened)

    monkeypatch.setattr(state, "_hold", hold)
    with state.enter("x") as run:
        assert [file.name for file in records.iterdir()] == [f"{run.id}.json"]


@pytest.mark.parametrize("place", ["top", "records"])
def test_a_place_that_others_can_write_is_refused(place: str, tmp_path: Path) -> None:
    folder = tmp_path / {"top": "runs"}.get(place, place)
    folder.mkdir()
    folder.chmod(0o775)
    with pytest.raises(HostError, match=r"can be written by others.*; remove "), state.enter("x"):
        pytest.fail("entered")
    assert list(folder.iterdir()) == []
    if place == "records":
        with pytest.raises(HostError, match="cannot be trusted"):
            state.runs()


@pytest.mark.parametrize("place", ["runs", "records"])
def test_a_place_that_is_a_link_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir(mode=0o700)
    (tmp_path / place).symlink_to(tmp_path / "victim")
    with pytest.raises(HostError, match="is no folder"), state.enter("x"):
        pytest.fail("entered")
    assert list((tmp_path / "victim").iterdir()) == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
@pytest.mark.parametrize("place", ["runs", "records"])
def test_a_place_of_another_user_is_refused(place: str, tmp_path: Path) -> None:
    (tmp_path / place).mkdir(mode=0o700)
    os.chown(tmp_path / place, 1234, 1234)
    with pytest.raises(HostError, match="belongs to uid 1234"), state.enter("x"):
        pytest.fail("entered")


def test_a_place_that_is_a_file_is_refused(top: Path, records: Path) -> None:
    top.write_text("")
    with pytest.raises(HostError, match="cannot make a folder"), state.enter("x"):
        pytest.fail("entered")
    assert not records.exists()
    records.write_text("")
    with pytest.raises(HostError, match="cannot write down a run"), state.enter("x"):
        pytest.fail("entered")


@pytest.mark.parametrize(("user", "mode"), [(0, 0o711), (1234, 0o700)])
def test_who_may_look_into_the_top(top: Path, monkeypatch: pytest.MonkeyPatch, user: int, mode: int) -> None:
    monkeypatch.setattr(state, "_check", lambda *_: None)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    with state.enter("x"):
        assert top.stat().st_mode & 0o777 == mode


def test_a_run_that_cannot_be_written_down_leaves_nothing(
    top: Path, records: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object) -> int:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(HostError, match=f"No space left on device; make room in {tmp_path}"), state.enter("x"):
        pytest.fail("entered")
    assert not records.exists()
    assert not top.exists()


@pytest.mark.parametrize("step", ["mkdir", "open", "fsync"])
@pytest.mark.parametrize(
    ("number", "user", "hint"),
    [
        (errno.ENOSPC, 0, "make room in {above}"),
        (errno.EDQUOT, 1234, "make room in {above}"),
        (errno.EROFS, 0, "mount what {above} lies on for writing"),
        (errno.EROFS, 1234, "set XDG_STATE_HOME to a folder of your own"),
        (errno.EACCES, 1234, "set XDG_STATE_HOME to a folder of your own"),
    ],
)
def test_whatever_the_disk_refuses_is_a_fault_of_the_host_with_a_hint_that_helps(
    step: str, number: int, user: int, hint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object, **__: object) -> int:
        raise OSError(number, os.strerror(number))

    if step != "mkdir":
        monkeypatch.setattr(state, "_check", lambda *_: None)
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(os, step, refuse)
    wanted = f"cannot write down a run in .*{os.strerror(number)}; {hint.format(above=tmp_path)}"
    with pytest.raises(HostError, match=wanted), state.enter("x"):
        pytest.fail("entered")


def test_no_room_for_a_runs_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    really = os.mkdir

    def full(path: str, mode: int = 0o777, **how: int) -> None:
        if "runs" in str(path):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        really(path, mode, **how)

    monkeypatch.setattr(os, "mkdir", full)
    with pytest.raises(HostError, match=f"make room in {tmp_path}"), state.enter("x"):
        pytest.fail("entered")


def test_where_records_lie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where nobody else can make the folder first, if that can be."""
    for name in ("HOME", "XDG_STATE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert os.geteuid() != 0 or _RECORDS() == Path("/var/lib/tare")
    user = tmp_path.stat().st_uid or 1234
    monkeypatch.setattr(os, "geteuid", lambda: user)
    monkeypatch.setattr(home, "_accounts", lambda: None)
    assert _RECORDS() == Path(f"/var/tmp/tare-{user}")
    monkeypatch.setenv("HOME", str(tmp_path))
    if tmp_path.stat().st_uid != user:
        monkeypatch.setattr(home, "_is_ours", lambda path: path == tmp_path)
    assert _RECORDS().parent == tmp_path / ".local/state/tare"
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    assert _RECORDS().parent == tmp_path / "state/tare"


def test_machines_with_the_same_home_have_records_of_their_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    places = set()
    for number in range(2):
        monkeypatch.setattr(Path, "read_text", lambda path, number=number, **_: f"{number}\n")
        places.add(_RECORDS())
        assert _RECORDS() in places
    assert len(places) == 2


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_hint_for_a_place_that_another_made_is_one_that_can_be_followed(
    tmp_path: Path, records: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    records.mkdir(mode=0o700)
    os.chown(records, 1, 1)
    monkeypatch.setattr(os, "geteuid", lambda: 1234)
    for ask in (state.runs, lambda: state.enter("x").__enter__()):
        with pytest.raises(HostError, match=r"belongs to uid 1.*; set XDG_STATE_HOME to") as caught:
            ask()
        assert "remove" not in str(caught.value)


def test_a_record_says_whose_it_is(records: Path) -> None:
    with state.enter("campaign x") as run:
        known = json.loads((records / f"{run.id}.json").read_text())
    assert known["folder"] == str(run.folder)
    assert (known["pid"], known["what"]) == (os.getpid(), "campaign x")
    assert known["groups"]
