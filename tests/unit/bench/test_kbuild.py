"""Kernel options: what a fragment may say, and whether it came true."""

from __future__ import annotations

from pathlib import Path

import pytest

from bench import kbuild
from bench.errors import HostError, InputError

CONFIG = """\
# Automatically generated
CONFIG_CC_VERSION_TEXT="gcc (Debian 12) = m"
CONFIG_NET=y
# CONFIG_DEBUG_KERNEL is not set
CONFIG_HZ=100
CONFIG_LOCALVERSION="-a"
CONFIG_UML_NET=m
"""


def test_a_fragment() -> None:
    lines = ["CONFIG_NET=y", " CONFIG_HZ=100 ", "", "# of mine", "# CONFIG_PM is not set", 'CONFIG_LOCALVERSION="-a"']
    found = kbuild.parse_options([*lines, "CONFIG_X=0x1F", "CONFIG_Y=n", "CONFIG_NET=y"])
    assert found == {"NET": "y", "HZ": "100", "PM": "n", "LOCALVERSION": '"-a"', "X": "0x1F", "Y": "n"}
    assert kbuild.parse_options(kbuild.show_options(found)) == found


@pytest.mark.parametrize(
    "line",
    ["NET=y", "CONFIG_NET", "CONFIG_NET=", "CONFIG_NET=m", "CONFIG_NET=yes", "CONFIG_NET = y", "CONFIG_A=-",
     "include x", 'CONFIG_A="a\\"b"', 'CONFIG_A="a', "CONFIG_=y", "CONFIG_A=y # why"],
)  # fmt: skip
def test_what_is_no_option(line: str) -> None:
    with pytest.raises(InputError, match=r"line 2 of the options, .*is none; write CONFIG_NAME=y"):
        kbuild.parse_options(["CONFIG_B=y", line])


def test_an_option_twice() -> None:
    with pytest.raises(InputError, match="line 2 of the options: CONFIG_NET is there twice, as y and n"):
        kbuild.parse_options(["CONFIG_NET=y", "# CONFIG_NET is not set"])


def test_the_base_is_a_fragment() -> None:
    base = kbuild.base_options()
    assert base["BLK_DEV_INITRD"] == base["BLK_DEV_UBD"] == base["PRINTK"] == "y"
    # UML is linked dynamically, because what is preloaded into it on CPUs with AMX must be.
    assert "STATIC_LINK" not in base


@pytest.mark.parametrize(
    "options",
    [{}, {"NET": "y"}, {"DEBUG_KERNEL": "n"}, {"HZ": "100"}, {"LOCALVERSION": '"-a"'}, {"SMP": "n"}],
)
def test_what_came_true(options: dict[str, str]) -> None:
    kbuild.check_options(options, CONFIG, lambda name: True)


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"NET": "n"}, "CONFIG_NET=n did not take, it is y: another option selects it"),
        ({"DEBUG_KERNEL": "y"}, "CONFIG_DEBUG_KERNEL=y did not take, it is n: it depends on one"),
        ({"HZ": "250"}, "CONFIG_HZ=250 did not take, it is 100"),
        ({"SMP": "y"}, "CONFIG_SMP=y did not take, it is n"),
        ({"NOSUCH": "y"}, "this kernel has no option CONFIG_NOSUCH"),
        ({"NOSUCH": "n"}, "this kernel has no option CONFIG_NOSUCH"),
    ],
)
def test_what_did_not(options: dict[str, str], words: str) -> None:
    with pytest.raises(InputError, match=words):
        kbuild.check_options(options, CONFIG, lambda name: name == "SMP")


def test_options_of_a_source(tmp_path: Path) -> None:
    (tmp_path / "drivers/x").mkdir(parents=True)
    (tmp_path / "drivers/x/Kconfig.more").write_text("config ONE\n\tbool\nmenuconfig  TWO\n")
    (tmp_path / "drivers/x/Makefile").write_text("config THREE\n")
    assert [name for name in ("ONE", "TWO", "THREE", "ON", "ONE\n") if kbuild._knows(tmp_path, name)] == ["ONE", "TWO"]


def test_too_little_room(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    kbuild.require_room(tmp_path)
    monkeypatch.setattr(kbuild, "ROOM", 1 << 60)
    with pytest.raises(HostError, match=r"building a kernel needs .* of disk for a while, and .* has .*XDG_CACHE_HOME"):
        kbuild.require_room(tmp_path)
