"""What User-Mode Linux needs of /dev/shm."""

from __future__ import annotations

import os
from types import SimpleNamespace

import pytest

from bench.backends import uml
from bench.errors import HostError


@pytest.mark.parametrize(
    ("flags", "hint"), [(os.ST_NOEXEC, "remount,exec /dev/shm"), (os.ST_RDONLY, "remount,rw /dev/shm")]
)
def test_memory_that_cannot_be_used_is_told_with_the_command_that_helps(
    flags: int, hint: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_flag=flags))
    with pytest.raises(HostError, match=hint):
        uml._check_shm()


def test_as_is_a_folder_that_is_not_there(monkeypatch: pytest.MonkeyPatch, tmp_path: os.PathLike[str]) -> None:
    monkeypatch.setattr(uml, "_SHM", tmp_path / "none")  # type: ignore[operator]
    with pytest.raises(HostError, match="No such file or directory; mount -t tmpfs"):
        uml._check_shm()


def test_too_little_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uml.shutil, "disk_usage", lambda place: SimpleNamespace(free=1 << 20))
    with pytest.raises(HostError, match=r"/dev/shm has 1 MiB free, .* takes 32 MiB"):
        uml._check_room()


def test_enough_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uml.shutil, "disk_usage", lambda place: SimpleNamespace(free=64 << 20))
    monkeypatch.setattr(os, "statvfs", lambda place: SimpleNamespace(f_flag=os.ST_NOSUID | os.ST_NODEV))
    uml._check_room()
    uml._check_shm()
