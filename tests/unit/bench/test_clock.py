"""The time that a campaign still takes."""

from __future__ import annotations

from typing import Any

import pytest

from bench import runner


def slots(*arms: str) -> list[dict[str, Any]]:
    return [{"slot": f"s{n}", "scenario": "boot", "arm": arm} for n, arm in enumerate(arms)]


@pytest.fixture
def clock() -> runner._Clock:
    plan = {
        "envelope": {"memory": 128 << 20},
        "arms": {"crun": {"family": "container"}, "qemu": {"family": "hypervisor"}},
        "scenarios": {"boot": {"instances": 10}, "exec": {"instances": 10}},
        "measures": {"boot": {"crun": ["boot"], "qemu": ["boot"]}},
        "slots": slots("crun", "qemu", "crun"),
    }
    return runner._Clock(plan)


def test_at_first_what_is_typical(clock: runner._Clock) -> None:
    assert clock.left(slots("qemu")) > clock.left(slots("crun")) > 0
    assert clock.left(slots("crun", "crun")) == pytest.approx(2 * clock.left(slots("crun")))


def test_then_what_was_measured(clock: runner._Clock) -> None:
    clock.note(slots("crun")[0], 2.0)
    clock.note(slots("crun")[0], 4.0)
    assert clock.left(slots("crun", "crun", "crun")) == pytest.approx(9.0)


def test_measured_and_typical_are_added(clock: runner._Clock) -> None:
    typical = clock.left(slots("qemu"))
    clock.note(slots("crun")[0], 2.0)
    assert clock.left(slots("crun", "qemu")) == pytest.approx(2.0 + typical)


def test_another_scenario_of_the_arm_tells_nothing(clock: runner._Clock) -> None:
    typical = clock.left(slots("crun"))
    clock.note({"scenario": "exec", "arm": "crun"}, 100.0)
    assert clock.left(slots("crun")) == pytest.approx(typical)


def test_nothing_left(clock: runner._Clock) -> None:
    assert clock.left([]) == 0
