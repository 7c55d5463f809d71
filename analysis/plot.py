"""The charts of starting, using and ending an instance. Density has its own module."""

from __future__ import annotations

import math
from collections.abc import Iterable

import numpy as np
import pandas as pd
import seaborn as sns
from matplotlib.axes import Axes
from matplotlib.ticker import FuncFormatter

from analysis.canvas import Chart, chart, figure, quiet_axes, spread, text_width
from analysis.estimate import median_of
from analysis.headline import phase_shares
from analysis.load import EMULATED, Arm
from analysis.style import INK, PAPER, PHASE_COLOURS, PHASES, QUIET, Look
from analysis.words import show_known, show_tick

_ECDF_STEPS = 300  # a drawn line needs no more; the estimates use every slot
_ECDF_LEFT = 0.105
_DRAWN_DOTS = 80  # an arm
_LABEL = 17  # characters
_JITTER = 1  # seed
_SAME_SCALE = 5.0  # arms whose boots lie closer than this share a panel of phase bars


def ecdf(medians: pd.DataFrame, arms: dict[str, Arm], looks: dict[str, Look], colours: dict[str, str]) -> Chart | None:
    """The share of instances that were ready within a time; one line an arm, flagged at its median."""
    groups = _by_arm(medians, arms, "boot")
    if not groups:
        return None
    flags = 0.175 * len(groups) + 0.1
    height = 2.6 + flags
    drawn = figure(height)
    axes = drawn.add_axes((_ECDF_LEFT, 0.26 / height, 0.8, 2.26 / height))
    for name, values in groups.items():
        ordered = np.sort(values)
        share = np.arange(1, len(ordered) + 1) / len(ordered)
        keep = np.unique(np.linspace(0, len(ordered) - 1, _ECDF_STEPS).round().astype(int))
        look = looks[name]
        x, y = np.concatenate([ordered[:1], ordered[keep]]), np.concatenate([[0.0], share[keep]])
        axes.plot(x, y, drawstyle="steps-post", color=look.light, linestyle=look.line)
    axes.set_xscale("log")
    low, high = min(v.min() for v in groups.values()), max(v.max() for v in groups.values())
    _time_axis(axes, low * 0.85, high * 1.15)
    axes.set_ylim(0, 1)
    axes.set_yticks([0, 0.25, 0.5, 0.75, 1], ["0", "25 %", "50 %", "75 %", "100 %"])
    _flags(axes, groups, flags / 2.26, arms, looks)
    return chart(
        "boot-ecdf",
        "Start-up distributions",
        "Share of instances that were ready within the time on the axis (logarithmic). Each line is one "
        "arm; its "
        "flag stands at its median.",
        drawn,
        colours,
    )


def _flags(
    axes: Axes, groups: dict[str, np.ndarray], room: float, arms: dict[str, Arm], looks: dict[str, Look]
) -> None:
    """A flag on top of each line: the fastest highest, so that no pole crosses a text."""
    ordered = sorted(groups, key=lambda name: float(np.median(groups[name])))
    low, high = np.log(axes.get_xlim())
    wanted = [(np.log(np.median(groups[name])) - low) / (high - low) for name in ordered]
    places = spread(wanted, 0.016, 0.0, 1.0)
    texts = [f"{short(arms[name].label)}  {show_known(median_of(groups[name]), 'second')}" for name in ordered]
    room_right = 1 - _ECDF_LEFT - 0.02
    width = min((room_right - text_width(text)) / max(at, 0.01) for text, at in zip(texts, places, strict=True))
    box = axes.get_position()
    axes.set_position((box.x0, box.y0, min(max(width, 0.45), room_right), box.height))
    for row, (name, text, at, place) in enumerate(zip(ordered, texts, wanted, places, strict=True)):
        colour = looks[name].light
        top = 1 + room * (1 - (row + 0.5) / len(ordered))
        axes.plot(
            [at, place, place],
            [1.0, 1.02, top],
            transform=axes.transAxes,
            color=colour,
            lw=0.7,
            clip_on=False,
        )
        axes.plot([at], [0.5], "o", ms=3.5, color=colour, transform=axes.transAxes)
        axes.text(place + 0.012, top, text, transform=axes.transAxes, color=colour, va="center", fontsize=8.5)


