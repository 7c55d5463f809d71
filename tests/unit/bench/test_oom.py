"""Whom the kernel takes first."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from bench import oom

PROGRAM = "from bench import oom; oom.spare_harness(); print(open('/proc/self/oom_score_adj').read())"


def test_the_harness_is_spared_where_it_may_be_and_never_fails() -> None:
    before = int(Path("/proc/self/oom_score_adj").read_text())
    done = subprocess.run([sys.executable, "-c", PROGRAM], capture_output=True, text=True, check=True, timeout=30)
    assert int(done.stdout) in (before, oom.HARNESS)


def test_an_instance_is_offered_and_one_that_is_gone_is_no_error() -> None:
    with subprocess.Popen(["/bin/sleep", "30"]) as child:
        oom.offer(child.pid)
        assert Path(f"/proc/{child.pid}/oom_score_adj").read_text() == f"{oom.INSTANCE}\n"
        child.kill()
    oom.offer(child.pid)
