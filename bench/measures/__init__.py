"""Measures: one file each in this folder, found by its name.

`measure(session)` takes the samples. A module may also say `needs_door = True` (only arms whose runtime has a door of
its own can), `guest = "firmware"` (only machines with firmware can, and there is no init in them to ask),
`counts = True` (arms that count instructions can take no other: their seconds say nothing) or `rootfs = "debian"` (only
that one has what it needs). It may have functions `impossible(backend)`, which says why arms of a backend cannot take
it anywhere, and `lacking(backend)`, why they cannot on the host where that is asked.
"""

from __future__ import annotations

import functools
import importlib
import pkgutil
from collections.abc import Callable
from dataclasses import dataclass

from bench.backends.base import Backend, Guest
from bench.errors import InputError
from bench.session import Session


@dataclass(frozen=True)
class Measure:
    name: str
    summary: str
    run: Callable[[Session], None]
    needs_door: bool
    guest: Guest
    counts: bool
    rootfs: str | None
    own: Callable[[type[Backend]], str | None] | None
    here: Callable[[type[Backend]], str | None] | None

    def lacking(self, backend: type[Backend]) -> str | None:
        """Why arms of this backend, which can take this measure elsewhere, cannot on this host, or None."""
        if self.here and (reason := self.here(backend)):
            return reason
        return backend.shut() if self.needs_door else None

    def impossible(self, backend: type[Backend]) -> str | None:
        """Why arms of this backend cannot take this measure on any host, or None."""
        if self.own and (reason := self.own(backend)):
            return reason
        if backend.counts and not self.counts:
            return "it counts instructions, and its seconds say nothing"
        if self.guest not in backend.guests:
            kind = "a machine with firmware" if self.guest == "firmware" else "a Linux guest that Tare can talk to"
            return f"{self.name} needs {kind}"
        if self.needs_door and backend.door is None:
            return "no exec door of its own (what its init runs is spawn)"
        return None


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__))


@functools.cache
def load(name: str) -> Measure:
    """The measure in bench/measures/<name>.py. Raises InputError with the names there are."""
    if name not in names():
        raise InputError(f"there is no measure {name!r}", hint=f"one of: {', '.join(names())}")
    module = importlib.import_module(f"bench.measures.{name}")
    summary = (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " ")
    return Measure(
        name,
        summary,
        module.measure,
        getattr(module, "needs_door", False),
        getattr(module, "guest", "linux"),
        getattr(module, "counts", False),
        getattr(module, "rootfs", None),
        getattr(module, "impossible", None),
        getattr(module, "lacking", None),
    )
