"""Which kernel a wish means, what the cache holds, and what is no kernel."""

from __future__ import annotations

import json
import os
import signal
import struct
import subprocess
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from bench import files, kbuild, kernels
from bench.errors import HostError, InputError
from bench.kernels import Kernel, Wish

THERE = ("6.1.0-9-cloud-amd64", "6.1.0-56-cloud-amd64", "6.12.9-amd64", "5.10.0-30-amd64")


def bzimage(path: Path, release: str) -> Path:
    """The header of a bzImage: its magic, and where its release stands."""
    head = bytearray(0x1000)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = struct.pack("<H", 0x800)
    head[0xA00 : 0xA00 + len(release) + 9] = f"{release} (a@b) #1".encode()[: len(release) + 9]
    path.write_bytes(head)
    return path


def elf(path: Path, release: str, *, uml: bool) -> Path:
    path.write_bytes(b"\x7fELF\0\0Linux version %s (a@b) #1\0" % release.encode() + b"umid=<name>\0" * uml)
    return path


def put(
    cache: Path, name: str, release: str, version: str, package: str | None = None, *, built: list[str] | None = None
) -> Path:
    """A kernel in the cache, as fetch() or build() leaves it; its folder."""
    folder = cache / "tare/kernels" / name
    folder.mkdir(parents=True)
    origin: dict[str, Any] = {"package": package or f"linux-image-{release}", "version": version}
    if built is not None:
        assert package
        origin |= {"options": built, "key": kernels._key(package, version, kbuild.parse_options(built))}
    (folder / "image").write_text(name)
    known = {
        "release": release,
        "kind": "machine" if built is None else "uml",
        "image": "image",
        "sha256": f"sha256 of {name}",
        "config": "c0",
        "origin": origin,
        "drivers": None,
    }
    (folder / "kernel.json").write_text(json.dumps(known))
    return folder


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Machine kernels, two versions of one of them, and what is none: a build under way."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    for number, release in enumerate(THERE):
        put(tmp_path, f"{release}_{number}", release, f"6.1.{number}-1")
    put(tmp_path, "newer", THERE[1], "6.1.9-10")
    put(tmp_path, "older", THERE[1], "6.1.9-9")
    (tmp_path / "tare/kernels/default").write_text("newer\n")
    (tmp_path / "tare/kernels/.work-abc/tree/boot").mkdir(parents=True)
    (tmp_path / "tare/kernels/.work-abc" / files.UNFINISHED).touch()
    (tmp_path / "tare/kernels/.work-mine/in").mkdir(parents=True)
    return tmp_path


@pytest.fixture
def no_uml(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """A host without an installed User-Mode Linux, and without apt."""
    monkeypatch.setenv("PATH", str(tmp_path / "nothing"))
    monkeypatch.setattr("bench.process.EXTRA_PATH", "")


@pytest.mark.usefixtures("cache")
def test_the_oldest_first_by_number_and_not_by_letter() -> None:
    releases = [kernel.release for kernel in kernels.available()]
    assert releases == [THERE[3], THERE[0], THERE[1], THERE[1], THERE[1], THERE[2]]


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize(
    ("wanted", "release"),
    [
        ("6.1.0-9-cloud-amd64", "6.1.0-9-cloud-amd64"),
        ("6.1.0-9", "6.1.0-9-cloud-amd64"),
        ("6.1.0", "6.1.0-56-cloud-amd64"),
        ("6.1", "6.1.0-56-cloud-amd64"),
        ("6", "6.12.9-amd64"),
        ("linux-image-5.10.0-30-amd64", "5.10.0-30-amd64"),
    ],
)
def test_find(wanted: str, release: str) -> None:
    found = kernels.find(kernels.parse(wanted), "machine")
    assert found is not None
    assert found.release == release


@pytest.mark.usefixtures("cache")
def test_of_one_release_the_newest_version_or_the_one_that_is_named() -> None:
    package = f"linux-image-{THERE[1]}"
    for wanted, version in [(THERE[1], "6.1.9-10"), (package, "6.1.9-10"), (f"{package}=6.1.9-9", "6.1.9-9")]:
        found = kernels.find(kernels.parse(wanted), "machine")
        assert found is not None
        assert found.origin["version"] == version
    assert kernels.find(kernels.parse(f"{package}=6.1.9-8"), "machine") is None


@pytest.mark.usefixtures("cache")
def test_no_wish_is_what_was_last_fetched_without_one_and_not_the_newest() -> None:
    found = kernels.find(Wish(), "machine")
    assert found is not None
    assert found.sha256 == "sha256 of newer"
    assert found == kernels.default("machine")


@pytest.mark.usefixtures("cache")
@pytest.mark.parametrize("wanted", ["6.1.0-5", "6.13", "5.1"])
def test_what_is_not_there(wanted: str) -> None:
    assert kernels.find(kernels.parse(wanted), "machine") is None


@pytest.mark.usefixtures("cache", "no_uml")
@pytest.mark.parametrize("kind", ["machine", "uml"])
def test_a_kernel_of_another_kind_is_not_found(kind: Any) -> None:
    assert (kernels.find(kernels.parse("6.1.0-9"), kind) is None) == (kind == "uml")


@pytest.mark.usefixtures("no_uml")
def test_an_empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "none"))
    assert kernels.available() == []
    assert kernels.default("machine") == "no kernel for guests in the cache: ./tare kernel fetch"
    assert kernels.default("uml") == "linux is not installed: apt-get install user-mode-linux"
    with pytest.raises(HostError, match=r"linux is not installed"):
        kernels.prepare(Wish(), "uml", print)
    with pytest.raises(InputError, match=r"no User-Mode Linux 6.1.170 in the cache \(there: none\).*kernel build"):
        kernels.prepare(kernels.parse("6.1.170"), "uml", print)


