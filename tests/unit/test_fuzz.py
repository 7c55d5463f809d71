"""Broken files for everything that Tare reads, for some seconds; `./tare test fuzz` goes on with that."""

from __future__ import annotations

from pathlib import Path

from tests.fuzz.drive import drive

_SECONDS = 20.0


def test_broken_files_end_in_a_result_or_in_one_clear_line(tmp_path: Path) -> None:
    ended, found = drive(1, _SECONDS, keep=tmp_path, tell=print)
    assert not found, "\n".join(map(str, found))
    assert ended
    if ended.total() > 40:  # a busy machine has time for few
        assert min(ended["0"] + ended["3"], ended["2"]) > 3, "what is broken too well, or not at all, tries nothing"
