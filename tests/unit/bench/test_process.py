"""Long commands: heard line by line, and ended with everything that they started."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import time
from pathlib import Path

import pytest

from bench import process
from bench.errors import CommandError

ENV = {"PATH": "/usr/bin:/bin"}


def sh(script: str, folder: Path, heard: list[str], *, timeout: float = 20, kept: int = 30) -> None:
    process.follow(["/bin/sh", "-c", script], heard.append, timeout=timeout, env=ENV, cwd=folder, kept=kept)


def ended(pid_file: Path) -> bool:
    """Whether the process whose pid is in a file is gone, or only waits to be reaped."""
    deadline = time.monotonic() + 5
    stat = Path("/proc", pid_file.read_text().strip(), "stat")
    while time.monotonic() < deadline:
        try:
            if stat.read_text().rpartition(")")[2].split()[0] == "Z":
                return True
        except (FileNotFoundError, ProcessLookupError):
            return True
        time.sleep(0.01)
    return False


def test_each_line_of_both_streams_is_heard(tmp_path: Path) -> None:
    heard: list[str] = []
    sh("echo one; echo two >&2; printf 'th'; sleep 0.1; printf 'ree\\n'; pwd", tmp_path, heard)
    assert heard == ["one", "two", "three", str(tmp_path)]


def test_a_failure_shows_its_last_lines(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="ended with status 7") as caught:
        sh("seq 100; exit 7", tmp_path, [], kept=3)
    assert caught.value.detail == "98\n99\n100"


def test_a_command_that_takes_too_long_ends_with_its_children(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match=r"did not end within 3 s") as caught:
        sh("echo begun; sleep 60 & echo $! >pid; wait", tmp_path, [], timeout=3)
    assert caught.value.detail == "begun"
    assert ended(tmp_path / "pid")


def test_so_it_does_where_its_output_is_closed_early(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="did not end"):
        sh("echo $$ >pid; exec >&- 2>&-; sleep 60", tmp_path, [], timeout=3)
    assert ended(tmp_path / "pid")


def test_an_interruption_ends_everything(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.follow(
            ["/bin/sh", "-c", "sleep 60 & echo $! >pid; echo now; wait"], interrupt, timeout=20, env=ENV, cwd=tmp_path
        )
    assert ended(tmp_path / "pid")


def test_a_line_that_never_ends_is_heard_in_parts(tmp_path: Path) -> None:
    heard: list[str] = []
    sh("head -c 300000 /dev/zero | tr '\\0' x", tmp_path, heard)
    assert len(heard) > 1
    assert sum(map(len, heard)) == 300_000


def test_a_long_command_that_leaves_a_daemon_with_its_output_ends_with_its_own_end(tmp_path: Path) -> None:
    began = time.monotonic()
    sh("setsid sleep 30 & echo $! >pid; echo done", tmp_path, heard := [])
    assert heard == ["done"]
    assert time.monotonic() - began < 10
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


def test_output_status_and_input_are_those_of_the_command() -> None:
    done = process.run(["/bin/sh", "-c", "cat; echo beside >&2; exit 3"], stdin=b"x" * 200_000, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (3, b"x" * 200_000, b"beside\n")


def test_a_command_that_does_not_read_its_input_is_no_error() -> None:
    assert process.run(["/bin/true"], stdin=b"x" * 2_000_000).returncode == 0


def test_a_failure_names_the_last_line() -> None:
    with pytest.raises(CommandError, match=r"ended with status 7: this is why$") as caught:
        process.run(["/bin/sh", "-c", "echo first >&2; echo this is why >&2; exit 7"])
    assert caught.value.detail == "first\nthis is why"


@pytest.mark.parametrize(("then", "in_time"), [("sleep 30", False), ("true", True)])
def test_a_daemon_that_keeps_the_output_holds_nobody_up(tmp_path: Path, then: str, in_time: bool) -> None:
    """Neither where the command itself runs too long, nor where it has ended."""
    began = time.monotonic()
    script = f"setsid sleep 30 & echo $! >pid; {then}"
    late = contextlib.nullcontext() if in_time else pytest.raises(CommandError, match="did not end within 2 s")
    with late:
        process.run(["/bin/sh", "-c", script], timeout=2, cwd=tmp_path)
    assert time.monotonic() - began < 10
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)


@pytest.mark.parametrize("stream", ["1", "2"])
def test_a_command_that_writes_for_ever_is_ended_at_the_bound(stream: str) -> None:
    began = time.monotonic()
    with pytest.raises(CommandError, match="wrote more than 1 MiB"):
        process.run(["/bin/sh", "-c", f"exec cat /dev/zero >&{stream}"], timeout=60, most=1 << 20)
    assert time.monotonic() - began < 20


def test_what_is_left_of_its_group_ends_with_a_command_that_took_too_long(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="did not end"):
        process.run(["/bin/sh", "-c", "sleep 60 & echo $! >pid; wait"], timeout=3, cwd=tmp_path)
    assert ended(tmp_path / "pid")


def test_only_who_is_still_a_member_when_it_is_held_is_killed() -> None:
    """A pid may have gone to another process since it was found."""
    with subprocess.Popen(["sleep", "60"]) as member, subprocess.Popen(["sleep", "60"]) as other:
        looks = [{member.pid, other.pid, 2**22 + 1}, {member.pid}]
        found, refused = process.kill_members(lambda: looks.pop(0))
        assert found == {member.pid, other.pid, 2**22 + 1}
        assert refused == set()
        assert member.wait(5) == -9
        assert other.poll() is None
        other.kill()


def test_more_members_than_can_be_held_at_once_are_killed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(process, "_HELD", 2)
    children = [subprocess.Popen(["sleep", "60"]) for _ in range(5)]
    process.kill_members(lambda: {child.pid for child in children})
    assert [child.wait(5) for child in children] == [-9] * 5