def phases(
    medians: pd.DataFrame, arms: dict[str, Arm], looks: dict[str, Look], colours: dict[str, str]
) -> Chart | None:
    """Each arm's median start, divided by its phases' shares; arms of like size together on one axis."""
    cpu, boot = (
        medians[medians["metric"] == metric].groupby("arm", observed=True)["value"].median()
        for metric in ("boot.cpu", "boot")
    )
    shares = phase_shares(medians)
    table = shares.mul(boot.reindex(shares.index), axis="index").dropna()
    table = table.loc[[name for name in arms if name in table.index]]
    if table.empty:
        return None
    figures = {name: show_known(median_of(each), "second") for name, each in _by_arm(medians, arms, "boot").items()}
    panels = _like_sized(table.sum(axis="columns"))
    rows = sum(len(panel) for panel in panels)
    height = 0.4 + 0.27 * rows + 0.45 * len(panels)
    drawn = figure(height)
    left = label_room(arms, table.index)
    top = height - 0.4
    for panel in panels:
        inches = 0.27 * len(panel)
        axes = drawn.add_axes((left, (top - inches) / height, 0.82 - left, inches / height))
        _bars(axes, table.loc[panel], cpu, figures, arms, looks)
        top -= inches + 0.45
    for place, phase in enumerate(PHASES):
        x = 0.03 + 0.175 * place
        drawn.text(x, 1 - 0.16 / height, "■", color=PHASE_COLOURS[phase][0], fontsize=11, va="center")
        drawn.text(x + 0.035, 1 - 0.16 / height, phase.split(".")[1], fontsize=8.5, va="center")
    drawn.text(0.735, 1 - 0.16 / height, "◆ CPU seconds", fontsize=8.5, va="center", color=INK)
    return chart(
        "boot-phases",
        "Where the start goes",
        "The bar is the median of the whole start, divided as its phases share it (mean over slots). launch: until "
        "the runtime is exec’d or QEMU connects; setup: until the guest kernel’s first byte or the container’s init; "
        "kernel: until the guest’s init; init: the same script everywhere. The diamond is the CPU time that the whole "
        "start cost. Panels have their own scale.",
        drawn,
        colours,
    )


def _bars(
    axes: Axes,
    table: pd.DataFrame,
    cpu: pd.Series,
    figures: dict[str, str],
    arms: dict[str, Arm],
    looks: dict[str, Look],
) -> None:
    totals = table.sum(axis="columns")
    left = pd.Series(0.0, index=table.index)
    places = np.arange(len(table))[::-1]
    for phase in PHASES:
        axes.barh(places, table[phase], left=left, height=0.62, color=PHASE_COLOURS[phase][0])
        left = left + table[phase]
    edge = max(float(totals.max()), *(float(cpu[name]) for name in table.index if name in cpu.index), 0.0)
    for place, name in zip(places, table.index, strict=True):
        if name in cpu.index:
            axes.plot([cpu[name]], [place], "D", ms=4.2, color=INK, mec=PAPER, mew=0.7)
        at = max(float(totals[name]), float(cpu.get(name, 0.0)))
        axes.text(
            at + edge * 0.025,
            place,
            figures[str(name)],
            va="center",
            fontsize=8.5,
        )
    axes.set_yticks(places, [short(arms[str(name)].label) for name in table.index])
    for tick, name in zip(axes.get_yticklabels(), table.index, strict=True):
        tick.set_color(looks[str(name)].light)
    axes.set_ylim(-0.5, len(table) - 0.5)
    axes.set_xlim(0, edge * 1.04)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: show_tick(value, "second")))
    axes.locator_params(axis="x", nbins=4)
    quiet_axes(axes, "x")


