"""What this host can run, proved by starting it.

One probe instance per backend and kind of guest, under a time limit.
"""

from __future__ import annotations

import dataclasses
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass

from bench import clean, image, kernels, lock, state
from bench.backends import base
from bench.crew import Crew


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


def examine() -> Iterator[Answer]:
    """An Answer for each backend that needs no options of its own, and each of its guests.

    Raises HostError (host held).
    """
    with lock.hold(), state.enter("tare doctor") as own:
        os.environ["TARE_RUN"] = own.id
        clean.clean()
        rootfs = image.build("tiny")
        kinds = {name: base.load(name) for name in base.names()}
        plain = {name: kind for name, kind in kinds.items() if _without_options(kind)}
        arms = {name: {"backend": name, "options": {}} for name in plain}
        booted = {name: kernels.default(kind.kernel) for name, kind in plain.items() if kind.kernel}
        crew = Crew(own, arms, {"cpus": 1, "memory": 128 << 20}, rootfs, booted)
        try:
            for name, kind in plain.items():
                for guest in sorted(kind.guests, reverse=True):
                    begin = time.monotonic()
                    reason = crew.probe(name, guest)
                    notes = kind.notes(base.make_options(kind, {}))
                    yield Answer(name, guest, reason is None, reason, time.monotonic() - begin, notes)
        finally:
            crew.interrupt()
            clean.release(own.id)


def _without_options(kind: type[base.Backend]) -> bool:
    return all(field.default is not dataclasses.MISSING for field in dataclasses.fields(kind.Options))
