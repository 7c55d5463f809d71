"""Figures as people read them: three digits, the unit that fits, ratios with their interval."""

from __future__ import annotations

import math
from collections.abc import Iterable

from analysis.estimate import Interval
from bench.text import clean

NBSP = "\N{NO-BREAK SPACE}"  # a figure stays with its unit
_MARKDOWN = {ord(mark): f"&#{ord(mark)};" for mark in "\\`*_[]|<>~#"}
_TIMES = ((1.0, "s"), (1e-3, "ms"), (1e-6, "µs"), (1e-9, "ns"))
_SIZES = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))
_RATES = ((1e9, "G/s"), (1e6, "M/s"), (1e3, "k/s"), (1.0, "/s"))
_STREAMS = tuple((scale, f"{name}/s") for scale, name in _SIZES)
_SCALES = {"second": _TIMES, "byte": _SIZES, "operation/s": _RATES, "byte/s": _STREAMS}


def digits(value: float, figures: int | None = None) -> str:
    """Three significant digits without an exponent: 559, 25.0, 8.07, 0.123, 12345.

    figures: so many that are known; what lies behind them is rounded away, in front of the point too (2: 2,300).
    """
    if value == 0 or not math.isfinite(value):
        return "0" if value == 0 else "–"
    if figures is not None:
        value = float(f"{value:.{figures - 1}e}")
    places = max(0, (figures or 3) - 1 - math.floor(math.log10(abs(float(f"{value:.2e}")))))
    return f"{value:,.{places}f}"


def figures(interval: Interval) -> int:
    """How many digits of a figure are known: two where its interval is wider than 5 %, or where it has none."""
    if not interval.bounded or interval.low <= 0 or interval.high / interval.low > 1.05:
        return 2
    return 3 if interval.high / interval.low > 1.005 else 4


def show(value: float, unit: str, figures: int | None = None) -> str:
    """A value with its unit: `8.07 ms`, `1.06 MiB`, `75.8 k/s`, `12`, `653,848,153 instr.`; figures: as for digits."""
    if unit in _SCALES:
        return _scaled(value, _SCALES[unit], figures)
    if unit == "ratio":
        return show_ratio(value, figures)
    if unit == "integer":
        return f"{value:,.0f}" if float(value).is_integer() else digits(value, figures)
    if unit == "instruction":
        return f"{value:,.0f}{NBSP}instr."  # every digit of it counts
    return f"{digits(value, figures)} {unit}".strip()


def show_known(value: Interval, unit: str) -> str:
    """A value with as many digits as its interval lets be known."""
    return show(value.point, unit, figures(value))


def show_span(low: float, high: float, unit: str) -> str:
    """`0.69 to 0.83 ms`, `5.5 ms to 1.2 s`, or one value where both read alike; two digits each."""
    first, last = show(low, unit, 2), show(high, unit, 2)
    if first == last:
        return last
    scales = {name: scale for scale, name in _SCALES.get(unit, ())}
    (_, _, ours), (_, _, name) = first.partition(NBSP), last.partition(NBSP)
    if ours and ours == name:
        return f"{first.partition(NBSP)[0]} to {last}"
    if name in scales and 0 < low < high <= 100 * low:
        return f"{digits(low / scales[name], 2)} to {last}"
    return f"{first} to {last}"


def span(points: Iterable[float], mark: str = "") -> str:
    """`1.4 to 10`, or one figure where both ends read alike; two digits each, with what stands behind each."""
    known = list(points)
    first, last = (f"{digits(end, 2)}{mark}" for end in (min(known), max(known)))
    return last if first == last else f"{first} to {last}"


def show_share(part: float) -> str:
    """`12 %`, of a fraction: two digits, and none of what rounds to less than a tenth."""
    return f"{digits(100 * part, 2) if part >= 0.0005 else 0}{NBSP}%"


def _scaled(value: float, units: tuple[tuple[float, str], ...], figures: int | None) -> str:
    size = abs(value) * (1 + 0.5 * 10.0 ** (1 - (figures or 4)))  # 999.9 ms reads better as 1.00 s
    for scale, name in units:
        if size >= scale:
            return f"{digits(value / scale, figures)}{NBSP}{name}"
    scale, name = units[-1]
    return f"{digits(value / scale, figures)}{NBSP}{name}"


def scale_of(value: float, unit: str) -> tuple[float, str]:
    """What one of the unit that fits a value is in `unit`, and its name: (0.001, "ms") for 0.02 seconds."""
    units = _SCALES.get(unit, ((1.0, "instr." if unit == "instruction" else "" if unit == "integer" else unit),))
    size = abs(value) * 1.0005
    return next((each for each in units if size >= each[0]), units[-1])


def show_tick(value: float, unit: str, scale: tuple[float, str] | None = None) -> str:
    """Where a tick is on an axis, to the last digit: `10 ms`, `32.5 ms`, `64 MiB`, `0`; scale: as for scale_of."""
    if not value:
        return "0"
    if unit == "ratio":
        return f"{value:,.10g}×"
    size, name = scale or scale_of(value, unit)
    number = float(f"{value / size:.10g}")  # what adding up steps leaves behind the tenth digit is no part of it
    whole = f"{number:,.0f}" if number.is_integer() and abs(number) < 1e15 else f"{number:,.10g}"
    return f"{whole} {name}".strip()


def show_ratio(ratio: float, figures: int | None = None) -> str:
    """`1.39×`."""
    return f"{digits(ratio, figures)}×"


def times(ratio: float) -> str:
    """A ratio near 1 with three decimals, others with three digits: `1.004`, `0.0123`, `25.0`."""
    return f"{ratio:.3f}" if 0.0995 <= ratio < 9.9995 else f"{ratio:.3g}" if ratio < 0.01 else digits(ratio)


def show_times(interval: Interval, pivot: float = 1.0, most: int = 4) -> str:
    """A ratio with as many digits as are known of it: `2,300×`, `1.4×`, `1.03×`; pivot: as for show_range.

    most: so many at most, in sentences; more only where it would read like the pivot.
    """
    return f"{_bound(interval.point, interval, pivot, most)}×"


def show_range(interval: Interval, pivot: float = 1.0) -> str:
    """`[1.3, 1.5]`, or how many blocks were too few for an interval; pivot: what the interval may hold or leave out."""
    if interval.bounded:
        return f"[{_bound(interval.low, interval, pivot)},{NBSP}{_bound(interval.high, interval, pivot)}]"
    return f"{plural(interval.count, interval.unit)}, no interval"


def _bound(end: float, interval: Interval, pivot: float, most: int = 4) -> str:
    """A ratio, or an end of its interval. Where that leaves the pivot out, no rounding may let it reach there."""
    known = min(figures(interval), most)
    if not interval.low <= pivot <= interval.high:
        while known < 6 and float(digits(end, known).replace(",", "")) == pivot:
            known += 1
    return digits(end, known)


def plural(count: int, word: str) -> str:
    """`1 block`, `2 blocks`."""
    return f"{count:,} {word}" if count == 1 else f"{count:,} {word}s"


def listed(parts: Iterable[str]) -> str:
    """`a`, `a and b`, `a, b and c`."""
    *rest, last = [*parts] or [""]
    return f"{', '.join(rest)} and {last}" if rest else last


def markdown(text: object) -> str:
    """A text that is inert in a Markdown table: no cell borders, no line breaks, no tags, no markup."""
    return " ".join(clean(text).split()).translate(_MARKDOWN)
