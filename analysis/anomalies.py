"""Figures that are impossible, or that need an explanation before anybody quotes them: found by rule, each a sentence.

A rule holds for any campaign; none knows which tool or host it is about.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Final

import pandas as pd

from analysis.caution import Caution
from analysis.estimate import Estimate, Slope
from analysis.inside import clocks, inverse
from analysis.load import Loaded
from analysis.matrix import Chosen
from analysis.words import digits, listed, show, show_ratio, show_share
from bench.text import clean

_FASTER: Final = 1.5  # times better than the bare process, from which on that is no luck of layout
_FAR: Final = 3.0  # times as long, where too few slots give no interval
_SHORTER: Final = 0.8  # of what an operation takes on average, below which a p99 cannot be of the whole operation
_MORE: Final = 1.2  # times the CPU seconds that its CPUs have
_STARTS: Final = ("boot", "firmware")


def anomalies(
    loaded: Loaded, chosen: Chosen, found: list[Estimate], medians: pd.DataFrame, inclines: list[Slope]
) -> list[Caution]:
    """Gravest first: what cannot be, what is the wrong way round, what includes something else."""
    areas = _areas(loaded)
    return [
        *_zero_cpu(loaded, medians),
        *_too_much_cpu(loaded, chosen),
        *_below_zero(loaded, inclines),
        *_slow_help(loaded, chosen),
        *_better_than_bare(loaded, found, areas),
        *_partial_latency(loaded, found, areas),
        *_clocks(loaded),
        *_teardown_notes(loaded, chosen),
    ]


def _areas(loaded: Loaded) -> dict[str, str]:
    """By tool, its kind of work."""
    found: dict[str, str] = {}
    for campaign in loaded.campaigns:
        for tool, about in (campaign.plan.get("workloads") or {}).items():
            found[str(tool)] = clean(about.get("area") or "")
    return found


def _zero_cpu(loaded: Loaded, medians: pd.DataFrame) -> Iterator[Caution]:
    """Something took time and no CPU time."""
    for metric in ("boot", "spawn", "exec", "teardown", "firmware"):
        cpu = medians[medians["metric"] == f"{metric}.cpu"]
        for arm, values in cpu.groupby("arm", observed=True)["value"]:
            none = int((values <= 0).sum())
            took = medians.loc[(medians["metric"] == metric) & (medians["arm"] == arm), "value"]
            if none and not took.empty and (middle := float(took.median())) > 0:
                yield Caution(
                    f"Impossible: {loaded.arms[str(arm)].label} used 0 s of CPU time for {metric} in {none} of "
                    f"{len(values)} slots, where it takes {show(middle, 'second', 2)}: the cgroup’s clock had not "
                    "counted it. Those slots are in no ratio.",
                    "matrix",
                )


def _too_much_cpu(loaded: Loaded, chosen: Chosen) -> Iterator[Caution]:
    """More CPU time than there was."""
    cpus = max(((c.plan.get("envelope") or {}).get("cpus") or 0 for c in loaded.campaigns), default=0)
    for name, arm in loaded.arms.items():
        took, used = chosen.get("boot", name), chosen.get("boot.cpu", name)
        if cpus and took and used and used.median > _MORE * took.median * cpus:
            yield Caution(
                f"Impossible: the start of {arm.label} used {show(used.median, 'second', 2)} of CPU time and took "
                f"{show(took.median, 'second', 2)} on {cpus} CPU{'s' if cpus > 1 else ''}.",
                "matrix",
            )


def _below_zero(loaded: Loaded, inclines: list[Slope]) -> Iterator[Caution]:
    """Memory that an instance would give."""
    for each in inclines:
        if each.view in ("memavailable", "cage", "pss", "guest") and each.slope.high < 0:
            yield Caution(
                f"Impossible: by {each.view} each further instance of {loaded.arms[each.arm].label} would free "
                f"{show(-each.slope.point, 'byte', 2)}: something else gave memory back meanwhile.",
                "density",
            )


def _slow_help(loaded: Loaded, chosen: Chosen) -> Iterator[Caution]:
    """A start that takes longer with hardware help than without."""
    for metric in _STARTS:
        pairs = [(name, chosen.get(metric, name)) for name in loaded.arms]
        helped = [(loaded.arms[name], e) for name, e in pairs if e and loaded.arms[name].accelerator == "kvm"]
        emulated = [(loaded.arms[name], e) for name, e in pairs if e and loaded.arms[name].emulated]
        for arm, slow in helped:
            for other, fast in emulated:
                bounded = slow.known.bounded and fast.known.bounded
                if fast.median <= 0 or slow.median < (_FASTER if bounded else _FAR) * fast.median:
                    continue
                if not bounded or slow.known.low > fast.known.high:
                    what = "its firmware" if metric == "firmware" else "a start"
                    yield Caution(
                        f"Suspicious: {arm.label} takes {show(slow.median, 'second', 2)} for {what}, "
                        f"{show_ratio(slow.median / fast.median, 2)} what {other.label} takes "
                        f"({show(fast.median, 'second', 2)}). Hardware help makes that faster, not slower: KVM does "
                        "not work here as it does on other hosts, and this is no figure of KVM.",
                        "firmware" if metric == "firmware" else "start",
                    )


def _better_than_bare(loaded: Loaded, found: list[Estimate], areas: dict[str, str]) -> Iterator[Caution]:
    """An instance that does better than the bare process, which has nothing in its way."""
    base = loaded.arms.get(loaded.baseline or "")
    if base is None or base.family != "process":
        return
    own = {(each.scenario, each.metric): each for each in found if each.arm == base.name}
    for each in found:
        tool = each.metric.partition(".")[0]
        known = tool in areas or each.metric in ("boot", "spawn", "exec", "teardown")
        if not known or each.ratio is None or not each.ratio.bounded or each.metric.endswith(".cpu"):
            continue
        gain = each.ratio if each.better == "higher" else inverse(each.ratio)
        beside = own.get((each.scenario, each.metric))
        if gain.low <= 1 or gain.point < _FASTER or beside is None:
            continue
        figures = f"{show(each.median, each.unit, 2)} against {show(beside.median, each.unit, 2)}"
        if areas.get(tool) == "disk":
            why = (
                "Nothing can write to a disk faster than the host that the disk belongs to: what counts as written "
                "there may not be on the disk (a flush is missing), or the baseline pays for something else"
            )
        else:
            why = "The bare process has nothing in its way that an instance has not: its own figure may be disturbed"
        yield Caution(
            f"Suspicious: in {clean(each.metric)} {loaded.arms[each.arm].label} does {show_ratio(gain.point, 2)} as "
            f"well as {base.label} ({figures}). {why}. Do not quote it unexplained.",
            "inside" if tool in areas else "use" if each.metric != "boot" else "start",
        )


def _partial_latency(loaded: Loaded, found: list[Estimate], areas: dict[str, str]) -> Iterator[Caution]:
    """A p99 that is shorter than the mean time of an operation, which no whole operation's can be."""
    rates = {
        (each.arm, each.metric.rpartition(".")[0]): each
        for each in found
        if each.unit == "operation/s" and each.metric.endswith(".rate") and each.median > 0
    }
    told: dict[tuple[str, str], list[tuple[Estimate, float]]] = {}
    for each in found:
        tool, _, what = each.metric.rpartition(".")
        rate = rates.get((each.arm, tool))
        if tool in areas and what == "p99" and rate and 0 < each.median < _SHORTER / rate.median:
            told.setdefault((each.metric, rate.metric), []).append((each, 1 / rate.median))
    for (metric, rate_name), pairs in told.items():
        each, mean = max(pairs, key=lambda pair: pair[1] / pair[0].median)
        yield Caution(
            f"Suspicious: {clean(metric)} is not of whole operations. It is {show(each.median, 'second', 2)} for "
            f"{loaded.arms[each.arm].label}, where by {clean(rate_name)} an operation takes {show(mean, 'second', 2)} "
            "on average: it leaves out part of each, such as the flush after a write.",
            "inside",
        )


