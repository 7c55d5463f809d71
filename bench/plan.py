"""The plan: which arm takes which scenario in which block, in which order. Pure: the same campaign gives the same plan.

Randomised complete blocks: each block holds every arm once for each of its scenarios, each time a fresh instance, in an
order drawn from the campaign's seed. The plan is on disk before the first slot.
"""

from __future__ import annotations

import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby
from typing import Any

import msgspec

from bench import measures, units, workloads
from bench.config import Arm, Campaign, Scenario
from bench.results import SCHEMA

# For estimates only: seconds from request to gone, and bytes of host memory beside the guest's own.
_TYPICAL_SECONDS = {"process": 0.01, "container": 0.03, "uml": 1.3, "hypervisor": 5.0}
_TYPICAL_FIRMWARE = 0.6
_TYPICAL_REQUEST = 0.2
_TYPICAL_TOOL = 1.0
_TYPICAL_MEMORY = {"process": 1 << 20, "container": 4 << 20, "uml": 48 << 20, "hypervisor": 110 << 20}
_TYPICAL_LINE = 6000
REBOOT_SECONDS = 60.0


@dataclass(frozen=True)
class Estimate:
    """seconds of wall time, peak bytes of memory, bytes of disk: orders of magnitude for planning."""

    seconds: float
    memory: int
    disk: int

    def __str__(self) -> str:
        return (
            f"about {units.show_time(self.seconds)}, {units.show_size(self.memory)} of memory at most, "
            f"{units.show_size(self.disk)} of disk"
        )


