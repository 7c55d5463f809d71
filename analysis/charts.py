"""Which charts a report has, section by section."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd

from analysis.canvas import Chart, styled
from analysis.estimate import Slope, good_ramps
from analysis.load import Loaded
from analysis.plot import ecdf, phases, strip
from analysis.plot_density import density
from analysis.style import Look

Section = list[Chart]

_STRIPS = (
    ("spawn", "Spawn", "The init inside runs /bin/true and tells its exit status. Every family has this."),
    (
        "teardown",
        "Teardown",
        "From the request until the runtime or VMM has ended and every process is reaped.",
    ),
    ("exec", "Exec", "The runtime’s own door (crun exec, lxc-attach …) runs /bin/true in the instance."),
)
_DOTS = " A dot is one instance (the median of its values), the bar the middle half, the line the median."


def chart_sections(
    loaded: Loaded,
    medians: pd.DataFrame,
    slopes: list[Slope],
    looks: dict[str, Look],
    colours: dict[str, str],
) -> dict[str, Section]:
    """start, use, density and firmware charts; a section without figures is empty."""
    arms = loaded.arms
    firmware = "The machine and its firmware until a boot sector writes READY. No Linux runs in it."
    with styled():
        drawn: dict[str, Sequence[Chart | None]] = {
            "start": [ecdf(medians, arms, looks, colours), phases(medians, arms, looks, colours)],
            "use": [
                strip(medians, arms, looks, colours, metric, title, f"{caption}{_DOTS}")
                for metric, title, caption in _STRIPS
            ],
            "density": density(good_ramps(loaded), slopes, arms, looks, colours),
            "firmware": [strip(medians, arms, looks, colours, "firmware", "Firmware-only start", f"{firmware}{_DOTS}")],
        }
    return {name: [chart for chart in charts if chart is not None] for name, charts in drawn.items()}
