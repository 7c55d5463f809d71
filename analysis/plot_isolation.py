"""The heat map of neighbours: a row an arm, a column a resource, a cell how many times as long its tenant took.

Colours are of what lies beyond the fair share: taking turns with a neighbour of equal weight is no harm."""

from __future__ import annotations

import math

import numpy as np
import seaborn as sns
from matplotlib.colors import LinearSegmentedColormap

from analysis.canvas import Chart, chart, figure
from analysis.isolation import Harm, Isolation
from analysis.load import Arm
from analysis.plot import label_room, short
from analysis.style import INK, PAPER

#: From the fair share to five times that, and as far below; what did not finish is as dark as the worst.
_MOST = math.log(5)
_HEAT = LinearSegmentedColormap.from_list("heat", ["#0a5ab4", "#8fc0f6", PAPER, "#f6c78f", "#b4530a"])
_ROW = 0.36


def heat_map(found: Isolation, arms: dict[str, Arm], colours: dict[str, str]) -> Chart | None:
    """None without figures."""
    if not found:
        return None
    cells = [[found.harms.get((arm, kind)) for kind in found.kinds] for arm in found.arms]
    depth = np.array([[_depth(harm) for harm in row] for row in cells], dtype=float)
    texts = np.array([[_text(harm) for harm in row] for row in cells], dtype=object)
    height = 0.55 + _ROW * len(found.arms)
    drawn = figure(height)
    left = label_room(arms, found.arms)
    axes = drawn.add_axes((left, 0.01, 0.99 - left, 1 - 0.5 / height))
    sns.heatmap(
        depth,
        ax=axes,
        mask=np.isnan(depth),
        vmin=-1.0,
        vmax=1.0,
        cmap=_HEAT,
        cbar=False,
        annot=texts,
        fmt="",
        annot_kws={"fontsize": 8.5},
        linewidths=1.5,
        linecolor=PAPER,
        xticklabels=found.kinds,
        yticklabels=[short(arms[arm].label) for arm in found.arms],
    )
    # The dark cells' writing is light on both papers, the others' is dark on both.
    for text, value in zip(axes.texts, depth[~np.isnan(depth)], strict=True):
        text.set_color("#fffffd" if abs(value) > 0.75 else "#1c2129")
    axes.tick_params(axis="x", top=True, labeltop=True, bottom=False, labelbottom=False, labelcolor=INK)
    axes.tick_params(axis="y", rotation=0, labelcolor=INK)
    caption = (
        "How many times as long as alone, right before, a tenant’s request takes beside a neighbour that takes too "
        f"much of one resource: the middle over fresh pairs of instances of one arm. {found.share} White is the fair "
        "share, orange worse, blue better. DNF: did not finish within the time limit."
    )
    alt = f"Heat map: harm by {', '.join(found.kinds)} neighbours to tenants of {len(found.arms)} arms"
    return chart("isolation", "Harm by neighbours", caption, drawn, colours, alt)


def _depth(harm: Harm | None) -> float:
    """0 for the fair share, 1 for five times that and worse; nan where nothing is known."""
    if harm is None:
        return math.nan
    if harm.beyond is None:
        return 1.0
    return min(max(math.log(harm.beyond) / _MOST, -1.0), 1.0)


def _text(harm: Harm | None) -> str:
    if harm is None:
        return ""
    return "DNF" if harm.ratio is None else harm.text
