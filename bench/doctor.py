"""What this host can run, proved by starting it.

One probe instance per backend and kind of guest, under a time limit.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from bench import image, inventory, kernels
from bench.backends import base
from bench.errors import InputError
from bench.host import enter
from bench.slots import Watcher


@dataclass(frozen=True)
class Answer:
    """reason: None when an instance came up; otherwise why not, with the fix where there is one.

    Notes: see Backend.notes.
    """

    backend: str
    guest: str
    runs: bool
    reason: str | None
    seconds: float
    notes: list[str]

    def as_dict(self) -> dict[str, object]:
        return dataclasses.asdict(self)


def examine(
    where: inventory.Host | None = None, watcher: Watcher | None = None, names: Sequence[str] = ()
) -> Iterator[Answer]:
    """An Answer for each backend that needs no options of its own, and each of its guests.

    where: this machine, or another host; watcher: told what else there is to tell; names: these backends only. Raises
    HostError (host held, unreachable), InputError (no such backend, or one that needs options).
    """
    watcher = watcher or Watcher()
    kinds = {name: base.load(name) for name in names or base.names()}
    plain = {name: kind for name, kind in kinds.items() if _without_options(kind)}
    if names and (needy := kinds.keys() - plain.keys()):
        raise InputError(f"{min(needy)} needs options", hint="a campaign that gives them says what cannot run")
    arms = {name: {"backend": name, "options": {}} for name in plain}
    with enter(where or inventory.find(inventory.LOCAL), "tare doctor", watcher.warned) as seat:
        watcher.cleaned(seat.cleaned)
        for text in seat.resisting:
            watcher.warned(text)
        booted = {name: kernels.default(kind.kernel) for name, kind in plain.items() if kind.kernel}
        images = {name: kernel if isinstance(kernel, str) else kernel.booted for name, kernel in booted.items()}
        envelope = {"cpus": 1, "memory": 128 << 20, "rootfs": "tiny"}
        crew = seat.crew(arms, envelope, image.build("tiny"), images)
        try:
            told = crew.facts(list(plain))["notes"]
            for name, kind in plain.items():
                for guest in sorted(kind.guests, reverse=True):
                    begin = time.monotonic()
                    reason = crew.probe(name, guest)
                    took = time.monotonic() - begin
                    own = [note.removeprefix(f"{name}: ") for note in told if note.startswith(f"{name}: ")]
                    yield Answer(name, guest, reason is None, reason, took, [] if reason else own)
        finally:
            crew.interrupt()


def _without_options(kind: type[base.Backend]) -> bool:
    return all(field.default is not dataclasses.MISSING for field in dataclasses.fields(kind.Options))
