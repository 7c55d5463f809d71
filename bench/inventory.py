"""The hosts that a campaign can name: this machine (`local`), those of the inventory file, and lab hosts that are up.

The inventory is a TOML file without secrets, ~/.config/tare/hosts.toml or what TARE_HOSTS names:

    [rack1]                     # the name is also the address, which may be an alias of ~/.ssh/config
    [rack2]
    address = "rack2.lab"
    user = "root"
    port = 2222
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from bench import files, home, lab, units
from bench.errors import HostError, InputError, MissingFile
from bench.results import HOST_NAME

LOCAL = "local"
NAME = HOST_NAME


class Entry(msgspec.Struct, forbid_unknown_fields=True):
    """One host as the inventory has it. What is not said is left to ~/.ssh/config.

    folder: where Tare's files lie there, from the user's home on; sudo: to become root by `sudo -n`; wait: how long a
    host that was lost is waited for; emulated: whether its figures are those of an emulated machine.
    """

    address: str | None = None
    user: str | None = None
    port: Annotated[int, msgspec.Meta(ge=1, le=65535)] | None = None
    key: str | None = None
    known_hosts: str | None = None
    python: str = "python3"
    folder: str = ".tare"
    sudo: bool = False
    wait: str = "5 min"
    emulated: bool = False


@dataclass(frozen=True)
class Host:
    """A host and how to get there; entry is None for this machine."""

    name: str
    entry: Entry | None

    @property
    def emulated(self) -> bool:
        return self.entry is not None and self.entry.emulated

    @property
    def wait(self) -> float:
        """Seconds. Raises ValueError where it is no time."""
        return units.duration(self.entry.wait) if self.entry else 0.0

    @property
    def address(self) -> str:
        return (self.entry and self.entry.address) or self.name


def file() -> Path:
    """Where the inventory is looked for. Raises HostError where this user has no home folder to look in."""
    return Path(os.environ.get("TARE_HOSTS") or home.configuration() / "hosts.toml")


def place() -> str:
    """The same in words, for a user without a home folder too."""
    try:
        return str(file())
    except HostError:
        return "the file that TARE_HOSTS names"


def known_hosts() -> Path:
    """The host keys that the user has told Tare to trust, beside those of ~/.ssh."""
    return home.configuration() / "known_hosts"


def hosts() -> dict[str, Host]:
    """Every host by name, this machine first. Raises InputError for an inventory that is wrong."""
    return {LOCAL: Host(LOCAL, None)} | _written() | _lab()


def find(name: str) -> Host:
    """Raises InputError with the names there are."""
    there = hosts()
    if name not in there:
        hint = f"there are {', '.join(there)}; others are named in {place()}"
        if name in lab.names():
            hint = f"./tare lab up {name.removeprefix('lab-')}"
        raise InputError(f"there is no host {name!r}", hint=hint)
    return there[name]


def _written() -> dict[str, Host]:
    try:
        path = file()
        table = files.read_toml(path)
    except (HostError, MissingFile):
        return {}
    found = {}
    for name, given in table.items():
        if not NAME.match(name) or name == LOCAL:
            raise InputError(f"{path}: {name!r} is not a host's name: at most 32 small letters, digits and . _ -")
        try:
            found[name] = Host(name, msgspec.convert(given, Entry))
            _ = found[name].wait
        except (msgspec.ValidationError, ValueError) as error:
            raise InputError(f"{path}: {name}: {error}", hint=f"keys: {', '.join(Entry.__struct_fields__)}") from error
    return found


def _lab() -> dict[str, Host]:
    found = {}
    for name, up in lab.running().items():
        entry = Entry(up.address, up.user, up.port, str(up.key), str(up.known_hosts), emulated=up.emulated)
        found[name] = Host(name, entry)
    return found
