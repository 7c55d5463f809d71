"""Small libraries of C that come with Tare, compiled where they are needed and kept in the cache.

Not in a run's own folder: where systemd mounts /run, nothing in it can be run.
"""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from bench import files, home, process, state

_LIMIT = 120.0


def shared_library(source: Path, **defined: int) -> Path:
    """The library of a source file, from the cache where it is there already. defined: macros. Raises HostError,
    CommandError."""
    macros = [f"-D{name}={value}" for name, value in sorted(defined.items())]
    digest = hashlib.sha256(source.read_bytes() + " ".join(macros).encode()).hexdigest()[:16]
    library = state.cache_folder() / "plugins" / f"{source.stem.lstrip('_')}-{digest}.so"
    if not library.is_file():
        compiler = process.require("gcc", "gcc libc6-dev")
        with home.keeping():
            library.parent.mkdir(parents=True, exist_ok=True)
        with home.keeping(), tempfile.TemporaryDirectory(prefix=".making-", dir=library.parent) as scratch:
            made = Path(scratch) / library.name
            process.run([compiler, "-O2", "-Wall", "-shared", "-fPIC", *macros, "-o", made, source], timeout=_LIMIT)
            files.publish(made, library)
    return library
