"""What a reader must know before trusting a report: what failed, what was not alike, what limits the figures."""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass

from analysis import busy, pooled
from analysis.caution import Caution
from analysis.equal import Equivalence
from analysis.estimate import Drift, Slope
from analysis.estimate import flat as flat_of
from analysis.instructions import Table, inexact
from analysis.load import Campaign, Loaded
from analysis.matrix import NOT_PLANNED, Chosen, missing_reason
from analysis.words import listed, plural, show, show_range, show_times
from bench.results import spared
from bench.text import clean

ENOUGH_BLOCKS = 6  # below, the signed-rank test cannot reach 95 %
_CONSOLE_SHOWN = 8_000
_FAILURES_SHOWN = 200
_REASON_SHOWN = 300


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


def fairness(loaded: Loaded, equal: dict[str, Equivalence], failed: Failures) -> str:
    """Whether all arms were given the same, stood side by side, and came to their end."""
    named = {
        badge: [loaded.arms[name].label for name, judged in equal.items() if judged.badge == badge]
        for badge in ("equal", "differs", "unknown")
    }
    same, differ, unknown = named["equal"], named["differs"], named["unknown"]
    parts = []
    if differ:
        given = f"{listed(same)} had" if same else "No arm had"
        parts.append(f"{given} what the envelope says; {listed(differ)} had something else, which is named below")
    elif same:
        parts.append(f"{listed(same) if unknown else 'Every arm'} had what the envelope says")
    if unknown:
        parts.append(f"what {listed(unknown)} had is not known, as no instance told it")
    grouped = any(campaign.plan.get("reboots") == "grouped" for campaign in loaded.campaigns)
    parts.append("slots were not interleaved" if grouped else "arms took turns in each block, in an order drawn by lot")
    parts.append(f"{failed.total:,} of {plural(failed.ran, 'slot')} failed" if failed.total else "no slot failed")
    text = "; ".join(parts)
    return f"{text[0].upper()}{text[1:]}."


def work(loaded: Loaded, table: Table) -> list[str]:
    """A sentence a boot's instructions, of each arm that stands to the reference."""
    reference = loaded.arms[table.reference].label
    found = []
    for arm, counts in table.counts.items():
        if (boot := counts.get("boot.instructions")) and boot.change is not None:
            verb = "as many as" if boot.difference == 0 else f"{boot.against} against"
            took = show(boot.value, "instruction")
            found.append(f"{loaded.arms[arm].label} boots in {took}, {verb} {reference} ({boot.proof}).")
    return found


