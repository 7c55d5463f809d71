"""A comparison in writing: a table for a terminal, Markdown for a pull request, JUnit XML for a CI."""

from __future__ import annotations

import math
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final
from xml.etree import ElementTree as xml

import pandas as pd
from rich.console import Console
from rich.table import Table
from rich.text import Text

from analysis import absolute
from analysis.absolute import Held
from analysis.comparison import Comparison, Gate, failing, geometric_means
from analysis.judge import mde_told, percent
from analysis.words import markdown, plural, show, times
from bench.text import clean, one_line

Row = dict[str, Any]

_STYLES: Final = {"regressed": "bold red", "improved": "green", "equivalent": "", "inconclusive": "yellow"}
_LIMIT_HEADS: Final = ("metric", "limit", "NEW", "90 % interval", "verdict")
_LIMIT_STYLES: Final = {"kept": "", "broken": "bold red", "unproved": "yellow"}
_WORDS: Final = {0: "PASSED", 1: "REGRESSED", 3: "NOT PROVED"}


def documents(
    comparison: Comparison,
    outcome: Gate | None,
    md: Path | None = None,
    svg: Path | None = None,
    junit: Path | None = None,
) -> dict[Path, str]:
    """The files that were asked for."""
    contents: dict[Path, str] = {}
    if md is not None:
        contents[md] = as_markdown(comparison, outcome)
    if svg is not None:
        from analysis.plot_forest import forest  # matplotlib takes a second, and most comparisons draw nothing

        contents[svg] = forest(comparison)
    if junit is not None and outcome is not None:
        contents[junit] = as_junit(comparison, outcome)
    return contents


def on_screen(comparison: Comparison, outcome: Gate | None, console: Console | None = None) -> None:
    """Prints a comparison in 80 columns: what gates, what only informs, why anything is inconclusive, the notes."""
    console = console or Console(highlight=False, emoji=False, markup=False)
    console.print(f"BASE {one_line(comparison.sides.base)}\nNEW  {one_line(comparison.sides.new)}", soft_wrap=True)
    for title, rows in _parts(comparison):
        console.print()
        console.print(_table(comparison, title, rows))
    if comparison.held:
        console.print()
        console.print(_limits(comparison))
    for line in [*_whys(comparison), *_notes(comparison)]:
        console.print(f"· {line}")
    if outcome is not None:
        console.print()
        console.print(f"{_WORDS[outcome.code]} (exit {outcome.code}): {outcome.text}")


def as_markdown(comparison: Comparison, outcome: Gate | None) -> str:
    """The same for a pull request."""
    lines = [f"## Tare: {markdown(comparison.sides.new)} against {markdown(comparison.sides.base)}", ""]
    if outcome is not None:
        lines += [f"**{_WORDS[outcome.code]}**: {markdown(outcome.text)}", ""]
    for title, rows in _parts(comparison):
        lines += [f"**{markdown(title)}**", "", "| " + " | ".join(_heads(comparison)) + " |"]
        lines.append("|:--|--:|--:|:--|--:|--:|--:|")
        for row in rows:
            name = comparison.label("", row["scenario"], row["metric"])
            lines.append("| " + " | ".join(map(markdown, [name, *_cells(row)])) + " |")
        lines.append("")
    if comparison.held:
        lines += ["**absolute limits**", "", "| " + " | ".join(_LIMIT_HEADS) + " |", "|:--|:--|--:|--:|:--|"]
        lines += ["| " + " | ".join(map(markdown, _limit(comparison, each))) + " |" for each in comparison.held]
        lines.append("")
    lines += [f"- {markdown(line)}" for line in [*_whys(comparison), *_notes(comparison)]]
    return "\n".join(lines).rstrip() + "\n"


