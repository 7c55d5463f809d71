"""Where lab hosts are kept: their disks in the cache, and a folder beside them for each that is up."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from bench import files, home, locks
from bench.errors import InputError
from bench.lab._recipe import Recipe
from bench.state import cache_folder

FACTS = "lab.json"

Tell = Callable[[str], None]


def store() -> Path:
    return cache_folder() / "lab"


def image(recipe: Recipe) -> Path:
    """The folder of what build() makes."""
    return store() / f"{recipe.name}-{recipe.digest}"


def is_built(recipe: Recipe) -> bool:
    return (image(recipe) / FACTS).is_file()


def facts(recipe: Recipe) -> dict[str, Any]:
    """kernels, built, seconds of what is built; nothing where it is not."""
    with contextlib.suppress(InputError):
        known = files.read_json(image(recipe) / FACTS)
        if isinstance(known, dict):
            return known
    return {}


@contextlib.contextmanager
def held(what: str, who: str, tell: Tell, limit: float) -> Iterator[None]:
    """One process at a time, which the kernel sees to. limit: seconds to wait. Raises HostError then."""
    with home.keeping():
        store().mkdir(mode=0o700, parents=True, exist_ok=True)
    lock = os.open(store() / f".{what}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        locks.wait(lock, who, tell, limit)
        yield
    finally:
        os.close(lock)
