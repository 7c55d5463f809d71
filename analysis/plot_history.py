"""The picture of a history: a mark a session, the levels between change points, a flag at each change."""

from __future__ import annotations

from collections.abc import Mapping
from itertools import groupby, pairwise
from typing import Any, Final

import numpy as np
from matplotlib.axes import Axes
from matplotlib.ticker import MaxNLocator

from analysis.canvas import Chart, chart, figure, quiet_axes, spread, text_width
from analysis.history import History, Moved
from analysis.style import INK, PAPER, QUIET
from analysis.words import listed, plural, scale_of, show, show_tick

_LEFT, _WIDTH = 0.16, 0.80  # of the figure
_PANEL, _BELOW, _FLAG = 2.1, 0.62, 0.175  # inches
_MARKS: Final = {"used": ("o", "in use"), "set aside": ("s", "session set aside"), "apart": ("D", "alone far off")}


def draw(history: History, name: str, colour: str, colours: dict[str, str]) -> Chart:
    """The chart `name` of a history, in `colour`; what lies far above or below is drawn at the edge, with an arrow."""
    points, used = history.points, history.used
    top = _FLAG * len(history.changes) + 0.1
    height = _BELOW + _PANEL + top
    drawn = figure(height)
    axes = drawn.add_axes((_LEFT, _BELOW / height, _WIDTH, _PANEL / height))
    low, high = used["normalised"].min(), used["normalised"].max()
    margin = max((high - low) * 0.12, high * 0.01)
    low, high = low - margin, high + margin
    axes.set_ylim(low, high)
    axes.set_xlim(-0.7, len(points) - 0.3)
    size = float(np.clip(200 / len(points), 2.4, 4.5))
    for state, (marker, _) in _MARKS.items():
        rows = points[points["state"] == state]
        face = colour if state == "used" else PAPER
        within = rows["normalised"].clip(low, high)
        axes.plot(rows.index, within, marker, ms=size + (state != "used"), mfc=face, mec=colour, mew=1, clip_on=False)
        first = ~rows["session"].duplicated()
        for at, row in zip(rows.index, rows.to_dict("records"), strict=True):
            if text := _aside(row, low, high, history.unit, first=first[at]):
                right, below = int(at) < len(points) / 2, row["normalised"] > (low + high) / 2
                axes.annotate(
                    text,
                    (int(at), within[at]),
                    (3 if right else -3, -9 if below else 9),
                    textcoords="offset points",
                    ha="left" if right else "right",
                    va="center",
                    fontsize=7.5,
                    color=QUIET,
                )
    _levels(axes, history, colour)
    _flags(axes, history, top / _PANEL)
    _ticks(axes, history)
    _scale(axes, history.unit)
    axes.tick_params(axis="y", labelsize=8.5)
    quiet_axes(axes, "y")
    axes.spines["bottom"].set_visible(True)
    shown = [state for state in _MARKS if (points["state"] == state).any()]
    at = 0.03
    for state in shown:
        marker, text = _MARKS[state]
        face = colour if state == "used" else PAPER
        line = drawn.add_axes((at, 0.08 / height, 0.03, 0.12 / height))
        line.axis("off")
        line.plot([0.5], [0.5], marker, ms=4.5, mfc=face, mec=colour, mew=1)
        drawn.text(at + 0.04, 0.14 / height, text, fontsize=8.5, va="center")
        at += 0.07 + text_width(text)
    title = f"{history.metric} of {history.arm}" if history.arm else history.metric
    return chart(name, title, caption(history), drawn, colours, alternative(history))


def _scale(axes: Axes, unit: str) -> None:
    """Ticks at round values of the unit that is shown, one unit for all of them."""
    low, high = axes.get_ylim()
    scale = scale_of(high, unit)
    ticks = MaxNLocator(nbins=6, steps=[1, 2, 2.5, 5, 10]).tick_values(low / scale[0], high / scale[0])
    shown = [float(tick) for tick in np.asarray(ticks) * scale[0] if low <= tick <= high]
    axes.set_yticks(shown, [show_tick(tick, unit, scale) for tick in shown])


def _aside(row: Mapping[Any, Any], low: float, high: float, unit: str, *, first: bool) -> str:
    """What stands beside a mark: its value where that is beyond the axis; how slow a host was, once a session."""
    beyond = "↑" if row["normalised"] > high else "↓" if row["normalised"] < low else ""
    value = f"{beyond} {show(row['normalised'], unit)}" if beyond else ""
    return f"host {row['factor']:.1f}× {value}".rstrip() if row["state"] == "set aside" and first else value


