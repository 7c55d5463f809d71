"""The report: one self-contained HTML page, its Markdown for a pull request, and the exports beside them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jinja2
from markupsafe import Markup

from analysis import busy, export, findings, hosts, inside, instructions, isolation, pooled, words
from analysis.anomalies import anomalies
from analysis.caution import SECTIONS
from analysis.charts import Section, chart_sections
from analysis.density import conditions, density_rows, uncertainty
from analysis.equal import equivalences
from analysis.estimate import drifts, estimates, flat, slopes, slot_medians
from analysis.files import replacing
from analysis.headline import headline
from analysis.judge import BETWEEN_SESSIONS
from analysis.load import VIEWS, Campaign, Loaded, check_folder, load, no_collector
from analysis.matrix import Chosen, Matrix, matrix
from analysis.style import looks, variables
from bench.errors import InputError, RecordError
from bench.results import Record, read_hosts
from bench.text import clean

_TEMPLATES = Path(__file__).parent / "templates"
_PARTS = ("cage_anon", "cage_file", "cage_kernel", "cage_shmem", "ram", "vmm", "kernel")


def write_report(folders: list[Path], out: Path | None = None) -> list[Path]:
    """Writes report.html, report.md, plots/*.png, Parquet tables and pyperf suites; returns their paths.

    Several folders are pooled, block by block. Of a campaign on several hosts each host gets a report of its own, and
    the folder a page that leads to them. `out` is where to write: by default the folder itself, if it is one. Works on
    a campaign that is not finished. Raises InputError on folders that hold no readable journal, and RecordError where
    the files cannot be written.
    """
    if out is None:
        if len(folders) > 1:
            raise InputError("several folders give one report", hint="say where to write it with --out DIR")
        out = folders[0] if folders else Path()
    for folder in folders:
        check_folder(folder)
    with no_collector():
        if len(folders) == 1 and (names := read_hosts(folders[0])):
            return _write_hosts(folders[0], names, out)
        loaded = load(folders)
        pooled.check(loaded)
        return _write(loaded, *_page(loaded), out)


def _write(loaded: Loaded, page: dict[str, Any], sections: dict[str, Section], out: Path) -> list[Path]:
    pictures = {f"plots/{chart.name}.png": chart.png for section in sections.values() for chart in section}
    written = _put(out, _rendered("report", page) | pictures)
    return [*written, *export.parquet(loaded, out), *export.suites(loaded, out)]


def _write_hosts(folder: Path, names: list[str], out: Path) -> list[Path]:
    """The report of each host in a folder of its own below `out`, and the page that leads to them."""
    parts: list[hosts.Host] = []
    written: list[Path] = []
    looks_css = variables({})
    for name in names:
        if (out / name).is_symlink():
            raise RecordError(f"cannot write {out / name}: is a symbolic link", hint="remove it")
        try:
            loaded = load([folder / name])
        except InputError as error:
            parts.append(hosts.Host(name, missing=f"Nothing was measured there: {error.what}"))
            continue
        page, sections = _page(loaded)
        written += _write(loaded, page, sections, out / name)
        parts.append(
            hosts.part(loaded.campaigns[0], page["headline"], page["cautions"], sections, Path(name, "report.html"))
        )
        looks_css, title = page["css"], page["title"]
    if not written:
        raise InputError(f"{folder}: no host has run a slot yet", hint=f"./tare resume {folder}")
    page = {"title": title, "folder": folder.resolve().name, "hosts": parts, "css": looks_css}
    return [*_put(out, _rendered("hosts", page)), *written]


def _rendered(name: str, page: dict[str, Any]) -> dict[str, bytes]:
    """report.html and report.md by the templates of this name."""
    kinds = (("html", True), ("md", False))
    return {f"report.{kind}": _render(f"{name}.{kind}.j2", page, escape=escape).encode() for kind, escape in kinds}


def _put(out: Path, contents: dict[str, bytes]) -> list[Path]:
    for name, content in contents.items():
        with replacing(out / name, within=out) as file:
            file.write(content)
    return [out / name for name in contents]


def _page(loaded: Loaded) -> tuple[dict[str, Any], dict[str, Section]]:
    """Everything the templates show, and the charts."""
    medians = slot_medians(loaded.samples)
    inclines = slopes(loaded, (*VIEWS, *_PARTS))
    zero = flat(inclines)
    found = estimates(medians, loaded.baseline, zero, BETWEEN_SESSIONS)
    chosen = Chosen([estimate for estimate in found if estimate.unit != instructions.UNIT], zero)
    counted = instructions.tables(loaded, medians)
    equal = equivalences(loaded)
    failed = findings.failures(loaded)
    arm_looks = looks(loaded.arms)
    css = variables(arm_looks)
    colours = {light: f"var({variable})" for variable, light, _ in css}
    harm = isolation.isolation(loaded, medians)
    work = inside.areas(loaded, found)
    sections = chart_sections(loaded, medians, chosen, work, harm, arm_looks, colours)
    table = matrix(loaded, chosen)
    order = {name: place for place, name in enumerate(loaded.arms)}
    return {
        "loaded": loaded,
        "title": words.listed(dict.fromkeys(campaign.name for campaign in loaded.campaigns)),
        "page_title": _title(loaded),
        "css": css,
        "variable": {name: f"--arm-{place}" for name, place in order.items()},
        "headline": _headline(loaded, chosen, counted) or isolation.sentences(loaded, harm),
        "cautions": [
            *findings.cautions(loaded, chosen, failed, equal, drifts(medians), inclines, counted),
            *anomalies(loaded, chosen, found, medians, inclines),
        ],
        "sections": _sections(loaded, chosen, counted, sections, failed, work, harm, table),
        "counted": counted,
        "caveat": instructions.CAVEAT,
        "matrix": table,
        "equal": equal,
        "fair": findings.fairness(loaded, equal, failed),
        "failures": failed,
        "density": density_rows(loaded, inclines),
        "density_conditions": f"{conditions(loaded)} {uncertainty(loaded)}",
        "inside": work,
        "inside_arms": [arm for arm in loaded.arms if any(arm in row.costs for area in work for row in area.rows)],
        "isolation": harm,
        "harms": isolation.sentences(loaded, harm),
        "firmware": [(arm, chosen.get("firmware", arm)) for arm in loaded.arms if chosen.get("firmware", arm)],
        "chosen": chosen,
        "estimates": sorted(found, key=lambda e: (e.scenario, e.metric, order[e.arm])),
        "charts": sections,
        "facts": _facts(loaded),
        "left_out": _left_out(loaded),
        "confidence": 95,
        "intervals": _intervals(loaded),
    }, sections


def _headline(loaded: Loaded, chosen: Chosen, counted: list[instructions.Table]) -> list[str]:
    """What starts, runs, ends and weighs what, and how much work a boot is, where that was counted."""
    said = headline(loaded, chosen)
    if said and findings.unhelped(loaded, chosen):
        said.insert(1, "No virtual machine was measured with hardware help.")
    return [*said, *(text for table in counted for text in findings.work(loaded, table))]


def _sections(
    loaded: Loaded,
    chosen: Chosen,
    counted: list[instructions.Table],
    charts: dict[str, Section],
    failed: findings.Failures,
    work: list[inside.Area],
    harm: isolation.Isolation,
    table: Matrix,
) -> dict[str, str]:
    """The sections that have something to show, by anchor, with their headings."""
    there: dict[str, object] = {
        "instructions": counted,
        "matrix": table.cells,
        "start": charts["start"],
        "use": charts["use"],
        "density": not loaded.ramps.empty,
        "inside": work,
        "isolation": harm,
        "firmware": charts["firmware"],
    }
    found = {anchor: heading for anchor, heading in SECTIONS.items() if there.get(anchor, True)}
    return found | ({"failures": f"{SECTIONS['failures']} ({failed.total:,})"} if failed.total else {})


def _intervals(loaded: Loaded) -> str:
    """What intervals are of, and why figures need not divide to the ratios beside them."""
    many = len(loaded.campaigns)
    of = "Intervals describe this session; another day may differ by more." if many == 1 else pooled.how(loaded)
    if of == pooled.NO_RATIOS:
        return of
    return (
        f"{of} Ratios are paired within blocks, so that what a block did to all arms cancels: they need not equal the "
        "ratio of the two medians."
    )


def _title(loaded: Loaded) -> str:
    """What was measured, where and when, for a tab or a list of hits."""
    names = words.listed(dict.fromkeys(campaign.name for campaign in loaded.campaigns))
    first = loaded.campaigns[0]
    host = first.facts.get("host") or {}
    cpu = " ".join(clean(host.get("cpu") or "").replace("(R)", "").replace("(TM)", "").split())
    parts = [names, cpu, clean(first.facts.get("started") or "")[:10]]
    return " · ".join(part for part in parts if part)


def _render(template: str, page: dict[str, Any], *, escape: bool) -> str:
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(_TEMPLATES),
        autoescape=escape,
        finalize=_showable,
        undefined=jinja2.ChainableUndefined,  # plan and facts may lack any key
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    environment.filters |= {
        "show": words.show,
        "times": words.show_times,
        "known": words.show_known,
        "range": words.show_range,
        "count": words.plural,
        "listed": words.listed,
        "md": words.markdown,
        "drawn": Markup,
    }
    return environment.get_template(template).render(page)


def _showable(value: object) -> object:
    """Plan and facts come as they were written; what a page cannot hold is taken out where they are shown."""
    return clean(value) if type(value) is str else value


def _left_out(loaded: Loaded) -> dict[tuple[tuple[str, ...], str], list[str]]:
    """The arms that the plan left out, by (scenarios, reason)."""
    scenarios: dict[tuple[str, str], list[str]] = {}
    for entry in loaded.left_out:
        key = (clean(entry.get("arm") or "?"), clean(entry.get("reason") or "no reason recorded"))
        scenario, _, measure = clean(entry.get("scenario") or "*").partition(":")
        name = scenario if measure in ("", scenario) else f"{scenario}:{measure}"
        scenarios.setdefault(key, []).append(name)
    found: dict[tuple[tuple[str, ...], str], list[str]] = {}
    for (arm, reason), names in scenarios.items():
        found.setdefault((tuple(names), reason), []).append(arm)
    return found


def _facts(loaded: Loaded) -> list[tuple[str, list[str]]]:
    """(name, one text a campaign) of every recorded fact; nested facts as `host · cpu`."""
    known = [
        dict(_flat({**campaign.facts, **_nodes(campaign), **busy.facts(campaign)})) for campaign in loaded.campaigns
    ]
    keys = dict.fromkeys(key for facts in known for key in facts if key != "schema")
    return [(key, [facts.get(key, "–") for facts in known]) for key in keys]


def _nodes(campaign: Campaign) -> Record:
    """A cluster's further nodes; the one that the campaign was proved on is the facts' own host."""
    return {"nodes": campaign.nodes} if len(campaign.nodes) > 1 else {}


def _flat(value: object, path: str = "") -> Iterator[tuple[str, str]]:
    if isinstance(value, dict):
        for key, inner in value.items():
            yield from _flat(inner, f"{path} · {clean(key)}" if path else clean(key))
    elif isinstance(value, bool):
        yield path, "yes" if value else "no"
    elif path.endswith("memory") and isinstance(value, int):
        yield path, words.show(value, "byte")
    elif isinstance(value, list):
        yield path, "; ".join(clean(item) for item in value) or "none"
    else:
        yield path, "not known" if value is None else clean(value)