def strip(
    medians: pd.DataFrame,
    arms: dict[str, Arm],
    looks: dict[str, Look],
    colours: dict[str, str],
    metric: str,
    title: str,
    caption: str,
) -> Chart | None:
    """Each slot's median as a dot over its arm's quartiles and median, log axis."""
    groups = _by_arm(medians, arms, metric)
    if not groups:
        return None
    height = 0.35 + 0.29 * len(groups)
    drawn = figure(height)
    names = list(groups)
    left = label_room(arms, names)
    axes = drawn.add_axes((left, 0.25 / height, 0.82 - left, 1 - 0.35 / height))
    dots = pd.DataFrame([(n, v) for n in names for v in groups[n][:_DRAWN_DOTS]], columns=["arm", "value"])
    palette = {name: looks[name].light for name in names}
    axes.set_xscale("log")
    np.random.seed(_JITTER)  # of which seaborn draws; one journal is one picture
    sns.stripplot(
        dots,
        x="value",
        y="arm",
        order=names,
        hue="arm",
        hue_order=names,
        palette=palette,
        legend=False,
        ax=axes,
        size=2.6,
        alpha=0.45,
        jitter=0.2,
        log_scale=False,
    )
    axes.set(xlabel="", ylabel="")
    axes.set_yticks(range(len(names)), [short(arms[name].label) for name in names])
    for place, name in enumerate(names):
        colour = looks[name].light
        axes.get_yticklabels()[place].set_color(colour)
        low, middle, high = np.quantile(groups[name], (0.25, 0.5, 0.75))
        axes.barh(place, high - low, left=low, height=0.62, color=colour, alpha=0.22)
        axes.plot([middle, middle], [place - 0.31, place + 0.31], color=colour, lw=1.6)
        axes.text(
            1.02,
            place,
            show_known(median_of(groups[name]), "second"),
            transform=axes.get_yaxis_transform(),
            va="center",
            fontsize=8.5,
        )
    _time_axis(axes, dots["value"].min() * 0.9, dots["value"].max() * 1.1)
    quiet_axes(axes, "x")
    return chart(metric, title, caption, drawn, colours)


def short(label: str) -> str:
    """A label that fits beside a bar. That an arm is emulated is never cut off."""
    name = label.removesuffix(EMULATED)
    end = label[len(name) :]
    room = _LABEL if not end else _LABEL - 4
    return label if len(label) <= _LABEL else f"{name if len(name) <= room else f'{name[: room - 1]}…'}{end}"


def label_room(arms: dict[str, Arm], names: Iterable[object]) -> float:
    """The share of a chart's width that the longest of these arms' labels takes on the left."""
    return 0.03 + max(text_width(short(arms[str(name)].label), 9) for name in names)


def _by_arm(medians: pd.DataFrame, arms: dict[str, Arm], metric: str) -> dict[str, np.ndarray]:
    rows = medians[(medians["metric"] == metric) & (medians["value"] > 0)]
    found = {str(name): values.to_numpy() for name, values in rows.groupby("arm", observed=True)["value"]}
    return {name: found[name] for name in arms if name in found}


def _like_sized(totals: pd.Series) -> list[list[str]]:
    """Arms by size, a new panel where one is more than _SAME_SCALE times the one before."""
    panels: list[list[str]] = []
    before = 0.0
    for name, total in totals.sort_values(kind="stable").items():
        if not panels or total > before * _SAME_SCALE:
            panels.append([])
        panels[-1].append(str(name))
        before = float(total)
    return panels


def _time_axis(axes: Axes, low: float, high: float) -> None:
    """A logarithmic axis from about `low` to about `high` seconds, with two to six ticks at round values."""
    decades = range(math.floor(math.log10(low)) - 1, math.ceil(math.log10(high)) + 1)
    for steps in ((1,), (1, 3), (1, 2, 5), (1, 1.5, 2, 3, 4, 5, 7)):
        round_values = [step * 10.0**decade for decade in decades for step in steps]
        ticks = [value for value in round_values if low <= value <= high]
        if len(ticks) >= 3:
            break
    else:
        ticks = [max(v for v in round_values if v <= low), min(v for v in round_values if v >= high)]
    axes.set_xlim(min(low, ticks[0]), max(high, ticks[-1]))
    axes.set_xticks(ticks, [show_tick(value, "second") for value in ticks])
    axes.set_xticks([], minor=True)
    axes.tick_params(axis="x", colors=QUIET)
