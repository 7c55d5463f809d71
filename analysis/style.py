"""Colours and lines: one hue a family, one shade and one dash an arm, the same in every chart."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any, Final

from analysis.load import Arm

# Blue, vermilion and bluish green stay apart for the common kinds of colour blindness (after Okabe and Ito).
_HUES: Final = {
    "process": (0.0, 0.0),
    "container": (0.565, 0.85),
    "hypervisor": (0.055, 0.88),
    "uml": (0.44, 0.8),
}
_OTHER = (0.84, 0.45)
_DASHES: Final = (
    "-",
    (0, (4, 1.5)),
    (0, (1.2, 1.2)),
    (0, (5, 1.3, 1.2, 1.3)),
    (0, (8, 2)),
    (0, (2.5, 1, 1, 1, 1, 1)),
)
_MARKERS: Final = "osD^vPX"

# Charts are drawn with the light colours; the page swaps these and the arms' for CSS variables.
INK: Final = "#1c2128"
QUIET: Final = "#656d77"
GRID: Final = "#d9dee3"
PAPER: Final = "#fffffe"

PHASES: Final = ("boot.launch", "boot.setup", "boot.kernel", "boot.init")
PHASE_COLOURS: Final = {
    "boot.launch": ("#d9c7ea", "#7a5f96"),
    "boot.setup": ("#b08fd2", "#9b7cc0"),
    "boot.kernel": ("#8357b3", "#bfa3e0"),
    "boot.init": ("#4b2380", "#e4d6f5"),
}


@dataclass(frozen=True)
class Look:
    """How one arm is drawn: #rrggbb for light and for dark paper, a matplotlib line style, a marker."""

    light: str
    dark: str
    line: Any
    marker: str


def looks(arms: dict[str, Arm]) -> dict[str, Look]:
    """One look an arm; the shades of a family run from dark to light in the order of the arms."""
    families: dict[str, list[str]] = {}
    for arm in arms.values():
        families.setdefault(arm.family, []).append(arm.name)
    found = {}
    for family, names in families.items():
        hue, saturation = _HUES.get(family, _OTHER)
        for place, name in enumerate(names):
            step = place / (len(names) - 1) if len(names) > 1 else 0.5
            found[name] = Look(
                _hex(hue, 0.24 + 0.20 * step, saturation),
                _hex(hue, 0.84 - 0.24 * step, saturation * 0.85),
                _DASHES[place % len(_DASHES)],
                _MARKERS[place % len(_MARKERS)],
            )
    return {name: found[name] for name in arms}


def variables(arm_looks: dict[str, Look]) -> list[tuple[str, str, str]]:
    """(CSS variable, light colour, dark colour) of everything that a chart is drawn with."""
    rows = [
        ("--ink", INK, "#e6e9ee"),
        ("--quiet", QUIET, "#9aa4b0"),
        ("--grid", GRID, "#343b45"),
        ("--paper", PAPER, "#14181d"),
    ]
    rows += [
        (f"--phase-{phase.split('.')[1]}", light, dark) for phase, (light, dark) in PHASE_COLOURS.items()
    ]
    rows += [(f"--arm-{place}", look.light, look.dark) for place, look in enumerate(arm_looks.values())]
    return rows


def _hex(hue: float, lightness: float, saturation: float) -> str:
    parts = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "#" + "".join(f"{round(part * 255):02x}" for part in parts)
