"""The report as a reader meets it: opened from disk in Chromium, on a desk, on a phone, and at night.

Screenshots are kept: the test's output names the folder.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from playwright.sync_api import Browser, BrowserContext, Page, sync_playwright

from analysis.report import write_report
from tests.synthetic import ARMS, campaign

# As root Chromium has no sandbox of its own; the rest keeps it from talking to anybody.
ARGUMENTS = [
    "--no-sandbox",
    "--disable-gpu",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]
VIEWS = {
    "desk": (1280, 900, "light"),
    "tablet": (768, 1024, "light"),
    "phone": (390, 844, "light"),
    "night": (390, 844, "dark"),
}
CHARTS = (
    "boot-ecdf",
    "boot-phases",
    "spawn",
    "exec",
    "teardown",
    "density-memavailable",
    "density-cage",
    "firmware",
)
SMALLEST_TEXT = 8.0  # CSS pixels


@dataclass
class Visit:
    """An open page and what happened on it."""

    page: Page
    name: str
    complaints: list[str] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)


@pytest.fixture(scope="module")
def browser() -> Iterator[Browser]:
    program = shutil.which("chromium")
    if program is None:
        pytest.fail("no chromium on this machine: apt-get install chromium", pytrace=False)
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=program, args=ARGUMENTS)
        yield running
        running.close()


@pytest.fixture(scope="module")
def report(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A campaign with all that a page can show: long names, failures, slots that never ran."""

    def fail(record: dict[str, Any]) -> None:
        if record["arm"] == "uml" and record["block"] == 3:
            console = (
                "Kernel panic - not syncing: VFS: Unable to mount root fs\n" + "x" * 3000 + "<script>alert(1)</script>"
            )
            record |= {
                "status": "failed",
                "reason": f"no READY within 30 s: {'/a/long/path' * 20}",
                "console": console,
            }

    arms = ARMS | {"qemu@6.1.0-56-cloud-amd64-with-a-long-name": ARMS["qemu@6.1.0-56"]}
    folder = campaign(tmp_path_factory.mktemp("web") / "quick", arms=arms, planned_blocks=13, change=fail)
    write_report([folder])
    return folder / "report.html"


@pytest.fixture(params=VIEWS)
def visit(request: pytest.FixtureRequest, browser: Browser, report: Path) -> Iterator[Visit]:
    width, height, scheme = VIEWS[request.param]
    context: BrowserContext = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme)
    found = Visit(context.new_page(), request.param)
    found.page.on("console", lambda message: found.complaints.append(message.text))
    found.page.on("pageerror", lambda error: found.complaints.append(str(error)))
    found.page.on("dialog", lambda dialog: found.complaints.append(f"dialog: {dialog.message}"))
    found.page.on("request", lambda asked: found.requests.append(asked.url))
    found.page.goto(report.as_uri())
    yield found
    context.close()


def test_opens_from_disk_without_network_or_complaint(visit: Visit, report: Path) -> None:
    visit.page.wait_for_load_state("networkidle")
    assert visit.complaints == []
    assert [url for url in visit.requests if not url.startswith("data:")] == [report.as_uri()]


def test_nothing_is_wider_than_the_page(visit: Visit, report: Path) -> None:
    visit.page.screenshot(path=report.with_name(f"{visit.name}.png"), full_page=True)
    print(f"screenshot: {report.with_name(f'{visit.name}.png')}")  # noqa: T201
    for opened in (False, True):
        visit.page.evaluate("opened => document.querySelectorAll('details').forEach(d => d.open = opened)", opened)
        assert visit.page.evaluate("document.documentElement.scrollWidth <= window.innerWidth")


def test_no_column_is_cut_away(visit: Visit) -> None:
    """A table that is wider than what holds it shows no sign that it scrolls."""
    wide = visit.page.evaluate(
        """() => [...document.querySelectorAll('.scroll')].filter(box => box.scrollWidth > box.clientWidth + 1)
            .map(box => box.innerText.slice(0, 80))"""
    )
    assert wide == []


def test_the_matrix_is_there_with_every_arm(visit: Visit, report: Path) -> None:
    matrix = visit.page.locator("#headline-matrix")
    assert matrix.is_visible()
    rows = matrix.locator("tbody tr")
    assert rows.count() == len(ARMS) + 3
    crun = matrix.locator("tbody tr", has_text="crun").inner_text().replace("\N{NO-BREAK SPACE}", " ")
    samples = pd.read_parquet(report.with_name("samples.parquet"))
    boots = samples[(samples["arm"] == "crun") & (samples["metric"] == "boot")]["value"]
    assert f"{boots.median() * 1000:.1f} ms" in crun
    assert re.search(r"\d×\s+\[\d[\d.]*, \d[\d.]*\]", crun)
    assert "equal" in crun


def test_every_chart_is_seen_inside_the_page(visit: Visit) -> None:
    width = visit.page.viewport_size["width"] if visit.page.viewport_size else 0
    for name in CHARTS:
        picture = visit.page.locator(f"#chart-{name} svg")
        picture.scroll_into_view_if_needed()
        box = picture.bounding_box()
        assert box is not None, name
        assert box["width"] > 0.4 * min(width, 700), name
        assert box["height"] > 60, name
        assert box["x"] >= 0, name
        assert box["x"] + box["width"] <= width, name


def test_chart_texts_can_be_read_and_are_not_cut_off(visit: Visit) -> None:
    texts = visit.page.evaluate(
        """() => [...document.querySelectorAll('figure svg')].flatMap(svg => {
            const frame = svg.getBoundingClientRect(), scale = frame.width / svg.viewBox.baseVal.width;
            return [...svg.querySelectorAll('text')].map(text => {
                const box = text.getBoundingClientRect();
                return {text: svg.parentElement.id + ': ' + text.textContent,
                        size: parseFloat(getComputedStyle(text).fontSize) * scale,
                        inside: box.left >= frame.left - 1 && box.right <= frame.right + 1
                             && box.top >= frame.top - 1 && box.bottom <= frame.bottom + 1};
            });
        })"""
    )
    assert len(texts) > 100
    assert [found["text"] for found in texts if not found["inside"]] == []
    assert [found["text"] for found in texts if found["size"] < SMALLEST_TEXT] == []


def test_failures_are_listed_and_their_console_is_inert(visit: Visit) -> None:
    failures = visit.page.locator("#failures")
    assert "1 failed or timed out" in failures.inner_text()
    failures.locator("summary").click()
    console = failures.locator("pre")
    assert console.is_visible()
    assert "<script>alert(1)</script>" in console.inner_text()


def test_text_stands_out_from_the_paper(visit: Visit) -> None:
    """WCAG's contrast of at least 4.5, for the page and for the charts."""
    contrasts = visit.page.evaluate(
        """() => {
            const light = colour => {
                const [r, g, b] = colour.match(/[\\d.]+/g).map(Number).map(v => v / 255)
                    .map(v => v <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
                return 0.2126 * r + 0.7152 * g + 0.0722 * b;
            };
            const paper = light(getComputedStyle(document.body).backgroundColor);
            const against = text => {
                const ink = light(text);
                return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
            };
            const found = {};
            for (const text of document.querySelectorAll('figure svg text'))
                found[text.textContent] = against(getComputedStyle(text).fill);
            for (const kind of ['h1', 'p', 'small', '.badge.equal', '.badge.differs', '.badge.bad'])
                found[kind] = against(getComputedStyle(document.querySelector(kind)).color);
            return found;
        }"""
    )
    assert {text: ratio for text, ratio in contrasts.items() if ratio < 4.5} == {}
