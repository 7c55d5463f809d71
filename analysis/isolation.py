"""Who hurts whom: how much longer a tenant that behaves takes beside a neighbour that does not, by arm and
resource, against the fair share of the CPUs that they have together."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Final

import numpy as np
import pandas as pd

from analysis.estimate import Interval, over_sessions
from analysis.judge import BETWEEN_SESSIONS
from analysis.load import Loaded
from analysis.words import listed, show_range, show_ratio, show_times

_PREFIX = "isolation."
_ALONE = f"{_PREFIX}alone"
_NAMES = {
    "cpu": "busy loops",
    "memory": "a memory hog",
    "fork": "a fork bomb",
    "disk": "a disk hog",
    "network": "one that floods its link",
}
# A judgement, not a measurement: what nobody would mind, and what nobody would see.
_NEAR: Final = 1.1  # times the fair share, or less of it, within which the whole interval of what is called it lies
_MATTERS: Final = 1.03  # times the fair share or less of it, from which on a difference is told


@dataclass(frozen=True)
class Harm:
    """What one kind of neighbour does to one arm's tenant. ratio: beside it ÷ alone, over slots; None where the tenant
    never came to its end; unfinished of so many slots in which it did not; fair: the ratio that an equal share of the
    CPUs gives by itself."""

    kind: str
    arm: str
    ratio: Interval | None
    unfinished: int
    slots: int
    fair: float = 1.0

    @property
    def text(self) -> str:
        """`2.1×`; what did not finish is said so."""
        return "did not finish" if self.ratio is None else show_times(self.ratio, self.fair)

    @property
    def detail(self) -> str:
        """The interval; and in how many slots the tenant did not finish."""
        return "; ".join(filter(None, [show_range(self.ratio, self.fair) if self.ratio else "", self.partly]))

    @property
    def partly(self) -> str:
        """In how many slots the tenant did not finish, where it did in others: the ratio is of those alone."""
        return f"did not finish in {self.unfinished} of {self.slots}" if self.unfinished and self.ratio else ""

    @property
    def beyond(self) -> float | None:
        """How many times what the fair share gives; 1 is no harm but that."""
        return self.ratio.point / self.fair if self.ratio else None

    @property
    def near(self) -> bool:
        """Whether it is the fair share, as far as anybody would mind."""
        if self.ratio is None or not self.ratio.bounded:
            return False
        return self.fair / _NEAR <= self.ratio.low and self.ratio.high <= self.fair * _NEAR

    @property
    def side(self) -> int:
        """1 where it takes longer than the fair share, -1 where less, by more than chance and a little; 0 otherwise."""
        if self.ratio is None or not self.ratio.bounded or self.ratio.low <= self.fair <= self.ratio.high:
            return 0
        if self.near and max(self.ratio.point / self.fair, self.fair / self.ratio.point) < _MATTERS:
            return 0
        return 1 if self.ratio.low > self.fair else -1


@dataclass(frozen=True)
class Isolation:
    """kinds of neighbours, in the order of the campaign; harms by (arm, kind); seconds: of the tenant alone, by arm.

    cpus: that tenant and neighbour share; fair: see Harm.
    """

    kinds: list[str]
    arms: list[str]
    harms: dict[tuple[str, str], Harm]
    seconds: dict[str, float]
    cpus: int = 1
    fair: float = 1.0

    def __bool__(self) -> bool:
        return bool(self.harms)

    def name(self, kind: str) -> str:
        return _NAMES.get(kind, kind)

    @property
    def share(self) -> str:
        """What the fair share is, in a sentence."""
        on = "on one CPU" if self.cpus == 1 else f"on the same {self.cpus} CPUs"
        said = f"Tenant and neighbour run {on}, in cages of equal weight"
        if self.fair > 1:
            takes = show_ratio(self.fair, 2)
            return (
                f"{said}: beside a neighbour that never rests, taking {takes} as long is the fair share, and no harm."
            )
        return f"{said}: the tenant’s one process has a CPU of its own for its fair share, so that 1.0× is no harm."


def fair_share(cpus: int) -> float:
    """How many times as long one process takes that gets an equal part of `cpus` CPUs with a neighbour that takes all
    it can get."""
    return max(1.0, 2.0 / cpus)


def isolation(loaded: Loaded, medians: pd.DataFrame) -> Isolation:
    """medians: of slots, see analysis.estimate.slot_medians."""
    rows = medians[medians["metric"].astype(str).str.startswith(_PREFIX)]
    values = {
        (str(arm), str(metric).removeprefix(_PREFIX)): each.set_index(["run", "block"])["value"]
        for (arm, metric), each in rows.groupby(["arm", "metric"], observed=True, sort=False)
    }
    unfinished: Counter[tuple[str, str]] = Counter()
    for record in loaded.records:
        for metric in record.get("unfinished") or {} if record.get("status") == "ok" else {}:
            unfinished[str(record.get("arm")), str(metric).removeprefix(_PREFIX)] += 1
    planned = (kind for given in loaded.scenarios.values() for kind in given.get("neighbours") or [])
    kinds = list(dict.fromkeys([*planned, *(kind for _, kind in [*values, *unfinished] if kind != "alone")]))
    cpus = shared_cpus(loaded)
    fair = fair_share(cpus)
    harms = {}
    for arm in loaded.arms:
        for kind in kinds:
            found, lost = values.get((arm, kind)), unfinished[arm, kind]
            if found is not None or lost:
                ratio = None if found is None else over_sessions(np.log(found), BETWEEN_SESSIONS)
                harms[arm, kind] = Harm(kind, arm, ratio, lost, lost + (0 if found is None else len(found)), fair)
    arms = [arm for arm in loaded.arms if any(of == arm for of, _ in harms)]
    kinds = [kind for kind in kinds if any(each == kind for _, each in harms)]
    seconds = {arm: float(np.median(values[arm, "alone"])) for arm in arms if (arm, "alone") in values}
    return Isolation(kinds, arms, harms, seconds, cpus, fair)


def shared_cpus(loaded: Loaded) -> int:
    """How many CPUs the envelope gives, or as many as the cages had where those are fewer."""
    given = []
    for campaign in loaded.campaigns:
        given.append((campaign.plan.get("envelope") or {}).get("cpus"))
        given.append(_listed_cpus((campaign.facts.get("cage") or {}).get("cpus")))
    return min((count for count in given if isinstance(count, int) and count > 0), default=1)


def _listed_cpus(text: object) -> int:
    """How many CPUs a list like "0-2,5" has; 0 where it is none."""
    total = 0
    for part in str(text).split(","):
        first, _, last = part.partition("-")
        if not first.isdigit() or not (last or first).isdigit():
            return 0
        total += int(last or first) - int(first) + 1
    return total


def sentences(loaded: Loaded, found: Isolation) -> list[str]:
    """For each neighbour, how long a tenant's request takes beside it, and in which arms that is not the fair share."""
    said = []
    for kind in found.kinds:
        rows = [harm for arm in found.arms if (harm := found.harms.get((arm, kind)))]
        lost = [loaded.arms[harm.arm].label for harm in rows if harm.ratio is None]
        measured = [harm for harm in rows if harm.ratio]
        parts = []
        if measured:
            whose = f" in {loaded.arms[measured[0].arm].label}" if len(measured) == 1 else ""
            least, most = (
                _brief(pick(measured, key=lambda harm: harm.beyond or 0.0)).removesuffix("×") for pick in (min, max)
            )
            times = most if least == most else f"{least} to {most}"
            parts.append(f"a request takes {times} times as long as alone{whose}")
            parts += _sides(loaded, found, measured)
        if lost:
            parts.append(f"{listed(lost)} did not finish")
        said.append(f"Beside {found.name(kind)}, {'; '.join(parts)}.")
    return said


