"""Standard input, output and error of a command, made so that nothing that happens to them changes how it ends.

What cannot be written is lost: the reader of a pipe went away, a disk is full, a terminal has no such character. Never
is that an exception somewhere in the command.
"""

from __future__ import annotations

import codecs
import errno
import io
import locale
import os
import sys
from typing import Any

from bench import files

#: What stands for characters that a terminal has not got; a question mark for any other.
_ALIKE = {
    "\N{EN DASH}": "-",
    "\N{EM DASH}": "-",
    "\N{MINUS SIGN}": "-",
    "\N{MULTIPLICATION SIGN}": "x",
    "\N{DIVISION SIGN}": "/",
    "\N{MIDDLE DOT}": ".",
    "\N{HORIZONTAL ELLIPSIS}": "...",
    "\N{RIGHTWARDS ARROW}": "->",
    "\N{LESS-THAN OR EQUAL TO}": "<=",
    "\N{GREATER-THAN OR EQUAL TO}": ">=",
    "\N{PLUS-MINUS SIGN}": "+-",
    "\N{GREEK SMALL LETTER ALPHA}": "alpha",
    "\N{GREEK SMALL LETTER DELTA}": "delta",
    "\N{GREEK SMALL LETTER MU}": "u",
    "\N{MICRO SIGN}": "u",
    "\N{RIGHT SINGLE QUOTATION MARK}": "'",
    "\N{NO-BREAK SPACE}": " ",
}
_ERRORS = "tare.alike"
#: The reader went away, or there never was anything to write to.
_NOBODY_READS = (errno.EPIPE, errno.EBADF)


class _Sink(io.RawIOBase):
    """A file descriptor that takes everything. lost: why something was not written."""

    def __init__(self, fd: int) -> None:
        super().__init__()
        self._fd = fd
        self.lost: OSError | None = None

    def fileno(self) -> int:
        return self._fd

    def isatty(self) -> bool:
        return os.isatty(self._fd)

    def writable(self) -> bool:
        return True

    def write(self, data: Any, /) -> int:
        if self.lost is None:
            try:
                files.write_all(self._fd, data)
            except OSError as error:
                self.lost = error
        return len(data)


_sinks: dict[int, _Sink] = {}


def in_utf8() -> None:
    """Begin this program anew where the locale would have it read and write files in another encoding than UTF-8."""
    if not sys.flags.utf8_mode and codecs.lookup(locale.getencoding()).name != "utf-8":
        os.execv(sys.executable, [sys.executable, "-X", "utf8", *sys.orig_argv[1:]])


def install() -> None:
    """Replace the three standard streams of this process.

    A descriptor that is closed leads to nowhere from here on, or the next file that is opened would be the output of
    every library and command that writes to it.
    """
    for fd in range(3):
        try:
            os.fstat(fd)
        except OSError:
            os.set_inheritable(os.open(os.devnull, os.O_RDWR), True)
    codecs.register_error(_ERRORS, _replace)
    if sys.stdin is None:
        sys.stdin = open(0, encoding=_encoding(), errors="replace", closefd=False)  # noqa: SIM115
    sys.stdout = _stream(1)
    sys.stderr = _stream(2)


def lost() -> OSError | None:
    """Why something of standard output could not be written, where somebody would have read it."""
    sys.stdout.flush()
    error = _sinks[1].lost if 1 in _sinks else None
    return None if error is None or error.errno in _NOBODY_READS else error


def _stream(fd: int) -> io.TextIOWrapper:
    _sinks[fd] = sink = _Sink(fd)
    by_line = fd == 2 or sink.isatty()
    return io.TextIOWrapper(io.BufferedWriter(sink), encoding=_encoding(), errors=_ERRORS, line_buffering=by_line)


def _encoding() -> str:
    """Of the terminal, which may not be that of files. As Python has it, UTF-8 in the C locale."""
    if locale.setlocale(locale.LC_CTYPE) in ("C", "POSIX"):
        return "utf-8"
    try:
        return codecs.lookup(locale.getencoding()).name
    except LookupError:
        return "ascii"


def _replace(error: UnicodeError) -> tuple[str, int]:
    assert isinstance(error, UnicodeEncodeError)
    return "".join(_ALIKE.get(char, "?") for char in error.object[error.start : error.end]), error.end
