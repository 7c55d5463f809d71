"""The time that a campaign still takes."""

from __future__ import annotations

from typing import Any

import pytest

from bench import slots

PLAN = {
    "envelope": {"memory": 128 << 20},
    "arms": {"crun": {"family": "container"}, "qemu": {"family": "hypervisor"}},
    "scenarios": {"boot": {"instances": 10}, "exec": {"instances": 10}},
    "measures": {"boot": {"crun": ["boot"], "qemu": ["boot"]}, "exec": {"crun": ["exec"]}},
    "slots": [],
}


def some(*arms: str, scenario: str = "boot") -> list[dict[str, Any]]:
    return [{"slot": f"s{n}", "scenario": scenario, "arm": arm} for n, arm in enumerate(arms)]


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
    running = slots.Clock(PLAN, some("crun") + some("crun", scenario="exec"))
    running.note(some("crun", scenario="exec")[0], 100.0)
    assert running.left() == pytest.approx(clock("crun").left())


def test_nothing_left() -> None:
    running = clock("crun")
    running.note(some("crun")[0], 2.0)
    assert running.left() == 0