def cautions(
    loaded: Loaded,
    chosen: Chosen,
    failed: Failures,
    equal: dict[str, Equivalence],
    drifted: list[Drift],
    inclines: list[Slope],
    counted: list[Table],
) -> list[Caution]:
    """What limits the figures, gravest first; empty where nothing does."""
    found: list[Caution] = []
    if emulated := dict.fromkeys(campaign.host for campaign in loaded.campaigns if campaign.emulated):
        found.append(
            Caution(
                f"Emulated host: {listed(emulated)} is an emulated machine itself. That Tare works there is real, and "
                "so is every guest; its seconds are those of an emulator, and say nothing of hardware."
            )
        )
    found += _no_hardware_help(loaded, chosen)
    found += busy.cautions(loaded)
    if any(campaign.plan.get("reboots") == "grouped" for campaign in loaded.campaigns):
        found.append(Caution("Not interleaved: each host kernel took all its blocks before the next one did."))
    for campaign in loaded.campaigns:
        if campaign.lost:
            found.append(Caution(f"Lost: {campaign.host} was lost before its last slot ({campaign.lost})."))
    if failed.missing_total:
        found.append(
            Caution(
                f"Unfinished: {failed.missing_total:,} of {plural(failed.planned, 'planned slot')} did not run. "
                "`tare resume` runs them.",
                "failures",
            )
        )
    found += [text for campaign in loaded.campaigns for text in _resumed(campaign)]
    torn = [campaign.name for campaign in loaded.campaigns if campaign.torn]
    if torn:
        found.append(
            Caution(f"Cut: the last journal line of {listed(torn)} is not whole and does not count; the others do.")
        )
    if failed.spared:
        found.append(
            Caution(
                f"Stopped early: {failed.spared:,} of {plural(failed.planned, 'planned slot')} were not needed to "
                "decide what the campaign compares (`tare compare` says what). Intervals here are those of the blocks "
                "that ran."
            )
        )
    if failed.total:
        found.append(
            Caution(f"{failed.total:,} of {plural(failed.ran, 'slot')} failed; their figures are not used.", "failures")
        )
    blocks = chosen.blocks()
    if unequal := [loaded.arms[arm].label for arm in inexact(counted)]:
        found.append(
            Caution(
                f"Counts of {listed(unequal)} did not repeat to the last digit: they are judged like times, by "
                "statistics.",
                "instructions",
            )
        )
    if loaded.baseline is None:
        found.append(Caution("No baseline arm: figures stand alone, without ratios."))
    elif blocks < ENOUGH_BLOCKS and (chosen.scenario or not counted):
        found.append(
            Caution(
                f"Only {plural(blocks, 'block')} with a ratio: a 95 % interval needs at least {ENOUGH_BLOCKS}, "
                "so none is given."
            )
        )
    uncaged = loaded.slots["caged"].eq(False)
    if uncaged.any():
        why = next((clean(c.facts["cgroup"]) for c in loaded.campaigns if c.facts.get("cgroup")), "")
        found.append(
            Caution(
                f"{'All' if uncaged.all() else f'{int(uncaged.sum()):,}'} slots ran uncaged"
                f"{f' (cgroup: {why})' if why else ''}: CPU shares were not held equal, and CPU seconds and "
                "cage memory are missing.",
                "equivalence",
            )
        )
    differing = [loaded.arms[name].label for name, judged in equal.items() if judged.badge == "differs"]
    if differing:
        verb = "differs" if len(differing) == 1 else "differ"
        found.append(Caution(f"Not given the same: {listed(differing)} {verb} from the envelope.", "equivalence"))
    flat = {s.arm for s in inclines if s.view == "memavailable" and (s.arm, "density.memavailable") in flat_of([s])}
    lost = [arm.label for name, arm in loaded.arms.items() if name in flat]
    if lost:
        found.append(
            Caution(
                f"The host’s view of memory (MemAvailable) does not tell {listed(lost)} from nothing: the host "
                "did other things while the ramp ran, or the ramp is short. The cage’s view has no such problem.",
                "density",
            )
        )
    found += [_drift(loaded, drift) for drift in drifted]
    return found + _provenance(loaded)


def _resumed(campaign: Campaign) -> Iterator[Caution]:
    """What had changed when a campaign was gone on with."""
    for each in campaign.facts.get("resumed") or []:
        what = clean("; ".join(each["changed"]))
        if each["anyway"]:
            yield Caution(
                f"Not one measurement: {campaign.name} was resumed on {clean(each['when'])} although it had been begun "
                f"with something else ({what}). Slots before and after are compared as if they were alike."
            )
        else:
            yield Caution(f"Resumed on {clean(each['when'])}, and meanwhile: {what}.")


def unhelped(loaded: Loaded, chosen: Chosen) -> bool:
    """Whether machines were to be measured, and none ran Linux with hardware help."""
    machines = {name: arm for name, arm in loaded.arms.items() if arm.family == "hypervisor"}
    # A boot sector is no guest: what starts one may still be unable to run Linux. Counted instructions are not chosen.
    if any(chosen.measured(name, but="firmware") for name, arm in machines.items() if not arm.emulated):
        return False
    return any(chosen.measured(name) or not arm.emulated for name, arm in machines.items())


