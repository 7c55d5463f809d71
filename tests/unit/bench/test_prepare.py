"""A run's own folder."""

from __future__ import annotations

import json
import os
from datetime import UTC, datetime
from pathlib import Path
from typing import cast

import pytest

from bench import prepare
from bench.config import Campaign
from bench.errors import InputError, RecordError
from bench.results import CAMPAIGN, FACTS, PLAN


class Frozen(datetime):
    @classmethod
    def now(cls, tz: object = None) -> Frozen:
        return cls(2026, 1, 2, 3, 4, 5, tzinfo=UTC)


class Small:
    name = "small"
    text = "name = 'small'\n"


def make(top: Path, number: int) -> Path:
    files = {PLAN: json.dumps({"number": number}), FACTS: "{}", CAMPAIGN: Small.text}
    return prepare.folder(prepare.names(top, cast(Campaign, Small)), files)


def test_runs_of_the_same_second_do_not_share_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(prepare, "datetime", Frozen)
    folders = [make(tmp_path / "results", number) for number in range(3)]
    stamp = "small-20260102T030405Z"
    assert [folder.name for folder in folders] == [stamp, f"{stamp}-2", f"{stamp}-3"]
    assert [json.loads((folder / PLAN).read_text())["number"] for folder in folders] == [0, 1, 2]
    assert all((folder / FACTS).exists() and (folder / "campaign.toml").exists() for folder in folders)


def test_all_files_of_a_folder_are_on_the_disk_when_it_is_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A power cut cannot take them any more: each file, and each name that leads to it, was waited for."""
    synced: set[int] = set()
    fsync = os.fsync

    def note(fd: int) -> None:
        synced.add(os.fstat(fd).st_ino)
        fsync(fd)

    monkeypatch.setattr(os, "fsync", note)
    folder = make(tmp_path / "results", 1)
    there = [folder.parent, folder, *folder.iterdir()]
    assert len(there) == 5
    assert {path.stat().st_ino for path in there} <= synced


def test_a_folder_that_cannot_be_made_is_an_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(RecordError, match=r"cannot write .*file/small-"):
        make(tmp_path / "file", 1)


def test_a_plan_that_nobody_would_read_is_not_written(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"plan\.json would be 34 MiB, and is too large"):
        prepare.folder(prepare.names(tmp_path / "results", cast(Campaign, Small)), {PLAN: " " * (34 << 20)})
    assert not (tmp_path / "results").exists()
