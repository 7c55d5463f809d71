"""Sessions as units: levels that hold whatever the nights are like, and power all the same."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest

from analysis import between
from analysis.between import Moved
from analysis.judge import Test, judge
from analysis.ranks import Floats
from tests.nights import levels


def moved(values: Floats, base: int = 5, **given: Any) -> list[Moved]:
    return between.moved(values, base, **given)


def test_the_first_way_is_the_real_one() -> None:
    draw = np.random.default_rng(1)
    for base, new in ((5, 5), (4, 6), (9, 9)):
        values = draw.normal(0, 0.01, (4, base + new))
        values[:, base:] += 0.3
        for each in moved(values, base):
            assert each.shift == pytest.approx(0.3, abs=0.03)
            assert each.p(family=True) <= 0.01
            assert each.size == pytest.approx(each.largest[0], rel=1) or each.size <= each.largest[0]


def test_the_interval_leaves_out_0_exactly_where_p_says_so() -> None:
    draw = np.random.default_rng(2)
    seen = set()
    for _ in range(40):
        values = draw.standard_t(3, (5, 10)) * 0.02
        values[:, 5:] += draw.choice([0, 0.03])
        for each in moved(values):
            for alpha in (0.05, 0.1):
                significant = each.p(family=False) <= alpha
                assert significant == (abs(each.shift) > each.half(alpha) * (1 + 1e-9))
                seen.add(significant)
    assert seen == {True, False}


def test_swapping_sides_turns_the_shift_and_nothing_else() -> None:
    values = np.random.default_rng(3).normal(0, 0.02, (6, 10))
    there = moved(values)
    back = moved(np.roll(values, 5, axis=1))
    for one, other in zip(there, back, strict=True):
        assert other.shift == pytest.approx(-one.shift)
        assert other.p(family=True) == pytest.approx(one.p(family=True))
        assert other.half(0.05) == pytest.approx(one.half(0.05))


def test_sessions_that_agree_to_a_hair_are_no_proof_of_a_tiny_shift() -> None:
    """Where the other metrics scatter by a per cent, one that happens to agree does so by luck."""
    values = np.random.default_rng(4).normal(0, 0.01, (30, 10))
    values[0] = [1e-5 * place for place in range(5)] + [0.002 + 1e-5 * place for place in range(5)]
    assert moved(values)[0].p(family=True) > 0.05


def test_one_far_value_is_put_back_whoever_has_it() -> None:
    values = np.array([[0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.9, 0.02], [0.0, 0.01, 0.02, 0.03, 0.1, 0.11, 0.12, 0.13]])
    held = between.clipped(values)
    assert held[0].tolist() == [0.0, 0.01, 0.02, 0.03, 0.04, 0.05, 0.05, 0.02]
    assert held[1].tolist() == values[1].tolist()
    assert between.clipped(-values)[0].tolist() == (-held[0]).tolist()


def test_a_session_is_apart_that_lies_far_from_every_other() -> None:
    draw = np.random.default_rng(5)
    values = draw.normal(0, 0.01, (20, 10)) + draw.normal(0, 0.005, 10)
    assert between.apart(values) == []
    slow = values.copy()
    slow[:, 7] += 0.2
    ((place, size),) = between.apart(slow)
    assert place == 7
    assert size == pytest.approx(0.2, abs=0.03)
    half = values.copy()
    half[:, 5:] += 0.2  # a side that changed is no stray night
    assert between.apart(half) == []
    assert between.apart(slow[:3]) == []  # three metrics are no whole


def test_nights_of_the_same_raise_no_alarm_and_a_tenth_is_found() -> None:
    draw = np.random.default_rng(6)
    alarms, found = [], []
    for _ in range(120):
        values, spread = levels(draw, metrics=60)
        alarms.append(min(each.p(family=True) for each in moved(values)) <= 0.05)
        values[:, 5:] += math.log(1.1)
        calm = spread <= 0.03
        called = np.array([each.p(family=True) <= 0.05 and each.shift > 0 for each in moved(values)])
        found.append(called[calm].mean())
    assert np.mean(alarms) <= 0.1
    assert np.mean(found) >= 0.8


def test_the_smallest_shift_that_is_said_to_be_found_is_found() -> None:
    draw = np.random.default_rng(13)
    found = []
    for _ in range(25):
        values, _ = levels(draw, nights=20)
        said = moved(values[:, :10])
        for where in (values[:, :10][:, draw.permutation(10)], values[:, 10:]):
            for place in draw.integers(0, len(values), 4):
                planted = where.copy()
                planted[place, 5:] += said[place].least(0.05, 0.8)
                found.append(moved(planted)[place].p(family=True) <= 0.05)
    assert 0.7 < np.mean(found) < 0.9


def test_noisy_metrics_take_no_power_from_calm_ones_beside_them() -> None:
    draw = np.random.default_rng(14)
    found, alarms = [], []
    for _ in range(20):
        values = np.concatenate([draw.normal(0, 0.02, (20, 10)), draw.normal(0, 0.2, (20, 10))])
        alarms.append(min(each.p(family=True) for each in moved(values)) <= 0.05)
        values[:10, 5:] += math.log(1.1)
        found += [each.p(family=True) <= 0.05 for each in moved(values)[:10]]
    assert np.mean(found) >= 0.8
    assert np.mean(alarms) <= 0.15


def in_a_row(draw: np.random.Generator, correlation: float, shape: tuple[int, int]) -> Floats:
    """Sessions of which each is like the one before."""
    values = np.empty(shape)
    values[:, 0] = draw.normal(size=shape[0])
    for place in range(1, shape[1]):
        new = draw.normal(size=shape[0])
        values[:, place] = correlation * values[:, place - 1] + math.sqrt(1 - correlation**2) * new
    return values * 0.01


@pytest.mark.parametrize("correlation", [0.2, 0.4])
def test_nights_that_follow_each_other_and_are_alike_raise_no_alarm(correlation: float) -> None:
    draw = np.random.default_rng(15)
    alarms, found = [], []
    for _ in range(80):
        values = in_a_row(draw, correlation, (40, 10))
        alarms.append(min(each.p(family=True) for each in moved(values)) <= 0.05)
        values[0, 5:] += 0.06
        found.append(moved(values)[0].p(family=True) <= 0.05)
    assert np.mean(alarms) <= 0.1
    assert np.mean(found) >= 0.9


def test_the_drift_is_that_of_the_order_in_which_sessions_ran() -> None:
    values = in_a_row(np.random.default_rng(16), 0.6, (2000, 10))
    assert between.drift(values, 5) == pytest.approx(1.82, abs=0.15)
    alternating = [0, 2, 4, 6, 8, 1, 3, 5, 7, 9]
    assert between.drift(values[:, alternating], 5, alternating) == 1  # sides in turns share what drifts
    assert between.drift(values[:, ::-1], 5, range(10)[::-1]) == pytest.approx(between.drift(values, 5))
    assert between.drift(np.random.default_rng(17).normal(size=(200, 10)), 5) < 1.1
    assert between.drift(np.zeros((3, 10)), 5) == between.drift(values[:, :3], 2) == 1


def torn(values: Floats, *lacks: tuple[int, slice]) -> Floats:
    """Without some metrics in some sessions."""
    values = values.copy()
    for session, metrics in lacks:
        values[metrics, session] = np.nan
    return values


def test_the_drift_is_known_where_no_metric_is_in_every_session() -> None:
    values = in_a_row(np.random.default_rng(16), 0.6, (2000, 16))
    whole = between.drift(values, 8)
    assert whole > 1.5
    halves = slice(0, 1000), slice(1000, 2000)
    each_lacks = torn(values, (3, halves[0]), (12, halves[1]))
    assert between.drift(each_lacks, 8) == pytest.approx(whole, abs=0.15)
    nights_of_two = np.full((2000, 32), np.nan)
    nights_of_two[halves[0], ::2], nights_of_two[halves[1], 1::2] = values[halves[0]], values[halves[1]]
    assert between.drift(nights_of_two, 16) == pytest.approx(whole, abs=0.05)
    steady = np.random.default_rng(17).normal(size=(400, 16))
    assert between.drift(torn(steady, (3, slice(0, 200)), (12, slice(200, 400))), 8) < 1.1


def test_the_drift_takes_few_simulations_however_torn_the_metrics_are(monkeypatch: pytest.MonkeyPatch) -> None:
    draw = np.random.default_rng(24)
    values = in_a_row(draw, 0.6, (200, 16))
    order = draw.permutation(16)
    values[:, np.argsort(order)] = values.copy()  # drawn in a row, as they ran
    whole = between.drift(values, 8, order)
    values[draw.random(values.shape) < 0.15] = np.nan
    drifts, asked = between._drifts, []
    monkeypatch.setattr(between, "_drifts", lambda *line: asked.append(line) or drifts(*line))
    assert between.drift(values, 8, order) == pytest.approx(whole, abs=0.3)
    assert len(asked) <= 20


def test_one_metric_that_every_session_has_does_not_speak_for_all_others() -> None:
    values = in_a_row(np.random.default_rng(16), 0.6, (200, 16))
    values[0] = np.random.default_rng(1).permutation(values[0])
    lacks = torn(values, (3, slice(1, 100)), (12, slice(100, 200)))
    assert between.drift(lacks, 8) == pytest.approx(between.drift(values, 8), abs=0.15)


@pytest.mark.parametrize("correlation", [0.5, 0.8])
def test_alike_nights_raise_no_more_alarms_where_each_lacks_metrics(correlation: float) -> None:
    draw = np.random.default_rng(22)
    alarms: dict[str, int] = {"whole": 0, "torn": 0}
    for _ in range(50):
        values = in_a_row(draw, correlation, (20, 16))
        lacks = torn(values, (3, slice(0, 10)), (12, slice(10, 20)))
        for name, given in (("whole", values), ("torn", lacks)):
            alarms[name] += min(each.p(family=True) for each in moved(given, 8)) <= 0.05
    assert alarms["torn"] <= alarms["whole"] + 4 <= 12


def test_a_session_is_apart_also_where_no_metric_is_in_every_session() -> None:
    draw = np.random.default_rng(23)
    values = draw.normal(0, 0.01, (40, 16))
    values[:, 5] += 0.2
    lacks = torn(values, (3, slice(0, 20)), (12, slice(20, 40)))
    ((place, size),) = between.apart(lacks)
    assert place == 5
    assert size == pytest.approx(0.2, abs=0.03)
    two_suites = np.full((40, 32), np.nan)
    two_suites[:20, ::2], two_suites[20:, 1::2] = values[:20], values[20:]
    assert [place for place, _ in between.apart(two_suites)] == [10, 11]
    few = torn(values, (5, slice(7, 40)))  # seven metrics are no whole
    assert between.apart(few) == []
    alone = torn(values, (5, slice(0, 33)), *((other, slice(33, 40)) for other in range(16) if other != 5))
    assert between.apart(alone) == []  # nothing to hold it against


@pytest.mark.parametrize("alpha", [0.05, 0.001])
def test_a_metric_that_lacks_a_session_is_proved_among_many_that_do_not(alpha: float) -> None:
    values = np.random.default_rng(18).normal(0, 0.01, (60, 16))
    values[0, 8:] += 0.3
    values[0, 3] = values[1, 12] = values[2, 2:5] = np.nan
    found = moved(values, 8, alpha=alpha)
    assert found[0].p(family=True) <= alpha
    assert found[0].shift == pytest.approx(0.3, abs=0.02)
    assert found[0].half(0.05) < 0.03
    assert min(each.p(family=True) for each in found[1:]) > 0.05


def test_a_side_with_too_few_sessions_of_a_metric_tells_nothing() -> None:
    values = np.random.default_rng(19).normal(0, 0.01, (6, 10))
    values[0, 5:] += 0.3
    values[0, 7:] = np.nan
    first, *others = moved(values)
    assert first.p(family=True) == first.p(family=False) == 1
    assert math.isnan(first.half(0.05))
    assert min(each.p(family=True) for each in others) > 0.05


def test_metrics_that_some_sessions_lack_raise_no_alarm() -> None:
    draw = np.random.default_rng(20)
    alarms = []
    for _ in range(200):
        values = draw.standard_t(3, (30, 10)) * 0.01
        values[draw.random(values.shape) < 0.05] = np.nan
        alarms.append(min(each.p(family=True) for each in moved(values)) <= 0.05)
    assert np.mean(alarms) <= 0.085


def test_verdicts_where_a_metric_lacks_a_session() -> None:
    names = tuple("abcdefghij")
    values = np.exp(np.random.default_rng(21).normal(0, 0.01, (120, 10)))
    values[:2, 5:] *= 1.3
    tests = [Test(row[:5], row[5:], False, sessions=names) for row in values]
    tests[0] = Test(values[0, :5], values[0, 6:], False, sessions=(*names[:5], *names[6:]))
    verdicts = judge(tests)
    assert [verdict.kind for verdict in verdicts[:2]] == ["regressed", "regressed"]
    assert {verdict.needed for verdict in verdicts} == {4}


def test_verdicts_of_sessions() -> None:
    draw = np.random.default_rng(7)
    names = tuple("abcdefghij")
    values = np.exp(draw.normal(0, 0.005, (12, 10)))
    values[0, 5:] *= 1.2
    values[1, 5:] /= 1.2
    tests = [Test(row[:5], row[5:], False, sessions=names) for row in values]
    verdicts = judge(tests)
    kinds = [verdict.kind for verdict in verdicts]
    assert kinds[:2] == ["regressed", "improved"]
    assert kinds[2:].count("equivalent") >= 8
    assert {verdict.needed for verdict in verdicts} == {4}
    assert all(verdict.mde and 0.005 < verdict.mde < 0.05 for verdict in verdicts)
    assert verdicts[0].ratio.low > 1.15
    with pytest.raises(ValueError, match="one name a number"):
        Test(values[0, :5], values[0, 5:], False, sessions=names[:9])


def test_counts_without_any_scatter_move() -> None:
    tests = [Test(np.full(5, 1.0), np.full(5, 1.5), False, sessions=tuple("abcdefghij"))]
    assert judge(tests)[0].kind == "regressed"


def test_sessions_that_do_not_vary_to_speak_of_have_no_drift() -> None:
    """Their squares are nothing, and are divided by nothing."""
    assert between._follow(np.array([[1e-200, -1e-200, 1e-200], [0.0, 0.0, 0.0], [1.0, 1.0, 1.0]])).tolist() == [
        0.0,
        0.0,
        pytest.approx(2 / 3),
    ]
