"""What apt says, in its own words, from a stand-in for it on PATH."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import debian, kernels
from bench.errors import CommandError, HostError, InputError
from bench.kernels import Wish

ARCHIVE = b"an archive"

#: As apt-cache shows them: each version a stanza, the newest first.
SHOWN = """\
Package: linux-image-6.1.0-9-amd64
Source: linux-signed-amd64 (6.1.9+1)
Version: 6.1.9-2
Depends: kmod, linux-base (>= 4.3~), initramfs-tools (>= 0.120+deb8u2) | linux-initramfs-tool
Size: 2097152
SHA256: {sha}
Description-en: Linux 6.1 for 64-bit PCs (signed)
 The Linux kernel 6.1 and modules for use on PCs.

Package: linux-image-6.1.0-9-amd64
Version: 6.1.9-1
Depends: kmod
Size: 1048576
SHA256: {sha}

Package: linux-image-cloud-amd64
Version: 6.1.9-2
Depends: linux-image-6.1.0-9-amd64 (= 6.1.9-1)
Size: 1500
SHA256: bb

"""


@pytest.fixture
def apt(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of stand-ins; what they were asked is in `asked` there. An ordinary user, who cannot renew lists."""
    (tmp_path / "archive").write_bytes(ARCHIVE)
    (tmp_path / "shown").write_text(SHOWN.format(sha=debian.digest(tmp_path / "archive")))
    tool(
        tmp_path / "apt-cache",
        f'echo "$@" >>{tmp_path}/asked\n'
        f'case $1 in pkgnames) sed -n "s/^Package: \\($2.*\\)/\\1/p" {tmp_path}/shown;; *) cat {tmp_path}/shown;; esac',
    )
    tool(tmp_path / "apt-get", f'echo "$@" >>{tmp_path}/asked\ncp {tmp_path}/archive "${{2%%=*}}_x_amd64.deb"')
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    return tmp_path


def tool(path: Path, script: str) -> None:
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.usefixtures("apt")
def test_versions_the_newest_first() -> None:
    found = debian.offered(["linux-image-6.1.0-9-amd64", "linux-image-6.1.0-10-amd64"])
    assert [(package.version, package.size) for package in found] == [("6.1.9-2", 2 << 20), ("6.1.9-1", 1 << 20)]
    assert debian.offered([]) == []


@pytest.mark.usefixtures("apt")
def test_find_a_version() -> None:
    name = "linux-image-6.1.0-9-amd64"
    assert debian.find(name).version == "6.1.9-2"
    assert debian.find(name, "6.1.9-1").version == "6.1.9-1"
    with pytest.raises(InputError, match=r"Debian has no .*=6\.1\.9-3; versions: 6\.1\.9-2, 6\.1\.9-1"):
        debian.find(name, "6.1.9-3")
    with pytest.raises(InputError, match=r"Debian has no package linux-image-9; \./tare kernel list --remote"):
        debian.find("linux-image-9")


