"""The charts of a density ramp: memory in each of the four views, the start of the n-th instance, tenants' p99."""

from __future__ import annotations

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter, LogLocator, NullFormatter

from analysis.canvas import Chart, chart, figure, spread, text_width
from analysis.estimate import Slope
from analysis.load import Arm
from analysis.plot import short
from analysis.style import Look
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
_DRAWN_STEPS = 300


def density(
    ramps: pd.DataFrame,
    slopes: list[Slope],
    arms: dict[str, Arm],
    looks: dict[str, Look],
    colours: dict[str, str],
) -> list[Chart]:
    """One chart a view that has figures, then the start of the n-th instance, and tenants’ p99; all logarithmic."""
    per_instance = {(slope.arm, slope.view): slope.slope.point for slope in slopes}
    charts = []
    for view, title in VIEW_TITLES.items():
        labels = {arm: show(value, "byte") for (arm, of), value in per_instance.items() if of == view}
        drawn = _curves(
            ramps,
            view,
            "byte",
            labels,
            arms,
            looks,
            colours,
            f"density-{view}",
            title,
            f"{VIEW_CAPTIONS[view]} Beside each curve: the slope, the cost of one more instance.",
        )
        charts += [drawn] if drawn else []
    last = _curves(
        ramps,
        "boot",
        "second",
        {},
        arms,
        looks,
        colours,
        "density-boot",
        "Start of the n-th instance",
        "Time to READY of each instance with all earlier ones still running.",
    )
    work = _curves(
        ramps,
        "p99",
        "second",
        {},
        arms,
        looks,
        colours,
        "density-p99",
        "The slowest tenant’s p99",
        "All tenants work at the same time: within this time 99 in 100 requests of each one are answered.",
    )
    return charts + [each for each in (last, work) if each]


def _curves(
    ramps: pd.DataFrame,
    column: str,
    unit: str,
    labels: dict[str, str],
    arms: dict[str, Arm],
    looks: dict[str, Look],
    colours: dict[str, str],
    name: str,
    title: str,
    caption: str,
) -> Chart | None:
    rows = ramps[(ramps[column] > 0) & (ramps["n"] > 0)]
    if rows.empty:
        return None
    drawn = figure(3.0)
    axes = drawn.add_axes((0.145, 0.135, 0.8, 0.85))
    axes.set_xscale("log")
    axes.set_yscale("log")
    ends: list[tuple[str, float, float]] = []
    for arm in arms:
        for _, curve in rows[rows["arm"] == arm].groupby(["run", "slot"], sort=False):
            look = looks[arm]
            keep = np.unique(np.linspace(0, len(curve) - 1, _DRAWN_STEPS).round().astype(int))
            points = curve.iloc[keep]
            marker = look.marker if len(points) <= 40 else ""
            axes.plot(
                points["n"],
                points[column],
                color=look.light,
                linestyle=look.line,
                marker=marker,
                ms=2.8,
                mec="none",
            )
            last = (arm, float(points["n"].iloc[-1]), float(points[column].iloc[-1]))
        if (rows["arm"] == arm).any():
            ends.append(last)
    axes.set_xlim(0.93, rows["n"].max() * 1.07)
    _axes(axes, unit, rows)
    _end_labels(axes, ends, labels, unit, arms, looks)
    return chart(name, title, caption, drawn, colours)


def _end_labels(
    axes: Axes,
    ends: list[tuple[str, float, float]],
    labels: dict[str, str],
    unit: str,
    arms: dict[str, Arm],
    looks: dict[str, Look],
) -> None:
    texts = [f"{short(arms[arm].label)}  {labels.get(arm, show(value, unit))}" for arm, _, value in ends]
    box = axes.get_position()
    room = 0.035 + max(text_width(text) for text in texts)
    axes.set_position((box.x0, box.y0, 1 - box.x0 - room, box.height))
    low, high = np.log(axes.get_ylim())
    wanted = [(np.log(value) - low) / (high - low) for _, _, value in ends]
    first, last = np.log(axes.get_xlim())
    places = spread(wanted, 0.058, 0.02, 0.98)
    for (arm, n, _), text, height, place in zip(ends, texts, wanted, places, strict=True):
        colour = looks[arm].light
        at = (np.log(n) - first) / (last - first)
        axes.plot(
            [at, 1.0, 1.025],
            [height, height, place],
            transform=axes.transAxes,
            color=colour,
            lw=0.6,
            ls=":" if at < 0.9 else "-",
            clip_on=False,
        )
        axes.text(1.035, place, text, transform=axes.transAxes, color=colour, va="center", fontsize=8.5)


def _axes(axes: Axes, unit: str, rows: pd.DataFrame) -> None:
    largest = rows["n"].max()
    steps = [n for n in (1, 2, 5, 10, 20, 50, 100, 200, 500, 1000, 2000, 5000, 10000) if n <= largest * 1.02]
    steps = steps if len(steps) <= 6 else [n for n in steps if str(n)[0] == "1"]
    axes.set_xticks(steps, [f"{n:,}" for n in steps])
    axes.xaxis.set_minor_locator(LogLocator(base=10, subs=()))
    axes.set_xlabel("instances running", labelpad=2)
    if unit == "byte":
        axes.yaxis.set_major_locator(LogLocator(base=4))
    low, high = axes.get_ylim()
    if unit == "second":
        axes.yaxis.set_major_locator(LogLocator(base=10, subs=(1.0,) if high / low > 30 else (1.0, 2.0, 5.0)))
    axes.yaxis.set_minor_locator(LogLocator(base=10, subs=()))
    axes.yaxis.set_minor_formatter(NullFormatter())
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: show_tick(value, unit)))
