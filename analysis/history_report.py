"""A history's page, Markdown, JSON and pictures."""

from __future__ import annotations

import hashlib
import json
import math
import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import jinja2
import pandas as pd
from markupsafe import Markup

from analysis import plot_history, words
from analysis.canvas import Chart, styled
from analysis.changes import ALARMS, FEWEST, LASTS
from analysis.files import replacing
from analysis.history import History, Moved, Order, histories
from analysis.load import Arm, no_collector
from analysis.sessions import read_sessions
from analysis.style import looks, variables

_TEMPLATES = Path(__file__).parent / "templates"
_FAMILY: Final = "container"  # whose hue the one series has


@dataclass(frozen=True)
class Written:
    """What `write_history` made: the histories, the files, and history.json's content."""

    histories: list[History]
    paths: list[Path]
    document: dict[str, Any]


def write_history(
    paths: Sequence[Path],
    out: Path,
    metrics: Sequence[str] = ("boot",),
    arm: str | None = None,
    by: Order | None = None,
) -> Written:
    """Writes history.html, history.md, history.json and plots/history-NUMBER-METRIC-DIGEST.{svg,png} to `out`.

    See `analysis.sessions.read_sessions` and `analysis.history.histories` for what the arguments mean and for the
    InputErrors; RecordError where the files cannot be written.
    """
    with no_collector():
        read = read_sessions(paths)
        left_out = list(read.left_out)
        found = histories(read.points, metrics, arm, by, left_out)
        look = looks({"series": Arm("series", _FAMILY, "", "", {})})
        css = variables(look)
        colours = {light: f"var({name})" for name, light, _ in css}
        with styled():
            charts = [
                plot_history.draw(one, _file(number, one), look["series"].light, colours)
                for number, one in enumerate(found, start=1)
            ]
        document = {
            "schema": 1,
            "sessions": int(read.points["session"].nunique()),
            "left_out": left_out,
            "histories": [as_dict(one) for one in found],
        }
        page = {
            "found": list(zip(found, charts, strict=True)),
            "sessions": document["sessions"],
            "left_out": left_out,
            "css": css,
            "limits": {"fewest": FEWEST, "lasts": LASTS, "alarms": ALARMS},
        }
        contents = {
            "history.html": _render("history.html.j2", page, escape=True).encode(),
            "history.md": _render("history.md.j2", page, escape=False).encode(),
            "history.json": (json.dumps(document, indent=1, allow_nan=False) + "\n").encode(),
        }
        for drawn in charts:
            contents[f"plots/{drawn.name}.png"] = drawn.png
            contents[f"plots/{drawn.name}.svg"] = _alone(drawn, css).encode()
    for name, content in contents.items():
        with replacing(out / name, within=out) as file:
            file.write(content)
    return Written(found, [out / name for name in contents], document)


def as_dict(history: History) -> dict[str, Any]:
    """A history as history.json has it: values in `unit`, ratios as factors, null for what is not known."""
    points = history.points.to_dict("records")
    return {
        "scenario": history.scenario,
        "metric": history.metric,
        "arm": history.arm,
        "unit": history.unit,
        "better": history.better,
        "by": history.by,
        "along": history.along,
        "normalised_by": history.normalised_by,
        "notes": history.notes,
        "points": [{key: _plain(value) for key, value in point.items()} for point in points],
        "changes": [_change(history, moved) for moved in history.changes],
        "set_aside": set_aside(history).to_dict("records"),
    }


def set_aside(history: History) -> pd.DataFrame:
    """session, started and reason of each session that was set aside."""
    points = history.points
    return points.loc[points["state"] == "set aside", ["session", "started", "reason"]].drop_duplicates("session")


