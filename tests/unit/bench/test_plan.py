"""The plan: randomised complete blocks, and what is left out."""

from __future__ import annotations

import json
import os
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import pytest

from bench import config, counters, plan, prepare

CAMPAIGN = """
name = "t"
description = "d"
seed = {seed}
blocks = {blocks}
baseline = "crun"
[arms]
crun = {{}}
uml = {{}}
kvm = {{}}
qemu = {{ cpu = "max" }}
"qemu@6.1" = {{}}
[scenarios]
lifecycle = {{ timeout = "1.5 min" }}
firmware = {{}}
density = {{ blocks = 1, instances = 6, boot_limit = "250 ms", memory_reserve = "1 GiB" }}
"""


def campaign(seed: int = 7, blocks: int = 6) -> config.Campaign:
    return config.parse(CAMPAIGN.format(seed=seed, blocks=blocks), Path("t.toml"))


def pairs(made: dict[str, Any], block: int) -> list[tuple[str, str]]:
    return [(slot["scenario"], slot["arm"]) for slot in made["slots"] if slot["block"] == block]


ARMS = ["crun", "uml", "kvm", "qemu", "qemu@6.1"]
EVERY = [("lifecycle", arm) for arm in ARMS] + [("firmware", arm) for arm in ARMS[2:]]


def test_the_same_campaign_gives_the_same_plan() -> None:
    made = plan.make(campaign())
    assert made == plan.make(campaign())
    assert json.loads(json.dumps(made)) == made


def test_another_seed_gives_another_order() -> None:
    one, two = plan.make(campaign(seed=1)), plan.make(campaign(seed=2))
    assert one["slots"] != two["slots"]
    assert Counter(pairs(one, 2)) == Counter(pairs(two, 2))


@pytest.mark.parametrize("block", range(2, 7))
def test_each_block_is_complete(block: int) -> None:
    assert Counter(pairs(plan.make(campaign()), block)) == Counter(EVERY)


def test_a_scenario_of_one_block_is_in_the_first() -> None:
    made = plan.make(campaign())
    assert Counter(pairs(made, 1)) == Counter(EVERY + [("density", arm) for arm in ARMS])


def test_the_order_differs_between_blocks() -> None:
    made = plan.make(campaign(blocks=12))
    orders = {tuple(pairs(made, block)) for block in range(2, 13)}
    assert len(orders) >= 10
    assert len({order[0] for order in orders}) > 3


def test_more_blocks_keep_the_first_ones() -> None:
    few, many = plan.make(campaign(blocks=3)), plan.make(campaign(blocks=9))
    assert many["slots"][: len(few["slots"])] == few["slots"]


def test_slots_are_numbered_and_never_twice() -> None:
    slots = plan.make(campaign(blocks=120))["slots"]
    assert len({slot["slot"] for slot in slots}) == len(slots)
    assert slots[0]["slot"] == "b01-s01"
    for block in (1, 2, 120):
        orders = [slot["order"] for slot in slots if slot["block"] == block]
        assert orders == list(range(1, len(orders) + 1))


def test_what_a_backend_cannot_is_left_out_with_the_reason() -> None:
    made = plan.make(campaign())
    left = {(gone["arm"], gone["scenario"]) for gone in made["left_out"]}
    assert left == {(arm, "lifecycle:exec") for arm in ARMS[1:]} | {
        (arm, "firmware:firmware") for arm in ("crun", "uml")
    }
    assert all(gone["reason"] for gone in made["left_out"])
    assert made["measures"]["lifecycle"]["uml"] == ["boot", "spawn", "teardown"]
    assert made["measures"]["lifecycle"]["crun"] == ["boot", "exec", "spawn", "teardown"]


def test_what_this_host_cannot_is_left_out_with_the_reason() -> None:
    made = plan.make(campaign(), {("kvm", "linux"): "no READY in 8 s"})
    assert {"arm": "kvm", "scenario": "density:density", "reason": "no READY in 8 s"} in made["left_out"]
    assert {slot["scenario"] for slot in made["slots"] if slot["arm"] == "kvm"} == {"firmware"}
    assert "kvm" not in made["measures"]["lifecycle"]


def test_a_host_that_can_do_nothing() -> None:
    made = plan.make(campaign(), {(arm, guest): "no" for arm in ARMS for guest in ("linux", "firmware")})
    assert made["slots"] == []
    assert plan.estimate(made).seconds == 0


COUNTING = """
name = "t"
blocks = 2
baseline = "bwrap"
hosts = ["rack1"]
[arms]
bwrap = {}
kvm = {}
[scenarios]
exec = {}
instructions = {}
"""


