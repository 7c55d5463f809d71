"""What dead runs left: only theirs is found. Nothing here may touch the runs that live on this host."""

from __future__ import annotations

import contextlib
import dataclasses
import fcntl
import json
import os
import signal
import struct
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import cast

import pytest

from bench import clean, disk, kernels, lock, mounts, state
from bench.backends._command import CommandInstance
from bench.errors import HostError, TareError


@pytest.fixture(autouse=True)
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "runs"
    folder.mkdir(mode=0o711)
    monkeypatch.setattr(state, "top", lambda: folder)
    monkeypatch.setattr(state, "records", lambda: tmp_path / "records")
    monkeypatch.setattr(clean, "_cgroup_mounts", list)
    monkeypatch.setattr(clean, "JOB_FOLDERS", tmp_path / "tmp/tare-job-")
    monkeypatch.setattr(disk, "FOLDERS", tmp_path / "tmp/tare-disk-")
    monkeypatch.setattr(kernels, "clean", list)
    return folder


def dead(top: Path, identity: str = "0000dead", **changes: object) -> state.Run:
    """A run that was killed, with its record."""
    records = top.parent / "records"
    records.mkdir(mode=0o700, exist_ok=True)
    known = {"pid": 1, "born": -5, "folder": str(top / identity), "boot": state._boot(), **changes}
    (records / f"{identity}.json").write_text(json.dumps({"space": state._pid_namespace()} | known) + "\n")
    return next(run for run in state.runs() if run.id == identity)


def folder_of(run: state.Run) -> Path:
    run.folder.mkdir(mode=0o700)
    return run.folder


