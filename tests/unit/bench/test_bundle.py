"""The one file that travels to a lab host."""

from __future__ import annotations

import io
import subprocess
import sys
import zipfile
from pathlib import Path

from bench import bundle


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


def test_an_old_python_is_told_so() -> None:
    main = zipfile.ZipFile(io.BytesIO(bundle.make())).read("__main__.py").decode()
    told = main.replace("sys.version_info", "(3, 9, 2)")
    done = subprocess.run([sys.executable, "-c", told], capture_output=True, text=True, check=False)
    assert done.returncode == 4
    assert done.stderr == "this host's Python is 3.9, and 3.11 or newer is needed\n"
