"""A comparison as a forest plot: each metric's ratio with its interval, over the band of ±δ that counts as the same."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes

from analysis.canvas import figure, quiet_axes, standalone, styled, text_width
from analysis.comparison import Comparison
from analysis.style import GRID, INK, QUIET
from analysis.words import times
from bench.text import one_line

#: Verdicts differ in shape and in word, not only in colour.
_LOOKS: Final = {
    "regressed": ("#b03a00", "^"),
    "improved": ("#00674e", "v"),
    "equivalent": (INK, "s"),
    "inconclusive": (QUIET, "o"),
}
_ROW: Final = 0.19  # inches
_DRAWN: Final = 240
_LONGEST: Final = 26
_TICKS: Final = 6
_EVEN_STEPS: Final = (0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


def forest(comparison: Comparison) -> str:
    """The plot as an SVG file: what gates first. Of very many metrics those that moved most are drawn."""
    table = comparison.table
    hidden = max(len(table) - _DRAWN, 0)
    if hidden:
        keep = np.log(table["ratio"]).abs().sort_values(ascending=False, kind="stable").index[:_DRAWN]
        table = table.loc[sorted(keep)]
    with styled():
        return _draw(comparison, table, hidden)


def _draw(comparison: Comparison, table: pd.DataFrame, hidden: int) -> str:
    names = [
        _short(comparison.label(*where)) for where in zip(table["arm"], table["scenario"], table["metric"], strict=True)
    ]
    words = [
        f"{times(ratio)} {kind}" if gates else f"{times(ratio)} ({kind})"
        for ratio, kind, gates in zip(table["ratio"], _kinds(table), table["gates"], strict=True)
    ]
    above, below = 0.55, 0.6
    height = above + below + _ROW * len(table)
    drawn = figure(height)
    left = 0.03 + max((text_width(name, 8) for name in names), default=0.0)
    right = 0.02 + max((text_width(word, 8) for word in words), default=0.0)
    axes = drawn.add_axes((left, below / height, max(1 - left - right, 0.2), 1 - (above + below) / height))
    places = np.arange(len(table))[::-1]
    margin = 1 + table["delta"].to_numpy(dtype=float)
    if len(table):  # nothing may be in common but limits
        axes.barh(places, margin - 1 / margin, left=1 / margin, height=0.9, color=GRID, alpha=0.6)
    axes.axvline(1, color=QUIET, lw=0.8)
    for kind, (colour, marker) in _LOOKS.items():
        chosen = (table["kind"] == kind).to_numpy()
        rows = table[chosen]
        axes.hlines(places[chosen], rows["low"], rows["high"], color=colour, lw=1.3)
        axes.plot(rows["ratio"], places[chosen], marker, color=colour, ms=4.5, label=kind)
    for place, word, kind in zip(places, words, table["kind"], strict=True):
        colour = _LOOKS[kind][0]
        axes.text(1.02, place, word, transform=axes.get_yaxis_transform(), va="center", fontsize=8, color=colour)
    axes.set_yticks(places, names, fontsize=8)
    axes.set_ylim(-0.6, len(table) - 0.4)
    axes.set_xscale("log")
    ends = [*table["low"].dropna(), *table["high"].dropna(), *table["ratio"], *margin, *(1 / margin)]
    _ratio_axis(axes, min(ends, default=0.97), max(ends, default=1.03))
    quiet_axes(axes, "x")
    drawn.text(0.02, 1 - 0.14 / height, "NEW ÷ BASE, 95 % interval, band ±δ", fontsize=9, va="center", color=INK)
    told = f"NEW {_short(one_line(comparison.sides.new), 60)} · BASE {_short(one_line(comparison.sides.base), 60)}"
    drawn.text(
        0.02, 1 - 0.34 / height, told, fontsize=min(8.0, 8 * 0.95 / text_width(told, 8)), va="center", color=QUIET
    )
    small = ["(in brackets): only informs"] + [f"{hidden} metrics that moved less are not drawn"] * bool(hidden)
    if comparison.sides.design != "blocks":
        small.append("not interleaved: drift counts as a difference")
    drawn.text(0.02, 0.14 / height, " · ".join(small), fontsize=7, va="center", color=QUIET)
    return standalone("forest", "Ratios of NEW to BASE with their intervals", drawn)


def _kinds(table: pd.DataFrame) -> list[str]:
    return [
        f"{kind} within ±δ" if within else kind for kind, within in zip(table["kind"], table["within"], strict=True)
    ]


def _short(text: str, longest: int = _LONGEST) -> str:
    return text if len(text) <= longest else f"…{text[1 - longest :]}"


def _ratio_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis of ratios with at most six round ticks."""
    pad = (high / low) ** 0.04
    low, high = low / pad, high * pad
    ticks = _even(low, high) if high / low < 3 else _decades(low, high)
    axes.set_xlim(low, high)
    axes.set_xticks(ticks, [f"{tick:g}" for tick in ticks], fontsize=8)
    axes.set_xticks([], minor=True)
    axes.tick_params(axis="x", colors=QUIET)


def _even(low: float, high: float) -> list[float]:
    for step in _EVEN_STEPS:
        ticks = [round(place * step, 6) for place in range(math.ceil(low / step), math.floor(high / step) + 1)]
        if len(ticks) <= _TICKS:
            break
    return ticks


def _decades(low: float, high: float) -> list[float]:
    powers = range(math.floor(math.log10(low)), math.ceil(math.log10(high)) + 1)
    for steps in ((1, 1.5, 2, 3, 4, 5, 7), (1, 2, 5), (1, 3), (1,)):
        ticks = [step * 10.0**power for power in powers for step in steps if low <= step * 10.0**power <= high]
        if len(ticks) <= _TICKS:
            break
    return ticks[:: math.ceil(len(ticks) / _TICKS)]