class There:
    """Stands for the crew of another host, which has no counter."""

    def probe(self, arm: str, guest: str) -> str | None:
        return None

    def facts(self, arms: list[str]) -> dict[str, Any]:
        return {}

    def lacking(self, asked: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
        self.asked = {arm: list(names) for arm, names in asked.items()}
        return {"bwrap": {"instructions": "no counter there", "never asked": "x"}, "nobody": {"exec": "x"}}


def test_what_another_host_can_do_is_asked_there_and_not_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(counters, "missing", lambda: "no counter here")
    there, made = There(), config.parse(COUNTING, Path("t.toml"))
    draft = plan.make(made)
    assert not [each for each in draft["left_out"] if each["arm"] == "bwrap"]
    missing = prepare.lacking(made, draft["arms"], there)
    assert there.asked == {"bwrap": ["exec", "instructions"], "kvm": []}
    assert missing == {("bwrap", "instructions"): "no counter there"}
    final = plan.make(made, missing)
    left = {each["scenario"]: each["reason"] for each in final["left_out"] if each["arm"] == "bwrap"}
    assert left == {"instructions:instructions": "no counter there"}
    assert final["measures"] == {"exec": {"bwrap": ["exec"]}}


def test_the_plan_is_in_seconds_and_bytes() -> None:
    made = plan.make(campaign())
    assert made["schema"] == 1
    assert made["envelope"] == {"cpus": 1, "memory": 128 << 20, "rootfs": "tiny"}
    assert made["scenarios"]["lifecycle"]["timeout"] == 90
    assert made["scenarios"]["lifecycle"]["boot_limit"] is None
    assert made["scenarios"]["density"]["boot_limit"] == 0.25
    assert made["scenarios"]["density"]["memory_reserve"] == 1 << 30
    assert made["arms"]["qemu"] == {
        "backend": "qemu",
        "family": "hypervisor",
        "options": {"cpu": "max"},
        "label": "qemu",
        "accelerator": "tcg",
    }
    assert made["arms"]["kvm"]["accelerator"] == "kvm"
    assert "accelerator" not in made["arms"]["uml"]
    assert made["arms"]["qemu@6.1"]["kernel"] == "6.1"
    assert "kernel" not in made["arms"]["crun"]


def test_the_estimate_grows_with_what_is_planned() -> None:
    small, large = plan.estimate(plan.make(campaign(blocks=2))), plan.estimate(plan.make(campaign(blocks=20)))
    assert large.seconds > 3 * small.seconds > 0
    assert large.disk > small.disk
    assert large.memory == small.memory >= 6 * (128 << 20)
    assert "of memory" in str(small)


def test_the_estimate_counts_only_what_is_there() -> None:
    without = plan.make(campaign(), {("qemu", "linux"): "x", ("qemu@6.1", "linux"): "x", ("kvm", "linux"): "x"})
    assert plan.estimate(without).seconds < plan.estimate(plan.make(campaign())).seconds / 2


def over_kernels(reboots: str, unbootable: dict[str, str] | None = None) -> dict[str, Any]:
    """Three kernels of a host, for arms that run on it and one whose guests boot their own."""
    lines = f'hosts = ["rack"]\nhost_kernels = ["6.1.0-1", "6.1.0-2", "6.12"]\nreboots = "{reboots}"\n[arms]'
    text = CAMPAIGN.format(seed=3, blocks=6).replace("[arms]", lines, 1)
    return plan.make(
        config.parse(text.replace("density", "exec", 1).split("exec =")[0], Path("t.toml")), {}, unbootable
    )


def kernels_of(made: dict[str, Any], slots: list[dict[str, Any]]) -> list[str]:
    """The host kernels in the order in which they are visited."""
    visited: list[str] = []
    for slot in slots:
        release = plan.host_kernel(made, slot)
        assert release
        if visited[-1:] != [release]:
            visited.append(release)
    return visited


def test_every_block_visits_every_host_kernel_once_in_an_order_of_its_own() -> None:
    made = over_kernels("interleaved")
    orders = []
    for block in range(1, 7):
        slots = [slot for slot in made["slots"] if slot["block"] == block]
        order = kernels_of(made, slots)
        assert sorted(order) == ["6.1.0-1", "6.1.0-2", "6.12"]
        assert len(slots) == 3 * len(EVERY)
        orders.append(tuple(order))
    assert len(set(orders)) > 1
    assert made == over_kernels("interleaved")


def test_grouped_reboots_boot_each_kernel_once() -> None:
    made = over_kernels("grouped")
    assert len(kernels_of(made, made["slots"])) == 3
    assert plan.reboots(made) == 3
    assert plan.reboots(over_kernels("interleaved")) > 10


def test_arms_are_named_by_the_host_kernel_and_the_baseline_is_on_the_first() -> None:
    made = over_kernels("interleaved")
    assert made["baseline"] == "crun@6.1.0-1"
    assert {"crun@6.12", "qemu+6.1.0-2", "qemu@6.1+6.12"} <= set(made["arms"])
    assert made["arms"]["qemu@6.1+6.12"]["of"] == "qemu@6.1"
    assert {slot["arm"] for slot in made["slots"]} == set(made["arms"])


def test_a_kernel_that_a_host_cannot_boot_is_left_out_with_the_reason() -> None:
    made = over_kernels("interleaved", {"6.1.0-1": "no such kernel"})
    assert made["host_kernels"] == ["6.1.0-2", "6.12"]
    assert made["baseline"] == "crun@6.1.0-2"
    assert set(kernels_of(made, made["slots"])) == {"6.1.0-2", "6.12"}
    assert not [name for name in made["arms"] if name.endswith("6.1.0-1")]
    gone = [entry for entry in made["left_out"] if entry["scenario"] == "*"]
    assert [entry["reason"] for entry in gone] == ["no such kernel"] * len(gone)
    assert {"crun@6.1.0-1", "qemu+6.1.0-1"} <= {entry["arm"] for entry in gone}
