"""Looking while a campaign runs: the calibration, and what it saves."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from analysis import judge, looks, ranks, sequential
from analysis.judge import Test

draw = np.random.default_rng()


@pytest.fixture(autouse=True)
def _same_draws_for_each_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "draw", np.random.default_rng(11))


def pair(shift: float, spread: float, blocks: int = 40) -> Test:
    base, new = (np.exp(draw.standard_t(5, blocks) * spread / np.sqrt(2)) for _ in range(2))
    return Test(base, new * shift, paired=True)


def test_looks() -> None:
    assert looks.looks(40) == (8, 10, 12, 14, 16, 18, 20, 22, 24, 26, 28, 30, 32, 34, 36, 38, 40)
    assert looks.looks(11) == (8, 10, 11)
    assert looks.looks(5) == (5,)
    assert len(looks.looks(400)) <= 21


def test_a_single_look_may_spend_all() -> None:
    (reach,) = looks.levels((40,), 0.05)
    critical = ranks.signed_rank_critical(40, 0.025)
    assert critical is not None
    assert reach == pytest.approx(ranks.signed_rank_tail(40, critical))


@pytest.mark.parametrize("overall", [0.05, 0.01])
def test_the_levels_keep_the_error_rate_on_other_noise(overall: float) -> None:
    """Calibrated on one simulation, checked on another, of skewed and heavy-tailed pairs."""
    at = looks.looks(40)
    reach = looks.levels(at, overall)
    alarms = 0
    paths = 3000
    for _ in range(paths):
        noise = draw.standard_t(3, 40) + (draw.exponential(size=40) - draw.exponential(size=40))
        alarms += any(ranks.signed_rank(noise[:n]).p <= level for n, level in zip(at, reach, strict=True))
    expected = overall * paths
    assert alarms < expected + 3 * np.sqrt(expected)
    assert alarms > expected - 4 * np.sqrt(expected)  # nor is it given away


def test_naive_looking_is_what_this_is_for() -> None:
    at = looks.looks(40)
    alarms = [any(ranks.signed_rank(noise[:n]).p <= 0.05 for n in at) for noise in draw.standard_normal((400, 40))]
    assert np.mean(alarms) > 0.12


def test_a_large_effect_stops_at_once_and_a_small_one_keeps_its_power() -> None:
    stops = [sequential.follow(pair(1.05, 0.02), 40) for _ in range(100)]
    assert np.mean([stop.verdict.kind == "regressed" for stop in stops]) > 0.97
    assert np.mean([stop.blocks for stop in stops]) < 12
    tests = [pair(1.05, 0.08) for _ in range(400)]
    adaptive = np.mean([sequential.follow(test, 40).verdict.kind == "regressed" for test in tests])
    fixed = np.mean([judge.judge([test])[0].kind == "regressed" for test in tests])
    assert fixed - adaptive < 0.06


def test_equals_stop_early_too() -> None:
    stops = [sequential.follow(pair(1.0, 0.02), 40) for _ in range(100)]
    assert np.mean([stop.verdict.kind == "equivalent" for stop in stops]) > 0.9
    assert np.mean([stop.blocks for stop in stops]) < 20


def test_what_will_not_be_decided_is_given_up() -> None:
    stops = [sequential.follow(pair(1.0, 0.6), 40) for _ in range(60)]
    hopeless = [stop for stop in stops if stop.hopeless]
    assert hopeless
    assert {stop.verdict.kind for stop in hopeless} == {"inconclusive"}
    assert all(stop.blocks >= 16 for stop in hopeless)


def test_the_end_of_a_campaign_that_was_looked_at_is_held_to_its_looks() -> None:
    """A p that a single look at the end would take is none for the last of seventeen."""
    at = looks.looks(40)
    last = looks.levels(at, 0.05)[-1]
    test = next(test for test in iter(lambda: pair(1.02, 0.06), None) if last < judge.evidence(test).p < 0.05)
    looked: dict[str, Any] = {"looks": at}
    assert judge.judge([test])[0].kind == "regressed"
    (verdict,) = judge.judge([Test(test.base, test.new, paired=True, **looked)])
    assert verdict.kind != "regressed"
    assert verdict.alpha == pytest.approx(last)
