"""Journals to pandas frames: one results folder, or several that share a baseline."""

from __future__ import annotations

import gc
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd

from analysis.copies import refuse_copies
from bench.errors import InputError
from bench.results import (
    HOSTS,
    JOURNAL,
    PLAN,
    Record,
    last_of_each_slot,
    measurable,
    read_decisions,
    read_facts,
    read_journal,
    read_lost,
    read_nodes,
    read_plan,
    refuse_file,
    resolved,
    torn_bytes,
)
from bench.text import clean

FAMILIES: Final = ("process", "container", "hypervisor", "uml")
VIEWS: Final = ("memavailable", "cage", "pss", "guest")

#: What follows the name of an arm whose guests' processor is emulated.
EMULATED: Final = " (emulated)"
_ACCELERATORS: Final = {"qemu": "tcg", "qemu-icount": "tcg", "kvm": "kvm", "xen": "xen"}

_SLOT_TEXTS = (
    "slot",
    "scenario",
    "arm",
    "family",
    "host",
    "boot_id",
    "kernel",
    "status",
    "reason",
    "started",
)
_SLOT_NUMBERS = ("block", "order", "wall_s", "cpu_s")
_CAGE_PARTS = ("cage_anon", "cage_file", "cage_kernel", "cage_shmem")
_RAMP_NUMBERS = ("n", "boot", *VIEWS, *_CAGE_PARTS, "ram", "vmm", "kernel", "residual", "p99", "ksm")


@dataclass(frozen=True)
class Arm:
    """One thing under comparison, as plan and journal name it.

    label: what people read; says so where a guest's processor is emulated. accelerator: what runs its guest's
    instructions, "tcg" (an emulator), "kvm" or "xen"; "" without a guest.
    """

    name: str
    family: str
    label: str
    backend: str
    options: Record
    accelerator: str = ""

    @property
    def emulated(self) -> bool:
        return self.accelerator == "tcg"


@dataclass(frozen=True)
class Campaign:
    """One results folder: its plan, facts and decisions ({} where the file is missing) and its journal's records.

    torn: bytes of a last line that was cut while it was written, and does not count; 0 where all lines are whole; lost:
    why its host did not come to the last slot, where it was lost; nodes: the facts of each of a
    cluster's nodes that ran blocks of it, by name.
    """

    folder: Path
    plan: Record
    facts: Record
    records: list[Record]
    torn: int = 0
    decisions: Record = field(default_factory=dict)
    lost: str | None = None
    nodes: dict[str, Record] = field(default_factory=dict)

    @property
    def name(self) -> str:
        return clean(self.plan.get("campaign") or self.folder.name)

    @property
    def host(self) -> str:
        """Where it ran, by its name in the inventory."""
        if self.nodes:
            return ", ".join(self.nodes)
        return clean((self.facts.get("host") or {}).get("name") or self.plan.get("host") or "local")

    @property
    def emulated(self) -> bool:
        """Whether its figures are those of a host that is emulated itself."""
        return bool((self.facts.get("host") or {}).get("emulated"))


@dataclass(frozen=True)
class Loaded:
    """Everything a report is made from.

    slots    one row a journal line: run (index of its campaign), slot, block, order, scenario, arm, family,
             host, status, reason, wall_s, cpu_s, caged, badge, mark_* (ns), memory_* (bytes) …
    samples  one row a value: run, slot, block, scenario, arm, status, metric, unit, better, warmup, index,
             value
    ramps    one row a density step: run, slot, arm, n, boot (s), the memory views (bytes, against n = 0)
    records  the journal lines, in the order of `slots`
    """

    campaigns: tuple[Campaign, ...]
    arms: dict[str, Arm]
    baseline: str | None
    scenarios: dict[str, Record]
    left_out: list[Record]
    slots: pd.DataFrame
    samples: pd.DataFrame
    ramps: pd.DataFrame
    records: list[Record] = field(repr=False)

    @property
    def emulated(self) -> bool:
        """Whether all of it is of emulated hosts; load() mixes them with no others."""
        return self.campaigns[0].emulated


