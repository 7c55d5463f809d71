"""Sessions as units: levels that hold whatever the nights are like, and power all the same."""

from __future__ import annotations

import math

import numpy as np
import pytest

from analysis import between
from analysis.judge import Test, judge
from analysis.ranks import Floats
from tests.nights import levels


def pairs(values: Floats, base: int = 5) -> list[tuple[Floats, Floats]]:
    return [(row[:base], row[base:]) for row in values]


def test_the_first_way_is_the_real_one() -> None:
    draw = np.random.default_rng(1)
    for base, new in ((5, 5), (4, 6), (9, 9)):
        values = draw.normal(0, 0.01, (4, base + new))
        values[:, base:] += 0.3
        for each in between.moved(pairs(values, base)):
            assert each.shift == pytest.approx(0.3, abs=0.03)
            assert each.p(family=True) <= 0.01
            assert each.size == pytest.approx(each.largest[0], rel=1) or each.size <= each.largest[0]


def test_the_interval_leaves_out_0_exactly_where_p_says_so() -> None:
    draw = np.random.default_rng(2)
    seen = set()
    for _ in range(40):
        values = draw.standard_t(3, (5, 10)) * 0.02
        values[:, 5:] += draw.choice([0, 0.03])
        for each in between.moved(pairs(values)):
            for alpha in (0.05, 0.1):
                significant = each.p(family=False) <= alpha
                assert significant == (abs(each.shift) > each.half(alpha) * (1 + 1e-9))
                seen.add(significant)
    assert seen == {True, False}


def test_swapping_sides_turns_the_shift_and_nothing_else() -> None:
    values = np.random.default_rng(3).normal(0, 0.02, (6, 10))
    there = between.moved(pairs(values))
    back = between.moved([(new, base) for base, new in pairs(values)])
    for one, other in zip(there, back, strict=True):
        assert other.shift == pytest.approx(-one.shift)
        assert other.p(family=True) == pytest.approx(one.p(family=True))
        assert other.half(0.05) == pytest.approx(one.half(0.05))


def test_sessions_that_agree_to_a_hair_are_no_proof_of_a_tiny_shift() -> None:
    """Where the other metrics scatter by a per cent, one that happens to agree does so by luck."""
    values = np.random.default_rng(4).normal(0, 0.01, (30, 10))
    values[0] = [1e-5 * place for place in range(5)] + [0.002 + 1e-5 * place for place in range(5)]
    assert between.moved(pairs(values))[0].p(family=True) > 0.05


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
        alarms.append(min(each.p(family=True) for each in between.moved(pairs(values))) <= 0.05)
        values[:, 5:] += math.log(1.1)
        calm = spread <= 0.03
        called = np.array([each.p(family=True) <= 0.05 and each.shift > 0 for each in between.moved(pairs(values))])
        found.append(called[calm].mean())
    assert np.mean(alarms) <= 0.1
    assert np.mean(found) >= 0.8


def test_the_smallest_shift_that_is_said_to_be_found_is_found() -> None:
    draw = np.random.default_rng(13)
    found = []
    for _ in range(25):
        values, _ = levels(draw, nights=20)
        said = between.moved(pairs(values[:, :10]))
        for where in (values[:, :10][:, draw.permutation(10)], values[:, 10:]):
            for place in draw.integers(0, len(values), 4):
                planted = where.copy()
                planted[place, 5:] += said[place].least(0.05, 0.8)
                found.append(between.moved(pairs(planted))[place].p(family=True) <= 0.05)
    assert 0.7 < np.mean(found) < 0.9


def test_noisy_metrics_take_no_power_from_calm_ones_beside_them() -> None:
    draw = np.random.default_rng(14)
    found, alarms = [], []
    for _ in range(20):
        values = np.concatenate([draw.normal(0, 0.02, (20, 10)), draw.normal(0, 0.2, (20, 10))])
        alarms.append(min(each.p(family=True) for each in between.moved(pairs(values))) <= 0.05)
        values[:10, 5:] += math.log(1.1)
        found += [each.p(family=True) <= 0.05 for each in between.moved(pairs(values))[:10]]
    assert np.mean(found) >= 0.8
    assert np.mean(alarms) <= 0.15


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
