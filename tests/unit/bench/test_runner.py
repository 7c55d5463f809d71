"""The controller of many hosts."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
from pathlib import Path


def test_fifty_hosts_fit_into_200_megabytes(tmp_path: Path) -> None:
    script = Path(__file__).with_name("fifty.py")
    env = {**os.environ, "PYTHONPATH": str(script.parents[3]), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ran = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, env=env, check=False)
    assert ran.returncode == 0, ran.stderr
    slots, peak = map(int, ran.stdout.split())
    assert slots == 50 * 20 * 6
    assert peak < 200_000_000
    sent = [*tmp_path.glob("sent/*/*")]
    assert len(sent) == 50
    assert {file.name for file in sent} == {hashlib.sha256(sent[0].read_bytes()).hexdigest()}
    assert len([*tmp_path.glob("cache/tare/rootfs/*/packed.tar.gz")]) == 1
