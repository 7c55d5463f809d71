"""Which charts a report has, section by section."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from html import escape

import pandas as pd

from analysis import inside
from analysis.canvas import Chart, styled
from analysis.density import most
from analysis.estimate import good_ramps
from analysis.headline import longest_phases, sentence
from analysis.inside import Area
from analysis.isolation import Isolation
from analysis.load import Loaded
from analysis.matrix import Chosen
from analysis.plot import ecdf, phases, strip
from analysis.plot_density import density
from analysis.plot_inside import costs
from analysis.plot_isolation import heat_map
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
    chosen: Chosen,
    work: list[Area],
    harm: Isolation,
    looks: dict[str, Look],
    colours: dict[str, str],
) -> dict[str, Section]:
    """start, use, density, inside, isolation and firmware charts; a section without figures is empty."""
    arms = loaded.arms
    firmware = "The machine and its firmware until a boot sector writes READY. No Linux runs in it."

    def say(metric: str) -> str:
        return sentence(loaded, chosen, metric)

    with styled():
        drawn: dict[str, Sequence[tuple[str, Chart | None]]] = {
            "start": [
                (say("boot"), ecdf(medians, arms, looks, colours)),
                (longest_phases(loaded, medians), phases(medians, arms, looks, colours)),
            ],
            "use": [
                (say(metric), strip(medians, arms, looks, colours, metric, title, f"{caption}{_DOTS}"))
                for metric, title, caption in _STRIPS
            ],
            "density": [
                (
                    most(loaded, chosen)
                    if each.name == "density-p99"
                    else say(each.name.replace("-", ".", 1))
                    if each.name != "density-boot"
                    else "",
                    each,
                )
                for each in density(good_ramps(loaded), arms, looks, colours)
            ],
            "inside": [(inside.sentence(loaded, area), costs(area, arms, looks, colours)) for area in work],
            "isolation": [("", heat_map(harm, arms, colours))],
            "firmware": [
                (
                    say("firmware"),
                    strip(medians, arms, looks, colours, "firmware", "Firmware-only start", f"{firmware}{_DOTS}"),
                )
            ],
        }
    return {name: [_saying(chart, said) for said, chart in charts if chart] for name, charts in drawn.items()}


def _saying(chart: Chart, said: str) -> Chart:
    """A chart with its sentence, which is also what is read instead of the picture."""
    if not said:
        return chart
    label = f'aria-label="{escape(chart.title, quote=True)}"'
    told = f'aria-label="{escape(f"{chart.title}: {said}", quote=True)}"'
    return replace(chart, said=said, svg=chart.svg.replace(label, told, 1))
