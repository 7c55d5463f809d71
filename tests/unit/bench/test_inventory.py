"""The hosts that a campaign can name."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import inventory
from bench.errors import InputError


@pytest.fixture
def written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    file = tmp_path / "hosts.toml"
    monkeypatch.setenv("TARE_HOSTS", str(file))
    monkeypatch.setattr(inventory, "_lab", dict)
    return file


def test_this_machine_is_always_there(written: Path) -> None:
    assert list(inventory.hosts()) == ["local"]
    assert inventory.find("local").entry is None


def test_a_host_is_its_own_address_and_may_say_more(written: Path) -> None:
    written.write_text('[rack1]\n[rack2]\naddress = "r2.lab"\nport = 2222\nemulated = true\n')
    first, second = inventory.find("rack1"), inventory.find("rack2")
    assert (first.address, first.emulated) == ("rack1", False)
    assert second.entry
    assert (second.address, second.entry.port, second.emulated) == ("r2.lab", 2222, True)


@pytest.mark.parametrize(
    ("text", "wrong"),
    [
        ("[rack1", "not valid TOML"),
        ("rack1 = 1", "rack1: Expected `object`"),
        ("[Rack]", "'Rack' is not a host's name"),
        ("[local]", "'local' is not a host's name"),
        ("[a]\nport = 70000", "<= 65535"),
        ("[a]\nwait = 'soon'", "a: 'soon'"),
        ("[a]\npasswort = 'x'", "unknown field `passwort`"),
        ('["a/b"]', "is not a host's name"),
    ],
)
def test_what_is_wrong_is_said_in_one_line(written: Path, text: str, wrong: str) -> None:
    written.write_text(text)
    with pytest.raises(InputError) as caught:
        inventory.hosts()
    assert wrong in str(caught.value)
    assert str(written) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_file_that_is_no_text(written: Path) -> None:
    written.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InputError, match="not a text file in UTF-8"):
        inventory.hosts()


def test_an_unknown_host_tells_which_there_are(written: Path) -> None:
    written.write_text("[rack1]\n")
    with pytest.raises(InputError, match="there is no host 'rack9'; there are local, rack1; others are named in"):
        inventory.find("rack9")
    with pytest.raises(InputError, match=r"\./tare lab up debian"):
        inventory.find("lab-debian")
