"""The record in other programs' formats: Parquet tables and one pyperf suite an arm."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd
import pyperf

from analysis.files import replacing
from analysis.load import Loaded

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
    journal.
    """
    rows = loaded.samples
    rows = rows[(rows["status"] == "ok") & (rows["value"] > 0) & rows["unit"].isin(PYPERF_UNITS)]
    homes = rows.groupby("metric", observed=True)["scenario"].nunique()
    shared = set(homes[homes > 1].index)
    dates = {
        (run, record["slot"]): str(record["started"])
        for run, campaign in enumerate(loaded.campaigns)
        for record in campaign.records
        if record.get("started")
    }
    written = []
    for arm in loaded.arms:
        benchmarks = [
            pyperf.Benchmark(
                _runs(of_metric, f"{scenario}:{metric}" if metric in shared else str(metric), dates)
            )
            for (scenario, metric), of_metric in rows[rows["arm"] == arm].groupby(
                ["scenario", "metric"], observed=True, sort=False
            )
            if not of_metric["warmup"].all()
        ]
        if benchmarks:
            target = out / "pyperf" / f"{arm}.json"
            with replacing(target) as partial, partial.open("w", encoding="utf-8") as file:
                pyperf.BenchmarkSuite(benchmarks).dump(file)
            written.append(target)
    return written


def _runs(rows: pd.DataFrame, name: str, dates: dict[tuple[int, str], str]) -> list[Any]:
    """One Run a slot. Values of integer and byte metrics are whole numbers, as pyperf wants them."""
    unit = str(rows["unit"].iloc[0])
    values: dict[tuple[int, str], tuple[list[float], list[tuple[int, float]]]] = {}
    columns = (rows[column].tolist() for column in ("run", "slot", "warmup", "value"))
    for run, slot, warm, value in zip(*columns, strict=True):
        number = value if unit == "second" else max(round(value), 1)
        kept, warmups = values.setdefault((run, slot), ([], []))
        if warm:
            warmups.append((1, number))
        else:
            kept.append(number)
    return [
        pyperf.Run(
            kept,
            warmups,
            collect_metadata=False,
            metadata={"name": name, "unit": unit, "loops": 1, "slot": slot} | _date(dates.get((run, slot))),
        )
        for (run, slot), (kept, warmups) in values.items()
        if kept
    ]


def _date(started: str | None) -> dict[str, str]:
    """pyperf's `date`: naive, in UTC. A start that is no time is left out."""
    try:
        moment = datetime.fromisoformat(started or "")
    except ValueError:
        return {}
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return {"date": moment.isoformat()}