def _clocks(loaded: Loaded) -> Iterator[Caution]:
    """Of each arm whose clock ran otherwise than the host's, the metric with the worst of it."""
    for arm, off in clocks(loaded).items():
        metric, ratio = max(off.items(), key=lambda item: abs(item[1] - 1))
        if ratio < 1:
            means = f"times that tools report there are too short by up to {show_share(1 - ratio)}, and rates too high"
        else:
            means = f"times that tools report there are too long by up to {show_share(ratio - 1)}, and rates too low"
        yield Caution(
            f"Clock: a second of the host’s took {digits(ratio)} s on the clock of {loaded.arms[arm].label} "
            f"({clean(metric)}, its worst): {means}. Figures under a clock that was off are marked ⚠.",
            "inside",
        )


def _teardown_notes(loaded: Loaded, chosen: Chosen) -> Iterator[Caution]:
    """What a backend says is in the time of its teardown beside the instance's own end."""
    said: dict[str, list[str]] = {}
    for campaign in loaded.campaigns:
        for note in campaign.facts.get("notes") or []:
            arm, _, text = str(note).partition(": ")
            if arm in loaded.arms and text.startswith("teardown ") and chosen.get("teardown", arm):
                said.setdefault(clean(text), [])
                if loaded.arms[arm].label not in said[clean(text)]:
                    said[clean(text)].append(loaded.arms[arm].label)
    for text, labels in said.items():
        yield Caution(f"{listed(labels)}: {text}.", "use")
