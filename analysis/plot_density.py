"""Charts of a density ramp: memory for each instance in four views, the start of the n-th instance, tenants' p99."""

from __future__ import annotations

import math
from typing import Final

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, MaxNLocator, NullFormatter

from analysis.canvas import Chart, chart, figure, spread, text_width
from analysis.load import Arm
from analysis.plot import short
from analysis.style import QUIET, Look
from analysis.words import show, show_tick

VIEW_TITLES = {
    "memavailable": "Host: MemAvailable delta",
    "cage": "Cage: cgroup memory",
    "pss": "Processes: PSS sum",
    "guest": "Guest’s own view",
}
VIEW_CAPTIONS = {
    "memavailable": "What the host lost since no instance ran: everything counts, whoever it is charged to.",
    "cage": "What the instances’ cgroups are charged for: anonymous, file and kernel memory.",
    "pss": "Proportional set size of the cage’s processes, each address space counted once.",
    "guest": "What the systems inside say they use (guests only).",
}
_PER_INSTANCE = (
    "For each instance: all of it ÷ the instances running; what the first one pays for all falls off to the right. The "
    "figure is that at the largest N. Axes are linear, and panels have their own scale."
)
_DRAWN_STEPS = 300
_SAME_SCALE: Final = 5.0  # arms whose figures lie closer than this share a panel
_LABEL: Final = 0.18  # inches
_UNITS: Final = ((2.0**30, "GiB"), (2.0**20, "MiB"), (2.0**10, "KiB"), (1.0, "B"))

Points = dict[str, list[pd.DataFrame]]


def density(ramps: pd.DataFrame, arms: dict[str, Arm], looks: dict[str, Look], colours: dict[str, str]) -> list[Chart]:
    """One chart a view that has figures, then the start of the n-th instance, and tenants’ p99."""
    ramps = ramps[ramps["n"] > 0]
    charts = [_memory(ramps, view, arms, looks, colours) for view in VIEW_TITLES if ramps[view].notna().any()]
    if (ramps["boot"] > 0).any():
        caption = "Time to READY of each instance with all earlier ones still running (logarithmic)."
        charts.append(_seconds(ramps, "boot", "Start of the n-th instance", caption, arms, looks, colours))
    if (ramps["p99"] > 0).any():
        caption = "All tenants work at the same time: within this time 99 in 100 requests of each one are answered."
        charts.append(_seconds(ramps, "p99", "The slowest tenant’s p99", caption, arms, looks, colours))
    return charts


def _memory(
    ramps: pd.DataFrame, view: str, arms: dict[str, Arm], looks: dict[str, Look], colours: dict[str, str]
) -> Chart:
    """Memory ÷ instances over instances, in a panel for arms of like size; nothing is left out, below zero neither."""
    rows = _per_instance(ramps, view)
    curves = _curves(rows, arms)
    last = {arm: float(each[-1]["value"].iloc[-1]) for arm, each in curves.items()}
    panels = _panels(last)
    heights = [max(0.95, _LABEL * len(panel) + 0.2) for panel in panels]
    gap, below = 0.3, 0.42
    height = sum(heights) + gap * len(panels) + below
    drawn = figure(height)
    texts = {arm: f"{short(arms[arm].label)}  {show(value, 'byte', 2)}" for arm, value in last.items()}
    room = 0.035 + max(text_width(text) for text in texts.values())
    largest = float(rows["n"].max())
    top = height - gap * 0.6
    for panel, inches in zip(panels, heights, strict=True):
        axes = drawn.add_axes((0.155, (top - inches) / height, 0.845 - room, inches / height))
        _panel(axes, {arm: curves[arm] for arm in panel}, largest, looks)
        ends = [(arm, float(curves[arm][-1]["n"].iloc[-1]), last[arm]) for arm in panel]
        _end_labels(axes, ends, texts, looks, _LABEL / inches)
        top -= inches + gap
    axes.set_xlabel("instances running", labelpad=2)
    caption = f"{VIEW_CAPTIONS[view]} {_PER_INSTANCE}"
    return chart(f"density-{view}", VIEW_TITLES[view], caption, drawn, colours)


def _per_instance(ramps: pd.DataFrame, view: str) -> pd.DataFrame:
    """`value`: memory ÷ instances; every step that has a figure, whatever that is."""
    rows = ramps.dropna(subset=[view])
    return rows.assign(value=rows[view] / rows["n"])