def _change(history: History, moved: Moved) -> dict[str, Any]:
    ratio = moved.change.ratio
    return {
        "point": int(history.used.index[moved.change.at]),
        "session": moved.session,
        "started": moved.started,
        "release": moved.release,
        "session_before": moved.session_before,
        "release_before": moved.release_before,
        "ratio": ratio.point,
        "low": _plain(ratio.low),
        "high": _plain(ratio.high),
        "p": moved.change.p,
        "points_before": moved.change.before,
        "points_after": moved.change.after,
        "moved_alike": moved.alike,
        "other_metrics": moved.others,
        "direction": direction(history, moved),
        "note": moved.note,
    }


def direction(history: History, moved: Moved) -> str:
    """`worse` or `better`."""
    return "worse" if (moved.change.ratio.point > 1) == (history.better == "lower") else "better"


def sentences(history: History) -> list[str]:
    """What a terminal shows: the history in a line, then a line a change, a session set aside and a note."""
    of = f" of {history.arm}" if history.arm else ""
    gone = set_aside(history)
    lines = [
        f"{history.metric}{of}: {words.plural(len(history.changes), 'change')} in "
        f"{words.plural(len(history.points), 'point')} by {order(history)}, "
        f"{words.plural(len(gone), 'session')} set aside, normalised by {history.normalised_by}"
    ]
    for moved in history.changes:
        lines.append(f"  {plot_history.said(moved)} {interval(moved)} {direction(history, moved)}, {basis(moved)}")
    lines += [f"  set aside {row['session']}: {row['reason']}" for row in gone.to_dict("records")]
    return lines + [f"  {note}" for note in history.notes]


def order(history: History) -> str:
    """`commit`, `release (inside one by time)`."""
    return f"{history.by} (inside one by {history.along})" if history.by == "release" else history.by


def interval(moved: Moved) -> str:
    """`[+7.2 %, +9.1 %]`, or that there are too few points for one."""
    ratio = moved.change.ratio
    if not ratio.bounded:
        return "(too few points for an interval)"
    return f"[{plot_history.percent(ratio.low)}, {plot_history.percent(ratio.high)}]"


def basis(moved: Moved) -> str:
    """What a change rests on: points on both sides, p, how many other metrics moved alike, what is to be said."""
    change = moved.change
    text = f"{change.before} points before, {change.after} from there on, p = {change.p:.2g}"
    if moved.others:
        text += f"; {moved.alike} of {words.plural(moved.others, 'other metric')} moved alike"
    return f"{text}; {moved.note}" if moved.note else text


def _plain(value: Any) -> Any:
    """What JSON can hold: null for NaN."""
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _file(number: int, history: History) -> str:
    """A picture's name, without ending: its place and a digest tell alike names apart; long ones are cut."""
    parts = (history.scenario, history.metric)
    plain = "-".join(re.sub(r"[^A-Za-z0-9.]+", "-", part).strip("-.") for part in parts)
    digest = hashlib.sha256("\0".join((*parts, history.arm)).encode()).hexdigest()[:8]
    return "-".join(filter(None, ("history", f"{number:03}", plain.strip("-")[:60].strip("-."), digest)))


def _alone(drawn: Chart, css: list[tuple[str, str, str]]) -> str:
    """The picture as a file of its own, on light paper."""
    svg = drawn.svg.replace(
        "<svg ", '<svg xmlns="http://www.w3.org/2000/svg" font-family="DejaVu Sans, sans-serif" ', 1
    )
    for name, light, _ in css:
        svg = svg.replace(f"var({name})", light)
    head, body = svg.split(">", 1)
    return f'{head}><rect width="100%" height="100%" fill="#ffffff"/>{body}\n'


def _render(template: str, page: dict[str, Any], *, escape: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=escape,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "show": words.show,
        "count": words.plural,
        "md": words.markdown,
        "drawn": Markup,
        "percent": plot_history.percent,
        "interval": interval,
        "order": order,
        "basis": basis,
    }
    environment.globals |= {"direction": direction, "place": plot_history.place}
    return environment.get_template(template).render(page)