def load(folders: list[Path]) -> Loaded:
    """Reads the folders. Raises InputError where a journal is missing, empty or garbage, or there twice."""
    if not folders:
        raise InputError("no results folder given", hint="name one that `tare run` made")
    campaigns = tuple(_campaign(folder) for folder in folders)
    baselines = {campaign.plan["baseline"] for campaign in campaigns if campaign.plan.get("baseline")}
    if len(baselines) > 1:
        names = ", ".join(sorted(map(str, baselines)))
        raise InputError(f"the campaigns have different baselines ({names})", hint="report them one by one")
    if len({campaign.emulated for campaign in campaigns}) > 1:
        emulated = ", ".join(str(campaign.folder) for campaign in campaigns if campaign.emulated)
        raise InputError(f"{emulated} is of an emulated host, the others are not", hint="report them one by one")
    refuse_copies([(campaign.folder, campaign.records) for campaign in campaigns])
    arms = _arms(campaigns)
    baseline = next(iter(baselines), None) or next((a.name for a in arms.values() if a.family == "process"), None)
    scenarios: dict[str, Record] = {}
    left_out: list[Record] = []
    for campaign in campaigns:
        scenarios.update(campaign.plan.get("scenarios") or {})
        left_out += [entry for entry in campaign.plan.get("left_out") or [] if entry not in left_out]
    slots, samples, ramps, records = _frames(campaigns)
    return Loaded(campaigns, arms, baseline, scenarios, left_out, slots, samples, ramps, records)


@contextmanager
def no_collector() -> Iterator[None]:
    """Without the cycle collector: it walks a large journal's objects again and again and finds nothing."""
    running = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if running:
            gc.enable()


def check_folder(folder: Path) -> None:
    """Raises InputError for what is no results folder, with what may have been meant."""
    refuse_file(folder)
    if os.path.isdir(folder):  # noqa: PTH112 # which takes any name
        inside = [] if any((folder / name).exists() for name in (JOURNAL, PLAN, HOSTS)) else _campaigns_in(folder)
        if not inside:
            return
        what, hint = f"no journal at {folder / JOURNAL}", f"name one of those in it, like {inside[0]}"
    else:
        what, hint = f"no results folder at {folder}", "name one that `tare run` made"
    raise InputError(what, hint=hint)


def _campaigns_in(folder: Path) -> list[Path]:
    return sorted(path.parent for name in (JOURNAL, HOSTS) for path in folder.glob(f"*/{name}"))


def _campaign(folder: Path) -> Campaign:
    check_folder(folder)
    records = last_of_each_slot(read_journal(folder / JOURNAL))
    if not records:
        raise InputError(f"{folder / JOURNAL} is empty: no slot has ended yet", hint="`tare resume` runs the plan")
    torn = torn_bytes(folder / JOURNAL)
    plan, known, decisions = read_plan(folder) or {}, read_facts(folder) or {}, read_decisions(folder) or {}
    found = read_lost(folder)
    lost = clean(found.get("reason")) if found else None
    nodes = {clean(name): each for name, each in sorted(read_nodes(folder).items())}
    if nodes and (known.get("host") or {}).get("name") not in nodes:  # what the proof's node is, nobody asks
        known = known | {"host": next(iter(nodes.values())).get("host") or {}}
    return Campaign(folder, plan, known, records, torn, decisions, lost, nodes)


def _arms(campaigns: tuple[Campaign, ...]) -> dict[str, Arm]:
    """Arms by name: families in their order, in a family as planned, then arms that only a journal knows."""
    arms: dict[str, Arm] = {}
    for campaign in campaigns:
        for name, given in (campaign.plan.get("arms") or {}).items():
            backend = clean(given.get("backend") or name.partition("@")[0])
            arm = _arm(name, given, backend)
            arms.setdefault(name, arm)
        for record in campaign.records:
            name = str(record.get("arm"))
            if name not in arms:
                arms[name] = _arm(name, {"family": record.get("family")}, clean(name).partition("@")[0])
    for name in arms:
        if name in ("", ".", "..") or "/" in name or not name.isprintable() or len(name) > 120:
            raise InputError(f"arm name {name!r} cannot be a file name")
    known = {family: place for place, family in enumerate(FAMILIES)}
    return dict(sorted(arms.items(), key=lambda item: known.get(item[1].family, len(known))))


def _arm(name: str, given: Record, backend: str) -> Arm:
    """given: what the plan says of it. Old plans do not name the accelerator; they name the backend, which has one."""
    accelerator = clean(given.get("accelerator") or _ACCELERATORS.get(backend, ""))
    label = clean(given.get("label") or name)
    if accelerator == "tcg" and not label.endswith(EMULATED):
        label = f"{label}{EMULATED}"
    return Arm(name, clean(given.get("family") or "unknown"), label, backend, given.get("options") or {}, accelerator)


def _frames(campaigns: tuple[Campaign, ...]) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame, list[Record]]:
    slots: list[Record] = []
    records: list[Record] = []
    samples = _SampleColumns()
    ramps: list[Record] = []
    for run, campaign in enumerate(campaigns):
        for record in campaign.records:
            try:
                row = _slot_row(run, record)
                samples.add(row, record.get("samples") or [])
                ramps += [_ramp_row(row, step) for step in record.get("ramp") or []]
            except (TypeError, ValueError, AttributeError, KeyError) as error:
                where = f"{campaign.folder / JOURNAL}: slot {record['slot']!r}"
                raise InputError(f"{where} is not a journal record: {error}") from error
            slots.append(row)
            records.append(record)
    ramp_columns = ["run", "slot", "block", "arm", "status", *_RAMP_NUMBERS]
    return pd.DataFrame(slots), samples.frame(), pd.DataFrame(ramps, columns=ramp_columns), records