def _no_hardware_help(loaded: Loaded, chosen: Chosen) -> list[Caution]:
    """That no virtual machine ran with hardware help, where a reader would take figures for those of one; and why."""
    if not unhelped(loaded, chosen):
        return []
    machines = {name: arm for name, arm in loaded.arms.items() if arm.family == "hypervisor"}
    emulated = [arm.label for name, arm in machines.items() if arm.emulated and chosen.measured(name)]
    helped = {name: arm for name, arm in machines.items() if not arm.emulated}
    if helped:
        reasons: dict[str, list[str]] = {}
        for name, arm in helped.items():
            reasons.setdefault(_why_not(loaded, name), []).append(arm.label)
        why = "; ".join(f"{listed(labels)} did not run, as {reason}" for reason, labels in reasons.items())
    else:
        why = "the campaign has no arm that would (such as kvm)"
    said = f"No hardware virtualisation: no virtual machine was measured with hardware help: {why}."
    if emulated:
        said += (
            f" What is shown of {listed(emulated)} is a software emulator (TCG), typically 10 to 100 times slower than "
            "KVM: it says nothing of virtual machines."
        )
    return [Caution(said, "failures")]


def _why_not(loaded: Loaded, arm: str) -> str:
    """The plan's reason for leaving an arm out, or what its slots said."""
    for measure in ("boot", "spawn", "inside", "density", "isolation"):
        reason = missing_reason(loaded, arm, measure)
        if reason != NOT_PLANNED:
            return reason if len(reason) <= _REASON_SHOWN else f"{reason[: _REASON_SHOWN - 1]}…"
    return NOT_PLANNED


def _drift(loaded: Loaded, drift: Drift) -> Caution:
    return Caution(
        f"Drift: the start of {loaded.arms[drift.arm].label} changed by a factor of "
        f"{show_times(drift.factor).removesuffix('×')} {show_range(drift.factor)} from the first block to the last. "
        "Ratios are taken inside blocks, where drift that all arms share cancels; absolute figures mix both ends."
    )


def _provenance(loaded: Loaded) -> list[Caution]:
    found = []
    if any((c.facts.get("git") or {}).get("dirty") for c in loaded.campaigns):
        found.append(
            Caution(
                "The harness had uncommitted changes (git tree dirty): its revision does not fully name this code.",
                "facts",
            )
        )
    for file, kept in (("plan.json", "plan"), ("facts.json", "facts")):
        lacking = [c.folder.name for c in loaded.campaigns if not getattr(c, kept)]
        if lacking:
            found.append(Caution(f"No {file} in {listed(lacking)}: what it would tell is missing here."))
    found += pooled.caution(loaded)
    found += [Caution(_of_nodes(campaign), "facts") for campaign in loaded.campaigns if len(campaign.nodes) > 1]
    return found


def _of_nodes(campaign: Campaign) -> str:
    """Whether a cluster's nodes are alike, as far as is known."""
    hosts = [each.get("host") or {} for each in campaign.nodes.values()]
    differ = [key for key in pooled.ALIKE if len({json.dumps(host.get(key), sort_keys=True) for host in hosts}) > 1]
    sizes = [host.get("memory") or 0 for host in hosts]
    if max(sizes) > pooled.MEMORY_MARGIN * min(sizes):
        differ.append("memory")
    for key in ("tools", "cgroup"):
        if len({json.dumps(each.get(key), sort_keys=True) for each in campaign.nodes.values()}) > 1:
            differ.append(key)
    told = f"Nodes: blocks of {campaign.host} count together, each block whole on one node"
    if not differ:
        return f"{told}. The nodes are alike ({', '.join(pooled.ALIKE)}, memory, tools, cgroup)."
    return (
        f"{told}. The nodes are NOT alike: they differ in {listed(differ)}. Ratios are taken within blocks and hold; "
        "medians and their intervals mix what differs."
    )
