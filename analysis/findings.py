"""What the report says in words: the headline, and what a reader must know before trusting it."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass

from analysis.equal import Equivalence
from analysis.estimate import Drift, Estimate, Slope
from analysis.instructions import Table, inexact
from analysis.load import Campaign, Loaded
from analysis.matrix import Chosen, columns
from analysis.style import PHASES
from analysis.words import digits, listed, plural, show, show_range, show_ratio
from bench.results import spared
from bench.text import clean

ENOUGH_BLOCKS = 6  # below, the signed-rank test cannot reach 95 %
#: Of a node, what figures may depend on.
_ALIKE = ("cpu", "microcode", "cores", "kernel", "clocksource", "mitigations", "governor", "thp")
_CLOCK_MARGIN = 0.02  # how far an instance's clock may be from the host's before the report says so
_CONSOLE_SHOWN = 8_000
_FAILURES_SHOWN = 200


@dataclass(frozen=True)
class Failure:
    """One slot that did not end well."""

    campaign: str
    slot: str
    block: int
    arm: str
    scenario: str
    status: str
    reason: str
    console: str


@dataclass(frozen=True)
class Failures:
    """The slots that failed (the first of them in full) and those that a campaign planned and did not run."""

    shown: list[Failure]
    total: int
    missing: dict[str, int]
    planned: int
    ran: int
    spared: int

    @property
    def missing_total(self) -> int:
        return sum(self.missing.values())


def failures(loaded: Loaded) -> Failures:
    """Every slot that is not `ok`, and by arm how many of the plan's slots the journal lacks."""
    missing: Counter[str] = Counter()
    planned = needless = 0
    shown: list[Failure] = []
    total = 0
    for campaign in loaded.campaigns:
        slots = campaign.plan.get("slots") or []
        planned += len(slots)
        stopped = spared(campaign.plan, campaign.decisions)
        needless += len(stopped)
        known = {record["slot"] for record in campaign.records} | stopped
        missing.update(str(slot.get("arm")) for slot in slots if slot.get("slot") not in known)
        for record in campaign.records:
            if record.get("status") != "ok":
                total += 1
                if len(shown) < _FAILURES_SHOWN:
                    shown.append(_failure(campaign.name, record))
    order = {arm: count for arm in loaded.arms if (count := missing.pop(arm, 0))}
    return Failures(shown, total, order | dict(missing), planned, len(loaded.records), needless)


def _failure(campaign: str, record: dict[str, object]) -> Failure:
    console = clean(record.get("console") or "")
    if len(console) > _CONSOLE_SHOWN:
        console = f"… {console[-_CONSOLE_SHOWN:]}"
    texts = [clean(record.get(key) or "?") for key in ("slot", "arm", "scenario", "status")]
    block = record.get("block")
    return Failure(
        campaign,
        texts[0],
        block if isinstance(block, int) else 0,
        texts[1],
        texts[2],
        texts[3],
        clean(record.get("reason") or "no reason recorded"),
        console.strip("\n"),
    )


#: metric → what an arm does, and what its figure is of, in the words of a sentence.
_VERBS = {
    "boot": ("starts in", "", "in"),
    "spawn": ("runs /bin/true inside in", "", "in"),
    "exec": ("runs /bin/true by its own door in", "", "in"),
    "teardown": ("is gone in", "", "in"),
    "firmware": ("is up, with a boot sector and no Linux, in", "", "in"),
}
_WEIGHS = ("costs", " of memory for one more instance", "costs")


def headline(loaded: Loaded, chosen: Chosen, counted: list[Table]) -> list[str]:
    """A sentence a question: who starts, spawns and goes away fastest, who weighs least, of each family.

    And how much work a boot is, where that was counted.
    """
    memory = next(column.metric for column in columns(chosen) if column.head == "Memory")
    said = (sentence(loaded, chosen, metric) for metric in ("boot", "spawn", "teardown", memory))
    return [*filter(None, said), *(text for table in counted for text in _work(loaded, table))]


def sentence(loaded: Loaded, chosen: Chosen, metric: str) -> str:
    """The best arm of each family in one metric, and its ratio to the baseline; nothing where there is no figure."""
    base = loaded.arms.get(loaded.baseline or "")
    than = f"the {'bare process' if base.family == 'process' else base.label}" if base else ""
    verb, tail, again = _VERBS.get(metric, _WEIGHS)
    parts = [
        _phrase(loaded, estimate, *((verb, tail, than) if place == 0 else (again, "", "")))
        for place, estimate in enumerate(_best_of_families(loaded, chosen, metric))
    ]
    return f"{'; '.join(parts)}." if parts else ""


