"""Launching: a shell that waits, the word to go, and the end. Real commands, without a cage."""

from __future__ import annotations

import os
import resource
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import confine, oom
from bench.errors import InstanceError
from bench.launch import Launched, readable

Launch = Callable[..., Launched]


@pytest.fixture
def launch() -> Iterator[Launch]:
    made: list[Launched] = []

    def start(*argv: str, **more: Any) -> Launched:
        made.append(Launched(argv, **more))
        return made[-1]

    yield start
    for launched in made:
        launched.kill()
        launched.close()


def soon(seconds: float = 5.0) -> float:
    return time.monotonic() + seconds


def output(launched: Launched) -> bytes:
    """All that it prints until it ends."""
    found = b""
    while readable(launched.output, 5) and (data := os.read(launched.output, 65536)):
        found += data
    return found


def is_inheritable(fd: int) -> bool:
    try:
        return os.get_inheritable(fd)
    except OSError:
        return False


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_it_waits_for_the_word(launch: Launch, tmp_path: Path) -> None:
    flag = tmp_path / "ran"
    launched = launch("/usr/bin/touch", str(flag))
    assert not readable(launched.spawned, 0.1)
    assert not flag.exists()
    before = time.monotonic_ns()
    assert before <= launched.go() <= time.monotonic_ns()
    assert readable(launched.spawned, 5)
    assert launched.wait(soon())
    assert launched.status == 0
    assert flag.exists()


@pytest.mark.parametrize(
    ("script", "status"),
    [("exit 0", 0), ("exit 7", 7), ("kill -TERM $$", -signal.SIGTERM), ("kill -PIPE $$", -signal.SIGPIPE)],
)
def test_exit_status(launch: Launch, script: str, status: int) -> None:
    launched = launch("/bin/sh", "-c", script)
    launched.go()
    assert launched.wait(soon())
    assert launched.status == status
    assert launched.wait(0)


def test_words_arrive_as_they_are(launch: Launch) -> None:
    words = ["a b", "", "$HOME", "*", "'\"", "new\nline", "-n", "\\"]
    launched = launch("/usr/bin/printf", "%s|", *words)
    launched.go()
    assert output(launched) == "".join(f"{word}|" for word in words).encode()


def test_the_streams_are_pipes_and_nothing_else_is_open(launch: Launch) -> None:
    inherited = {fd for fd in range(5, 1024) if is_inheritable(fd)}
    launched = launch("/bin/sh", "-c", "read line; echo got $line; echo bad >&2; echo /proc/$$/fd/*")
    launched.go()
    os.write(launched.input, b"this\n")
    got, opened = output(launched).decode().splitlines()
    assert got == "got this"
    theirs = {int(Path(name).name) for name in opened.split()} - inherited
    assert theirs <= {0, 1, 2, 3}  # 3: the folder that the shell is just reading
    assert launched.wait(soon())
    assert launched.drain_errors() == b"bad\n"


def test_errors_can_go_where_the_output_goes(launch: Launch) -> None:
    launched = launch("/bin/sh", "-c", "echo bad >&2", errors_to_output=True)
    launched.go()
    assert output(launched) == b"bad\n"


def test_the_environment_is_the_given_one(launch: Launch) -> None:
    launched = launch("/usr/bin/env", env={"ONLY": "this"})
    launched.go()
    names = {line.partition("=")[0] for line in output(launched).decode().splitlines()}
    assert names - {"PWD", "OLDPWD", "SHLVL", "_"} == {"ONLY"}


def test_a_deadline_passes_and_it_still_runs(launch: Launch) -> None:
    launched = launch("/bin/sleep", "60")
    launched.go()
    begin = time.monotonic()
    assert not launched.wait(soon(0.1))
    assert 0.05 < time.monotonic() - begin < 3
    assert launched.status is None


def test_kill_ends_its_children_too(launch: Launch) -> None:
    launched = launch("/bin/sh", "-c", "sleep 60 & echo $!; wait")
    launched.go()
    assert readable(launched.output, 5)
    child = int(os.read(launched.output, 64))
    launched.kill()
    assert launched.status == -signal.SIGKILL
    deadline = soon()
    while Path(f"/proc/{child}").exists() and "\nState:\tZ" not in Path(f"/proc/{child}/status").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    launched.kill()


def test_kill_before_the_word(launch: Launch) -> None:
    launched = launch("/bin/sleep", "60")
    launched.kill()
    assert launched.status == -signal.SIGKILL


def test_a_program_that_is_not_there_ends_with_127(launch: Launch) -> None:
    launched = launch("/nonexistent/program")
    launched.go()
    assert readable(launched.spawned, 5)
    assert launched.wait(soon())
    assert launched.status == 127
    assert b"/nonexistent/program" in launched.drain_errors()


def test_a_cage_is_entered_before_anything_else(launch: Launch, tmp_path: Path) -> None:
    doors = [tmp_path / "one", tmp_path / "two"]
    launched = launch("/bin/true", doors=[str(door) for door in doors])
    assert [door.read_text() for door in doors] == ["0\n", "0\n"]
    assert launched.status is None


def test_a_cage_that_cannot_be_entered_is_an_error_and_leaks_nothing(tmp_path: Path) -> None:
    before = open_files()
    with pytest.raises(InstanceError, match=r"cannot enter the cage: .*door"):
        Launched(["/bin/true"], doors=[str(tmp_path / "no/door")])
    assert open_files() == before


def test_a_life_leaks_no_descriptor() -> None:
    before = open_files()
    for _ in range(3):
        launched = Launched(["/bin/true"])
        launched.go()
        assert launched.wait(soon())
        launched.close()
        launched.close()
    assert open_files() == before


@pytest.mark.parametrize("together", [False, True])
def test_a_door_that_is_shut_is_named(together: bool, tmp_path: Path) -> None:
    with pytest.raises(InstanceError, match=f"cannot enter the cage: .*{tmp_path}/nowhere/cgroup.procs"):
        Launched(["/bin/true"], doors=[f"{tmp_path}/nowhere/cgroup.procs"], errors_to_output=together)


def test_who_is_launched_is_held_to_the_same_limits(launch: Launch, tmp_path: Path) -> None:
    told = launch("/bin/cat", "/proc/self/limits", "/proc/self/oom_score_adj", folder=tmp_path)
    assert Path(f"/proc/{told.pid}/cwd").readlink() == tmp_path
    told.go()
    lines = output(told).decode().splitlines()
    limits = {line[:26].strip(): line[26:].split()[:2] for line in lines}
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert limits["Max open files"] == [str(min(hard, confine.FILES[0])), str(min(hard, confine.FILES[1]))]
    assert limits["Max core file size"][0] == "0"
    assert int(lines[-1]) == oom.INSTANCE


def test_a_folder_that_is_not_there_starts_nothing(tmp_path: Path) -> None:
    with pytest.raises(InstanceError, match="nowhere"):
        Launched(["/bin/true"], folder=tmp_path / "nowhere")


def test_what_starts_the_waiting_shell_holds_what_it_launches(launch: Launch) -> None:
    told = launch("/bin/sh", "-c", "umask", by=["/bin/sh", "-c", 'umask 027; exec "$@"', "outer"])
    told.go()
    assert output(told).decode().strip()[-3:] == "027"
