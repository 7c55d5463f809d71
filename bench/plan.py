"""The plan: which arm takes which scenario in which block, in which order. Pure: the same campaign gives the same plan.

Randomised complete blocks: each block holds every arm once for each of its scenarios, each time a fresh instance, in an
order drawn from the campaign's seed. The plan is on disk before the first slot.
"""

from __future__ import annotations

import random
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench import measures, units
from bench.config import Arm, Campaign, Scenario
from bench.results import SCHEMA

# For estimates only: seconds from request to gone, and bytes of host memory beside the guest's own.
_TYPICAL_SECONDS = {"process": 0.01, "container": 0.03, "uml": 1.3, "hypervisor": 5.0}
_TYPICAL_FIRMWARE = 0.6
_TYPICAL_MEMORY = {"process": 1 << 20, "container": 4 << 20, "uml": 48 << 20, "hypervisor": 110 << 20}
_TYPICAL_LINE = 6000


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


def make(campaign: Campaign, missing: Mapping[tuple[str, str], str] | None = None) -> dict[str, Any]:
    """plan.json. missing: (arm, "linux" or "firmware") → why this host cannot run that guest of that arm."""
    missing = missing or {}
    left_out: list[dict[str, str]] = []
    per_scenario: dict[str, list[str]] = {}
    taken: dict[str, dict[str, list[str]]] = {}
    for name, scenario in campaign.scenarios.items():
        for arm in campaign.arms.values():
            possible = []
            for measure in map(measures.load, scenario.measures):
                reason = measure.impossible(arm.kind) or missing.get((arm.name, measure.guest))
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
        "baseline": campaign.baseline,
        "envelope": {
            "cpus": campaign.envelope.cpus,
            "memory": campaign.envelope.memory_bytes,
            "rootfs": campaign.envelope.rootfs,
        },
        "arms": {arm.name: _arm(arm) for arm in campaign.arms.values()},
        "scenarios": {name: _scenario(scenario) for name, scenario in campaign.scenarios.items()},
        "measures": taken,
        "stop": {"pairs": [list(pair) for pair in stop.pairs], "delta": stop.delta}
        if (stop := campaign.stop)
        else None,
        "slots": _slots(campaign, per_scenario),
        "left_out": left_out,
    }


def _arm(arm: Arm) -> dict[str, Any]:
    found: dict[str, Any] = {
        "backend": arm.backend,
        "family": arm.kind.family,
        "options": arm.options,
        "label": arm.name,
    }
    if arm.kernel and arm.kernel.name:
        found["kernel"] = str(arm.kernel)
    return found


def _scenario(scenario: Scenario) -> dict[str, Any]:
    """What the slot worker needs of a scenario, in its own units, and the description."""
    return {
        "measures": scenario.measures,
        "description": scenario.description,
        "blocks": scenario.blocks,
        "workload": scenario.workload,
        "warmups": scenario.warmups,
        "values": scenario.values,
        "timeout": units.duration(scenario.timeout),
        "instances": scenario.instances,
        "step": scenario.step,
        "boot_limit": None if scenario.boot_limit is None else units.duration(scenario.boot_limit),
        "memory_reserve": units.size(scenario.memory_reserve),
    }


def _slots(campaign: Campaign, per_scenario: Mapping[str, list[str]]) -> list[dict[str, Any]]:
    draw = random.Random(campaign.seed)
    slots = []
    for block in range(1, campaign.blocks + 1):
        pairs = [
            (scenario, arm)
            for scenario, arms in per_scenario.items()
            for arm in arms
            if block <= (campaign.scenarios[scenario].blocks or campaign.blocks)
        ]
        draw.shuffle(pairs)
        slots += [
            {"slot": f"b{block:02}-s{order:02}", "block": block, "order": order, "scenario": scenario, "arm": arm}
            for order, (scenario, arm) in enumerate(pairs, start=1)
        ]
    return slots


def estimate(plan: Mapping[str, Any]) -> Estimate:
    """What a plan will take, from figures that are typical of each family."""
    seconds = 0.0
    peak = 0
    for slot in plan["slots"]:
        scenario, family = plan["scenarios"][slot["scenario"]], plan["arms"][slot["arm"]]["family"]
        taken = plan["measures"][slot["scenario"]][slot["arm"]]
        count = scenario["instances"] if "density" in taken else 1
        once = _TYPICAL_FIRMWARE if taken == ["firmware"] else _TYPICAL_SECONDS[family]
        seconds += once * count + 0.02
        guest = plan["envelope"]["memory"] if family == "hypervisor" else 0
        peak = max(peak, count * (_TYPICAL_MEMORY[family] + guest))
    return Estimate(seconds, peak + (150 << 20), len(plan["slots"]) * _TYPICAL_LINE + (4 << 20))