def as_junit(comparison: Comparison, outcome: Gate) -> str:
    """A test case a metric: a failure where a gating one regressed, an error where nothing is proved of it.

    What only informs is skipped, with its verdict as the message: it can neither fail nor pass.
    """
    name = _xml_text(f"{comparison.sides.new} against {comparison.sides.base}")
    suite = xml.Element("testsuite", name=name)
    counts = {"tests": 0, "failures": 0, "errors": 0, "skipped": 0}
    for row in _rows(comparison.table):
        told = _told(row)
        case = _case(suite, counts, row["arm"], row["scenario"], row["metric"])
        if not row["gates"]:
            _result(case, counts, "skipped", f"only informs: {told}")
        elif row["kind"] == "regressed" and not row["tolerated"] and not row["within"]:
            _result(case, counts, "failure", told)
        elif row["kind"] == "inconclusive":
            _result(case, counts, "error", told)
        else:
            xml.SubElement(case, "system-out").text = _xml_text(told)
    for arm, gap, unproved in comparison.gaps:
        case = _case(suite, counts, arm, gap.scenario, gap.metric)
        _result(case, counts, "error" if unproved else "skipped", f"not compared: {gap.why}")
    for held in comparison.held:
        case = _case(suite, counts, held.arm, held.scenario, f"{held.metric} {held.bound}")
        told = "; ".join(_limit(comparison, held)[1:])
        if held.kind == "kept":
            xml.SubElement(case, "system-out").text = _xml_text(told)
        else:
            _result(case, counts, "failure" if held.kind == "broken" else "error", told)
    for told in failing(comparison):
        _result(_case(suite, counts, "", "", "slots that ended well"), counts, "error", told)
    for key, count in counts.items():
        suite.set(key, str(count))
    xml.SubElement(suite, "system-out").text = _xml_text("\n".join([outcome.text, *_notes(comparison)]))
    root = xml.Element("testsuites", {"name": "tare check", **{key: str(count) for key, count in counts.items()}})
    root.append(suite)
    xml.indent(root)
    return str(xml.tostring(root, encoding="unicode", xml_declaration=True)) + "\n"


def _case(suite: xml.Element, counts: dict[str, int], arm: str, scenario: str, metric: str) -> xml.Element:
    counts["tests"] += 1
    where = ".".join(part for part in ("tare", arm, scenario) if part)
    return xml.SubElement(suite, "testcase", classname=_xml_text(where), name=_xml_text(metric))


def _result(case: xml.Element, counts: dict[str, int], tag: str, message: str) -> None:
    counts[{"failure": "failures", "error": "errors", "skipped": "skipped"}[tag]] += 1
    xml.SubElement(case, tag, message=_xml_text(message))


def _xml_text(text: str) -> str:
    """XML 1.0 holds no control characters, not even escaped."""
    return clean(text)


def _told(row: Row) -> str:
    """A metric's verdict in a sentence."""
    ratio, interval, verdict, delta, mde, count = _cells(row)
    parts = [verdict, f"NEW ÷ BASE {ratio} {interval}".strip(), f"δ {delta}", f"MDE {mde}", f"n {count}"]
    return "; ".join([*parts, *(row[key] for key in ("reason", "where") if row[key])])


def _parts(comparison: Comparison) -> Iterator[tuple[str, list[Row]]]:
    """Titles and rows of what gates and what only informs, arm by arm."""
    for arm in comparison.table["arm"].unique():
        rows = comparison.table[comparison.table["arm"] == arm]
        for gates, title in ((True, "gates"), (False, "only informs")):
            if chosen := _rows(rows[rows["gates"] == gates]):
                yield f"{arm}: {title}" if arm else title, chosen


def _rows(table: pd.DataFrame) -> list[Row]:
    return [{str(key): value for key, value in row.items()} for row in table.to_dict("records")]


def _table(comparison: Comparison, title: str, rows: list[Row]) -> Table:
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in _heads(comparison):
        left = head in ("metric", "verdict")
        table.add_column(head, justify="left" if left else "right", no_wrap=head != "metric", overflow="fold")
    for row in rows:
        ratio, interval, verdict, *rest = _cells(row)
        name = comparison.label("", row["scenario"], row["metric"])
        table.add_row(Text(name), ratio, interval, Text(verdict, _STYLES[row["kind"]]), *rest)
    return table


def _limits(comparison: Comparison) -> Table:
    title = "absolute limits"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, padding=(0, 2, 0, 0), pad_edge=False)
    for head in _LIMIT_HEADS:
        table.add_column(head, overflow="fold")
    for each in comparison.held:
        name, *cells, verdict = _limit(comparison, each)
        table.add_row(name, *cells, Text(verdict, _LIMIT_STYLES[each.kind]))
    return table