SOURCE, DEBUG = "linux-source-6.1", ["CONFIG_DEBUG_KERNEL=y"]


@pytest.fixture
def builds(cache: Path) -> Path:
    put(cache, "plain", "6.1.170", "6.1.170-3", SOURCE, built=[])
    put(cache, "debug", "6.1.170", "6.1.170-3", SOURCE, built=DEBUG)
    put(cache, "named", "6.1.170-zz", "6.1.170-3", SOURCE, built=['CONFIG_LOCALVERSION="-zz"'])
    put(cache, "late", "6.1.192", "6.1.192-2", SOURCE, built=DEBUG)
    return cache


@pytest.mark.usefixtures("builds", "no_uml")
@pytest.mark.parametrize(
    ("wanted", "options", "name"),
    [
        (SOURCE, [], "plain"),
        (SOURCE, DEBUG, "late"),
        (f"{SOURCE}=6.1.170-3", DEBUG, "debug"),
        (f"{SOURCE}=6.1.170-3", ["# CONFIG_NET is not set"], None),
        (f"{SOURCE}=6.1.192-2", [], None),
        ("linux-source-6.12", [], None),
        ("6.1.170", [], "plain"),
        ("6.1.170-zz", [], "named"),
        ("6.1.192", [], "late"),
        ("6.1", [], "plain"),
    ],
)
def test_a_build_is_found_by_its_version_and_options(wanted: str, options: list[str], name: str | None) -> None:
    found = kernels.find(kernels.parse(wanted, kbuild.parse_options(options)), "uml")
    assert (found and found.sha256) == (name and f"sha256 of {name}")


@pytest.mark.usefixtures("builds", "no_uml")
def test_a_release_that_may_be_several_builds(builds: Path) -> None:
    put(builds, "other", "6.1.192", "6.1.192-2", SOURCE, built=["# CONFIG_NET is not set"])
    with pytest.raises(InputError, match=r"6.1.192 may be several kernels.*name its source package"):
        kernels.find(kernels.parse("6.1.192"), "uml")


def test_an_option_of_the_base_is_no_other_kernel() -> None:
    same = kernels._key(SOURCE, "1", {"EXT4_FS": "y"})
    assert same == kernels._key(SOURCE, "1", {}) != kernels._key(SOURCE, "2", {})
    assert kernels._key(SOURCE, "1", {"EXT4_FS": "n"}) != same


@pytest.mark.parametrize(
    ("text", "wish"),
    [
        ("6.1.0-50-cloud-amd64", Wish("release", "6.1.0-50-cloud-amd64")),
        ("6.12.107+deb12-cloud-amd64", Wish("release", "6.12.107+deb12-cloud-amd64")),
        ("linux-image-6.1.0-50-amd64", Wish("package", "linux-image-6.1.0-50-amd64")),
        ("linux-image-6.1.0-50-amd64=6.1.176-1", Wish("package", "linux-image-6.1.0-50-amd64", "6.1.176-1")),
        ("linux-source-6.12=6.12.107-1~deb12u1", Wish("source", "linux-source-6.12", "6.12.107-1~deb12u1")),
        ("./bzImage", Wish("path", "./bzImage")),
        ("/boot/linux-image-x=y", Wish("path", "/boot/linux-image-x=y")),
    ],
)
def test_names(text: str, wish: Wish) -> None:
    assert kernels.parse(text) == wish
    assert str(wish) == text


