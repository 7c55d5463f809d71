"""Sizes and durations as people write them in campaign files: "128 MiB", "1.5 s"."""

from __future__ import annotations

import re

SIZES = {"B": 1, "KiB": 2**10, "MiB": 2**20, "GiB": 2**30, "kB": 10**3, "MB": 10**6, "GB": 10**9}
TIMES = {"ms": 0.001, "s": 1.0, "min": 60.0}

_QUANTITY = re.compile(r"\s*([0-9]+(?:\.[0-9]+)?)\s*([A-Za-z]+)\s*\Z")


def _parse(text: str, units: dict[str, float] | dict[str, int], example: str) -> float:
    match = _QUANTITY.match(text)
    if match is None or match[2] not in units:
        raise ValueError(f"{text!r} is not a quantity: write a number and one of {', '.join(units)}, like {example!r}")
    value = float(match[1]) * units[match[2]]
    if value <= 0:
        raise ValueError(f"{text!r} must be more than zero")
    return value


def size(text: str) -> int:
    """Bytes in a text like "128 MiB". Raises ValueError, saying what would be right."""
    return int(_parse(text, SIZES, "128 MiB"))


def duration(text: str) -> float:
    """Seconds in a text like "30 s". Raises ValueError, saying what would be right."""
    return _parse(text, TIMES, "30 s")


def show_size(count: float) -> str:
    """"1.5 MiB" for 1572864."""
    sign, count = ("-", -count) if count < 0 else ("", count)
    for unit in ("B", "KiB", "MiB", "GiB"):
        if count < 1024 or unit == "GiB":
            break
        count /= 1024
    return f"{sign}{count:.0f} {unit}" if unit == "B" else f"{sign}{count:.3g} {unit}"


def show_time(seconds: float) -> str:
    """"8.1 ms", "2.35 s" or "3 min 20 s"."""
    if seconds < 1:
        return f"{seconds * 1000:.3g} ms"
    if seconds < 100:
        return f"{seconds:.3g} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s"
