"""Lab hosts to try Tare on: Debian systems that run as emulated QEMU guests on the user's own machine.

One recipe file each in this package (those without an underscore). build() makes a host's disk once, from the machine's
own Debian sources, into the cache; up() boots it with a throw-away overlay and SSH on a port of 127.0.0.1.
"""

from __future__ import annotations

import pkgutil
from importlib import import_module

from bench.errors import HostError, InputError
from bench.lab._build import build
from bench.lab._recipe import Recipe
from bench.lab._vm import Condition, LabHost, condition, down, running_host, ssh_argv, up

__all__ = [
    "Condition",
    "LabHost",
    "Recipe",
    "build",
    "condition",
    "down",
    "host",
    "names",
    "recipe",
    "recipes",
    "running",
    "ssh_argv",
    "up",
]

PREFIX = "lab-"


def names() -> list[str]:
    """The lab hosts there are recipes for: lab-debian, lab-xen, …"""
    return [PREFIX + module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_")]


def recipe(name: str) -> Recipe:
    """The recipe of a lab host, by its name with or without "lab-". Raises InputError where there is none."""
    full = PREFIX + name.removeprefix(PREFIX)
    if full not in names():
        raise InputError(f"there is no lab host {name!r}", hint=f"one of: {', '.join(names())}")
    found = import_module(f"{__name__}.{full.removeprefix(PREFIX)}").RECIPE
    assert isinstance(found, Recipe)
    assert found.name == full
    return found


def recipes(wanted: list[str]) -> list[Recipe]:
    """Those of these names, or all. Raises InputError."""
    found = {recipe(name).name: recipe(name) for name in wanted or names()}
    return list(found.values())


def host(name: str) -> LabHost:
    """The lab host of this name, which is up. Raises InputError (no such), HostError (it is not up)."""
    full = recipe(name).name
    found = running_host(full)
    if found is None:
        raise HostError(f"{full} is not up", hint=f"./tare lab up {full}")
    return found


def running() -> dict[str, LabHost]:
    """The lab hosts that are up on this machine, by name. Starts nothing and asks no guest: is the process there?"""
    hosts = (running_host(name) for name in names())
    return {host.name: host for host in hosts if host}
