"""Figures as people read them: three digits, the unit that fits, ratios with their interval."""

from __future__ import annotations

import math
from collections.abc import Iterable

from analysis.estimate import Interval

NBSP = "\N{NO-BREAK SPACE}"  # a figure stays with its unit
_MARKDOWN = {ord(mark): f"&#{ord(mark)};" for mark in "\\`*_[]|<>~#"}
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_SIZES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_RATES = ((1e9, "G/s"), (1e6, "M/s"), (1e3, "k/s"), (1.0, "/s"))
_STREAMS = tuple((scale, f"{name}/s") for scale, name in _SIZES)
_SCALES = {"second": _TIMES, "byte": _SIZES, "operation/s": _RATES, "byte/s": _STREAMS}


def digits(value: float) -> str:
    """Three significant digits without an exponent: 559, 25.0, 8.07, 0.123, 12345."""
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    places = max(0, 2 - math.floor(math.log10(abs(float(f"{value:.2e}")))))
    return f"{value:,.{places}f}"


def show(value: float, unit: str) -> str:
    """A value with its unit: `8.07 ms`, `1.06 MiB`, `75.8 k/s`, `12`, `653,848,153 instr.`."""
    if unit in _SCALES:
        return _scaled(value, _SCALES[unit])
    if unit == "ratio":
        return show_ratio(value)
    if unit == "integer":
        return f"{value:,.0f}" if float(value).is_integer() else digits(value)
    if unit == "instruction":
        return f"{value:,.0f}{NBSP}instr."  # every digit of it counts
    return f"{digits(value)} {unit}".strip()


def _scaled(value: float, units: tuple[tuple[float, str], ...]) -> str:
    size = abs(value) * 1.0005  # 999.9 ms reads better as 1.00 s
    for scale, name in units:
        if size >= scale:
            return f"{digits(value / scale)}{NBSP}{name}"
    scale, name = units[-1]
    return f"{digits(value / scale)}{NBSP}{name}"


def show_tick(value: float, unit: str) -> str:
    """A round value on an axis: `10 ms`, `64 MiB`, `0`."""
    number, _, name = show(value, unit).partition(NBSP)
    return f"{float(number.replace(',', '')):,g} {name}".strip() if value else "0"


def show_ratio(ratio: float) -> str:
    """`1.39×`."""
    return f"{digits(ratio)}×"


def times(ratio: float) -> str:
    """A ratio near 1 with three decimals, others with three digits: `1.004`, `0.0123`, `25.0`."""
    return f"{ratio:.3f}" if 0.0995 <= ratio < 9.9995 else f"{ratio:.3g}" if ratio < 0.01 else digits(ratio)


def show_range(interval: Interval) -> str:
    """`[1.31, 1.47]`, or how many blocks were too few for an interval."""
    if interval.bounded:
        return f"[{digits(interval.low)},{NBSP}{digits(interval.high)}]"
    return f"{plural(interval.count, 'block')}, no interval"


def plural(count: int, word: str) -> str:
    """`1 block`, `2 blocks`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def listed(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *rest, last = [*parts] or [""]
    return f"{', '.join(rest)} and {last}" if rest else last


def markdown(text: object) -> str:
    """A text that is inert in a Markdown table: no cell borders, no line breaks, no tags, no markup."""
    return " ".join(str(text).split()).translate(_MARKDOWN)
