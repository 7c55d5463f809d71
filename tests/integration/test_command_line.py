"""Devices as output files, in a mount namespace of their own."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.program import PROGRAM, slower

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
