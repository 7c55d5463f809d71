"""What is kept of an exception that nobody foresaw, for whoever mends it."""

from __future__ import annotations

import contextlib
import os
import platform
import sys
import tempfile
import traceback
from pathlib import Path

from bench import __version__
from bench.text import clean

#: Characters of a traceback that are kept: its end says most.
_MOST = 1 << 20


def told(error: BaseException) -> str:
    """The traceback, with what ran it. What it quotes may be anybody's words."""
    lines = traceback.format_exception(error)
    about = f"tare {__version__}, Python {platform.python_version()}, {' '.join(sys.argv[1:])}"
    return clean(about + "\n" + "".join(lines)[-_MOST:].rstrip())


def keep(text: str) -> Path | None:
    """A file of this user's alone with that text; None where none can be written."""
    try:
        fd, name = tempfile.mkstemp(prefix="tare-traceback-", suffix=".txt")
    except OSError:
        return None
    try:
        with open(fd, "w", encoding="utf-8") as file:  # noqa: PTH123 # of a descriptor
            file.write(text)
    except OSError:
        with contextlib.suppress(OSError):
            os.unlink(name)  # noqa: PTH108
        return None
    return Path(name)
