"""The record in other programs' formats: Parquet tables and one pyperf suite an arm."""

from __future__ import annotations

from datetime import UTC, datetime
from pathlib import Path
from typing import Final

import msgspec
import pandas as pd

from analysis.files import replacing
from analysis.load import Loaded
from bench.results import Record

#: Our units in pyperf's. It knows no instructions; a count of them is a whole number.
PYPERF_UNITS: Final = {"second": "second", "byte": "byte", "integer": "integer", "instruction": "integer"}


def parquet(loaded: Loaded, out: Path) -> list[Path]:
    """Writes slots.parquet (a row a slot), samples.parquet (a row a value, warm-ups marked) and ramps.parquet (a row a
    density step).
    """
    written = []
    for name, frame in (("slots", loaded.slots), ("samples", loaded.samples), ("ramps", loaded.ramps)):
        target = out / f"{name}.parquet"
        with replacing(target, within=out) as file:
            frame.to_parquet(file, index=False)
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
    rows = rows[(rows["status"] == "ok") & (rows["value"] > 0) & rows["unit"].isin(list(PYPERF_UNITS))]
    homes = rows.groupby("metric", observed=True)["scenario"].nunique()
    shared = set(homes[homes > 1].index)
    slots = {
        (run, record["slot"]): _about(record)
        for run, campaign in enumerate(loaded.campaigns)
        for record in campaign.records
    }
    written = []
    for arm in loaded.arms:
        benchmarks = []
        of_arm = rows[rows["arm"] == arm]
        for (scenario, metric), values in of_arm.groupby(["scenario", "metric"], observed=True, sort=False):
            name = f"{scenario}:{metric}" if metric in shared else str(metric)
            unit = PYPERF_UNITS[str(values["unit"].iloc[0])]
            if runs := _runs(values, unit, slots):
                benchmarks.append({"metadata": {"name": name, "unit": unit}, "runs": runs})
        if benchmarks:
            target = out / "pyperf" / f"{arm}.json"
            document = {"benchmarks": benchmarks, "metadata": {"loops": 1}, "version": "1.0"}
            with replacing(target, within=out) as file:
                file.write(msgspec.json.encode(document) + b"\n")
            written.append(target)
    return written


def _runs(rows: pd.DataFrame, unit: str, slots: dict[tuple[int, str], Record]) -> list[Record]:
    """One Run a slot. Values of integer and byte metrics are whole numbers, as pyperf wants them."""
    runs: dict[tuple[int, str], Record] = {}
    columns = (rows[column].tolist() for column in ("run", "slot", "warmup", "value"))
    for run, slot, warm, value in zip(*columns, strict=True):
        kept = runs.get((run, slot))
        if kept is None:
            about = slots[run, slot]
            # pyperf takes the sum of a run's values for its duration, unless it is told one.
            metadata = {key: about[key] for key in about if key != "duration" or unit != "second"}
            kept = runs[run, slot] = {"metadata": metadata, "values": []}
        number = value if unit == "second" else max(round(value), 1)
        if warm:
            kept.setdefault("warmups", []).append([1, number])
        else:
            kept["values"].append(number)
    return [kept for kept in runs.values() if kept["values"]]


def _about(record: Record) -> Record:
    """A slot in pyperf's metadata: `date` is naive, in UTC; a start that is no time has none."""
    about: Record = {"slot": record["slot"]}
    if (record.get("wall_s") or 0) > 0:
        about["duration"] = record["wall_s"]
    try:
        moment = datetime.fromisoformat(str(record.get("started")))
    except ValueError:
        return about
    if moment.tzinfo is not None:
        moment = moment.astimezone(UTC).replace(tzinfo=None)
    return about | {"date": moment.isoformat()}