def fairness(loaded: Loaded, equal: dict[str, Equivalence], failed: Failures) -> str:
    """Whether all arms were given the same, stood side by side, and came to their end."""
    same = [loaded.arms[name].label for name, judged in equal.items() if judged.badge == "equal"]
    differ = [loaded.arms[name].label for name, judged in equal.items() if judged.badge == "differs"]
    parts = []
    if differ:
        given = f"{listed(same)} had" if same else "No arm had"
        parts.append(f"{given} what the envelope says; {listed(differ)} had something else, which is named below")
    elif same:
        parts.append("Every arm had what the envelope says")
    grouped = any(campaign.plan.get("reboots") == "grouped" for campaign in loaded.campaigns)
    parts.append("slots were not interleaved" if grouped else "arms took turns in each block, in an order drawn by lot")
    parts.append(f"{failed.total:,} of {plural(failed.ran, 'slot')} failed" if failed.total else "no slot failed")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def longest_phases(loaded: Loaded, chosen: Chosen) -> str:
    """Of the arm of each family that starts fastest, the phase that takes most of its start."""
    parts = []
    for boot in _best_of_families(loaded, chosen, "boot"):
        phases = {phase: chosen.get(phase, boot.arm) for phase in PHASES}
        known = {phase: each.median for phase, each in phases.items() if each}
        if known and (whole := sum(known.values())) > 0:
            most = max(known, key=lambda phase: known[phase])
            share = f"{100 * known[most] / whole:.0f}\N{NO-BREAK SPACE}%"
            parts.append(f"{loaded.arms[boot.arm].label} spends {share} of its start in {most.partition('.')[2]}")
    return f"{'; '.join(parts)}." if parts else ""


def _work(loaded: Loaded, table: Table) -> list[str]:
    """A boot's instructions, of each arm that stands to the reference."""
    reference = loaded.arms[table.reference].label
    found = []
    for arm, counts in table.counts.items():
        if (boot := counts.get("boot.instructions")) and boot.change is not None:
            verb = "as many as" if boot.difference == 0 else f"{boot.against} against"
            took = show(boot.value, "instruction")
            found.append(f"{loaded.arms[arm].label} boots in {took}, {verb} {reference} ({boot.proof}).")
    return found


def _best_of_families(loaded: Loaded, chosen: Chosen, metric: str) -> list[Estimate]:
    best: dict[str, Estimate] = {}
    for name, arm in loaded.arms.items():
        estimate = chosen.get(metric, name)
        if estimate is None or estimate.median <= 0 or name == loaded.baseline:
            continue
        if arm.family not in best or estimate.median < best[arm.family].median:
            best[arm.family] = estimate
    return list(best.values())


def _phrase(loaded: Loaded, estimate: Estimate, verb: str, tail: str, than: str) -> str:
    text = f"{loaded.arms[estimate.arm].label} {verb} {show(estimate.median, estimate.unit)}{tail}"
    ratio = estimate.ratio
    if ratio is None or not loaded.baseline:
        return text
    bounds = f" {show_range(ratio)}" if ratio.bounded else ""
    return f"{text}, {show_ratio(ratio.point)}{f' {than}' if than else ''}{bounds}"


def cautions(
    loaded: Loaded,
    chosen: Chosen,
    failed: Failures,
    equal: dict[str, Equivalence],
    drifted: list[Drift],
    inclines: list[Slope],
    counted: list[Table],
) -> list[str]:
    """What limits the figures, gravest first; empty where nothing does."""
    found = []
    if emulated := dict.fromkeys(campaign.host for campaign in loaded.campaigns if campaign.emulated):
        found.append(
            f"Emulated host: {listed(emulated)} is an emulated machine itself. That Tare works there is real, and so "
            "is every guest; its seconds are those of an emulator, and say nothing of hardware."
        )
    if any(campaign.plan.get("reboots") == "grouped" for campaign in loaded.campaigns):
        found.append("Not interleaved: each host kernel took all its blocks before the next one did.")
    for campaign in loaded.campaigns:
        if campaign.lost:
            found.append(f"Lost: {campaign.host} was lost before its last slot ({campaign.lost}).")
    if failed.missing_total:
        found.append(
            f"Unfinished: {failed.missing_total:,} of {plural(failed.planned, 'planned slot')} did not run. "
            "`tare resume` runs them."
        )
    torn = [campaign.name for campaign in loaded.campaigns if campaign.torn]
    if torn:
        found.append(f"Cut: the last journal line of {listed(torn)} is not whole and does not count; the others do.")
    if failed.spared:
        found.append(
            f"Stopped early: {failed.spared:,} of {plural(failed.planned, 'planned slot')} were not needed to decide "
            "what the campaign compares (`tare compare` says what). Intervals here are those of the blocks that ran."
        )
    if failed.total:
        found.append(f"{failed.total:,} of {plural(failed.ran, 'slot')} failed; their figures are not used.")
    blocks = chosen.blocks()
    if unequal := [loaded.arms[arm].label for arm in inexact(counted)]:
        found.append(
            f"Counts of {listed(unequal)} did not repeat to the last digit: they are judged like times, by statistics."
        )
    if loaded.baseline is None:
        found.append("No baseline arm: figures stand alone, without ratios.")
    elif blocks < ENOUGH_BLOCKS and (chosen.scenario or not counted):
        found.append(
            f"Only {plural(blocks, 'block')} with a ratio: a 95 % interval needs at least {ENOUGH_BLOCKS}, "
            f"so none is given."
        )
    uncaged = loaded.slots["caged"].eq(False)
    if uncaged.any():
        why = next((clean(c.facts["cgroup"]) for c in loaded.campaigns if c.facts.get("cgroup")), "")
        found.append(
            f"{'All' if uncaged.all() else f'{int(uncaged.sum()):,}'} slots ran uncaged"
            f"{f' (cgroup: {why})' if why else ''}: CPU shares were not held equal, and CPU seconds and "
            f"cage memory "
            "are missing."
        )
    differing = [loaded.arms[name].label for name, judged in equal.items() if judged.badge == "differs"]
    if differing:
        found.append(f"Not given the same: {listed(differing)} differ from the envelope; see Equivalence.")
    flat = {s.arm for s in inclines if s.view == "memavailable" and not s.slope.low > 0 and s.slope.bounded}
    lost = [arm.label for name, arm in loaded.arms.items() if name in flat]
    if lost:
        found.append(
            f"The host’s view of memory (MemAvailable) does not tell {listed(lost)} from nothing: the host "
            "did other things while the ramp ran, or the ramp is short. The cage’s view has no such problem."
        )
    found += _clocks(loaded)
    found += [_drift(loaded, drift) for drift in drifted]
    return found + _provenance(loaded)


