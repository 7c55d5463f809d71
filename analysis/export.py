"""The record in other programs' formats: Parquet tables and one pyperf suite an arm."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import pandas as pd

from analysis.files import replacing
from analysis.load import Loaded
from bench.results import Record

PYPERF_UNITS: Final = frozenset({"second", "byte", "integer"})


def parquet(loaded: Loaded, out: Path) -> list[Path]:
    """Writes slots.parquet (a row a slot) and samples.parquet (a row a value, warm-ups marked)."""
    written = []
    for name, frame in (("slots", loaded.slots), ("samples", loaded.samples)):
        target = out / f"{name}.parquet"
        with replacing(target) as partial:
            frame.to_parquet(partial, index=False)
        written.append(target)
    return written


def suites(loaded: Loaded, out: Path) -> list[Path]:
    """Writes pyperf/<arm>.json: a benchmark a metric, a Run a slot that ended well.

    A metric that several scenarios measure is named scenario:metric, for every arm alike, so that suites of
    two arms can be compared. Values that pyperf cannot take (not above zero, other units) are only in the
    journal. The documents are built here in pyperf's format 1.0, as its own objects and encoder took half
    of a large report's time.
    """
    rows = loaded.samples
    rows = rows[(rows["status"] == "ok") & (rows["value"] > 0) & rows["unit"].isin(PYPERF_UNITS)]
    homes = rows.groupby("metric", observed=True)["scenario"].nunique()
    shared = set(homes[homes > 1].index)
    dates = {
        (run, record["slot"]): date
        for run, campaign in enumerate(loaded.campaigns)
        for record in campaign.records
        if (date := _date(record.get("started")))
    }
    written = []
    for arm in loaded.arms:
        benchmarks = []
        of_arm = rows[rows["arm"] == arm]
        for (scenario, metric), values in of_arm.groupby(["scenario", "metric"], observed=True, sort=False):
            name = f"{scenario}:{metric}" if metric in shared else str(metric)
            unit = str(values["unit"].iloc[0])
            if runs := _runs(values, unit, dates):
                benchmarks.append({"metadata": {"name": name, "unit": unit}, "runs": runs})
        if benchmarks:
            target = out / "pyperf" / f"{arm}.json"
            document = {"benchmarks": benchmarks, "metadata": {"loops": 1}, "version": "1.0"}
            with replacing(target) as partial:
                partial.write_text(json.dumps(document, separators=(",", ":")) + "\n")
            written.append(target)
    return written


def _runs(rows: pd.DataFrame, unit: str, dates: dict[tuple[int, str], str]) -> list[Record]:
    """One Run a slot. Values of integer and byte metrics are whole numbers, as pyperf wants them."""
    runs: dict[tuple[int, str], Record] = {}
    columns = (rows[column].tolist() for column in ("run", "slot", "warmup", "value"))
    for run, slot, warm, value in zip(*columns, strict=True):
        kept = runs.get((run, slot))
        if kept is None:
            kept = runs[run, slot] = {"metadata": {"slot": slot}, "values": []}
            if date := dates.get((run, slot)):
                kept["metadata"]["date"] = date
        number = value if unit == "second" else max(round(value), 1)
        if warm:
            kept.setdefault("warmups", []).append([1, number])
        else:
            kept["values"].append(number)
    return [kept for kept in runs.values() if kept["values"]]


def _date(started: object) -> str | None:
    """pyperf's `date`: naive, in UTC. A start that is no time has none."""
    try:
        moment = datetime.fromisoformat(str(started))
    except ValueError:
        return None
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return moment.isoformat()
