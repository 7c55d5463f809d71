"""TARE_REQUIRE_ALL, through a pytest run of its own with this project's conftest.py."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

CONFTEST = Path(__file__).resolve().parents[1] / "conftest.py"
SUITE = """
import pytest

@pytest.mark.parametrize("backend", ["crun", "kvm", "kvm-firmware"])
def test_boots(backend):
    pytest.skip("not here")

def test_passes():
    pass
"""


def outcomes(folder: Path, **environment: str) -> dict[str, str]:
    """How each test of SUITE ended: its name → PASSED, SKIPPED, FAILED."""
    (folder / "conftest.py").write_text(CONFTEST.read_text())
    (folder / "test_suite.py").write_text(SUITE)
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("TARE_", "PYTEST_"))}
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-v",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(folder),
        str(folder),
    ]
    run = subprocess.run(command, cwd=folder, env=clean | environment, capture_output=True, text=True, check=False)
    return dict(re.findall(r"^test_suite\.py::(\S+) (PASSED|SKIPPED|FAILED)", run.stdout, re.MULTILINE))


@pytest.mark.parametrize(
    ("environment", "crun", "kvm", "firmware"),
    [
        ({}, "SKIPPED", "SKIPPED", "SKIPPED"),
        ({"TARE_REQUIRE_ALL": "1"}, "FAILED", "FAILED", "FAILED"),
        ({"TARE_REQUIRE_ALL": "1", "TARE_MAY_SKIP": "xen,kvm"}, "FAILED", "SKIPPED", "FAILED"),
    ],
    ids=["off", "all", "but kvm"],
)
def test_a_skip_fails_where_everything_is_required(
    tmp_path: Path, environment: dict[str, str], crun: str, kvm: str, firmware: str
) -> None:
    assert outcomes(tmp_path, **environment) == {
        "test_boots[crun]": crun,
        "test_boots[kvm]": kvm,
        "test_boots[kvm-firmware]": firmware,
        "test_passes": "PASSED",
    }


def test_a_module_that_skips_itself_fails_too(tmp_path: Path) -> None:
    (tmp_path / "conftest.py").write_text(CONFTEST.read_text())
    (tmp_path / "test_away.py").write_text('import pytest\npytest.importorskip("no_such_module")\n')
    command = [
        sys.executable,
        "-m",
        "pytest",
        "-p",
        "no:cacheprovider",
        "--rootdir",
        str(tmp_path),
        str(tmp_path),
    ]
    environment = os.environ | {"TARE_REQUIRE_ALL": "1"}
    run = subprocess.run(command, cwd=tmp_path, env=environment, capture_output=True, text=True, check=False)
    assert run.returncode != 0
    assert "TARE_REQUIRE_ALL=1 forbids that" in run.stdout
