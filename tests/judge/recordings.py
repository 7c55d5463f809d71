"""What was recorded, cut into disjoint windows of whole blocks. Only the planter and the scorer read it."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt
import pyarrow.parquet as pq

from tests.judge.record import RECORDINGS, SESSIONS, TWIN

Floats = npt.NDArray[np.float64]
BLOCKS: Final = 40


@dataclass(frozen=True)
class Slot:
    """One instance: its place in time and every metric's values."""

    block: int
    order: int
    values: dict[str, Floats]


@dataclass(frozen=True)
class Metric:
    name: str
    unit: str
    better: str


@dataclass(frozen=True)
class Window:
    """BLOCKS consecutive blocks of one arm that stands twice: slots[i] are the twins' in one block."""

    session: str
    set: str
    campaign: str
    arm: str
    number: int
    metrics: tuple[Metric, ...]
    slots: tuple[tuple[Slot, Slot], ...]

    @property
    def name(self) -> str:
        return f"{self.set}/{self.campaign}/{self.arm}/{self.number}"


def sessions() -> dict[str, dict[str, object]]:
    """What sessions.json says of each."""
    found: dict[str, dict[str, object]] = json.loads(SESSIONS.read_text())
    return found


def windows() -> list[Window]:
    """Every disjoint window. One may reach over two sessions of a set, as a resumed campaign does, never over sets."""
    found = []
    for set in sorted({str(about["set"]) for about in sessions().values()}):
        names = [session for session, about in sessions().items() if about["set"] == set]
        found += list(_of_set(set, [_read(session) for session in names]))
    return found


@dataclass(frozen=True)
class _Arm:
    """pairs: the twins' slots in each block, with the session; metrics: those that all of them have, above zero."""

    pairs: list[tuple[str, Slot, Slot]]
    metrics: dict[str, Metric]


def _of_set(set: str, read: list[dict[tuple[str, str], _Arm]]) -> Iterator[Window]:
    for campaign, arm in dict.fromkeys(key for session in read for key in session):
        pairs = [pair for session in read if (campaign, arm) in session for pair in session[campaign, arm].pairs]
        metrics = {
            name: metric
            for session in read
            if (campaign, arm) in session
            for name, metric in session[campaign, arm].metrics.items()
        }
        for number, start in enumerate(range(0, len(pairs) - BLOCKS + 1, BLOCKS), start=1):
            inside = pairs[start : start + BLOCKS]
            slots = tuple((first, second) for _, first, second in inside)
            kept = tuple(
                metric for metric in metrics.values() if all(_has(slot, metric) for pair in slots for slot in pair)
            )
            yield Window(inside[0][0], set, campaign, arm, number, kept, slots)


def _has(slot: Slot, metric: Metric) -> bool:
    return metric.name in slot.values and bool((slot.values[metric.name] > 0).all())


def _read(session: str) -> dict[tuple[str, str], _Arm]:
    """The arms of a session by campaign and name, each with its twin."""
    slots: dict[tuple[str, str], dict[int, Slot]] = {}
    metrics: dict[str, dict[str, Metric]] = {}
    for row in pq.read_table(RECORDINGS / f"{session}.parquet").to_pylist():
        of_arm = slots.setdefault((row["campaign"], row["arm"]), {})
        slot = of_arm.setdefault(row["block"], Slot(row["block"], row["order"], {}))
        slot.values[row["metric"]] = np.array(row["values"], dtype=float)
        known = metrics.setdefault(row["campaign"], {})
        known.setdefault(row["metric"], Metric(row["metric"], row["unit"], row["better"]))
    found = {}
    for (campaign, arm), first in slots.items():
        second = slots.get((campaign, arm + TWIN))
        if second is not None:
            pairs = [(session, first[block], second[block]) for block in sorted(first.keys() & second.keys())]
            found[campaign, arm] = _Arm(pairs, metrics[campaign])
    return found
