"""Files that are whole or not there."""

from __future__ import annotations

import resource
from pathlib import Path

import pytest

from analysis.files import replacing
from bench.errors import RecordError


def test_a_new_file_takes_the_old_ones_place(tmp_path: Path) -> None:
    target = tmp_path / "plots" / "a.png"
    for content in (b"old", b"new"):
        with replacing(target) as file:
            file.write(content)
    assert [(path, path.read_bytes()) for path in target.parent.iterdir()] == [(target, b"new")]


def test_a_full_disk_leaves_the_old_file_and_no_other(tmp_path: Path) -> None:
    target = tmp_path / "report.html"
    target.write_bytes(b"old")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1000, hard))
    try:
        with pytest.raises(RecordError, match=r"cannot write .*report\.html"), replacing(target) as file:
            file.write(b"x" * 2000)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert [(path, path.read_bytes()) for path in tmp_path.iterdir()] == [(target, b"old")]


def test_an_error_while_filling_leaves_nothing(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), replacing(tmp_path / "a") as file:
        _ = file.write(b"half") // 0
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_made_is_a_clear_error(tmp_path: Path) -> None:
    (tmp_path / "plots").write_text("a file")
    with pytest.raises(RecordError, match="cannot write"), replacing(tmp_path / "plots" / "a.png"):
        pytest.fail("never given")