@pytest.mark.parametrize(
    "text",
    ["bzImage", "linux", "linux-image-", "linux-headers-6.1", "linux-image-6.1=", "linux-image-6.1=a b", "6.1=2", "-6",
     "linux-image-6.1;reboot", "linux-source-6.1=--help", "", " 6.1", "v6.1"],
)  # fmt: skip
def test_what_names_no_kernel(text: str) -> None:
    with pytest.raises(InputError, match=r"names no kernel|is no version"):
        kernels.parse(text)


@pytest.mark.parametrize("text", ["6.1.170", "linux-image-6.1.0-50-amd64", "/boot/vmlinuz"])
def test_only_a_source_takes_options(text: str) -> None:
    with pytest.raises(InputError, match="only a source package is built with options"):
        kernels.parse(text, {"NET": "n"})


def test_what_images_say_of_themselves(tmp_path: Path) -> None:
    assert kernels.inspect(bzimage(tmp_path / "b", "6.1.0-9")) == ("machine", "6.1.0-9")
    assert kernels.inspect(elf(tmp_path / "v", "6.1.9+", uml=False)) == ("machine", "6.1.9+")
    assert kernels.inspect(elf(tmp_path / "u", "6.1.170-x", uml=True)) == ("uml", "6.1.170-x")


def test_what_is_no_image(tmp_path: Path) -> None:
    (tmp_path / "empty").touch()
    (tmp_path / "text").write_text("Linux version 6.1 (a@b)\numid=\n")
    for path in (tmp_path / "empty", tmp_path / "text", Path("/bin/sh")):
        with pytest.raises(InputError, match="is no kernel: neither a bzImage nor"):
            kernels.inspect(path)
    with pytest.raises(InputError, match="there is no kernel image"):
        kernels.inspect(tmp_path / "none")
    with pytest.raises(InputError, match="is a directory, not a file"):
        kernels.inspect(tmp_path)


def test_the_wrong_kind(tmp_path: Path) -> None:
    image, program = bzimage(tmp_path / "b", "6.1"), elf(tmp_path / "u", "6.1", uml=True)
    for text, right, wrong in [
        (str(image), "machine", "uml"),
        (str(program), "uml", "machine"),
        ("linux-image-6.1.0-50-amd64", "machine", "uml"),
        ("linux-source-6.1", "uml", "machine"),
    ]:
        wish = kernels.parse(text)
        kernels.check_kind(wish, right)  # type: ignore[arg-type]
        with pytest.raises(InputError, match=r"is a .*, and this arm boots a"):
            kernels.check_kind(wish, wrong)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("name", "fault"),
    [
        ("fifo", "is a pipe, not a file"),
        ("folder", "is a directory, not a file"),
        ("zero", "is a device, not a file"),
        ("huge", "is too large"),
        ("missing", "there is no kernel image"),
    ],
)
def test_a_path_that_is_no_file_is_refused_without_waiting_for_it(tmp_path: Path, name: str, fault: str) -> None:
    os.mkfifo(tmp_path / "fifo")
    (tmp_path / "folder").mkdir()
    (tmp_path / "zero").symlink_to("/dev/zero")
    with (tmp_path / "huge").open("wb") as file:
        file.truncate((2 << 30) + 1)

    def waited(*_: object) -> None:
        raise AssertionError("it waits for a file without end")

    before = signal.signal(signal.SIGALRM, waited)
    signal.alarm(5)
    try:
        wish = kernels.parse(str(tmp_path / name))
        for ask in (kernels.check_kind, kernels.foresee, kernels.find):
            if ask is kernels.find and name == "missing":
                fault = "no such file"
            with pytest.raises(InputError, match=fault):
                ask(wish, "machine")
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


