"""Starts the command line: python -m bench.

Whatever goes wrong, also before there is a command line, ends with an exit status that is no verdict of `check`.
"""

from __future__ import annotations

import contextlib
import os
import sys
from typing import NoReturn

_DEFECT, _INTERRUPTED = 70, 130


def program() -> NoReturn:
    """Run one command as this process."""
    try:
        from bench import cli

        code = cli.program()
    except KeyboardInterrupt:
        code = _told(_INTERRUPTED, "interrupted; nothing was left behind")
    except BaseException as error:  # SystemExit too: it is a library's
        code = _told(_DEFECT, f"cannot run: {type(error).__name__}: {str(error)[:300]!r}")
    sys.exit(code)


def _told(code: int, what: str) -> int:
    with contextlib.suppress(OSError):  # nobody reads it
        os.write(2, f"tare: {what}\n".encode(errors="replace"))
    return code


if __name__ == "__main__":
    program()