def caption(history: History) -> str:
    """What is drawn, in sentences."""
    orders = {"commit": "their commits", "time": "time", "name": "their names"}
    order = f"release, in a release of {orders[history.along]}" if history.by == "release" else orders[history.along]
    by = history.normalised_by
    whose = "what all other metrics have in common in its session" if by == "session" else f"the {by}"
    normalised = "not host-normalised" if by.startswith("nothing") else f"divided by {whose}"
    return (
        f"A mark is one session’s median{' with one release' if history.by == 'release' else ''}, {normalised}; in the "
        f"order of {order}. A line is the level (median) between change points; hollow marks count for nothing. The "
        "axis need not start at 0."
    )


def alternative(history: History) -> str:
    """The picture in words, for those who do not see it."""
    states = history.points["state"].value_counts()
    kinds = {"set aside": "of a session set aside", "apart": "alone far off"}
    gone = [f"{states[state]} {text}" for state, text in kinds.items() if state in states]
    found = "; ".join(said(moved) for moved in history.changes)
    return (
        f"{history.metric} over {plural(len(history.points), 'point')}{', ' + listed(gone) if gone else ''}. "
        f"{plural(len(history.changes), 'change')}{': ' + found if found else ''}."
    )


def said(moved: Moved) -> str:
    """`6.1.0-53: +8.1 %`: where a change is first seen, and its size."""
    return f"{place(moved.release, moved.session, moved.when)}: {percent(moved.change.ratio.point)}"


def place(release: str, session: str, when: str) -> str:
    """How a point is named where there is little room: by release, by day, by session."""
    name = release or when[:10] or session
    return name if len(name) <= 24 else f"…{name[-23:]}"


def percent(ratio: float) -> str:
    """`+8.1 %`, `−0.42 %`, `+120 %`; doubling is +100 %."""
    change = 100 * (ratio - 1)
    digits = 0 if abs(change) >= 100 else 1 if abs(change) >= 1 else 2
    return f"{'−' if change < 0 else '+'}{abs(change):.{digits}f}\N{NO-BREAK SPACE}%"


def _levels(axes: Axes, history: History, colour: str) -> None:
    used = history.used
    ends = [0, *(moved.change.at for moved in history.changes), len(used)]
    for start, end in pairwise(ends):
        rows = used.iloc[start:end]
        level = float(rows["normalised"].median())
        axes.plot([rows.index[0] - 0.4, rows.index[-1] + 0.4], [level, level], color=colour, lw=1.6)


def _flags(axes: Axes, history: History, room: float) -> None:
    """A pole at each change and its text above the panel, the first highest; a text goes where there is room."""
    used, count = history.used, len(history.changes)
    low, high = axes.get_xlim()
    wanted = [(used.index[moved.change.at] - 0.5 - low) / (high - low) for moved in history.changes]
    places = spread(wanted, 0.012, 0.0, 1.0)
    for row, (moved, at, pole) in enumerate(zip(history.changes, wanted, places, strict=True)):
        top = 1 + room * (1 - (row + 0.5) / count)
        axes.plot(
            [at, at, pole, pole],
            [0, 1, 1.02, top],
            transform=axes.transAxes,
            color=INK,
            lw=0.8,
            ls=(0, (2, 1.5)),
            clip_on=False,
        )
        text = said(moved)
        fits = pole + text_width(text) / _WIDTH < 1.04
        axes.text(
            pole + (0.012 if fits else -0.012),
            top,
            text,
            transform=axes.transAxes,
            va="center",
            ha="left" if fits else "right",
            fontsize=8.5,
            bbox={"facecolor": PAPER, "edgecolor": "none", "pad": 0.5},
        )


def _ticks(axes: Axes, history: History) -> None:
    """The name of each release, or of some days, under the middle of its points, as many as there is room for."""
    points = history.points
    of_release = history.by == "release"
    names = [
        place(row["release"] if of_release else "", row["session"], row["when"]) for row in points.to_dict("records")
    ]
    groups = [(name, [at for at, _ in members]) for name, members in groupby(enumerate(names), key=lambda p: p[1])]
    slanted = of_release and len(groups) > 3
    widest = 0.035 if slanted else max(text_width(name) for name, _ in groups) * 1.15
    step = max(int(np.ceil(len(groups) * widest / _WIDTH)), 1)
    shown = groups[::step]
    axes.set_xticks([float(np.mean(members)) for _, members in shown], [name for name, _ in shown])
    axes.tick_params(axis="x", labelsize=7.5 if slanted else 8.5, labelrotation=30 if slanted else 0)
    if slanted:
        for label in axes.get_xticklabels():
            label.set_horizontalalignment("right")
    if of_release:
        for _, members in groups[1:]:
            axes.axvline(members[0] - 0.5, color=QUIET, lw=0.3, alpha=0.5)
