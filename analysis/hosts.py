"""The front page of a campaign on several hosts: what each found, side by side in words and never in a table.

What one host measured and what another did have no common figure: each has a report of its own, to which this leads.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass
from pathlib import Path

from analysis.caution import Caution
from analysis.charts import Section
from analysis.load import Campaign
from analysis.words import plural
from bench.text import clean


@dataclass(frozen=True)
class Host:
    """One host's part. link: to its report; slots: how many ran, failed and were planned; chart: a picture's data URI;
    cautions: what limits its figures; missing: why there is nothing of it."""

    name: str
    about: str = ""
    emulated: bool = False
    link: str = ""
    ran: int = 0
    failed: int = 0
    planned: int = 0
    lost: str | None = None
    headline: tuple[str, ...] = ()
    cautions: tuple[str, ...] = ()
    chart: str = ""
    caption: str = ""
    missing: str | None = None


def part(
    campaign: Campaign, headline: list[str], cautions: list[Caution], charts: dict[str, Section], page: Path
) -> Host:
    """What a host's own report says first. page: that report, from the campaign's folder on."""
    facts = campaign.facts.get("host") or {}
    first = next((chart for section in charts.values() for chart in section), None)
    cpu, cores = facts.get("cpu") or "unknown CPU", plural(facts.get("cores") or 0, "core")
    return Host(
        campaign.host,
        clean(f"{cpu}, {cores}, kernel {facts.get('kernel')}"),
        campaign.emulated,
        str(page),
        len(campaign.records),
        sum(record.get("status") != "ok" for record in campaign.records),
        len(campaign.plan.get("slots") or []),
        campaign.lost,
        tuple(headline),
        tuple(caution.text for caution in cautions),
        "data:image/png;base64," + base64.b64encode(first.png).decode() if first else "",
        first.caption if first else "",
    )