def _panel(axes: Axes, curves: Points, largest: float, looks: dict[str, Look]) -> None:
    values = np.concatenate([curve["value"].to_numpy() for each in curves.values() for curve in each])
    low, high = min(float(values.min()), 0.0), max(float(values.max()), 0.0)
    pad = 0.06 * ((high - low) or 1.0)
    _draw(axes, curves, looks)
    axes.set_ylim(low - (pad if low < 0 else 0.0), high + pad)
    if low < 0:
        axes.axhline(0, color=QUIET, lw=0.7)
    axes.set_xlim(min(0.5, 1 - 0.04 * largest), largest * 1.04)
    scale, name = next((unit for unit in _UNITS if max(high, -low) >= unit[0]), _UNITS[-1])
    ticks = MaxNLocator(nbins=3, steps=[1, 2, 5, 10]).tick_values(low / scale, high / scale)
    kept = [tick for tick in ticks if low - pad <= tick * scale <= high + pad]
    axes.set_yticks([tick * scale for tick in kept], [f"{tick:g} {name}" if tick else "0" for tick in kept])
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))


def _seconds(
    ramps: pd.DataFrame,
    column: str,
    title: str,
    caption: str,
    arms: dict[str, Arm],
    looks: dict[str, Look],
    colours: dict[str, str],
) -> Chart:
    rows = ramps[ramps[column] > 0]
    curves = _curves(rows.assign(value=rows[column]), arms)
    last = {arm: float(each[-1]["value"].iloc[-1]) for arm, each in curves.items()}
    texts = {arm: f"{short(arms[arm].label)}  {show(value, 'second', 2)}" for arm, value in last.items()}
    room = 0.035 + max(text_width(text) for text in texts.values())
    drawn = figure(3.0)
    axes = drawn.add_axes((0.145, 0.135, 0.855 - room, 0.85))
    axes.set_yscale("log")
    _draw(axes, curves, looks)
    largest = float(rows["n"].max())
    axes.set_xlim(min(0.5, 1 - 0.04 * largest), largest * 1.04)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=6, integer=True))
    low, high = axes.get_ylim()
    axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(LogLocator(base=10, subs=()))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: show_tick(value, "second")))
    ends = [(arm, float(curves[arm][-1]["n"].iloc[-1]), value) for arm, value in last.items()]
    _end_labels(axes, ends, texts, looks, 0.058)
    axes.set_xlabel("instances running", labelpad=2)
    return chart(f"density-{column}", title, caption, drawn, colours)


def _curves(rows: pd.DataFrame, arms: dict[str, Arm]) -> Points:
    """By arm, each of its ramps, with as many steps as are drawn."""
    found: Points = {}
    for arm in arms:
        for _, curve in rows[rows["arm"] == arm].groupby(["run", "slot"], sort=False):
            keep = np.unique(np.linspace(0, len(curve) - 1, _DRAWN_STEPS).round().astype(int))
            found.setdefault(arm, []).append(curve.iloc[keep])
    return found


def _panels(last: dict[str, float]) -> list[list[str]]:
    """Arms by size, largest first, a new panel where one is more than _SAME_SCALE times smaller than the one before.

    What is zero or less lies with the smallest.
    """
    panels: list[list[str]] = []
    before = math.inf
    for arm, value in sorted(last.items(), key=lambda item: -item[1]):
        if not panels or (value > 0 and value * _SAME_SCALE < before):
            panels.append([])
        panels[-1].append(arm)
        before = value if value > 0 else before
    return panels


def _draw(axes: Axes, curves: Points, looks: dict[str, Look]) -> None:
    for arm, each in curves.items():
        look = looks[arm]
        for points in each:
            axes.plot(
                points["n"],
                points["value"],
                color=look.light,
                linestyle=look.line,
                marker=look.marker if len(points) <= 40 else "",
                ms=2.8,
                mec="none",
            )


def _end_labels(
    axes: Axes, ends: list[tuple[str, float, float]], texts: dict[str, str], looks: dict[str, Look], gap: float
) -> None:
    """Each curve's name and last figure beside its end, clear of the others'."""
    low, high = axes.get_ylim()
    place = np.log if axes.get_yscale() == "log" else lambda value: value
    wanted = [float((place(value) - place(low)) / (place(high) - place(low))) for _, _, value in ends]
    first, last = axes.get_xlim()
    places = spread(wanted, gap, 0.02, 0.98)
    for (arm, n, _), height, at_label in zip(ends, wanted, places, strict=True):
        colour = looks[arm].light
        at = (n - first) / (last - first)
        axes.plot(
            [at, 1.0, 1.025],
            [height, height, at_label],
            transform=axes.transAxes,
            color=colour,
            lw=0.6,
            ls=":" if at < 0.9 else "-",
            clip_on=False,
        )
        axes.text(1.035, at_label, texts[arm], transform=axes.transAxes, color=colour, va="center", fontsize=8.5)
