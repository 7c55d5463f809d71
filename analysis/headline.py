"""The sentences over tables and charts: what came out, in plain words, with ranges and never with a winner by chance.

Arms are told by group: containers together, each other family, and emulated machines apart from real ones. A group is
set against the baseline only where intervals tell its arms from it.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final

import pandas as pd

from analysis.estimate import Estimate
from analysis.load import Arm, Loaded
from analysis.matrix import Chosen, columns
from analysis.style import PHASES
from analysis.words import listed, show, show_span, span

EMULATED_MACHINES: Final = "emulated"
#: metric → what one arm does, and what several do.
_SAYS: Final = {
    "boot": ("starts in", "start in"),
    "spawn": ("runs /bin/true inside in", "run /bin/true inside in"),
    "exec": ("runs /bin/true by its own exec command in", "run /bin/true by their own exec commands in"),
    "teardown": ("is gone in", "are gone in"),
    "firmware": ("is up, with a boot sector and no Linux, in", "are up, with a boot sector and no Linux, in"),
}
_WEIGHS: Final = ("takes", "take")
_OF_MEMORY: Final = " of memory for each further instance"
#: What the arms of a group are called where there are several.
_GROUPS: Final = {
    "process": "bare processes",
    "container": "containers",
    "hypervisor": "virtual machines",
    EMULATED_MACHINES: "emulated machines",
    "uml": "User-Mode Linux guests",
}


@dataclass(frozen=True)
class Group:
    """Arms of one kind with their figures of one metric."""

    arms: list[Arm]
    found: list[Estimate]

    @property
    def name(self) -> str:
        if len(self.arms) == 1:
            return self.arms[0].label
        return _GROUPS.get(kind_of(self.arms[0]), f"{self.arms[0].family} arms")

    @property
    def value(self) -> str:
        values = [each.median for each in self.found]
        return show_span(min(values), max(values), self.found[0].unit)


def headline(loaded: Loaded, chosen: Chosen) -> list[str]:
    """A sentence a question: start, spawn, teardown, memory."""
    memory = next(column.metric for column in columns(chosen) if column.head == "Memory")
    return [said for metric in ("boot", "spawn", "teardown", memory) if (said := sentence(loaded, chosen, metric))]


def sentence(loaded: Loaded, chosen: Chosen, metric: str) -> str:
    """What one metric comes to in each group of arms; nothing where there is no figure."""
    groups, silent = _groups(loaded, chosen, metric)
    if not groups:
        return ""
    one, many = _SAYS.get(metric, _WEIGHS)
    parts = []
    for place, group in enumerate(groups):
        if place == 0:
            tail = "" if metric in _SAYS else _OF_MEMORY
            said = f"{group.name} {one if len(group.arms) == 1 else many} {group.value}{tail}"
            said = f"{said}{_compared(loaded, chosen, group, with_value=True)}"
        else:
            said = f"{group.name}{' in' if metric in _SAYS else ''} {group.value}"
            said = f"{said}{_compared(loaded, chosen, group, with_value=False)}"
        parts.append(said)
    text = "; ".join(parts)
    lost = f" Not told from nothing: {listed(silent)}." if silent else ""
    return f"{_capital(text) if len(groups[0].arms) > 1 else text}.{lost}"


def _groups(loaded: Loaded, chosen: Chosen, metric: str) -> tuple[list[Group], list[str]]:
    """The groups that have figures, in the order of the arms; and the arms that are not told from zero."""
    arms: dict[str, list[tuple[Arm, Estimate]]] = {}
    silent = []
    for name, arm in loaded.arms.items():
        found = chosen.get(metric, name)
        if found is not None and chosen.is_flat(found):
            silent.append(arm.label)
        elif found is not None and name != loaded.baseline:
            arms.setdefault(kind_of(arm), []).append((arm, found))
    return [Group([arm for arm, _ in each], [found for _, found in each]) for each in arms.values()], silent


def kind_of(arm: Arm) -> str:
    """An arm's group. Emulated machines are none of the hypervisors': they would stand for these."""
    return EMULATED_MACHINES if arm.emulated else arm.family


def _compared(loaded: Loaded, chosen: Chosen, group: Group, *, with_value: bool) -> str:
    """How a group stands to the baseline, as far as its intervals tell; perhaps with the baseline's own figure."""
    base, arm = chosen.get(group.found[0].metric, loaded.baseline or ""), loaded.arms.get(loaded.baseline or "")
    if base is None or arm is None or chosen.is_flat(base):
        return ""
    if kind_of(group.arms[0]) == EMULATED_MACHINES:
        return ""  # how many times an emulator is slower would be quoted as what virtual machines are
    than, own = _than(arm), show(base.median, base.unit, 2)
    bounded = [each for each in group.found if each.ratio and each.ratio.bounded]
    unsure = [each for each in group.found if each not in bounded]
    told = [each for each in bounded if each.ratio and not each.ratio.low <= 1 <= each.ratio.high]
    if not bounded:
        return f" ({than}: {own})" if with_value else ""
    value = f" ({own})" if with_value else ""
    if not (told or unsure):
        return f", no measurable difference from {than}{value}"
    ratios = [each.ratio.point for each in told if each.ratio]
    times = f"{span(ratios)} times {than}{value}" if told else ""
    if len(told) == len(group.found):
        return f", {times}"
    alike = [each for each in bounded if each not in told]
    parts = [f"{_labels(loaded, told)} {times}"] if told else []
    if alike and told and not unsure:
        parts.append(f"{'the other' if len(alike) == 1 else 'the others'} with no measurable difference")
    elif alike:
        parts.append(f"{_labels(loaded, alike)} with no measurable difference{'' if told else f' from {than}{value}'}")
    if unsure:
        parts.append(f"{_labels(loaded, unsure)} without an interval, and not compared")
    return f": {', '.join(parts)}"


