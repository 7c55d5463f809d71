"""Sizes and durations as people write them in campaign files: "128 MiB", "1.5 s"."""

from __future__ import annotations

import re
from collections.abc import Mapping
from fractions import Fraction

SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
TIMES: dict[str, int | Fraction] = {"ms": Fraction(1, 1000), "s": 1, "min": 60}

#: The kernel counts bytes to here; more is a slip of the pen.
_MOST = 2**63 - 1

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*\Z")


def _parse(text: str, units: Mapping[str, int | Fraction], least: Fraction, example: str) -> Fraction:
    match = _QUANTITY.match(text)
    if match is None or match[2] not in units:
        known = ", ".join(units)
        raise ValueError(f"{text!r} is not a quantity: write a number and one of {known}, like {example!r}")
    value = Fraction(match[1]) * units[match[2]]
    if value < least:
        raise ValueError(f"{text!r} must be more than zero")
    if value > _MOST:
        raise ValueError(f"{text[:40]!r} is too much")
    return value


def size(text: str) -> int:
    """Bytes in a text like "128 MiB". Raises ValueError, saying what would be right."""
    return int(_parse(text, SIZES, Fraction(1), "128 MiB"))


def duration(text: str) -> float:
    """Seconds in a text like "30 s". Raises ValueError, saying what would be right."""
    return float(_parse(text, TIMES, Fraction(1, 10**9), "30 s"))


def show_size(count: float) -> str:
    """ "1.5 MiB" for 1572864."""
    sign, count = ("-", -count) if count < 0 else ("", count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if round(count) < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{sign}{_three_digits(count)} {unit}"


def show_time(seconds: float) -> str:
    """ "8.1 ms", "2.35 s" or "3 min 20 s"."""
    if seconds < 0.9995:
        return f"{_three_digits(seconds * 1000)} ms"
    if seconds < 99.95:
        return f"{_three_digits(seconds)} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"


def _three_digits(number: float) -> str:
    """Never in powers of ten: 1010, not 1.01e+03."""
    return f"{number:.0f}" if number >= 999.5 else f"{number:.3g}"