def make(
    campaign: Campaign,
    missing: Mapping[tuple[str, str], str] | None = None,
    unbootable: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """plan.json. missing: what was learnt where slots are to run, (arm, a guest or a measure's name) → why that host
    cannot run that guest of that arm, or take that measure of it; unbootable: of host kernels that it cannot boot, why.
    """
    missing, unbootable = missing or {}, unbootable or {}
    left_out = [
        {"arm": on_kernel(campaign, arm, release), "scenario": "*", "reason": reason}
        for release, reason in unbootable.items()
        for arm in campaign.arms
    ]
    kernels = [release for release in campaign.host_kernels if release not in unbootable]
    if campaign.host_kernels:
        campaign = msgspec.structs.replace(campaign, host_kernels=kernels)
    per_scenario: dict[str, list[str]] = {}
    taken: dict[str, dict[str, list[str]]] = {}
    for name, scenario in campaign.scenarios.items():
        for arm in campaign.arms.values():
            possible = []
            for measure in map(measures.load, scenario.measures):
                reasons = (missing.get((arm.name, each)) for each in (measure.guest, measure.name))
                reason = measure.impossible(arm.kind) or next(filter(None, reasons), None)
                if reason is None:
                    possible.append(measure.name)
                else:
                    left_out.append({"arm": arm.name, "scenario": f"{name}:{measure.name}", "reason": reason})
            if possible:
                per_scenario.setdefault(name, []).append(arm.name)
                taken.setdefault(name, {})[arm.name] = possible
    return {
        "schema": SCHEMA,
        "campaign": campaign.name,
        "description": campaign.description,
        "seed": campaign.seed,
        "blocks": campaign.blocks,
        "baseline": on_kernel(campaign, campaign.baseline, kernels[0]) if kernels else campaign.baseline,
        "envelope": {
            "cpus": campaign.envelope.cpus,
            "memory": campaign.envelope.memory_bytes,
            "rootfs": campaign.envelope.rootfs,
            **({"disk": size} if (size := campaign.envelope.disk_bytes) else {}),
            **({"link": True} if campaign.envelope.link else {}),
        },
        "arms": _arms(campaign),
        "scenarios": {name: _scenario(scenario) for name, scenario in campaign.scenarios.items()},
        "workloads": _workloads(campaign),
        "measures": {
            scenario: {name: found for arm, found in by_arm.items() for name in _names(campaign, arm)}
            for scenario, by_arm in taken.items()
        },
        "stop": {"pairs": [list(pair) for pair in stop.pairs], "delta": stop.delta}
        if (stop := campaign.stop)
        else None,
        "slots": _slots(campaign, per_scenario),
        "left_out": left_out,
        **({"host_kernels": kernels, "reboots": campaign.reboots} if kernels else {}),
        **({"slurm": msgspec.structs.asdict(campaign.slurm)} if campaign.slurm else {}),
    }


def on_kernel(campaign: Campaign, arm: str, release: str) -> str:
    """The name of an arm on a host kernel: crun@6.1.0-50-amd64, and kvm+6.1.0-50-amd64, whose guests boot their own."""
    return f"{arm}{'+' if campaign.arms[arm].kind.kernel else '@'}{release}"


def _names(campaign: Campaign, arm: str) -> list[str]:
    """What an arm of the campaign is called in the plan: one name for each host kernel."""
    return [on_kernel(campaign, arm, release) for release in campaign.host_kernels] or [arm]


def _arms(campaign: Campaign) -> dict[str, Any]:
    found = {}
    for arm in campaign.arms.values():
        if not campaign.host_kernels:
            found[arm.name] = _arm(arm)
        for release in campaign.host_kernels:
            name = on_kernel(campaign, arm.name, release)
            found[name] = _arm(arm) | {"label": name, "of": arm.name, "host_kernel": release}
    return found


def _arm(arm: Arm) -> dict[str, Any]:
    found: dict[str, Any] = {
        "backend": arm.backend,
        "family": arm.kind.family,
        "options": arm.options,
        "label": arm.name,
    }
    if arm.kind.accelerator:
        found["accelerator"] = arm.kind.accelerator
    if arm.kernel and arm.kernel.name:
        found["kernel"] = str(arm.kernel)
    return found


def _workloads(campaign: Campaign) -> dict[str, dict[str, str]]:
    """What a reader must know of each workload that instances tell figures of."""
    inside = (scenario for scenario in campaign.scenarios.values() if "inside" in scenario.measures)
    names = dict.fromkeys(name for scenario in inside for name in scenario.workloads)
    found = map(workloads.load, names)
    return {workload.name: {"area": workload.area, "summary": workload.summary} for workload in found}


def _scenario(scenario: Scenario) -> dict[str, Any]:
    """What the slot worker needs of a scenario, in its own units, and the description."""
    return {
        "measures": scenario.measures,
        "description": scenario.description,
        "blocks": scenario.blocks,
        "workloads": scenario.workloads,
        **({"neighbours": scenario.neighbours} if scenario.neighbours else {}),
        "warmups": scenario.warmups,
        "values": scenario.values,
        "timeout": units.duration(scenario.timeout),
        "instances": scenario.instances,
        "step": scenario.step,
        "boot_limit": None if scenario.boot_limit is None else units.duration(scenario.boot_limit),
        "memory_reserve": units.size(scenario.memory_reserve),
        **{name: given for name in ("tenant", "ksm", "cache") if (given := getattr(scenario, name)) is not None},
        **({"p99_limit": units.duration(scenario.p99_limit)} if scenario.p99_limit is not None else {}),
    }


def _slots(campaign: Campaign, per_scenario: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    """In the order in which they run. Each block visits every host kernel once, in an order of its own; or else, where
    reboots are grouped, each kernel takes all its blocks before the next one does."""
    draw = random.Random(campaign.seed)
    slots: list[dict[str, Any]] = []
    for block in range(1, campaign.blocks + 1):
        pairs = [
            (scenario, arm)
            for scenario, arms in per_scenario.items()
            for arm in arms
            if block <= (campaign.scenarios[scenario].blocks or campaign.blocks)
        ]
        if campaign.host_kernels:
            turns = []
            for release in draw.sample(campaign.host_kernels, len(campaign.host_kernels)):
                turn = [(scenario, on_kernel(campaign, arm, release)) for scenario, arm in pairs]
                turns += draw.sample(turn, len(turn))
            pairs = turns
        else:
            draw.shuffle(pairs)
        slots += [
            {"slot": f"b{block:02}-s{order:02}", "block": block, "order": order, "scenario": scenario, "arm": arm}
            for order, (scenario, arm) in enumerate(pairs, start=1)
        ]
    if campaign.reboots == "grouped":
        places = {
            on_kernel(campaign, arm, release): place
            for place, release in enumerate(draw.sample(campaign.host_kernels, len(campaign.host_kernels)))
            for arm in campaign.arms
        }
        slots.sort(key=lambda slot: places[slot["arm"]])
    return slots


def host_kernel(plan: Mapping[str, Any], slot: Mapping[str, Any]) -> str | None:
    """The kernel that the host must run for a slot; None where any will do."""
    release: str | None = plan["arms"][slot["arm"]].get("host_kernel")
    return release


def reboots(plan: Mapping[str, Any]) -> int:
    """How often a plan's host is booted anew, from its first slot on."""
    if "host_kernels" not in plan:
        return 0
    return sum(1 for _ in groupby(host_kernel(plan, slot) for slot in plan["slots"]))


def slot_seconds(plan: Mapping[str, Any], slot: Mapping[str, Any]) -> float:
    """What a slot will take, from figures that are typical of its arm's family."""
    scenario, family = plan["scenarios"][slot["scenario"]], plan["arms"][slot["arm"]]["family"]
    taken = plan["measures"][slot["scenario"]][slot["arm"]]
    once = _TYPICAL_FIRMWARE if taken == ["firmware"] else _TYPICAL_SECONDS[family]
    seconds = once * _at_once(scenario, taken) + 0.02
    if "inside" in taken:
        seconds += _TYPICAL_TOOL * len(scenario["workloads"]) * (scenario["warmups"] + scenario["values"])
    if "isolation" in taken:
        times = 2 * (scenario["warmups"] + scenario["values"])
        seconds += len(scenario["neighbours"]) * (_TYPICAL_SECONDS[family] + _TYPICAL_REQUEST * times)
    return seconds


def _at_once(scenario: Mapping[str, Any], taken: Sequence[str]) -> int:
    """How many instances a slot starts."""
    return int(scenario["instances"]) if "density" in taken else 1


def estimate(plan: Mapping[str, Any]) -> Estimate:
    """What a plan will take, from figures that are typical of each family."""
    seconds = REBOOT_SECONDS * reboots(plan) + sum(slot_seconds(plan, slot) for slot in plan["slots"])
    peak = disks = 0
    for slot in plan["slots"]:
        scenario, family = plan["scenarios"][slot["scenario"]], plan["arms"][slot["arm"]]["family"]
        taken = plan["measures"][slot["scenario"]][slot["arm"]]
        guest = plan["envelope"]["memory"] if family == "hypervisor" else 0
        at_once = 2 if "isolation" in taken else _at_once(scenario, taken)
        peak = max(peak, at_once * (_TYPICAL_MEMORY[family] + guest))
        disks = max(disks, at_once * plan["envelope"].get("disk", 0))
    seconds /= plan.get("slurm", {}).get("nodes", 1)
    return Estimate(seconds, peak + (150 << 20), disks + len(plan["slots"]) * _TYPICAL_LINE + (4 << 20))
