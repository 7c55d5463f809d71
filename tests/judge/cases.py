"""What the judge is given: cases of two opaque arms, as one table for thousands, or as results folders.

A case file is a folder with cases.parquet (a row a slot and metric) and cases.json (which arm is the base). Nothing in
it says what was planted.
"""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.parquet as pq

Floats = npt.NDArray[np.float64]

TABLE: Final = "cases.parquet"
NAMES: Final = "cases.json"
_SCHEMA: Final = pa.schema(
    [
        ("case", pa.string()),
        ("arm", pa.string()),
        ("block", pa.int32()),
        ("order", pa.int32()),
        ("metric", pa.string()),
        ("unit", pa.string()),
        ("better", pa.string()),
        ("values", pa.list_(pa.float64())),
    ]
)


@dataclass(frozen=True)
class Pair:
    """One metric of NEW against BASE: the values of every slot. Paired: base[i] and new[i] are of one block."""

    metric: str
    unit: str
    better: str
    base: tuple[Floats, ...]
    new: tuple[Floats, ...]
    paired: bool

    @cached_property
    def medians(self) -> tuple[Floats, Floats]:
        """Of each slot, of base and new."""
        return _medians(self.base), _medians(self.new)

    @property
    def blocks(self) -> int:
        """Or the slots of the smaller side."""
        return min(len(self.base), len(self.new))

    def first(self, blocks: int) -> Pair:
        """As it was after that many blocks."""
        return Pair(self.metric, self.unit, self.better, self.base[:blocks], self.new[:blocks], self.paired)


@dataclass(frozen=True)
class Case:
    id: str
    base: str
    new: str
    pairs: tuple[Pair, ...]


def _medians(slots: tuple[Floats, ...]) -> Floats:
    if len({len(slot) for slot in slots}) == 1:
        return np.median(np.stack(slots), axis=1)
    return np.array([np.median(slot) for slot in slots])


def write(folder: Path, rows: list[dict[str, Any]], names: dict[str, dict[str, str]]) -> None:
    """rows: as the table has them; names: case → its base and new arm."""
    folder.mkdir(parents=True, exist_ok=True)
    pq.write_table(pa.Table.from_pylist(rows, schema=_SCHEMA), folder / TABLE, compression="lz4")
    (folder / NAMES).write_text(json.dumps(names))


def read(folder: Path) -> list[Case]:
    """In the order written. Arms whose blocks are the same are paired by block."""
    names = json.loads((folder / NAMES).read_text())
    columns = pq.read_table(folder / TABLE)
    kept: dict[str, dict[str, dict[str, dict[int, Floats]]]] = {case: {} for case in names}
    about: dict[str, tuple[str, str]] = {}
    values = columns["values"].combine_chunks()
    flat, ends = values.flatten().to_numpy(), values.offsets.to_numpy()
    cells = zip(*(columns[key].to_pylist() for key in _SCHEMA.names[:-1]), strict=True)
    for row, (case, arm, block, _, metric, unit, better) in enumerate(cells):
        about[metric] = (unit, better)
        kept[case].setdefault(metric, {}).setdefault(arm, {})[block] = flat[ends[row] : ends[row + 1]]
    return [
        Case(
            case,
            named["base"],
            named["new"],
            tuple(
                _pair(metric, *about[metric], arms[named["base"]], arms[named["new"]])
                for metric, arms in kept[case].items()
            ),
        )
        for case, named in names.items()
    ]


def _pair(metric: str, unit: str, better: str, base: dict[int, Floats], new: dict[int, Floats]) -> Pair:
    return Pair(
        metric,
        unit,
        better,
        tuple(base[block] for block in sorted(base)),
        tuple(new[block] for block in sorted(new)),
        base.keys() == new.keys(),
    )


def results_folder(folder: Path, rows: Iterable[dict[str, Any]], base: str, new: str) -> Path:
    """One case as a campaign's results folder, as `tare compare` reads it."""
    slots: dict[tuple[int, int, str], list[dict[str, Any]]] = {}
    for row in rows:
        sample = {"metric": row["metric"], "values": list(row["values"]), "warmups": []}
        sample |= {"unit": row["unit"], "better": row["better"]}
        slots.setdefault((row["block"], row["order"], row["arm"]), []).append(sample)
    folder.mkdir(parents=True)
    planned = [
        {"slot": f"b{block:02}-s{order:02}", "block": block, "order": order, "scenario": "work", "arm": arm}
        for block, order, arm in sorted(slots)
    ]
    arms = {name: {"backend": "process", "family": "process", "options": {}, "label": name} for name in (base, new)}
    blocks = len({slot["block"] for slot in planned})
    envelope = {"cpus": 1, "memory": 128 << 20, "rootfs": "tiny"}
    plan = {"schema": 1, "campaign": "replay", "description": "", "seed": 1, "blocks": blocks, "baseline": base}
    plan |= {"envelope": envelope, "arms": arms, "left_out": [], "slots": planned}
    plan |= {"scenarios": {"work": {"measures": ["boot", "spawn"], "description": ""}}}
    facts = {"schema": 1, "host": {"name": "local"}, "kernels": {}, "tools": {}, "packages": {}, "notes": []}
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "facts.json").write_text(json.dumps(facts))
    common = {"schema": 1, "family": "process", "host": "local", "boot_id": "0", "kernel": "0", "status": "ok"}
    common |= {"reason": None, "started": "2026-01-01T00:00:00Z", "wall_s": 1.0, "marks": {}, "cpu_s": 0.1}
    common |= {"memory": {}, "seen": {}, "equivalence": {"badge": "equal", "caged": True, "differs": {}}}
    with (folder / "journal.jsonl").open("w") as journal:
        for slot in planned:
            samples = slots[slot["block"], slot["order"], slot["arm"]]
            journal.write(json.dumps(common | slot | {"samples": samples}) + "\n")
    return folder


def pyperf_suites(cases: Iterable[Case], base: Path, new: Path) -> None:
    """All cases as two pyperf suites: a benchmark a case and metric, a run a slot."""
    for side, target in (("base", base), ("new", new)):
        benchmarks = []
        for case in cases:
            for pair in case.pairs:
                runs = [{"values": list(slot)} for slot in getattr(pair, side)]
                head = {"name": f"{case.id}:{pair.metric}", "unit": pair.unit}
                benchmarks.append({"metadata": head, "runs": runs})
        target.write_text(json.dumps({"benchmarks": benchmarks, "metadata": {"loops": 1}, "version": "1.0"}))
