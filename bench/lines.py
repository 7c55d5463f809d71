"""Lines out of a stream that may bring them in any parts, or never end one."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from bench.units import show_size


class TooLong(OSError):
    """A line longer than any that is expected."""


def split(parts: Iterable[bytes], longest: int) -> Iterator[bytes]:
    """Each whole line, without its end. Raises TooLong; holds no more than the longest line and a part."""
    begun = bytearray()
    for part in parts:
        *whole, rest = part.split(b"\n")
        for line in whole:
            begun += line
            _check(begun, longest)
            yield bytes(begun)
            begun.clear()
        begun += rest
        _check(begun, longest)


def _check(line: bytearray, longest: int) -> None:
    if len(line) > longest:
        raise TooLong(f"a line of more than {show_size(longest)}")
