"""Files that are whole or not there: written beside their place, then renamed into it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from bench.errors import RecordError


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Gives a temporary path to fill, then puts that file at `path`. Raises RecordError on a failing disk."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        yield partial
        partial.replace(path)
    except OSError as error:
        why = error.strerror or str(error)
        raise RecordError(f"cannot write {path}: {why}", hint="make room, or write elsewhere") from error
    finally:
        with suppress(OSError):
            partial.unlink(missing_ok=True)
