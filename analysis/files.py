"""Files that are whole or not there: written beside their place, then renamed into it."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from bench.errors import RecordError


def write(path: Path, fill: Callable[[Path], object]) -> Path:
    """Lets `fill` write a temporary file next to `path`, then puts it in place. Raises RecordError on a failing disk."""
    partial = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        fill(partial)
        partial.replace(path)
    except OSError as error:
        raise RecordError(f"cannot write {path}: {error.strerror or error}", hint="make room, or use --out") from error
    finally:
        partial.unlink(missing_ok=True)
    return path


def write_text(path: Path, text: str) -> Path:
    """`write` for a text."""
    return write(path, lambda partial: partial.write_text(text, encoding="utf-8", errors="replace"))