def _slot_row(run: int, record: Record) -> Record:
    row: Record = {"run": run}
    for key in _SLOT_TEXTS:
        value = record.get(key)
        row[key] = None if value is None else clean(value)
    if row["arm"] is None:
        raise ValueError("it has no arm")
    for key in _SLOT_NUMBERS:
        row[key] = _number(record.get(key), key)
    row["block"], row["order"] = int(row["block"] or 0), int(row["order"] or 0)
    equivalence = record.get("equivalence") or {}
    for key, value in (("seen", record.get("seen")), ("differs", equivalence.get("differs"))):
        if value and not isinstance(value, dict):
            raise ValueError(f"`{key}` is not an object")
    row["badge"], row["caged"] = equivalence.get("badge"), equivalence.get("caged")
    for mark, at in (record.get("marks") or {}).items():
        row[f"mark_{clean(mark)}"] = _number(at, mark)
    for view, size in (record.get("memory") or {}).items():
        row[f"memory_{clean(view)}"] = _number(size, view)
    return row


def _ramp_row(slot: Record, step: Record) -> Record:
    row = {key: slot[key] for key in ("run", "slot", "block", "arm", "status")}
    return row | {key: _number(step.get(key), key) for key in _RAMP_NUMBERS}


def _number(value: Any, key: str) -> float | None:
    """A number that can be a measurement, or None. Raises ValueError for anything else."""
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError(f"`{key}` is {value!r}, not a number")
    if not measurable([value]):
        raise ValueError(f"`{key}` is {value!r}, which nothing measures")
    return value


class _SampleColumns:
    """The samples frame, gathered by columns: a row object for each of a million values would cost many seconds."""

    def __init__(self) -> None:
        self._slots: list[tuple[Any, ...]] = []
        self._heads: dict[tuple[str, str, str], int] = {}
        # One entry a list of values: its slot, its head, how many, whether they are warm-ups.
        self._slot_of: list[int] = []
        self._head_of: list[int] = []
        self._counts: list[int] = []
        self._warm: list[bool] = []
        self._values: list[float] = []

    def add(self, row: Record, samples: list[Record]) -> None:
        slot = len(self._slots)
        self._slots.append((row["run"], row["slot"], row["block"], row["scenario"], row["arm"], row["status"]))
        for sample in samples:
            _number(sample.get("clock"), "clock")
            key: Any = (sample["metric"], sample.get("unit"), sample.get("better") or "lower")
            if key[2] not in ("lower", "higher"):
                raise ValueError(f"`better` is {key[2]!a:.60}, neither lower nor higher")
            head = self._heads.setdefault(key, len(self._heads))
            for values, warm in ((sample.get("warmups"), True), (sample.get("values"), False)):
                if values:
                    self._slot_of.append(slot)
                    self._head_of.append(head)
                    self._counts.append(len(values))
                    self._warm.append(warm)
                    self._values += _numbers(values, key[0])

    def frame(self) -> pd.DataFrame:
        counts = np.array(self._counts, dtype="int64")
        slots = pd.DataFrame(self._slots, columns=["run", "slot", "block", "scenario", "arm", "status"])
        heads = pd.DataFrame([map(clean, head) for head in self._heads], columns=["metric", "unit", "better"])
        columns: dict[str, Any] = {}
        for table, owners in ((slots, self._slot_of), (heads, self._head_of)):
            places = np.repeat(np.array(owners, dtype="int64"), counts)
            for name in table.columns:
                column = table[name] if name in ("run", "block") else table[name].astype("category")
                columns[name] = column.array.take(places)
        columns["warmup"] = np.repeat(np.array(self._warm, dtype=bool), counts)
        columns["index"] = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
        columns["value"] = np.array(self._values, dtype="float64")
        return pd.DataFrame(columns)


def _numbers(values: list[Any], metric: str) -> list[float]:
    """Finite numbers. A warm-up may be [loops, seconds], as pyperf writes them. Raises ValueError else."""
    if set(map(type, values)) <= {float, int} and measurable(values):
        return resolved(values)
    seconds = [value[1] if isinstance(value, list) and len(value) == 2 else value for value in values]
    found = [_number(value, metric) for value in seconds]
    if None in found:
        raise ValueError(f"`{metric}` has a value that is null")
    return resolved([number for number in found if number is not None])
