"""The host's end of booting another kernel: what is unpacked where, and what is never touched."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from bench import kexec, parcel, reboot
from bench.errors import HostError

from .test_kernels import bzimage
from .test_parcel import make

RELEASE = "6.12.0-mine"
#: Stands for mkinitramfs: says what it was asked, and cannot find what the root is on unless it takes all modules.
TOOL = """\
#!/bin/sh
while getopts d:o: name; do [ $name = d ] && config=$OPTARG || made=$OPTARG; done
shift $((OPTIND - 1))
. $config/conf.d/zz-tare
echo "$MODULES $*" >>"$SEEN"
[ $MODULES = most ] && cat /boot/config-$1 >$made
"""


@pytest.fixture
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A host's /lib/modules, its folder of Tare's files, and a parcel in it."""
    (tmp_path / "modules/6.1.0-own").mkdir(parents=True)
    monkeypatch.setattr(kexec, "MODULES", tmp_path / "modules")
    monkeypatch.setattr(kexec, "_BOOT", tmp_path / "boot")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path


def packed(folder: Path, release: str = RELEASE) -> Path:
    kernel = make(folder / "k", release)
    (kernel / "lib/modules" / release / "modules.dep").write_text("")
    (kernel / "config").write_text("CONFIG_RD_ZSTD=y\n")
    file = parcel.pack(kernel, print).file
    shutil.rmtree(kernel)
    return file


def unpack(file: Path, release: str = RELEASE) -> Path:
    place = kexec._place(release, file)
    kexec._unpack(release, file, place)
    return place


def test_modules_are_marked_and_only_those_are_removed(host: Path) -> None:
    file = packed(host)
    place = unpack(file)
    assert (host / f"modules/{RELEASE}/kernel/fs/x.ko").is_file()
    assert (place / "vmlinuz").is_file()
    assert not kexec.is_settled(RELEASE, file)
    (place / "initrd").write_text("")
    assert kexec.is_settled(RELEASE, file)
    kexec._begin(host / "modules/.tare-6.9", file)  # what a killed one left
    for others in (".tare-6.8", ".tare-mine", "6.7.0"):
        (host / "modules" / others).mkdir()
    (host / "modules/.tare-mine/.tare").write_text("my notes\n")
    (host / "modules/6.7.0/.tare").write_text(f"{file.name} is not what is here\n")
    (host / "modules/6.6.0").symlink_to(host / f"modules/{RELEASE}")
    removed = kexec.remove()
    assert [folder.name for folder in removed] == [".tare-6.9", RELEASE]
    left = {folder.name for folder in (host / "modules").iterdir()}
    assert left == {"6.1.0-own", ".tare-6.8", ".tare-mine", "6.7.0", "6.6.0"}


def test_modules_that_are_not_ours_are_never_overwritten(host: Path) -> None:
    file = packed(host, "6.1.0-own")
    with pytest.raises(HostError, match=r"6\.1\.0-own, which are never overwritten.*LOCALVERSION"):
        unpack(file, "6.1.0-own")
    assert not list((host / "modules/6.1.0-own").iterdir())
    assert kexec.remove() == []


def test_what_lies_where_modules_would_be_unpacked_stays(host: Path) -> None:
    (host / f"modules/.tare-{RELEASE}").mkdir()
    (host / f"modules/.tare-{RELEASE}/file").write_text("x")
    with pytest.raises(HostError, match=r"is not Tare's, and in the way"):
        unpack(packed(host))
    assert (host / f"modules/.tare-{RELEASE}/file").exists()


def test_another_build_of_a_release_takes_the_place_of_what_we_sent_before(host: Path) -> None:
    first = packed(host)
    unpack(first)
    kernel = make(host / "k", RELEASE)
    (kernel / f"lib/modules/{RELEASE}/new.ko").write_text("")
    (kernel / f"lib/modules/{RELEASE}/modules.dep").write_text("")
    second = parcel.pack(kernel, print).file
    (unpack(second) / "initrd").write_text("")
    assert (host / f"modules/{RELEASE}/new.ko").exists()
    assert kexec.is_settled(RELEASE, second)
    assert not kexec.is_settled(RELEASE, first)


@pytest.mark.skipif(os.geteuid() != 0, reason="mounts")
def test_all_modules_where_it_cannot_be_told_which_are_needed(host: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tool = host / "mkinitramfs"
    tool.write_text(TOOL)
    tool.chmod(0o755)
    (host / "etc").mkdir()
    monkeypatch.setattr(kexec, "_CONFIGURATION", host / "etc")
    monkeypatch.setenv("PATH", f"{host}:{os.environ['PATH']}")
    monkeypatch.setenv("SEEN", str(host / "seen"))
    place = unpack(packed(host))
    kexec._make_initramfs(RELEASE, place)
    assert (host / "seen").read_text() == f"dep {RELEASE}\nmost {RELEASE}\n"
    assert (place / "initrd").read_text() == "CONFIG_RD_ZSTD=y\n"
    assert sorted(file.name for file in place.iterdir()) == ["config", "initrd", "vmlinuz"]
    assert not (Path("/boot") / f"config-{RELEASE}").exists()


def test_the_hosts_own_kernels_are_those_with_an_image_and_an_initramfs(host: Path) -> None:
    boot = host / "boot"
    boot.mkdir()
    for name in ("vmlinuz-6.1", "initrd.img-6.1", "vmlinuz-6.2", "initramfs-6.2.img", "vmlinuz-6.3"):
        (boot / name).write_text("")
    assert kexec.own("6.1") == (boot / "vmlinuz-6.1", boot / "initrd.img-6.1")
    assert kexec.own("6.2") == (boot / "vmlinuz-6.2", boot / "initramfs-6.2.img")
    assert kexec.own("6.3") is None
    with pytest.raises(HostError, match=r"no kernel 6\.3 \(there: 6\.1, 6\.2, 6\.3\)"):
        kexec.load("6.3", None, keep=True)


def test_the_kernel_that_runs_is_known_by_release_and_build(host: Path) -> None:
    (host / "boot").mkdir()
    running = os.uname()
    image = bzimage(host / f"boot/vmlinuz-{running.release}", running.release)
    (host / f"boot/initrd.img-{running.release}").write_text("")
    data = bytearray(image.read_bytes())
    banner = f"{running.release} (a@b) {running.version}".encode()
    data[0xA00 : 0xA00 + len(banner)] = banner
    image.write_bytes(data)
    assert kexec.load(running.release, None, keep=True) == {"runs": True, "version": running.version}


def test_a_kernel_that_panics_restarts_the_host() -> None:
    assert kexec.guarded("BOOT_IMAGE=/vmlinuz root=/dev/vda ro\n") == (
        "root=/dev/vda ro panic=10 rd.shell=0 rd.emergency=reboot"
    )
    once = kexec.guarded("root=/dev/vda panic=5")
    assert once == "root=/dev/vda panic=5 rd.shell=0 rd.emergency=reboot"
    assert kexec.guarded(once) == once


def test_last_words_are_not_those_of_the_boot_before() -> None:
    lines = '{"_BOOT_ID": "ab12", "MESSAGE": "stopping"}\n{"_BOOT_ID": "cd", "MESSAGE": "oops"}\nx\n{"MESSAGE": [1]}\n'
    assert reboot.last_words(lines, "ab-12") == "oops"
    assert reboot.last_words("", "ab-12") == ""
