"""The time that a campaign still takes."""

from __future__ import annotations

from typing import Any

import pytest

from bench import plan, slots

PLAN = {
    "envelope": {"memory": 128 << 20},
    "arms": {"crun": {"family": "container"}, "qemu": {"family": "hypervisor"}},
    "scenarios": {"boot": {"instances": 10}, "exec": {"instances": 10}},
    "measures": {"boot": {"crun": ["boot"], "qemu": ["boot"]}, "exec": {"crun": ["exec"]}},
    "slots": [],
}


def some(*arms: str, scenario: str = "boot") -> list[dict[str, Any]]:
    return [{"slot": f"s{n}", "scenario": scenario, "arm": arm} for n, arm in enumerate(arms)]


def together(*kinds: tuple[str, str]) -> list[dict[str, Any]]:
    return [{"slot": f"s{n}", "scenario": scenario, "arm": arm} for n, (scenario, arm) in enumerate(kinds)]


def clock(*arms: str) -> slots.Clock:
    return slots.Clock(PLAN, some(*arms))


def test_at_first_what_is_typical() -> None:
    assert clock("qemu").left() > clock("crun").left() > 0
    assert clock("crun", "crun").left() == pytest.approx(2 * clock("crun").left())


def test_then_what_was_measured() -> None:
    running = clock("crun", "crun", "crun", "crun", "crun")
    running.note(some("crun")[0], 2.0)
    running.note(some("crun")[0], 4.0)
    assert running.left() == pytest.approx(9.0)


def test_measured_and_typical_are_added() -> None:
    running = clock("crun", "crun", "qemu")
    running.note(some("crun")[0], 2.0)
    assert running.left() == pytest.approx(2.0 + clock("qemu").left())


def test_another_scenario_of_the_arm_tells_nothing() -> None:
    running = slots.Clock(PLAN, both := together(("boot", "crun"), ("exec", "crun")))
    running.note(both[1], 100.0)
    assert running.left() == pytest.approx(clock("crun").left())


def test_nothing_left() -> None:
    running = clock("crun")
    running.note(some("crun")[0], 2.0)
    assert running.left() == 0


def kernels(*releases: str, per_turn: int = 2) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """A plan whose host is booted into one kernel after another, and its slots."""
    arms = {f"crun@{release}": {"family": "container", "host_kernel": release} for release in releases}
    there = together(*(("boot", f"crun@{release}") for release in releases for _ in range(per_turn)))
    taken = {"boot": {arm: ["boot"] for arm in arms}}
    more = {"arms": arms, "measures": taken, "slots": there, "host_kernels": sorted(set(releases))}
    return PLAN | more, there


def test_what_is_typical_is_what_the_plan_says() -> None:
    """But for the first boot, which is over when the first slot begins."""
    final, there = kernels("5", "6", "5", "6")
    assert plan.reboots(final) == 4
    assert slots.Clock(final, there).left() == pytest.approx(plan.estimate(final).seconds - plan.REBOOT_SECONDS)


def test_a_boot_is_over_when_the_first_slot_after_it_is() -> None:
    final, there = kernels("5", "6", "7")
    running = slots.Clock(final, there)
    left = []
    for slot in there:
        left.append(running.left() // plan.REBOOT_SECONDS)
        running.note(slot, 0.0)
    assert left == [2, 2, 2, 1, 1, 0]
    assert running.left() == 0


def test_a_kernel_whose_slots_are_all_needless_is_not_booted() -> None:
    final, there = kernels("5", "6", "7")
    running = slots.Clock(final, there)
    for slot in there[2:4]:
        running.spare(slot)
    assert running.left() // plan.REBOOT_SECONDS == 1


def test_nodes_share_the_time_once() -> None:
    there = some(*["crun"] * 40)
    shared = PLAN | {"slots": there, "slurm": {"nodes": 4}}
    whole = slots.Clock(shared, there).left()
    assert whole == pytest.approx(slots.Clock(PLAN | {"slots": there}, there).left())
    assert whole / 4 == pytest.approx(plan.estimate(shared).seconds)