@contextlib.contextmanager
def process_of(identity: str, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """A process that bears a run's id as ours do, and ends in any case."""
    command = words or ("sleep", "60")
    with subprocess.Popen(command, env={**os.environ, "TARE_RUN": identity}) as child:
        deadline = time.monotonic() + 5
        while b"60" not in Path(f"/proc/{child.pid}/cmdline").read_bytes():
            assert time.monotonic() < deadline
        yield child
        child.kill()


def test_folders_of_the_dead_go_and_those_of_the_living_stay(top: Path) -> None:
    folders = {folder_of(dead(top, identity)) for identity in ("0000dead", "1111dead")}
    with state.enter("alive") as run:
        (run.folder / "arm").mkdir()
        removed = clean.clean()
        assert {thing.name for thing in removed} == {str(folder) for folder in folders}
        assert {thing.kind for thing in removed} == {"folder"}
        assert [path.name for path in top.iterdir()] == [run.id]
        assert (run.folder / "arm").is_dir()
        assert state.runs() == [run]
        assert clean.clean() == []


def test_what_no_record_names_stays(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called: names prove nothing."""
    mount = tmp_path / "cgroup"
    monkeypatch.setattr(clean, "_cgroup_mounts", lambda: [mount])
    dead(top)
    others = [top / "20261130", top / "precious", top / ".new-1-abc", mount / "tare-20261130", mount / "tare"]
    others += [mount / "lab/tare/20261130", tmp_path / "tmp/tare-job-20261130", tmp_path / "tmp/tare-disk-20261130"]
    for folder in others:
        (folder / "in").mkdir(parents=True)
        (folder / "in/file").write_text("x")
    with process_of("20261130") as marked, process_of("deadbeef") as other:
        assert clean.clean() == []
        assert marked.poll() is other.poll() is None
    assert all((folder / "in/file").exists() for folder in others)


def test_a_record_without_leftovers_goes_without_a_word(top: Path) -> None:
    dead(top)
    assert clean.clean() == []
    assert state.runs() == []


def test_a_run_that_somebody_else_cleans_up_is_left_to_him(top: Path) -> None:
    run = dead(top)
    folder = folder_of(run)
    with state.claimed(run):
        assert clean.clean() == []
    assert folder.exists()
    assert [thing.name for thing in clean.clean()] == [str(folder)]


def test_a_run_whose_processes_cannot_be_seen_is_left_alone(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """From inside a container, one of the host's that died."""
    folder = folder_of(dead(top))
    monkeypatch.setattr(state, "_pid_namespace", lambda: 4026539999)
    assert clean.clean() == []
    assert folder.exists()


def test_after_a_boot_only_what_lies_on_disks_is_a_runs(top: Path, tmp_path: Path) -> None:
    run = dead(top, boot="an earlier one", space=1)
    for place in (clean.JOB_FOLDERS, disk.FOLDERS):
        place.with_name(f"{place.name}{run.id}").mkdir(parents=True)
    with process_of(run.id) as somebodys:
        assert [thing.kind for thing in clean.clean()] == ["folder", "folder"]
        assert somebodys.poll() is None
    assert list((tmp_path / "tmp").iterdir()) == []
    assert state.runs() == []


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can give files away")
def test_a_folder_of_another_user_or_behind_a_link_is_not_the_runs(top: Path, tmp_path: Path) -> None:
    run = dead(top)
    job, data = (place.with_name(f"{place.name}{run.id}") for place in (clean.JOB_FOLDERS, disk.FOLDERS))
    job.mkdir(parents=True)
    os.chown(job, 1234, 1234)
    (tmp_path / "victim").mkdir()
    data.symlink_to(tmp_path / "victim")
    folder_of(run)
    os.chown(run.folder, 1234, 1234)
    assert clean.clean() == []
    assert job.exists()
    assert run.folder.exists()
    assert (tmp_path / "victim").exists()


def test_processes_of_a_dead_run_are_killed(top: Path) -> None:
    run = dead(top)
    with process_of(run.id) as marked:
        assert [thing.name for thing in clean.clean()] == [f"{marked.pid} sleep"]
        assert marked.wait(5) == -9
    assert state.runs() == []


@pytest.mark.parametrize("word", ["TARE_RUN=0000dead", "-pidfile", "x"])
def test_words_that_only_look_like_a_runs_prove_nothing(top: Path, word: str) -> None:
    run = dead(top)
    places = ("/srv/tare/0000dead/x", f"{run.folder}", f"{run.folder}/x", f"{top}/tare/0000dead/x")
    script = ("sh", "-c", "sleep 60; true", "qemu-system-x86_64", word, *places)
    command = script if word != "-pidfile" else (*script[:5], "/srv/tare/0000dead/x", *places)
    with process_of("another", *command) as looks:
        assert looks.pid not in clean._find_processes(run)


def test_the_qemu_that_libvirt_asks_for_its_capabilities_is_found_by_its_pid_file(top: Path) -> None:
    run = dead(top)
    pidfile = f"{run.folder}/0/backend/v/lib/qemu/qmp-x/qmp.pid"
    with process_of("", "sh", "-c", "sleep 60; true", "-pidfile", pidfile) as asked:
        assert clean._find_processes(run) >= {asked.pid}


def test_a_process_of_a_living_run_is_not_found() -> None:
    with state.enter("alive") as run, process_of(run.id) as marked:
        assert clean.clean() == []
        assert marked.poll() is None


def test_a_process_that_is_dead_already_is_not(top: Path) -> None:
    run = dead(top)
    with process_of(run.id) as marked:
        marked.kill()
        os.waitid(os.P_PID, marked.pid, os.WEXITED | os.WNOWAIT)
        assert clean._find_processes(run) == set()


def test_we_ourselves_are_never_found(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(clean, "_is_of", lambda entry, run: entry.name == str(os.getpid()))
    assert clean._find_processes(dead(top)) == set()


def test_an_ordinary_user_kills_only_his_own(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = dead(top)
    stranger = dataclasses.replace(run, uid=os.geteuid() + 1234)
    with process_of(run.id) as marked:
        assert clean._find_processes(stranger) == set()
        assert clean._find_processes(run) == {marked.pid}


@pytest.fixture
def groups(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder in the place of a cgroup hierarchy."""
    folder = tmp_path / "cgroup"
    folder.mkdir()
    monkeypatch.setattr(clean, "_cgroup_mounts", lambda: [folder])
    return folder


def test_the_end_of_a_run_takes_its_groups_away(top: Path, groups: Path) -> None:
    run = dead(top, "0123abcd")
    (groups / "tare-0123abcd" / "s1" / "tare-0123abcd-s1-1").mkdir(parents=True)
    (groups / "tare-1111dead").mkdir()
    assert clean.release(run) == []
    assert [path.name for path in groups.iterdir()] == ["tare-1111dead"]
    assert clean.release(run) == []


def test_groups_of_a_dead_run_go_also_beside_its_own(top: Path, groups: Path) -> None:
    run = dead(top, groups=["/", "/user.slice/ann", "/../../etc"])
    for place in (groups, groups / "user.slice/ann", groups / "user.slice/bob"):
        (place / f"tare-{run.id}/lxc").mkdir(parents=True)
    assert {thing.name for thing in clean.clean()} == {
        str(place / f"tare-{run.id}") for place in (groups, groups / "user.slice/ann")
    }
    assert (groups / "user.slice/ann").is_dir()
    assert (groups / f"user.slice/bob/tare-{run.id}").is_dir()


def test_the_end_of_a_run_kills_what_is_in_its_groups_and_says_what_resists(top: Path, groups: Path) -> None:
    (groups / "tare-0123abcd" / "s1").mkdir(parents=True)
    with subprocess.Popen(["sleep", "60"]) as child:
        # A plain file, unlike the kernel's, is in the way of removing the folder.
        (groups / "tare-0123abcd" / "s1" / "cgroup.procs").write_text(f"{child.pid}\n{os.getpid()}\n")
        begin = time.monotonic()
        (resisted,) = clean.release(dead(top, "0123abcd"))
        assert time.monotonic() - begin < 5
        assert child.wait(5) == -9
    assert "0123abcd/s1 cannot be removed: Directory not empty" in resisted


def test_the_end_of_a_run_is_bounded_where_something_cannot_be_killed(
    top: Path, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(fd: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    monkeypatch.setattr(clean, "_LIMIT", 0.05)
    folder = groups / "tare-0123abcd"
    folder.mkdir()
    (folder / "cgroup.procs").write_text("1\n")
    first, second = clean.release(dead(top, "0123abcd"))
    assert first == f"processes [1] in {folder} cannot be killed"
    assert "cannot be removed" in second


def test_what_resists_keeps_the_record(top: Path, groups: Path) -> None:
    run = dead(top)
    (groups / f"tare-{run.id}").mkdir()
    (groups / f"tare-{run.id}/file").touch()
    told: list[str] = []
    assert clean.clean(told.append) == []
    (text,) = told
    assert "Directory not empty" in text
    assert state.runs() == [run]
    (groups / f"tare-{run.id}/file").unlink()
    assert [thing.kind for thing in clean.clean()] == ["cgroup"]
    assert state.runs() == []


@pytest.mark.parametrize(
    "resisting", ["_processes", "_domains", "_cgroups", "_switches", "_runtimes_files", "_of_docker"]
)
def test_whatever_resists_the_others_go_and_the_next_run_starts(
    top: Path, monkeypatch: pytest.MonkeyPatch, resisting: str
) -> None:
    """A process in an uninterruptible sleep, a setting that the kernel refuses to take back, a daemon that is away."""
    run, other = dead(top), dead(top, "1111dead")
    folders = folder_of(run), folder_of(other)

    def refuse(of: state.Run, **_: object) -> list[clean.Removed]:
        if of == run:
            raise HostError("it resists")
        return []

    told: list[str] = []
    monkeypatch.setattr(lock, "_ADDRESS", f"\0tare-test-{os.getpid()}")
    with monkeypatch.context() as context:
        context.setattr(clean, resisting, refuse)
        assert [thing.name for thing in clean.clean(told.append)] == [str(folders[1])]
        assert told == ["the rest of a dead run stays until it can be removed: it resists"]
        assert folders[0].exists()
        with lock.occupy("the next", lambda removed: None, told.append) as mine:
            assert {found.id for found in state.runs()} == {run.id, mine.id}
    assert [thing.name for thing in clean.clean(told.append)] == [str(folders[0])]
    assert state.runs() == []


def test_a_process_that_cannot_be_killed_costs_its_own_limit_alone(
    top: Path, groups: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = dead(top)
    folder = groups / f"tare-{run.id}"
    folder.mkdir()
    monkeypatch.setattr(clean, "_LIMIT", 0.3)
    monkeypatch.setattr(clean, "_find_processes", lambda run: {os.getpid()})
    monkeypatch.setattr(clean.process, "kill_members", lambda members: (set(), set()))

    def busy(path: Path) -> None:
        raise OSError(16, "Device or resource busy")

    monkeypatch.setattr(Path, "rmdir", busy)
    told: list[str] = []
    begin = time.monotonic()
    assert clean.clean(told.append) == []
    assert time.monotonic() - begin < 0.55
    (text,) = told
    assert f"processes [{os.getpid()}] of a dead run cannot be killed" in text
    assert str(folder) in text


def test_a_folder_that_resists_keeps_no_run_from_starting_and_stays_on_record(
    top: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    run = dead(top)
    folder_of(run)
    with monkeypatch.context() as context:
        context.setattr(mounts, "remove_tree", lambda folder: None)
        assert clean.clean() == []
    assert f"{run.folder} cannot be removed whole" in capsys.readouterr().err
    assert state.runs() == [run]
    assert [thing.name for thing in clean.clean()] == [str(run.folder)]
    assert state.runs() == []


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


def test_a_group_that_may_not_be_removed_is_not_waited_for(groups: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def rmdir(path: Path) -> None:
        raise PermissionError(13, "Permission denied")

    (groups / "0123abcd").mkdir()
    monkeypatch.setattr(Path, "rmdir", rmdir)
    begin = time.monotonic()
    with pytest.raises(TareError, match="Permission denied"):
        clean._remove_groups(groups / "0123abcd", begin + 20)
    assert time.monotonic() - begin < 5


def test_a_process_that_may_not_be_killed_is_left_alone(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def refuse(fd: int, number: int) -> None:
        raise PermissionError

    monkeypatch.setattr(clean, "_find_processes", lambda run: {1})
    monkeypatch.setattr(signal, "pidfd_send_signal", refuse)
    assert clean._processes(dead(top)) == []


def test_what_runtimes_keep_of_dead_runs_goes(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.backends import lxc, nspawn

    monkeypatch.setattr(lxc, "_LOCKS", tmp_path / "lock")
    monkeypatch.setattr(nspawn, "_PLACES", (tmp_path / "propagate",))
    mirror = tmp_path / "lock" / top.relative_to("/")
    dead(top)
    with state.enter("alive", lambda run: clean.release(run) == []) as run:
        for identity in ("0000dead", run.id, "20261130"):
            (mirror / identity / "lxc").mkdir(parents=True)
            (mirror / identity / "lxc" / f".tare-{identity}-s1-1").touch()
            (tmp_path / "propagate" / f"tare-{identity}-s1-1").mkdir(parents=True)
        assert {thing.name for thing in clean.clean()} == {
            str(mirror / "0000dead"),
            str(tmp_path / "propagate" / "tare-0000dead-s1-1"),
        }
        assert {path.name for path in mirror.iterdir()} == {run.id, "20261130"}
        assert clean.clean() == []
    assert [path.name for path in (tmp_path / "propagate").iterdir()] == ["tare-20261130-s1-1"]
    assert [path.name for path in mirror.iterdir()] == ["20261130"]
    assert state.runs() == []


def test_the_folder_of_lxcs_locks_goes_with_the_last(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from bench.backends import lxc

    monkeypatch.setattr(lxc, "_LOCKS", tmp_path / "lock")
    (tmp_path / "lock" / top.relative_to("/") / "0000dead").mkdir(parents=True)
    dead(top)
    clean.clean()
    assert list((tmp_path / "lock").iterdir()) == []


def test_lxc_and_nspawn_forget_an_instance(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from bench.backends import lxc, nspawn

    monkeypatch.setattr(mounts, "enter_private_namespace", lambda: None)
    monkeypatch.setattr(mounts, "hide_hybrid_cgroup2", lambda: None)
    monkeypatch.setattr(lxc, "_LOCKS", tmp_path / "lock")
    monkeypatch.setattr(nspawn, "_PLACES", (tmp_path / "propagate",))
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

    run = dead(top)
    note = folder_of(run) / "kvm" / "backend" / "uri"
    note.parent.mkdir(parents=True)
    note.write_text("qemu:///system")
    monkeypatch.setattr(_libvirt, "destroy_leftovers", unreachable)
    assert clean.clean() == []
    assert "stays until it can be removed: libvirt cannot open qemu:///system" in capsys.readouterr().err
    assert note.exists()
    assert state.runs() == [run]
    monkeypatch.setattr(_libvirt, "destroy_leftovers", lambda uri, run: [f"tare-{run}-s1-1"])
    assert [thing.name for thing in clean.clean()] == ["tare-0000dead-s1-1", str(run.folder)]
    assert not note.exists()
    assert state.runs() == []


#: Stands for Docker's client: logs what it is asked, lists what has the label that it is asked for and was not removed,
#: and has one container more when the image is gone, which somebody asked for before.
_DOCKER = """\
#!/bin/sh
case "$1 $2" in "{refuse}") echo "no daemon" >&2; exit 1 ;; esac
echo "$DOCKER_HOST $*" >>"{log}"
gone() {{ grep -q " rm --force $1" "{log}"; }}
case "$1 $2 $*" in
"container ls"*label=invalid.tare.run=0000dead*)
    gone c0ffee || echo c0ffee
    ! gone sha256 || gone 1a7e || echo 1a7e ;;
"image ls"*label=invalid.tare.run=0000dead*)
    gone sha256 || {{ echo sha256:abcdef0123456789; echo sha256:abcdef0123456789; }} ;;
esac
"""


@pytest.fixture(autouse=True)
def no_waiting_for_docker(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("bench.backends.docker._LOOK_AGAIN", 0.0)


KINDS = ("container", "image")


def docker(tmp_path: Path, refuse: str = "nothing") -> Path:
    (tmp_path / "docker").write_text(_DOCKER.format(log=tmp_path / "log", refuse=refuse))
    (tmp_path / "docker").chmod(0o755)
    return tmp_path / "log"


@pytest.mark.parametrize("boot", ["this", "another"])
def test_the_users_docker_loses_only_what_has_a_dead_runs_label(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, boot: str
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    log = docker(tmp_path)
    run = dead(top, boot=state._boot() if boot == "this" else boot)
    state.note(run.id, "docker", "unix:///run/x.sock")
    kinds = [(thing.kind, thing.name) for thing in clean.clean()]
    things = [("Docker container", "c0ffee"), ("Docker image", "sha256:abcdef012345"), ("Docker container", "1a7e")]
    assert kinds == things
    ask = [f"{kind} ls --all --quiet --no-trunc --filter label=invalid.tare.run=0000dead" for kind in KINDS]
    done = ["container rm --force c0ffee", "image rm --force sha256:abcdef0123456789"]
    expected = [*ask, *done, *ask, "container rm --force 1a7e", *ask]
    assert log.read_text().splitlines() == [f"unix:///run/x.sock {line}" for line in expected]
    assert state.runs() == []


def test_a_docker_that_does_not_answer_is_asked_again_the_next_time(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    log = docker(tmp_path, refuse="container rm")
    run = dead(top)
    state.note(run.id, "docker", "unix:///run/x.sock")
    assert clean.clean() == []
    assert "no daemon" in capsys.readouterr().err
    log.unlink()
    docker(tmp_path)
    assert len(clean.clean()) == 3
    assert state.runs() == []
