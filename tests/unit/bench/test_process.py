"""Long commands: heard line by line, and ended with everything that they started."""

from __future__ import annotations

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
    with pytest.raises(CommandError, match=r"did not end within 0.5 s") as caught:
        sh("echo begun; sleep 60 & echo $! >pid; wait", tmp_path, [], timeout=0.5)
    assert caught.value.detail == "begun"
    assert ended(tmp_path / "pid")


def test_so_it_does_where_its_output_is_closed_early(tmp_path: Path) -> None:
    with pytest.raises(CommandError, match="did not end"):
        sh("echo $$ >pid; exec >&- 2>&-; sleep 60", tmp_path, [], timeout=0.5)
    assert ended(tmp_path / "pid")


def test_an_interruption_ends_everything(tmp_path: Path) -> None:
    def interrupt(line: str) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        process.follow(
            ["/bin/sh", "-c", "sleep 60 & echo $! >pid; echo now; wait"], interrupt, timeout=20, env=ENV, cwd=tmp_path
        )
    assert ended(tmp_path / "pid")