@pytest.mark.usefixtures("no_uml")
def test_a_path_is_copied_so_that_it_may_change(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    wish = Wish("path", str(bzimage(tmp_path / "b", "6.1.0-9")))
    assert kernels.find(wish, "machine") is None
    first = kernels.prepare(wish, "machine", print)
    assert (first.release, first.kind, first.origin) == ("6.1.0-9", "machine", {})
    assert str(tmp_path) not in json.dumps(first.facts())
    assert kernels.prepare(wish, "machine", print) == first
    bzimage(tmp_path / "b", "6.1.0-10")
    assert kernels.prepare(wish, "machine", print).release == "6.1.0-10"
    assert kernels.inspect(first.image) == ("machine", "6.1.0-9")
    (tmp_path / "b").unlink()
    assert kernels.find_again(first.facts(), print) == first


@pytest.mark.usefixtures("no_uml")
def test_what_a_plan_was_made_with_and_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    gone = Kernel("6.1.0-9", "machine", tmp_path / "x", "aa", {})
    with pytest.raises(InputError, match=r"6.1.0-9 that this was begun with.*start the campaign anew"):
        kernels.find_again(gone.facts(), print)


def test_a_damaged_kernel_is_not_booted(cache: Path) -> None:
    with pytest.raises(HostError, match=r"6.1.0-9-cloud-amd64 in the cache is damaged; remove .*_0, and try again"):
        kernels.prepare(kernels.parse("6.1.0-9"), "machine", print)
    assert cache.is_dir()


def test_what_a_killed_build_left_is_removed(cache: Path) -> None:
    assert kernels.clean() == [cache / "tare/kernels/.work-abc"]
    assert kernels.clean() == []
    assert (cache / "tare/kernels/.work-mine/in").is_dir()
    with pytest.raises(HostError, match="is not Tare's, and in the way"), kernels.making("mine"):
        pytest.fail("taken")
    assert (cache / "tare/kernels/.work-mine/in").is_dir()
    assert len(kernels.available()) == 6


def test_what_a_build_under_way_has_is_not(cache: Path) -> None:
    with kernels.making("one") as one, kernels.making("two") as two:
        assert not (cache / "tare/kernels/.work-abc").exists()
        assert kernels.clean() == []
        assert one.is_dir()
        assert two.is_dir()
    assert not one.exists()
    assert not two.exists()


@pytest.mark.usefixtures("cache")
def test_one_thing_is_made_by_one_at_a_time() -> None:
    order: list[str] = []

    def second() -> None:
        with kernels.making("it", order.append) as scratch:
            order.append(f"second: {[path.name for path in scratch.iterdir()]}")

    with kernels.making("it", order.append) as scratch:
        (scratch / "file").touch()
        thread = threading.Thread(target=second)
        thread.start()
        while not order:
            time.sleep(0.001)
        order.append("first ends")
    thread.join()
    assert order == ["waiting for another tare that makes it", "first ends", f"second: [{files.UNFINISHED!r}]"]


def test_a_cache_that_cannot_be_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "tare").touch()
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    with pytest.raises(HostError, match=r"cannot be written: .*XDG_CACHE_HOME"), kernels.making("it"):
        pass


@pytest.mark.parametrize("name", ["debug", "a.1"])
def test_the_name_of_a_build(name: str) -> None:
    assert kernels.named({"NET": "n"}, name) == {"NET": "n", "LOCALVERSION": f'"-{name}"'}


@pytest.mark.parametrize("name", ["", "-a", "A", "a b", 'a"', "a" * 40])
def test_what_is_no_name(name: str) -> None:
    with pytest.raises(InputError, match="is no name for a kernel"):
        kernels.named({}, name)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "\0\0\0\0",
        "[]",
        "null",
        "{}",
        '{"release": 3}',
        "[" * 5000,
        '{"release": "6.1", "kind": "machine", "image": "../a/b", "sha256": "", "origin": {}, "drivers": null}',
        '{"release": "6.1", "kind": "cake", "image": "image", "sha256": "", "origin": {}, "drivers": null}',
        '{"release": "6.1", "kind": "machine", "image": "image", "sha256": "", "origin": [], "drivers": null}',
        '{"release": "6.1", "kind": "machine", "image": "%s", "sha256": "", "origin": {}}' % ("9" * 5000),
        '{"release": "6.1", "kind": "machine", "image": "gone", "sha256": "", "origin": {}, "drivers": null}',
    ],
)
def test_what_a_power_cut_left_of_an_entry_is_not_there(cache: Path, text: str) -> None:
    torn = put(cache, "torn", "6.1.99", "6.1.99-1")
    assert "6.1.99" in [kernel.release for kernel in kernels.available()]
    (torn / "kernel.json").write_text(text)
    (cache / "tare/kernels/default").write_text("\0\0")
    assert {kernel.release for kernel in kernels.available()} == set(THERE)
    assert kernels.find(Wish(), "machine") is None


