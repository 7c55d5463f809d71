"""What dead runs left: only theirs is found. Nothing here may touch the runs that live on this host."""

from __future__ import annotations

import fcntl
import json
import os
import secrets
import shutil
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bench import clean, mounts, state
from bench.backends._command import CommandInstance
from bench.errors import HostError, TareError


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


def test_a_folder_that_nobody_signed_goes(top: Path) -> None:
    (top / "0000dead").mkdir()
    assert [thing.name for thing in clean._folders()] == [str(top / "0000dead")]


def test_a_folder_that_was_never_finished_goes(top: Path) -> None:
    with subprocess.Popen(["true"]) as child:
        pass
    new = top / f".new-{child.pid}-abc"
    new.mkdir()
    assert clean._folders() == []
    os.utime(new, (0, 0))
    assert [thing.name for thing in clean._folders()] == [str(new)]
    assert not new.exists()


@pytest.mark.usefixtures("top")
def test_whose_name_is_a_dead_runs() -> None:
    with state.enter("alive") as run:
        assert not clean._dead(run.id, os.geteuid())
    assert clean._dead(run.id, os.geteuid())
    for name in ("0123ABCD", "0123abcde", "", "../x"):
        assert not clean._dead(name, os.geteuid())


def test_a_run_of_another_user_or_session_lives_too(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    with tempfile.TemporaryDirectory(prefix="tare-test-", dir="/tmp") as other:
        with monkeypatch.context() as context:
            context.setattr(state, "top", lambda: Path(other))
            entered = state.enter("elsewhere")
            run = entered.__enter__()
        assert state.top() == top
        assert not clean._dead(run.id, os.geteuid())
        entered.__exit__(None, None, None)
        run.folder.mkdir()
        (run.folder / "owner.json").write_text('{"pid": 1, "born": -5}')
        assert clean._dead(run.id, os.geteuid())


def test_a_run_that_cannot_be_seen_answers(top: Path) -> None:
    """One in a container of this host: neither its folder nor its owner is there for us, but its processes are."""
    with state.enter("in a container") as run:
        shutil.rmtree(run.folder)
        assert not clean._dead(run.id, os.geteuid())
        assert not state.answers(run.id, os.geteuid() + 1) or os.geteuid() == 0  # whose leftovers it cannot keep
    assert clean._dead(run.id, os.geteuid())


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


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of the cgroup hierarchies' own."""
    folder = tmp_path / "cgroup" / "tare"
    folder.mkdir(parents=True)
    monkeypatch.setattr(clean, "_cgroup_tops", lambda: [folder])
    return folder


@pytest.mark.usefixtures("top")
def test_the_end_of_a_run_takes_its_groups_away(groups: Path) -> None:
    (groups / "0123abcd" / "s1" / "tare-0123abcd-s1-1").mkdir(parents=True)
    (groups / "1111dead").mkdir()
    assert clean.release("0123abcd") == []
    assert [path.name for path in groups.iterdir()] == ["1111dead"]
    assert clean.release("0123abcd") == []


@pytest.mark.usefixtures("top")
def test_the_end_of_a_run_kills_what_is_in_its_groups_and_says_what_resists(groups: Path) -> None:
    (groups / "0123abcd" / "s1").mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as child:
        # A plain file, unlike the kernel's, is in the way of removing the folder.
        (groups / "0123abcd" / "s1" / "cgroup.procs").write_text(f"{child.pid}\n{os.getpid()}\n")
        begin = time.monotonic()
        (resisted,) = clean.release("0123abcd")
        assert time.monotonic() - begin < 5
        assert child.wait(5) == -9
    assert "0123abcd/s1 cannot be removed: Directory not empty" in resisted


@pytest.mark.usefixtures("top")
def test_the_end_of_a_run_is_bounded_where_something_cannot_be_killed(
    groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(os, "kill", refuse)
    monkeypatch.setattr(clean, "_LIMIT", 0.05)
    (groups / "0123abcd").mkdir()
    (groups / "0123abcd" / "cgroup.procs").write_text("1\n")
    first, second = clean.release("0123abcd")
    assert first == f"processes [1] in {groups / '0123abcd'} cannot be killed"
    assert "cannot be removed" in second


@pytest.mark.usefixtures("top")
def test_a_busy_group_is_waited_for(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (groups / "0123abcd").mkdir()
    busy = [OSError(16, "Device or resource busy")] * 3
    really = Path.rmdir

    def rmdir(path: Path) -> None:
        if busy:
            raise busy.pop()
        really(path)

    monkeypatch.setattr(Path, "rmdir", rmdir)
    clean._remove_groups(groups / "0123abcd", time.monotonic() + 5)
    assert not (groups / "0123abcd").exists()
    assert not busy


@pytest.mark.usefixtures("top")
def test_a_group_that_may_not_be_removed_is_not_waited_for(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rmdir(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    (groups / "0123abcd").mkdir()
    monkeypatch.setattr(Path, "rmdir", rmdir)
    begin = time.monotonic()
    with pytest.raises(TareError, match="Permission denied"):
        clean._remove_groups(groups / "0123abcd", begin + 20)
    assert time.monotonic() - begin < 5


@pytest.mark.usefixtures("top")
def test_an_ordinary_user_leaves_what_is_other_users(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (groups / "1111dead").mkdir()
    assert clean._dead_groups() == [groups / "1111dead"]
    stranger = os.geteuid() + 1234
    monkeypatch.setattr(os, "geteuid", lambda: stranger)
    assert clean._dead_groups() == []
    assert clean._cgroups() == []
    assert clean._devices() == []


@pytest.mark.usefixtures("top")
def test_a_process_that_may_not_be_killed_is_left_alone(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(pid: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(clean, "_find_processes", lambda: {1})
    monkeypatch.setattr(os, "kill", refuse)
    assert clean._processes() == []


def test_what_runtimes_keep_of_dead_runs_goes(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.backends import lxc, nspawn

    monkeypatch.setattr(lxc, "_LOCKS", tmp_path / "lock")
    monkeypatch.setattr(nspawn, "_PROPAGATE", tmp_path / "propagate")
    mirror = tmp_path / "lock" / top.relative_to("/")
    with state.enter("alive") as run:
        for identity in ("0000dead", run.id):
            (mirror / identity / "lxc").mkdir(parents=True)
            (mirror / identity / "lxc" / f".tare-{identity}-s1-1").touch()
            (tmp_path / "propagate" / f"tare-{identity}-s1-1").mkdir(parents=True)
        (tmp_path / "propagate" / "tare-paulin").mkdir()
        assert {thing.name for thing in clean._runtimes_files()} == {
            str(mirror / "0000dead"),
            str(tmp_path / "propagate" / "tare-0000dead-s1-1"),
        }
        assert [path.name for path in mirror.iterdir()] == [run.id]
        assert clean._runtimes_files() == []
        monkeypatch.setattr(clean, "_cgroup_tops", list)
        assert clean.release(run.id) == []
    assert [path.name for path in (tmp_path / "propagate").iterdir()] == ["tare-paulin"]
    assert list((tmp_path / "lock").iterdir()) == []


def test_lxc_and_nspawn_forget_an_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.backends import lxc, nspawn

    monkeypatch.setattr(mounts, "enter_private_namespace", lambda: None)
    monkeypatch.setattr(mounts, "hide_hybrid_cgroup2", lambda: None)
    monkeypatch.setattr(lxc, "_LOCKS", tmp_path / "lock")
    monkeypatch.setattr(nspawn, "_PROPAGATE", tmp_path / "propagate")
    arm, rootfs = tmp_path / "arm", SimpleNamespace(tree=tmp_path)
    instances = []
    for name in ("tare-0-1", "tare-0-2"):
        (tmp_path / "propagate" / name).mkdir(parents=True)
        locks = tmp_path / "lock" / arm.relative_to("/")
        locks.mkdir(parents=True, exist_ok=True)
        (locks / f".{name}").touch()
        instances.append(SimpleNamespace(order=SimpleNamespace(name=name, folder=arm / name, rootfs=rootfs)))
    for kind in (lxc.Backend, nspawn.Backend):
        backend = kind(arm / "backend", None)
        backend.forget(cast(CommandInstance, instances[0]))
        backend.forget(cast(CommandInstance, instances[0]))
    lxc.Backend(arm / "backend", None).close()
    assert [path.name for path in locks.iterdir()] == [".tare-0-2"]
    assert [path.name for path in (tmp_path / "propagate").iterdir()] == ["tare-0-2"]
    last = lxc.Backend(arm / "backend", None)
    last.forget(cast(CommandInstance, instances[1]))
    last.close()
    assert list((tmp_path / "lock").iterdir()) == []


def test_a_trees_lock_goes_when_nobody_holds_it(tmp_path: Path) -> None:
    from bench.backends import nspawn

    file = tmp_path / "inode-1:2"
    file.touch()
    with file.open("r+b") as held:
        fcntl.fcntl(held, fcntl.F_OFD_SETLK, struct.pack("hhqqi4x", fcntl.F_RDLCK, 0, 0, 0, 0))
        with pytest.raises(BlockingIOError):
            nspawn._drop_lock(file)
        assert file.exists()
    nspawn._drop_lock(file)
    assert not file.exists()


def test_the_folder_stays_while_the_libvirt_daemon_cannot_be_asked(
    top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from bench.backends import _libvirt

    def unreachable(uri: str, run: str) -> list[str]:
        raise HostError(f"libvirt cannot open {uri}: no daemon")

    note = top / "0000dead" / "kvm" / "backend" / "uri"
    note.parent.mkdir(parents=True)
    note.write_text("qemu:///system")
    monkeypatch.setattr(_libvirt, "destroy_leftovers", unreachable)
    removed, kept = clean._domains()
    assert removed == []
    assert f"{top / '0000dead'} stays" in capsys.readouterr().err
    assert clean._folders(kept) == []
    assert note.exists()
    monkeypatch.setattr(_libvirt, "destroy_leftovers", lambda uri, run: [f"tare-{run}-s1-1"])
    removed, kept = clean._domains()
    assert [thing.name for thing in removed] == ["tare-0000dead-s1-1"]
    assert len(clean._folders(kept)) == 1
    assert not note.exists()