def test_root_renews_the_lists_once(apt: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    tool(
        apt / "apt-get", f'echo "$@" >>{apt}/asked; sed s/0-9-/0-10-/ {apt}/shown >{apt}/new; mv {apt}/new {apt}/shown'
    )
    assert debian.find("linux-image-6.1.0-10-amd64").version == "6.1.9-2"
    assert (apt / "asked").read_text().split("\n")[1] == "update"


def test_an_archive_that_is_not_the_listed_one(apt: Path, tmp_path: Path) -> None:
    package = debian.find("linux-image-6.1.0-9-amd64")
    (tmp_path / "into").mkdir()
    assert debian.download(package, tmp_path / "into").read_bytes() == ARCHIVE
    (apt / "archive").write_bytes(b"another archive")
    with pytest.raises(HostError, match=r"linux-image-6.1.0-9-amd64=6.1.9-2: the archive that came is not the one"):
        debian.download(package, tmp_path / "into")


def test_no_network(apt: Path, tmp_path: Path) -> None:
    tool(apt / "apt-get", "echo 'E: Failed to fetch it  Could not connect' >&2; exit 100")
    with pytest.raises(HostError, match=r"amd64=6.1.9-2 cannot be fetched: Failed to fetch it .*; apt-get update"):
        debian.download(debian.find("linux-image-6.1.0-9-amd64"), tmp_path)


@pytest.mark.usefixtures("apt")
def test_what_will_be_done_first() -> None:
    for wish in (Wish(), kernels.parse("linux-image-cloud-amd64")):  # a meta-package is what it depends on
        said = kernels.foresee(wish, "machine")
        assert said == "linux-image-6.1.0-9-amd64=6.1.9-1 will be fetched (1 MiB)"
    assert kernels.foresee(kernels.parse("6.1.0-9-amd64"), "machine") == (
        "linux-image-6.1.0-9-amd64=6.1.9-2 will be fetched (2 MiB)"
    )
    with pytest.raises(InputError, match=r"no kernel 6\.1\.0-8, neither in the cache \(there: none\) nor in Debian; "):
        kernels.foresee(kernels.parse("6.1.0-8"), "machine")
    with pytest.raises(InputError, match=r"Debian has no package linux-source-6\.3"):
        kernels.foresee(kernels.parse("linux-source-6.3"), "uml")


def test_what_is_offered(apt: Path) -> None:
    shown = apt / "shown"
    more = [f"linux-image-{name}" for name in ("6.1.0-9-amd64-dbg", "6.1.0-9-amd64-unsigned", "6.12-amd64", "amd64")]
    more += ["linux-source-6.1", "linux-source", "linux-image-6.1.0-10-amd64"]
    for name in more:
        shown.write_text(shown.read_text() + f"Package: {name}\nVersion: 1\nSize: 1\nSHA256: cc\n\n")
    names = [package.name for package in kernels.offered()]
    assert names == [*["linux-image-6.1.0-9-amd64"] * 2, "linux-image-6.1.0-10-amd64", "linux-source-6.1"]


SOURCES = """\
Types: deb
# bookworm was here
URIs: http://deb.example.org/debian
Suites: trixie trixie-updates
Components: main
Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg

Types: deb
URIs: https://deb.example.org/packages
Suites: trixie
Components: main
Signed-By: /usr/share/keyrings/corp.gpg

Types: deb
Enabled: no
URIs: https://deb.example.org/off
Suites: trixie
Components: main

Types: deb
URIs: https://deb.example.org/node_20.x
Suites: nodistro
Components: main
"""


@pytest.fixture
def trixie(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A machine of the release after the guests', by its apt's folder."""
    (tmp_path / "os-release").write_text('PRETTY_NAME="x"\nVERSION_CODENAME=trixie\n')
    (tmp_path / "sources.list.d").mkdir()
    (tmp_path / "sources.list.d/debian.sources").write_text(SOURCES)
    monkeypatch.setattr(debian, "_APT", tmp_path)
    monkeypatch.setattr(debian, "_RELEASE", tmp_path / "os-release")
    return tmp_path


def test_guests_are_of_their_own_release_wherever_they_are_made(trixie: Path) -> None:
    key = "[arch=amd64 signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]"
    (trixie / "sources.list").write_text(
        "# deb http://deb.example.org/debian trixie main\n"
        f"deb {key} http://deb.example.org/security trixie-security main\n"
        "deb http://deb.example.org/debian stable-updates main\n"
        "deb [signed-by=/usr/share/keyrings/corp.gpg] http://deb.example.org/corp trixie main\n"
        "deb http://deb.example.org/apt cloud-sdk-trixie main\n"
    )
    found = debian._sources("bookworm")
    assert found["sources.list"] == (
        f"deb {key} http://deb.example.org/security bookworm-security main\n"
        "deb http://deb.example.org/debian bookworm-updates main\n"
    )
    (stanza,) = found["debian.sources"].split("\n\n")
    assert "Suites: bookworm bookworm-updates\n" in stanza
    assert "Signed-By: /usr/share/keyrings/debian-archive-keyring.gpg" in stanza


def test_of_its_own_release_a_machines_sources_are_as_they_are(trixie: Path) -> None:
    (trixie / "sources.list").write_text("# a remark\ndeb http://deb.example.org/debian oldstable main\n")
    found = debian._sources("trixie")
    assert found["sources.list"] == "deb http://deb.example.org/debian oldstable main\n"
    assert "corp.gpg" in found["debian.sources"]


def test_a_machine_without_sources_of_debian(trixie: Path) -> None:
    (trixie / "os-release").write_text("VERSION_CODENAME=noble\n")
    with pytest.raises(
        HostError, match=r"no sources of Debian.* to make a system of bookworm from; it must be a Debian 12 or 13"
    ):
        debian.require_bootstrap()


def test_another_releases_lists_are_apart_from_the_machines(apt: Path, trixie: Path) -> None:
    tool(apt / "apt-get", f'echo "$@" >>{apt}/asked; test ! -e {apt}/down')
    cached = apt / "cache/tare/apt/bookworm"
    (apt / "down").touch()
    with pytest.raises(CommandError):
        debian.known("linux-image-6", "bookworm")
    (apt / "down").unlink()
    (apt / "asked").unlink()
    (cached / "sources/old.list").touch()
    debian.known("linux-image-6", "bookworm")
    update, ask = (apt / "asked").read_text().splitlines()
    for line, words in ((update, "update"), (ask, "pkgnames linux-image-6")):
        assert f"Dir::State::Lists={cached}/lists" in line
        assert line.endswith(words)
    assert [file.name for file in (cached / "sources").iterdir()] == ["debian.sources"]
    assert (cached / "sources/debian.sources").stat().st_mode & 0o777 == 0o600
    debian.known("linux-image-6", "bookworm")
    assert (apt / "asked").read_text().count(" update") == 1
    (trixie / "sources.list").write_text("deb http://deb.example.org/debian trixie main\n")
    debian.known("linux-image-6", "bookworm")  # other sources than those that the lists are of
    assert (apt / "asked").read_text().count(" update") == 2
    debian.known("linux-image-6", "trixie")  # its own
    assert (apt / "asked").read_text().splitlines()[-1] == "pkgnames linux-image-6"


def test_whose_a_file_is(tmp_path: Path) -> None:
    assert debian.owner(Path("/usr/bin/dpkg-query"))["package"] == "dpkg"
    assert debian.owner(Path("/usr/bin/dpkg-query"))["version"]
    (tmp_path / "own").touch()
    assert debian.owner(tmp_path / "own") == {}
