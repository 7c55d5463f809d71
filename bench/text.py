"""Words of guests, hosts, tools and files made fit to be shown: they may hold anything that a terminal obeys."""

from __future__ import annotations

import re

# Whole sequences: CSI; then strings (titles, clipboard, sixel) with their end; then escapes of two bytes or more. The
# last takes what stands before a string without an end, so that the string itself can be read.
_ESCAPES = re.compile(
    r"(?:\x1b\[|\x9b)[0-?]*+[ -/]*+[@-~]"
    r"|(?:\x1b[]PX^_]|[\x90\x98\x9d-\x9f])[^\x00-\x1f\x7f-\x9f]*+(?:\x07|\x1b\\|\x9c)"
    r"|\x1b[ -/]*+[0-~]"
)
_LINE_ENDS = str.maketrans("\n\t", "  ")


def clean(text: object) -> str:
    """A text that can be shown and written. Lines and tabs stay.

    A middle dot stands for each escape sequence, each other control character and whatever else cannot be printed, as
    what turns the direction of writing. Lone surrogates become question marks.
    """
    plain = str(text)
    if plain.isascii() and plain.isprintable():
        return plain
    plain = _ESCAPES.sub("\N{MIDDLE DOT}", plain.encode("utf-8", "replace").decode())
    return "".join(
        c if c.isprintable() or c in "\n\t\N{NO-BREAK SPACE}" else "" if c == "\r" else "\N{MIDDLE DOT}" for c in plain
    )


def one_line(text: object) -> str:
    """The same where only a line is meant: what has lines of its own cannot pose as another message."""
    return clean(text).translate(_LINE_ENDS).rstrip()
