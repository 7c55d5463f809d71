"""The folder of Tare's files on a host: what of it is removed, and what never."""

from __future__ import annotations

import hashlib
from pathlib import Path

import pytest

from bench import agent

SHA = hashlib.sha256(b"program").hexdigest()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a campaign leaves it."""
    made = tmp_path / ".tare"
    (made / "rootfs/tiny-x/tree").mkdir(parents=True)
    (made / "tare/plugins").mkdir(parents=True)
    (made / "tare/plugins/x.so").write_text("x")
    (made / agent.MARK).write_text(agent.MARKED)
    for name in (SHA, f"{SHA}.part", f"{SHA}.0123abcd.part"):
        (made / name).write_text("x")
    return made


def test_what_tare_made_goes_whole(folder: Path) -> None:
    assert agent._remove_files(folder) == [["folder", str(folder)]]
    assert not folder.exists()
    assert agent._remove_files(folder) == []


def test_what_others_put_there_stays(folder: Path, tmp_path: Path) -> None:
    (tmp_path / "victim").mkdir()
    (tmp_path / "victim/file").write_text("x")
    names = ("thesis.txt", SHA[:12], f"{SHA}.txt", SHA.upper(), "data", "rootfs.bak", "tare.d")
    for name in names:
        (folder / name).write_text("x")
    (folder / ("f" * 64)).mkdir()
    (folder / ("e" * 64)).symlink_to(tmp_path / "victim/file")
    (folder / "tare/plugins/link").symlink_to(tmp_path / "victim")
    assert agent._remove_files(folder) == [["files", f"of Tare's in {folder}, where others stay"]]
    assert {path.name for path in folder.iterdir()} == {*names, "f" * 64, "e" * 64, agent.MARK}
    assert (tmp_path / "victim/file").exists()


@pytest.mark.parametrize("mark", [None, "", "x", "Signature: 8a477f597d28d172789f06886806bc55\n", "folder", "link"])
def test_another_folder_stays_whatever_is_in_it(folder: Path, tmp_path: Path, mark: str | None) -> None:
    (tmp_path / "theirs").write_text(agent.MARKED)
    place = folder / agent.MARK
    place.unlink()
    if mark == "folder":
        place.mkdir()
    elif mark == "link":
        place.symlink_to(tmp_path / "theirs")
    elif mark is not None:
        place.write_text(mark)
    (folder / "CACHEDIR.TAG").write_text("Signature: 8a477f597d28d172789f06886806bc55\n")
    before = sorted(folder.rglob("*"))
    assert agent._remove_files(folder) == []
    assert sorted(folder.rglob("*")) == before