@pytest.mark.parametrize("name", ["pipe", "/dev/zero", "/dev/null", ".", "sparse", "empty", "a\0b"])
def test_only_files_of_a_sane_size_are_looked_into(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "empty").write_bytes(b"")
    with (tmp_path / "sparse").open("wb") as file:
        file.truncate(1 << 42)
    with pytest.raises(InputError) as caught:
        kernels.inspect(tmp_path / name)
    assert str(caught.value).isprintable()


@pytest.mark.usefixtures("no_uml")
@pytest.mark.parametrize(
    "release",
    [
        "6.1.0-topic/new-scheduler",
        "6.1.0-" + "x" * 200,
        "6.1.0~rc1-Mine+",
        "6.1.0-ä\x1b[2J",
        "../../6.1.0",
        "6.1.0-a'\"b",
    ],
)
def test_a_kernel_may_have_any_release(release: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    told = kernels.inspect(bzimage(tmp_path / "bzImage", release))[1]
    kernel = kernels.prepare(kernels.parse(str(tmp_path / "bzImage")), "machine", print)
    assert kernel.release == told
    assert kernel.image.is_file()
    assert kernel.image.resolve().is_relative_to(tmp_path / "cache")
    assert kernel.image.name.isascii()
    assert kernel.image.name.isprintable()
    assert kernels.find(kernels.parse(str(tmp_path / "bzImage")), "machine") == kernel


def deb(folder: Path, **images: str) -> Path:
    """A package with these kernel images below /boot, and a configuration."""
    tree = folder / "tree"
    (tree / "boot").mkdir(parents=True)
    for name, release in images.items():
        bzimage(tree / f"boot/vmlinuz-{name}", release)
        (tree / f"boot/config-{name}").write_text("CONFIG_X=y\n")
    (tree / "DEBIAN").mkdir()
    (tree / "DEBIAN/control").write_text("Package: k\nVersion: 1\nArchitecture: all\nMaintainer: a\nDescription: a\n")
    subprocess.run(
        ["dpkg-deb", "--build", "--root-owner-group", tree, folder / "k.deb"], check=True, capture_output=True
    )
    return folder / "k.deb"


@pytest.fixture
def empty_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


@pytest.mark.usefixtures("empty_cache")
def test_a_package_beside_the_campaign_is_a_kernel(tmp_path: Path) -> None:
    wish = kernels.parse(str(deb(tmp_path, **{"6.9.0-mine": "6.9.0-mine"})))
    kernels.check_kind(wish, "machine")
    assert "will be unpacked into the cache" in (kernels.foresee(wish, "machine") or "")
    kernel = kernels.prepare(wish, "machine", print)
    assert (kernel.release, kernel.kind) == ("6.9.0-mine", "machine")
    assert kernel.config is not None
    assert kernels.foresee(wish, "machine") is None
    assert kernels.find_again(kernel.facts(), print) == kernel
    with pytest.raises(InputError, match=r"is a kernel for machines .*, and this arm boots a User-Mode Linux"):
        kernels.check_kind(wish, "uml")


@pytest.mark.usefixtures("empty_cache")
@pytest.mark.parametrize(
    ("images", "words"),
    [({}, "holds no kernel image"), ({"a": "6.9.0-a", "b": "6.9.0-b"}, "holds more than one kernel image")],
)
def test_a_package_that_is_no_kernel(images: dict[str, str], words: str, tmp_path: Path) -> None:
    with pytest.raises(InputError, match=words):
        kernels.prepare(kernels.parse(str(deb(tmp_path, **images))), "machine", print)


@pytest.mark.usefixtures("empty_cache")
def test_a_package_that_is_cut_off(tmp_path: Path) -> None:
    whole = deb(tmp_path, a="6.9.0-a")
    whole.write_bytes(whole.read_bytes()[:200])
    with pytest.raises(InputError, match=r"k\.deb is no Debian package that can be unpacked"):
        kernels.prepare(kernels.parse(str(whole)), "machine", print)


def test_an_origin_may_leave_out_what_it_does_not_know(cache: Path) -> None:
    file = put(cache, "odd", "6.1.98", "6.1.98-1") / "kernel.json"
    known = json.loads(file.read_text())
    known["origin"]["version"] = None
    file.write_text(json.dumps(known))
    assert "6.1.98" in [kernel.release for kernel in kernels.available()]
