"""The whole program where it takes root to make its surroundings: devices, other users, caches that refuse."""

from __future__ import annotations

import os
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.program import PROGRAM, in_one_line, slower

UNSHARED = """
mount -t tmpfs none "$1" && cd "$1" && mknod null c 1 3 && mknod full c 1 7 && mknod disk b 7 200 && shift || exit 99
"$@"; status=$?
ls -l null full disk | cut -c1
exit $status
"""


def test_a_device_stays_one_and_a_verdict_is_not_changed_by_it(tmp_path: Path) -> None:
    folder = slower(tmp_path / "x")
    (tmp_path / "own").mkdir()
    done = subprocess.run(
        ["unshare", "-m", "/bin/sh", "-c", UNSHARED, "sh", tmp_path / "own", *PROGRAM]
        + ["check", f"{folder}:base", f"{folder}:slow", "--junit", "null", "--markdown", "full", "--svg", "disk"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.stdout.splitlines()[-3:] == ["b", "c", "c"]
    assert done.returncode == 1
    assert done.stderr.splitlines() == [
        "tare: cannot write full: No space left on device; make room, or write elsewhere",
        "tare: cannot write disk: it is a disk; write elsewhere",
    ]


STRANGER = 12345
UNDER = ["setpriv", "--reuid", str(STRANGER), "--regid", str(STRANGER), "--clear-groups", "env", "-u", "HOME"]


def stranger(
    *words: str | Path, home: str | None = None, more: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A call by a user without an account."""
    given = {"HOME": home} if home is not None else {}
    settings = [f"{name}={value}" for name, value in {**given, **(more or {})}.items()]
    return subprocess.run(
        [*UNDER, "-u", "XDG_CACHE_HOME", "-u", "XDG_CONFIG_HOME", "-u", "XDG_RUNTIME_DIR", *settings, *PROGRAM]
        + list(map(str, words)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )


CAMPAIGN = """
name = "tiny"
blocks = 1
baseline = "process"
[scenarios]
boot = { measures = ["boot"] }
[arms]
process = { backend = "process" }
uml = { backend = "uml" }
"""


@pytest.fixture
def everybodys() -> Iterator[Path]:
    """A folder that strangers reach, with a campaign."""
    with tempfile.TemporaryDirectory() as folder:
        top = Path(folder)
        top.chmod(0o777)
        (top / "tiny.toml").write_text(CAMPAIGN)
        (top / "tiny.toml").chmod(0o644)
        yield top


@pytest.mark.parametrize("home", [None, "", "/root", "/nonexistent", "/dev/null"])
def test_a_user_without_a_home_is_told_in_one_line(home: str | None, everybodys: Path) -> None:
    for words in (["kernel", "list"], ["host", "list"], ["kernel", "fetch"], ["lab", "status"], ["doctor"]):
        done = stranger(*words, home=home)
        assert done.returncode == 4, words
        in_one_line(done, f"no home folder for uid {STRANGER}", "XDG_CACHE_HOME")
    planned = stranger("plan", everybodys / "tiny.toml", home=home)
    assert planned.returncode == 0
    (left_out,) = [line for line in planned.stdout.splitlines() if line.startswith("left out: uml")]
    assert f"there is no home folder for uid {STRANGER}" in left_out
    run = stranger("run", everybodys / "tiny.toml", "--results", everybodys / "results", home=home)
    assert run.returncode == 4
    in_one_line(run, f"no home folder for uid {STRANGER}")


def test_a_user_without_a_home_draws_without_a_word(everybodys: Path) -> None:
    folder = slower(everybodys / "x")
    done = stranger("report", folder, "--out", everybodys / "out", home="/root")
    assert done.returncode == 0
    assert done.stderr == ""


# A cache that is full, or only to be read, or whose files may not become large.
REFUSING = {
    "full": 'mount -t tmpfs -o size=64k none {0} && exec "$@"',
    "nearly full": 'mount -t tmpfs -o size=3m none {0} && exec "$@"',
    "read-only": 'mount -t tmpfs -o ro none {0} && exec "$@"',
    "limited": 'ulimit -f 200 && exec "$@"',
}


@pytest.mark.parametrize("kind", REFUSING)
def test_a_cache_that_refuses_ends_a_run_with_one_line(kind: str, tmp_path: Path) -> None:
    (tmp_path / "tiny.toml").write_text(CAMPAIGN)
    cache = tmp_path / "cache"
    cache.mkdir()
    done = subprocess.run(
        ["unshare", "-m", "/bin/bash", "-c", REFUSING[kind].format(cache), "bash", *PROGRAM]
        + ["run", str(tmp_path / "tiny.toml"), "--results", str(tmp_path / "results")],
        env={**os.environ, "XDG_CACHE_HOME": str(cache)},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 4
    line = done.stderr.splitlines()[0 if kind != "nearly full" else -1]
    assert line.startswith("tare: ")
    assert str(cache) in line
    assert "Traceback" not in done.stderr


def test_a_cache_that_nobody_else_may_read_is_told(everybodys: Path) -> None:
    closed = everybodys / "closed"
    (closed / "tare/kernels").mkdir(parents=True)
    closed.chmod(0o700)
    for words in (["kernel", "list"], ["lab", "status"], ["plan", everybodys / "tiny.toml"]):
        done = stranger(*words, more={"XDG_CACHE_HOME": str(closed), "XDG_CONFIG_HOME": str(closed)})
        assert done.returncode in (0, 4), words
        assert f"{closed}/tare" in done.stdout + done.stderr
        assert "Permission denied" in done.stdout + done.stderr
        assert len(done.stderr.splitlines()) == done.returncode // 4
