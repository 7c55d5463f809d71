"""Colours and lines: one hue a family, one shade and one dash an arm, the same in every chart."""

from __future__ import annotations

import colorsys
from dataclasses import dataclass
from typing import Any, Final

from analysis.load import Arm

# Blue, vermilion and bluish green stay apart for the common kinds of colour blindness (after Okabe and Ito).
# Hue, saturation, and the contrast with the paper of a family's first and last arm, fit for text (4.5).
_FAMILIES: Final = {
    "process": (0.0, 0.0, 8.5, 5.0),
    "container": (0.565, 0.85, 11.0, 4.7),
    "hypervisor": (0.05, 0.88, 7.5, 4.7),
    "uml": (0.44, 0.85, 5.6, 4.7),
}
_OTHER = (0.84, 0.45, 8.0, 4.7)
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
DARK_PAPER: Final = "#14181d"

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
        hue, saturation, first, last = _FAMILIES.get(family, _OTHER)
        for place, name in enumerate(names):
            step = place / (len(names) - 1) if len(names) > 1 else 0.5
            contrast = first * (last / first) ** step
            found[name] = Look(
                _shade(hue, saturation, PAPER, contrast),
                _shade(hue, saturation * 0.85, DARK_PAPER, contrast),
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
        ("--paper", PAPER, DARK_PAPER),
    ]
    rows += [(f"--phase-{phase.split('.')[1]}", light, dark) for phase, (light, dark) in PHASE_COLOURS.items()]
    rows += [(f"--arm-{place}", look.light, look.dark) for place, look in enumerate(arm_looks.values())]
    return rows


def contrast(first: str, second: str) -> float:
    """WCAG's contrast of two #rrggbb, 1 to 21."""
    low, high = sorted((_luminance(first), _luminance(second)))
    return (high + 0.05) / (low + 0.05)


def _luminance(colour: str) -> float:
    parts = [int(colour[place : place + 2], 16) / 255 for place in (1, 3, 5)]
    red, green, blue = (part / 12.92 if part <= 0.04045 else ((part + 0.055) / 1.055) ** 2.4 for part in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


def _shade(hue: float, saturation: float, paper: str, wanted: float) -> str:
    """The #rrggbb of this hue that has (just) the wanted contrast with the paper."""
    near, far = (1.0, 0.0) if _luminance(paper) > 0.5 else (0.0, 1.0)
    for _ in range(20):
        middle = (near + far) / 2
        if contrast(_hex(hue, middle, saturation), paper) < wanted:
            near = middle
        else:
            far = middle
    return _hex(hue, far, saturation)


def _hex(hue: float, lightness: float, saturation: float) -> str:
    parts = colorsys.hls_to_rgb(hue, lightness, saturation)
    return "#" + "".join(f"{round(part * 255):02x}" for part in parts)