def _limit(comparison: Comparison, each: Held) -> list[str]:
    """Metric, limit, level, interval, verdict."""
    level, low, high = _beside(each)
    interval = f"{low}–{high}" if math.isfinite(each.low) else "none"
    verdict = "not proved" if each.kind == "unproved" else each.kind
    because = absolute.told(each, comparison.unit if comparison.unit != "block" else "slot")
    where = comparison.label(each.arm, each.scenario, each.metric)
    return [where, str(each.bound), level, interval, f"{verdict} ({because})"]


def _beside(held: Held) -> list[str]:
    """The level and its ends, with as many digits as it takes to tell them from the limit."""
    numbers = [held.level, held.low, held.high]
    for figures in (None, 4, 5, 6, 7, 8):
        told = [show(number, held.unit, figures) if math.isfinite(number) else "none" for number in numbers]
        limit = show(held.bound.value, held.unit, figures)
        if all(text != limit or number == held.bound.value for text, number in zip(told, numbers, strict=True)):
            break
    return told


def _heads(comparison: Comparison) -> list[str]:
    return ["metric", "NEW ÷ BASE", "95 % interval", "verdict", "±δ", "MDE", f"{comparison.unit}s"]


def _cells(row: Row) -> list[str]:
    """ratio, interval (or the difference of exact counts), verdict, δ, MDE, blocks."""
    verdict = "within ±δ" if row["within"] else "tolerated" if row["tolerated"] else row["kind"]
    count = f"{row['count']}" + (f" of {row['count'] + row['dropped']}" if row["dropped"] else "")
    if row["exact"]:
        difference = row["new"] - row["base"]
        return [f"{row['ratio']:.6f}", f"{difference:+,.0f}" if difference else "0", verdict, "exact", "0", count]
    bounded = math.isfinite(row["low"]) and math.isfinite(row["high"])
    interval = f"{times(row['low'])}–{times(row['high'])}" if bounded else "none"
    return [times(row["ratio"]), interval, verdict, percent(row["delta"]), mde_told(row["mde"]), count]


def _whys(comparison: Comparison) -> list[str]:
    """Why rows are inconclusive (or what else must be said of them), rows of one reason together."""
    names: dict[str, list[str]] = {}
    for row in _rows(comparison.table):
        name = comparison.label(row["arm"], row["scenario"], row["metric"])
        for told in (row["reason"], row["where"]):
            if told:
                names.setdefault(told, []).append(name)
    for arm, gap, _ in comparison.gaps:
        name = comparison.label(arm, gap.scenario, gap.metric)
        names.setdefault(f"not compared, {gap.why}", []).append(name)
    return [clean(f"{', '.join(found)}: {told}") for told, found in names.items()]


def _notes(comparison: Comparison) -> list[str]:
    badges: dict[str, list[str]] = {}
    for arm, found in comparison.sides.badges.items():
        for badge in found:
            badges.setdefault(badge, []).append(arm)
    told = [f"{', '.join(arms)}: {badge}" if any(arms) else badge for badge, arms in badges.items()]
    family = int(comparison.table["gates"].sum())
    how = "sessions drawn anew" if comparison.sides.design == "sessions" else "Holm"
    judged = sum(each.count > 0 for each in comparison.held)
    limits = f" and {plural(judged, 'absolute limit')}" if judged else ""
    level = f"α is {percent(comparison.policy.alpha)} for {plural(family, 'gating metric')}{limits} together ({how})"
    return [clean(line) for line in [*told, *comparison.notes, *_means(comparison), level]]


def _means(comparison: Comparison) -> list[str]:
    gating = comparison.table[comparison.table["gates"].astype(bool)]
    rates = ", of rates upside down" if (gating["better"] == "higher").any() else ""
    return [
        f"geometric mean of NEW ÷ BASE over {plural(int((gating['arm'] == arm).sum()), 'gating metric')}"
        f"{f' of {arm}' if arm else ''}{rates}: {times(mean)}; it proves nothing"
        for arm, mean in geometric_means(comparison.table).items()
    ]
