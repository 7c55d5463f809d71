"""The whole program, started as a user starts it."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.synthetic import ARMS, Arm, campaign

PROGRAM = [sys.executable, "-I", "-m", "bench"]


def tare(
    *words: str | Path,
    program: Sequence[str] = PROGRAM,
    env: Mapping[str, str] | None = None,
    by: str = 'exec "$@"',
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """A call by a shell, which may redirect streams or set limits."""
    return subprocess.run(
        ["/bin/bash", "-c", by, "bash", *program, *map(str, words)],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="surrogateescape",
        timeout=60,
        check=False,
        cwd=cwd,
        env={**os.environ, **(env or {})},
    )


def planted(statement: str, *words: str | Path, **how: object) -> subprocess.CompletedProcess[str]:
    """A call where `plan` is something else."""
    code = f"import os, sys\nfrom bench import cli\n{statement}\ncli._plan = plan\nsys.exit(cli.program())"
    code = code.encode("ascii", "backslashreplace").decode()  # as Python wants it where the locale is ASCII's
    return tare("plan", "x", *words, program=[sys.executable, "-I", "-c", code], **how)  # type: ignore[arg-type]


def in_one_line(done: subprocess.CompletedProcess[str], *wanted: str) -> None:
    """It ended with one line that says so, and no traceback."""
    (line,) = done.stderr.splitlines()
    assert line.startswith("tare: ")
    for text in wanted:
        assert text in line


def slower(folder: Path) -> Path:
    """A campaign whose arm `slow` is slower than `base` by half."""
    base = ARMS["crun"]
    phases = {name: 1.5 * seconds for name, seconds in base.phases.items()}
    slow = Arm(base.family, phases, 1.5 * base.spawn, 0.01, 1.5 * base.teardown, base.bytes)
    arms = {"process": ARMS["process"], "base": base, "slow": slow}
    return campaign(folder, arms=arms, blocks=12, values=1, ramp=0)