def _labels(loaded: Loaded, found: Iterable[Estimate]) -> str:
    return listed(loaded.arms[each.arm].label for each in found)


def _than(arm: Arm) -> str:
    return "a bare process" if arm.family == "process" else arm.label


def _capital(text: str) -> str:
    return f"{text[0].upper()}{text[1:]}"


def phase_shares(medians: pd.DataFrame) -> pd.DataFrame:
    """A row an arm: the mean over its slots of each boot phase's share of the phases' sum.

    A phase that took no time in a slot has no sample there: it counts as zero, or it would look longer.
    """
    found = medians[medians["metric"].isin(PHASES)]
    slots = found.set_index(["run", "slot", "arm", "metric"])["value"].unstack("metric").reindex(columns=list(PHASES))
    slots = slots.fillna(0.0)
    whole = slots.sum(axis="columns")
    return slots[whole > 0].div(whole[whole > 0], axis="index").groupby("arm", observed=True).mean()


def longest_phases(loaded: Loaded, medians: pd.DataFrame) -> str:
    """Which phase takes most of a start, and how much of it, in each group of arms."""
    shares = phase_shares(medians)
    groups: dict[tuple[str, str], list[str]] = {}
    for name, arm in loaded.arms.items():
        if name in shares.index and name != loaded.baseline:
            groups.setdefault((kind_of(arm), str(shares.loc[name].idxmax())), []).append(name)
    parts = []
    for (_, phase), names in groups.items():
        part = (100 * shares.loc[names, phase]).tolist()
        low, high = f"{min(part):.0f}", f"{max(part):.0f}"
        who = listed(loaded.arms[name].label for name in names)
        span = high if low == high else f"{low} to {high}"
        spends = "spends" if len(names) == 1 else "spend"
        own = "its" if len(names) == 1 else "their"
        parts.append(f"{who} {spends} {span}\N{NO-BREAK SPACE}% of {own} start in {phase.partition('.')[2]}")
    return f"{'; '.join(parts)}." if parts else ""
