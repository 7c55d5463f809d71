"""What a rootfs is made of, without making one."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from bench import rootfs
from bench.errors import InputError
from bench.rootfs import debian

STATUS = """\
Package: zlib1g
Status: install ok installed
Version: 1:1.2.13.dfsg-1

Package: gone
Status: deinstall ok config-files
Version: 1

Package: fio
Status: install ok installed
Description: Flexible I/O
 Package: not-one
Version: 3.33-3
"""


def test_an_unknown_one_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no rootfs 'x'.*debian, tiny"):
        rootfs.load("x")


def test_packages_are_those_that_are_installed() -> None:
    assert debian._packages(STATUS) == [("fio", "3.33-3"), ("zlib1g", "1:1.2.13.dfsg-1")]


def test_packages_are_read_from_the_tree(tmp_path: Path) -> None:
    assert rootfs.packages(tmp_path) == {}
    (tmp_path / "etc").mkdir()
    (tmp_path / rootfs.PACKAGES_FILE).write_text("fio 3.33-3\nzlib1g 1:1.2.13.dfsg-1\n")
    assert rootfs.packages(tmp_path) == {"fio": "3.33-3", "zlib1g": "1:1.2.13.dfsg-1"}


def test_folders_stay_and_what_nothing_reads_does_not() -> None:
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w") as archive:
        for name, kind in {
            "./usr/share/doc": tarfile.DIRTYPE,
            "./usr/share/doc/fio": tarfile.DIRTYPE,
            "./usr/share/doc/fio/copyright": tarfile.REGTYPE,
            "./usr/share/docile": tarfile.REGTYPE,
            "./dev/null": tarfile.CHRTYPE,
            "./etc/machine-id": tarfile.REGTYPE,
            "./usr/bin/fio": tarfile.REGTYPE,
        }.items():
            member = tarfile.TarInfo(name)
            member.type = kind
            archive.addfile(member)
    packed.seek(0)
    with tarfile.open(fileobj=packed) as archive:
        kept = [member.name for member in debian._wanted(archive)]
    assert kept == ["./usr/share/doc", "./usr/share/docile", "./usr/bin/fio"]


@pytest.mark.parametrize("change", ["init", "recipe"])
def test_another_init_or_recipe_is_another_rootfs(change: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    before = debian.key()
    assert debian.key() == before
    file = tmp_path / "file"
    file.write_text("another")
    monkeypatch.setattr(debian, "INIT" if change == "init" else "__file__", file)
    assert debian.key() != before
