"""One controller a folder."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench.claim import NOTE, claimed
from bench.errors import HostError, RecordError


def test_a_folder_has_one_controller_and_is_given_back(tmp_path: Path) -> None:
    rival = claimed(tmp_path)
    with claimed(tmp_path):
        with pytest.raises(HostError, match=rf"followed by another tare \(pid {os.getpid()} on ") as caught:
            rival.__enter__()
        assert str(caught.value).isprintable()
    assert list(tmp_path.iterdir()) == []
    with claimed(tmp_path):
        pass


def test_another_process_is_kept_out_and_a_killed_one_is_not_waited_for(tmp_path: Path) -> None:
    code = "import sys, time; from pathlib import Path; from bench.claim import claimed\n"
    code += "with claimed(Path(sys.argv[1])): print('has it', flush=True); time.sleep(60)"
    top = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, "-c", code, tmp_path], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": top}
    ) as other:
        assert other.stdout
        assert other.stdout.readline() == b"has it\n"
        with pytest.raises(HostError, match=f"pid {other.pid} on"):
            claimed(tmp_path).__enter__()
        other.kill()
    assert (tmp_path / NOTE).exists()
    with claimed(tmp_path):
        pass
    assert not (tmp_path / NOTE).exists()


def test_a_controller_on_another_machine_is_not_taken_for_dead(tmp_path: Path) -> None:
    """Its lock may not be seen here."""
    note = {"host": "far", "boot_id": "another", "pid": 7, "since": "2026-11-30T00:00:00Z"}
    (tmp_path / NOTE).write_text(json.dumps(note))
    with pytest.raises(HostError, match=r"held by pid 7 on far since 2026-11-30T00:00:00Z, on another .*--anyway"):
        claimed(tmp_path).__enter__()
    assert json.loads((tmp_path / NOTE).read_text()) == note
    with claimed(tmp_path, anyway=True):
        assert json.loads((tmp_path / NOTE).read_text())["pid"] == os.getpid()


@pytest.mark.parametrize("text", ["", "\0\0", "[]", '{"pid": "x"}', "[" * 5000])
def test_a_torn_note_is_nobody_s(tmp_path: Path, text: str) -> None:
    (tmp_path / NOTE).write_text(text)
    with claimed(tmp_path):
        pass


def test_a_link_or_a_pipe_is_not_written_to(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / NOTE).symlink_to(tmp_path / "victim")
    with pytest.raises(RecordError, match="it is a symbolic link"):
        claimed(tmp_path).__enter__()
    assert (tmp_path / "victim").read_text() == "precious"
    (tmp_path / NOTE).unlink()
    os.mkfifo(tmp_path / NOTE)
    with pytest.raises(RecordError, match="it is not a file"):
        claimed(tmp_path).__enter__()