def _sides(loaded: Loaded, found: Isolation, rows: list[Harm]) -> list[str]:
    """Who takes the fair share, who is told from it, and of whom nothing is known."""
    share = f"the fair share of {show_ratio(found.fair, 2)}" if found.fair > 1 else "no harm to speak of"
    above = [_one(loaded, harm) for harm in rows if harm.side > 0]
    below = [_one(loaded, harm) for harm in rows if harm.side < 0]
    within = [harm for harm in rows if harm.side == 0 and harm.near]
    whole = len(within) == len(found.arms) > 1 and not any(harm.unfinished for harm in within)
    known = [harm for harm in rows if harm.ratio and harm.ratio.bounded]
    wide = [
        _one(loaded, harm, show_range(harm.ratio, harm.fair))
        for harm in known
        if harm.ratio and harm.side == 0 and not harm.near
    ]
    none = [_named(loaded, harm) for harm in rows if harm not in known]
    parts = []
    if within:
        parts.append(f"that is {share} in {'all arms' if whole else listed(_named(loaded, harm) for harm in within)}")
    if above:
        parts.append(f"more than {'its fair share' if found.fair > 1 else 'alone'} in {listed(above)}")
    if below:
        parts.append(f"less than {'its fair share' if found.fair > 1 else 'alone'} in {listed(below)}")
    if wide:
        parts.append(f"not told from {'its fair share' if found.fair > 1 else 'no harm'} in {listed(wide)}")
    if none:
        parts.append(f"without an interval in {listed(none)}")
    return parts


def _named(loaded: Loaded, harm: Harm) -> str:
    return loaded.arms[harm.arm].label + (f" (which {harm.partly})" if harm.partly else "")


def _one(loaded: Loaded, harm: Harm, interval: str = "") -> str:
    told = "; ".join(filter(None, [f"{_brief(harm)} {interval}".strip(), harm.partly]))
    return f"{loaded.arms[harm.arm].label} ({told})"


def _brief(harm: Harm) -> str:
    """Two digits, as sentences have them."""
    return show_times(harm.ratio, harm.fair, 2) if harm.ratio else harm.text
