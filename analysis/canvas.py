"""One chart on paper: a matplotlib figure out as inline SVG and as PNG, with labels that keep clear."""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from html import escape
from typing import Any

import matplotlib as mpl

mpl.use("Agg")

from matplotlib.axes import Axes
from matplotlib.figure import Figure

from analysis.style import GRID, INK, PAPER, QUIET

WIDTH = 4.6  # inches; 331 SVG units, so that 8.5 pt stays readable on a 390 px phone
_RC: Any = {
    "svg.fonttype": "none",
    "font.size": 9,
    "font.family": "DejaVu Sans",
    "text.parse_math": False,
    "text.color": INK,
    "axes.edgecolor": GRID,
    "axes.labelcolor": QUIET,
    "xtick.color": QUIET,
    "ytick.color": QUIET,
    "axes.labelsize": 8.5,
    "xtick.labelsize": 8.5,
    "ytick.labelsize": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "axes.grid": True,
    "grid.color": GRID,
    "grid.linewidth": 0.6,
    "axes.axisbelow": True,
    "figure.facecolor": PAPER,
    "axes.facecolor": "none",
    "lines.linewidth": 1.5,
    "xtick.major.size": 0,
    "ytick.major.size": 0,
    "xtick.minor.size": 0,
    "ytick.minor.size": 0,
}


@dataclass(frozen=True)
class Chart:
    """A drawn chart: `name` (its file), what it shows in a few words, why it can be read, its pictures; `said`: what it
    comes to, in a sentence that was computed from the same figures."""

    name: str
    title: str
    caption: str
    svg: str
    png: bytes
    said: str = ""


def styled() -> AbstractContextManager[None]:
    """A context in which figures get the report's style."""
    return mpl.rc_context(_RC)


def figure(height: float) -> Figure:
    """An empty figure of the report's width and `height` inches."""
    return Figure(figsize=(WIDTH, height))


def chart(name: str, title: str, caption: str, drawn: Figure, colours: dict[str, str], alt: str = "") -> Chart:
    """Renders `drawn`; `colours` maps each #rrggbb that the page may change to its CSS variable.

    `alt` is read instead of the picture, by default the title.
    """
    png = io.BytesIO()
    with _any_script():
        drawn.savefig(png, format="png", dpi=150)
    drawn.patch.set_visible(False)
    return Chart(name, title, caption, _inline(_svg(name, drawn), name, alt or title, colours), png.getvalue())


def standalone(name: str, title: str, drawn: Figure) -> str:
    """An SVG file of its own, on light paper."""
    drawn.patch.set_visible(False)
    looks = f"background: {PAPER}; font-family: system-ui, 'DejaVu Sans', sans-serif"
    head = f'<svg xmlns="http://www.w3.org/2000/svg" style="{looks}"'
    return _inline(_svg(name, drawn), name, title, {}).replace("<svg", head, 1) + "\n"


@contextmanager
def _any_script() -> Iterator[None]:
    """A name may be written in a script that the font has not: an SVG says it in the reader's font, a PNG has boxes."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from (current )?font", category=UserWarning)
        yield


def _svg(name: str, drawn: Figure) -> str:
    text = io.StringIO()
    with mpl.rc_context({"svg.hashsalt": name}), _any_script():
        drawn.savefig(text, format="svg", metadata={"Date": None, "Creator": None, "Format": None, "Type": None})
    return text.getvalue()


def _inline(svg: str, name: str, alt: str, colours: dict[str, str]) -> str:
    """The bare <svg> element: scales with the page, its own ids, the page's colours and fonts."""
    svg = svg[svg.index("<svg") :]
    svg = re.sub(r"<metadata>.*?</metadata>|<style.*?</style>", "", svg, flags=re.DOTALL)
    svg = re.sub(r'\b(id="|href="#|url\(#)', rf"\g<1>{name}-", svg)
    svg = svg.replace("font-family: 'DejaVu Sans'; ", "")
    head, body = svg.split(">", 1)
    box = re.search(r'viewBox="[^"]*"', head)
    label = escape(alt, quote=True)
    picture = f'{box[0] if box else ""} role="img" aria-label="{label}"'
    head = f'<svg {picture} xmlns:xlink="http://www.w3.org/1999/xlink"'
    body = re.sub(r"#[0-9a-f]{6}\b", lambda found: colours.get(found[0], found[0]), body)
    return f"{head}>{body}".rstrip()


def spread(wanted: Sequence[float], gap: float, low: float, high: float) -> list[float]:
    """Positions near `wanted`, in the same order, at least `gap` apart and within low…high where they fit."""
    gap = min(gap, (high - low) / max(len(wanted) - 1, 1))
    order = sorted(range(len(wanted)), key=lambda place: wanted[place])
    groups: list[tuple[float, list[int]]] = []
    for place in order:
        centre, members = wanted[place], [place]
        while groups and centre - gap * (len(members) - 1) / 2 < groups[-1][0] + gap * (len(groups[-1][1]) + 1) / 2:
            before, others = groups.pop()
            members = others + members
            centre = (before * len(others) + centre * (len(members) - len(others))) / len(members)
            reach = gap * (len(members) - 1) / 2
            centre = min(max(centre, low + reach), high - reach)
        reach = gap * (len(members) - 1) / 2
        groups.append((min(max(centre, low + reach), high - reach), members))
    found = [0.0] * len(wanted)
    for centre, members in groups:
        for step, place in enumerate(members):
            found[place] = centre + gap * (step - (len(members) - 1) / 2)
    return found


def text_width(text: str, size: float = 8.5) -> float:
    """About how much of a chart's width a text takes, in the widest of the fonts that a page may use."""
    return len(text) * size * 0.62 / 72 / WIDTH


def quiet_axes(axes: Axes, along: str) -> None:
    """Grid lines along one axis only ("x" or "y"), no frame on the other."""
    axes.grid(False, axis="y" if along == "x" else "x")
    axes.spines["left" if along == "x" else "bottom"].set_visible(along != "x")
