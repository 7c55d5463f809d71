"""Kernels for hosts: what is one at a path, and the file that it is packed into."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from bench import config, parcel, prepare
from bench.errors import InputError
from bench.results import read_host_kernels
from bench.slots import Watcher

from .test_kernels import bzimage

RELEASE = "6.12.0-Mine+"
CAMPAIGN = """\
name = "good"
blocks = 1
baseline = "crun"
hosts = ["rack"]
host_kernels = {kernels}
[arms]
crun = {{}}
[scenarios]
exec = {{}}
"""


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def make(folder: Path, release: str = RELEASE, image: str = "bzImage", says: str | None = None) -> Path:
    """What building a kernel and `make modules_install` leaves."""
    modules = folder / "lib/modules" / release
    (modules / "kernel/fs").mkdir(parents=True)
    (modules / "kernel/fs/x.ko").write_bytes(b"x")
    (modules / "modules.order").write_text("kernel/fs/x.ko\n")
    for name in ("build", "source"):
        (modules / name).symlink_to("/nowhere")
    (folder / image).parent.mkdir(exist_ok=True)
    bzimage(folder / image, says or release)
    return folder


def package(folder: Path, tree: Path) -> Path:
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text("Package: k\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: a\n")
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", tree, folder / "k.deb"], check=True, capture_output=True
    )
    return folder / "k.deb"


@pytest.mark.parametrize("image", ["bzImage", "vmlinuz", f"vmlinuz-{RELEASE}", f"boot/vmlinuz-{RELEASE}"])
def test_a_folder_with_an_image_and_modules_is_a_kernel(tmp_path: Path, image: str) -> None:
    assert parcel.look(make(tmp_path / "k", image=image)) == RELEASE


def test_links_to_what_is_there_are_no_other_kernels(tmp_path: Path) -> None:
    folder = make(tmp_path / "k", image=f"boot/vmlinuz-{RELEASE}")
    (folder / "vmlinuz").symlink_to(f"boot/vmlinuz-{RELEASE}")
    (folder / "usr").mkdir()
    (folder / "usr/lib").symlink_to("../lib")
    assert parcel.look(folder) == RELEASE


def test_a_package_is_looked_into(tmp_path: Path) -> None:
    made = package(tmp_path, make(tmp_path / "k", "6.1.0-1-amd64", "boot/vmlinuz-6.1.0-1-amd64"))
    assert parcel.look(made) == "6.1.0-1-amd64"
    told: list[str] = []
    packed = parcel.pack(made, told.append)
    assert packed == parcel.pack(made, told.append)
    assert told == ["packing the kernel 6.1.0-1-amd64"]


def test_an_image_that_does_not_say_what_it_is_is_none(tmp_path: Path) -> None:
    folder = make(tmp_path / "k")
    (folder / "bzImage").write_bytes(b"\0" * 1000)
    with pytest.raises(InputError, match="bzImage is no kernel"):
        parcel.look(folder)


@pytest.mark.parametrize(
    "inner", ["bzImage", "config", ".config", "lib", f"lib/modules/{RELEASE}/kernel/fs/x.ko", "lib/modules"]
)
@pytest.mark.parametrize("packed", [False, True])
def test_nothing_outside_is_packed(tmp_path: Path, cache: Path, inner: str, packed: bool) -> None:
    """Also where what the link leads to would be a kernel."""
    folder, outside = make(tmp_path / "k"), make(tmp_path / "outside")
    target = outside / inner
    if not target.exists():
        target.write_text("root-only secret")
    if (folder / inner).is_dir():
        shutil.rmtree(folder / inner)
    else:
        (folder / inner).unlink(missing_ok=True)
    (folder / inner).symlink_to(target)
    with pytest.raises(InputError, match="is a link that leads out of"):
        parcel.pack(package(tmp_path, folder) if packed else folder, print)
    assert not list(cache.glob("tare/kernels/parcels/*"))


@pytest.mark.parametrize(
    "known",
    ["", "\0\0\0", "[]", "null", '{"sha256": 3}', '{"sha256": "../../x", "release": "6.1"}', '{"release": []}'],
)
def test_an_index_that_a_power_cut_left_is_not_there(tmp_path: Path, cache: Path, known: str) -> None:
    made = package(tmp_path, make(tmp_path / "k"))
    first = parcel.pack(made, print)
    (index,) = cache.glob("tare/kernels/parcels/*.json")
    index.write_text(known)
    assert parcel.pack(made, print) == first


def wrong(folder: Path, what: str) -> Path:
    kernel = make(folder / "k")
    if what == "nothing there":
        shutil.rmtree(kernel)
    elif what == "no image":
        (kernel / "bzImage").unlink()
    elif what == "no modules":
        shutil.rmtree(kernel / "lib")
    elif what == "two images":
        bzimage(kernel / "vmlinuz", RELEASE)
    elif what == "two releases":
        (kernel / "lib/modules/6.1").mkdir()
    elif what == "another image":
        bzimage(kernel / "bzImage", "6.1")
    elif what == "no release":
        (kernel / "lib/modules" / RELEASE).rename(kernel / "lib/modules/mine")
    elif what == "an image alone":
        return kernel / "bzImage"
    elif what == "no package":
        (folder / "x.deb").write_text("x")
        return folder / "x.deb"
    return kernel


@pytest.mark.parametrize(
    ("what", "words"),
    [
        ("nothing there", "there is no "),
        ("no image", "lacks a kernel image"),
        ("no modules", "lacks modules"),
        ("two images", "more than one kernel: bzImage and vmlinuz"),
        ("two releases", f"more than one kernel: lib/modules/6.1 and lib/modules/{RELEASE}"),
        ("another image", f"bzImage is a kernel 6.1, and the modules are {RELEASE}'s"),
        ("no release", "lib/modules/mine is not named by a kernel's release"),
        ("an image alone", "neither a .deb nor a folder"),
        ("no package", "is no Debian package"),
    ],
)
def test_what_is_no_kernel_is_told_of_the_campaign(tmp_path: Path, what: str, words: str) -> None:
    path = wrong(tmp_path, what)
    text = CAMPAIGN.format(kernels=f'["6.1.0-1", "./{path.relative_to(tmp_path)}"]')
    with pytest.raises(InputError) as error:
        config.parse(text, tmp_path / "c.toml")
    assert str(error.value).startswith(f"{tmp_path / 'c.toml'}: host_kernels: ")
    assert words in str(error.value)
    assert "\n" not in str(error.value)


def test_a_campaign_names_kernels_by_release_and_by_path(tmp_path: Path) -> None:
    folder = make(tmp_path / "k")
    found = config.parse(CAMPAIGN.format(kernels='["6.1.0-1", "./k"]'), tmp_path / "c.toml")
    assert found.host_kernels == ["6.1.0-1", RELEASE]
    assert found.given_kernels == {RELEASE: folder}
    with pytest.raises(InputError, match="there more than once"):
        config.parse(CAMPAIGN.format(kernels=f'["./k", "{RELEASE}"]'), tmp_path / "c.toml")


def test_a_parcel_is_the_same_for_the_same_content_and_is_found_again(tmp_path: Path, cache: Path) -> None:
    folder = make(tmp_path / "k")
    first = parcel.pack(folder, print)
    os.utime(folder / "bzImage", (1, 1))
    (folder / "lib").chmod(0o700)
    assert parcel.pack(folder, print) == first
    assert cache in first.file.parents
    with tarfile.open(first.file) as archive:
        names = archive.getnames()
    assert names[:2] == ["vmlinuz", "modules"]
    assert {"modules/kernel/fs/x.ko", "modules/modules.order"} < set(names)
    assert not {"modules/build", "modules/source"} & set(names)
    shutil.rmtree(folder)
    assert parcel.find_again(first.facts(), print) == first
    first.file.unlink()
    with pytest.raises(InputError, match="not to be had any more"):
        parcel.find_again(first.facts(), print)


def test_several_hosts_are_gone_on_with_wherever_the_campaign_was(tmp_path: Path) -> None:
    folder = make(tmp_path / "k")
    text = CAMPAIGN.format(kernels='["6.1.0-1", "./k"]')
    first = config.parse(text, tmp_path / "c.toml")
    ready = prepare.Ready.make(first, Watcher())
    pins = ready.pins(first)
    (tmp_path / "hosts.json").write_text(json.dumps({"hosts": ["a"], "host_kernels": pins}))
    shutil.rmtree(folder)
    assert read_host_kernels(tmp_path) == pins
    again = config.parse(text, tmp_path / "results/campaign.toml", [pin["release"] for pin in pins])
    assert again.host_kernels == first.host_kernels
    assert prepare.Ready.make(again, Watcher(), pins).parcels == ready.parcels


def test_a_configuration_goes_along(tmp_path: Path) -> None:
    folder = make(tmp_path / "k")
    (folder / ".config").write_text("CONFIG_RD_ZSTD=y\n")
    with tarfile.open(parcel.pack(folder, print).file) as archive:
        content = archive.extractfile("config")
        assert content
        assert content.read() == b"CONFIG_RD_ZSTD=y\n"
