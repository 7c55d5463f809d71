"""The one file that travels to a lab host."""

from __future__ import annotations

import hashlib
import io
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from bench import agent, bundle


def test_the_same_code_gives_the_same_bytes() -> None:
    assert bundle.make() == bundle.make()


def test_it_has_what_a_worker_needs_and_no_byte_code() -> None:
    names = zipfile.ZipFile(io.BytesIO(bundle.make())).namelist()
    assert {"__main__.py", "bench/agent.py", "bench/worker.py", "bench/backends/_icount.c"} <= set(names)
    assert not [name for name in names if "__pycache__" in name or name.endswith(".pyc")]


def test_a_worker_of_it_answers_without_this_checkout(tmp_path: Path) -> None:
    file = tmp_path / "w"
    file.write_bytes(bundle.make())
    done = subprocess.run(
        [sys.executable, "-I", str(file), "worker"],
        input=b'{"run": 1}\n',
        capture_output=True,
        cwd=tmp_path,
        timeout=60,
        check=False,
    )
    assert b"KeyError: 'folder'" in done.stderr, done.stderr


def unpacked(folder: Path) -> Path:
    """Run it once; where its code is then."""
    name = hashlib.sha256(bundle.make()).hexdigest()
    (folder / name).write_bytes(bundle.make())
    argv = [sys.executable, "-I", str(folder / name), "worker"]
    done = subprocess.run(argv, input=b"{}\n", capture_output=True, cwd=folder, timeout=60, check=False)
    assert b"KeyError" in done.stderr, done.stderr
    return folder / f"{name}.code"


@pytest.mark.parametrize("damage", ["cut", "gone", "another"])
def test_code_that_is_not_what_was_sent_is_not_run(tmp_path: Path, damage: str) -> None:
    code = unpacked(tmp_path)
    worker = code / "bench/worker.py"
    whole = worker.read_bytes()
    if damage == "gone":
        worker.unlink()
    else:
        worker.write_bytes(whole[:1000] if damage == "cut" else b"raise SystemExit('another')\n")
    assert unpacked(tmp_path) == code
    assert worker.read_bytes() == whole
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted([code.stem, code.name])


def test_all_that_is_left_of_it_is_removed_with_the_rest(tmp_path: Path) -> None:
    folder = tmp_path / "tare"
    folder.mkdir()
    (folder / agent.MARK).write_text(agent.MARKED)
    code = unpacked(folder)
    code.with_name(f"{code.name}.x1_y2z3a").mkdir()
    code.with_name(f"{code.name}.x1_y2z3a.damaged").mkdir()
    assert agent._remove_files(folder) == [["folder", str(folder)]]


def test_an_old_python_is_told_so() -> None:
    main = zipfile.ZipFile(io.BytesIO(bundle.make())).read("__main__.py").decode()
    told = main.replace("sys.version_info", "(3, 9, 2)")
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr == "this host's Python is 3.9, and 3.11 or newer is needed\n"
