"""What tools inside say: a row a metric, a dot an arm, how many times the baseline's cost it is."""

from __future__ import annotations

import math

from matplotlib.axes import Axes

from analysis.canvas import Chart, chart, figure, quiet_axes, text_width
from analysis.inside import Area
from analysis.load import Arm
from analysis.plot import short
from analysis.style import QUIET, Look

_DOT = 0.15  # inches an arm
_GAP = 0.14  # between metrics
_LEGEND = 0.22
_LONGEST = 26
_MARKS = {"o": "●", "s": "■", "D": "◆", "^": "▲", "v": "▼", "P": "✚", "X": "✖"}
_TICKS = 6
_EVEN = (1.02, 1.05, 1.1, 1.2, 1.5, 2, 3, 5, 10, 20, 50, 100, 200, 500, 1000, 10_000)


def costs(area: Area, arms: dict[str, Arm], looks: dict[str, Look], colours: dict[str, str]) -> Chart:
    """Costs on a logarithmic axis; the baseline is the line at 1."""
    names = [name for name in arms if any(name in row.costs for row in area.rows)]
    rows = _legend_rows([short(arms[name].label) for name in names])
    above, below = _LEGEND * len(rows) + 0.1, 0.46
    body = sum(_DOT * len(row.costs) + _GAP for row in area.rows)
    height = above + body + below
    drawn = figure(height)
    left = 0.03 + max(text_width(_short(row.metric), 8.5) for row in area.rows)
    axes = drawn.add_axes((left, below / height, 0.97 - left, body / height))
    axes.set_xscale("log")
    _axis(axes, area)
    axes.axvline(1, color=QUIET, lw=0.9)
    ticks, middles = 0.0, []
    for row in area.rows:
        top = ticks
        ticks += _GAP / 2
        for name in names:
            if cost := row.costs.get(name):
                ticks += _DOT
                at, look = -(ticks - _DOT / 2), looks[name]
                if cost.bounded:
                    axes.plot([cost.low, cost.high], [at, at], color=look.light, lw=1.3)
                axes.plot([cost.point], [at], look.marker, color=look.light, ms=4.2, mec="none")
        ticks += _GAP / 2
        middles.append(-(top + ticks) / 2)
        axes.axhline(-ticks, color=QUIET, lw=0.3)
    axes.set_ylim(-ticks, 0)
    axes.set_yticks(middles, [_short(row.metric) for row in area.rows])
    quiet_axes(axes, "x")
    for line, legend in enumerate(rows):
        at = left
        for place in legend:
            name = names[place]
            label = short(arms[name].label)
            y = 1 - (_LEGEND * (line + 0.5)) / height
            mark = _MARKS.get(looks[name].marker, "●")
            drawn.text(at, y, mark, color=looks[name].light, fontsize=8, va="center")
            drawn.text(at + 0.025, y, label, color=looks[name].light, fontsize=8.5, va="center")
            at += 0.05 + text_width(label)
    caption = (
        f"{' '.join(area.summaries)} How many times worse than the baseline, with the interval over blocks: longer "
        "where a tool measures time, less where it counts what gets done."
    )
    name = f"inside-{'-'.join(area.name.split())}"
    return chart(name, area.name.capitalize(), caption, drawn, colours)


def _legend_rows(labels: list[str]) -> list[list[int]]:
    rows: list[list[int]] = [[]]
    width = 0.0
    for place, label in enumerate(labels):
        need = 0.05 + text_width(label)
        if rows[-1] and width + need > 0.68:
            rows.append([])
            width = 0.0
        rows[-1].append(place)
        width += need
    return rows


def _axis(axes: Axes, area: Area) -> None:
    """Ticks that keep clear of each other, on both sides of 1."""
    ends = [end for row in area.rows for cost in row.costs.values() for end in (cost.point, cost.low, cost.high)]
    known = [end for end in ends if math.isfinite(end) and end > 0]
    low, high = min([1 / 1.03, *known]), max([1.03, *known])
    axes.set_xlim(low / 1.04, high * 1.04)
    gap = math.log(high / low) / _TICKS
    ticks = [1.0]
    for steps in (_EVEN, [1 / value for value in _EVEN]):
        last = 1.0
        for step in steps:
            if abs(math.log(step / last)) >= gap and low / 1.04 <= step <= high * 1.04:
                ticks.append(step)
                last = step
    axes.set_xticks(ticks, [f"{tick:.3g}×" if tick < 1000 else f"{tick:,.0f}×" for tick in ticks])
    axes.set_xticks([], minor=True)
    axes.set_xlabel("← better · worse →", labelpad=2)


def _short(metric: str) -> str:
    return metric if len(metric) <= _LONGEST else f"{metric[: _LONGEST - 1]}…"
