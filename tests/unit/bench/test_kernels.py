"""Which kernel a wish means."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import kernels
from bench.errors import HostError, InputError

THERE = ("6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.12.9-amd64", "5.10.0-30-amd64")


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for release in THERE:
        folder = tmp_path / "tare/kernels" / release
        folder.mkdir(parents=True)
        (folder / f"vmlinuz-{release}").touch()
        (folder / f"config-{release}").touch()
    (tmp_path / "tare/kernels/.fetch-abc/tree/boot").mkdir(parents=True)
    (tmp_path / "tare/kernels/.fetch-abc/tree/boot/vmlinuz-9.9").touch()
    return tmp_path


@pytest.mark.usefixtures("cache")
def test_the_oldest_first_by_number_and_not_by_letter() -> None:
    assert [kernel.release for kernel in kernels.available()] == [THERE[3], THERE[0], THERE[1], THERE[2]]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("wanted", "release"),
    [
        (None, "6.12.9-amd64"),
        ("6.1.0-9-cloud-amd64", "6.1.0-9-cloud-amd64"),
        ("6.1.0-9", "6.1.0-9-cloud-amd64"),
        ("6.1.0", "6.1.0-56-cloud-amd64"),
        ("6.1", "6.1.0-56-cloud-amd64"),
        ("6", "6.12.9-amd64"),
        ("5.10", "5.10.0-30-amd64"),
    ],
)
def test_find(wanted: str | None, release: str) -> None:
    found = kernels.find(wanted)
    assert found.release == release
    assert found.image.name == f"vmlinuz-{release}"
    assert found.image.is_file()


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("wanted", ["6.1.0-5", "6.13", "cloud", "5.1"])
def test_what_is_not_there_is_told_what_is(wanted: str) -> None:
    with pytest.raises(HostError, match=f"no kernel {wanted}.*6.1.0-56-cloud-amd64.*kernel fetch"):
        kernels.find(wanted)


def test_a_path_is_taken_as_it_is(tmp_path: Path) -> None:
    (tmp_path / "vmlinuz-9.9-mine").touch()
    assert kernels.find(str(tmp_path / "vmlinuz-9.9-mine")) == kernels.Kernel("9.9-mine", tmp_path / "vmlinuz-9.9-mine")
    with pytest.raises(InputError, match="no kernel image"):
        kernels.find(str(tmp_path / "bzImage"))
    with pytest.raises(InputError, match="no kernel image"):
        kernels.find(str(tmp_path))


def test_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert kernels.available() == []
    with pytest.raises(HostError, match=r"no kernel for guests in the cache \(there: none\)"):
        kernels.find(None)
