"""Who hurts whom: how much slower a tenant that behaves is beside a neighbour that does not, by arm and resource."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

import numpy as np
import pandas as pd

from analysis.estimate import Interval, ratio_of
from analysis.load import Loaded
from analysis.words import listed, plural

_PREFIX = "isolation."
_ALONE = f"{_PREFIX}alone"
_NAMES = {
    "cpu": "busy loops",
    "memory": "a memory hog",
    "fork": "a fork bomb",
    "disk": "a disk hog",
    "network": "one that floods its link",
}


@dataclass(frozen=True)
class Harm:
    """What one kind of neighbour does to one arm's tenant. ratio: beside it ÷ alone, over slots; None where the tenant
    never came to its end; unfinished of so many slots in which it did not."""

    kind: str
    arm: str
    ratio: Interval | None
    unfinished: int
    slots: int

    @property
    def text(self) -> str:
        """`+104 %`, `+0.3 %`; what did not finish is said so."""
        if self.ratio is None:
            return "did not finish"
        return _percent(self.ratio.point)

    @property
    def detail(self) -> str:
        """The interval; and in how many slots the tenant did not finish."""
        parts = []
        if self.ratio and self.ratio.bounded:
            parts.append(f"[{_percent(self.ratio.low)}, {_percent(self.ratio.high)}]")
        elif self.ratio:
            parts.append(f"{plural(self.ratio.count, 'block')}, no interval")
        if self.unfinished and self.ratio:
            parts.append(f"did not finish in {self.unfinished} of {self.slots}")
        return "; ".join(parts)


@dataclass(frozen=True)
class Isolation:
    """kinds of neighbours, in the order of the campaign; harms by (arm, kind); seconds: of the tenant alone, by arm."""

    kinds: list[str]
    arms: list[str]
    harms: dict[tuple[str, str], Harm]
    seconds: dict[str, float]

    def __bool__(self) -> bool:
        return bool(self.harms)

    def name(self, kind: str) -> str:
        return _NAMES.get(kind, kind)


def isolation(loaded: Loaded, medians: pd.DataFrame) -> Isolation:
    """medians: of slots, see analysis.estimate.slot_medians."""
    rows = medians[medians["metric"].astype(str).str.startswith(_PREFIX)]
    values = {
        (str(arm), str(metric).removeprefix(_PREFIX)): each["value"].to_numpy(dtype=float)
        for (arm, metric), each in rows.groupby(["arm", "metric"], observed=True, sort=False)
    }
    unfinished: Counter[tuple[str, str]] = Counter()
    for record in loaded.records:
        for metric in record.get("unfinished") or {} if record.get("status") == "ok" else {}:
            unfinished[str(record.get("arm")), str(metric).removeprefix(_PREFIX)] += 1
    planned = (kind for given in loaded.scenarios.values() for kind in given.get("neighbours") or [])
    kinds = list(dict.fromkeys([*planned, *(kind for _, kind in [*values, *unfinished] if kind != "alone")]))
    harms = {}
    for arm in loaded.arms:
        for kind in kinds:
            found, lost = values.get((arm, kind)), unfinished[arm, kind]
            if found is not None or lost:
                ratio = None if found is None else ratio_of(np.log(found))
                harms[arm, kind] = Harm(kind, arm, ratio, lost, lost + (0 if found is None else len(found)))
    arms = [arm for arm in loaded.arms if any(of == arm for of, _ in harms)]
    kinds = [kind for kind in kinds if any(each == kind for _, each in harms)]
    seconds = {arm: float(np.median(values[arm, "alone"])) for arm in arms if (arm, "alone") in values}
    return Isolation(kinds, arms, harms, seconds)


def sentences(loaded: Loaded, found: Isolation) -> list[str]:
    """For each neighbour, whose tenant suffers least and whose most; the interval decides whether it suffers at all."""
    said = []
    for kind in found.kinds:
        rows = [harm for arm in found.arms if (harm := found.harms.get((arm, kind)))]
        lost = [loaded.arms[harm.arm].label for harm in rows if harm.ratio is None]
        measured = sorted((harm for harm in rows if harm.ratio), key=lambda harm: harm.ratio.point if harm.ratio else 0)
        parts = []
        if measured:
            least, most = measured[0], measured[-1]
            parts.append(f"{loaded.arms[least.arm].label}’s tenant {_suffers(least)}")
            if most is not least:
                parts.append(f"{loaded.arms[most.arm].label}’s {_suffers(most)}")
        if lost:
            parts.append(f"{listed(lost)} did not finish")
        said.append(f"Beside {found.name(kind)}, {', '.join(parts)}.")
    return said


def _suffers(harm: Harm) -> str:
    assert harm.ratio
    bounds = f" {_range(harm.ratio)}" if harm.ratio.bounded else ""
    if harm.ratio.bounded and harm.ratio.low <= 1:
        return f"shows no harm ({_percent(harm.ratio.point)}{bounds})"
    return f"is {_percent(harm.ratio.point).lstrip('+')} slower{bounds}"


def _range(ratio: Interval) -> str:
    return f"[{_percent(ratio.low)}, {_percent(ratio.high)}]"


def _percent(ratio: float) -> str:
    change = (ratio - 1) * 100
    figure = f"{abs(change):,.0f}" if abs(change) >= 9.95 else f"{abs(change):.1f}"
    sign = "±" if float(figure.replace(",", "")) == 0 else "+" if change > 0 else "−"
    return f"{sign}{figure}\N{NO-BREAK SPACE}%"