def _clocks(loaded: Loaded) -> list[str]:
    """Of each arm whose clock ran otherwise than the host's, the metric with the worst of it."""
    worst: dict[str, tuple[float, str]] = {}
    for record in loaded.records:
        for sample in record.get("samples") or []:
            ratio, arm = sample.get("clock"), str(record.get("arm"))
            if record.get("status") == "ok" and ratio is not None and abs(ratio - 1) > _CLOCK_MARGIN:
                here = float(ratio), str(sample["metric"])
                worst[arm] = max(worst.get(arm, here), here, key=lambda found: abs(found[0] - 1))
    return [
        f"Clock: a second of the host’s took {digits(ratio)} s on the clock of {loaded.arms[arm].label} "
        f"({clean(metric)}, its worst): what tools say there of time is that far off."
        for arm, (ratio, metric) in worst.items()
    ]


def _drift(loaded: Loaded, drift: Drift) -> str:
    low, high = digits(drift.factor.low), digits(drift.factor.high)
    return (
        f"Drift: the start of {loaded.arms[drift.arm].label} changed by a factor of "
        f"{digits(drift.factor.point)} "
        f"[{low}, {high}] from the first block to the last. Ratios are taken inside blocks, where drift "
        f"that all arms "
        "share cancels; absolute figures mix both ends."
    )


def _provenance(loaded: Loaded) -> list[str]:
    found = []
    if any((c.facts.get("git") or {}).get("dirty") for c in loaded.campaigns):
        found.append(
            "The harness had uncommitted changes (git tree dirty): its revision does not fully name this code."
        )
    for file, kept in (("plan.json", "plan"), ("facts.json", "facts")):
        lacking = [c.folder.name for c in loaded.campaigns if not getattr(c, kept)]
        if lacking:
            found.append(f"No {file} in {listed(lacking)}: what it would tell is missing here.")
    boots = loaded.slots["boot_id"].dropna().nunique()
    if len(loaded.campaigns) > 1:
        found.append(
            f"Pooled: blocks of {len(loaded.campaigns)} campaigns from {plural(boots, 'host boot')} count "
            f"alike in every ratio."
        )
    found += [_of_nodes(campaign) for campaign in loaded.campaigns if len(campaign.nodes) > 1]
    return found


def _of_nodes(campaign: Campaign) -> str:
    """Whether a cluster's nodes are alike, as far as is known."""
    hosts = [each.get("host") or {} for each in campaign.nodes.values()]
    differ = [key for key in _ALIKE if len({json.dumps(host.get(key), sort_keys=True) for host in hosts}) > 1]
    sizes = [host.get("memory") or 0 for host in hosts]
    if max(sizes) > 1.01 * min(sizes):  # of two machines alike, some kilobytes always differ
        differ.append("memory")
    for key in ("tools", "cgroup"):
        if len({json.dumps(each.get(key), sort_keys=True) for each in campaign.nodes.values()}) > 1:
            differ.append(key)
    told = f"Nodes: blocks of {campaign.host} count together, each block whole on one node"
    if not differ:
        return f"{told}. The nodes are alike ({', '.join(_ALIKE)}, memory, tools, cgroup)."
    return (
        f"{told}. The nodes are NOT alike: they differ in {listed(differ)}. Ratios are taken within blocks and hold; "
        "medians and their intervals mix what differs."
    )
