"""Change points: what noise, outliers and steps do to them; the penalty, simulated again."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis import changes as module
from analysis.changes import (
    FEWEST,
    LASTS,
    apart,
    changes,
    correlated,
    critical_penalty,
    levels,
    noise,
    penalty,
    running_median,
)


def _series(draw: np.random.Generator, levels: list[tuple[int, float]], spread: float = 0.02) -> np.ndarray:
    """`count` values of each level, with noise."""
    return np.concatenate([level * np.exp(spread * draw.standard_normal(count)) for count, level in levels])


@pytest.mark.parametrize("kind", ["normal", "heavy", "skewed"])
def test_pure_noise_alarms_in_at_most_five_per_cent_of_histories(kind: str) -> None:
    draw = np.random.default_rng(120)
    noises = {
        "normal": lambda: draw.standard_normal(120),
        "heavy": lambda: draw.standard_t(3, 120),
        "skewed": lambda: draw.gamma(2.0, 1.0, 120),
    }
    alarms = sum(bool(changes(np.exp(0.05 * noises[kind]()))) for _ in range(400))
    assert alarms <= stats.binom.ppf(0.99, 400, 0.05)


@pytest.mark.parametrize("count", [8, 12, 30])
def test_short_histories_of_noise_do_not_alarm_more_often(count: int) -> None:
    draw = np.random.default_rng(count)
    alarms = sum(bool(changes(np.exp(0.05 * draw.standard_normal(count)))) for _ in range(400))
    assert alarms <= stats.binom.ppf(0.99, 400, 0.05)


def _two_modes(draw: np.random.Generator, count: int, share: float, slower: float) -> np.ndarray:
    return np.log1p(slower) * (draw.random(count) < share) + 0.01 * draw.standard_normal(count)


def _ticks(draw: np.random.Generator, count: int, *shares: float) -> np.ndarray:
    return np.log(10 + draw.choice(len(shares), size=count, p=shares))


def _correlated(draw: np.random.Generator, count: int) -> np.ndarray:
    return correlated(draw, (1, count), 0.4)[0]


# Logarithms of what a program that never changed can give.
NOISES = {
    "slow mode in 5 %, +40 %": lambda draw, count: _two_modes(draw, count, 0.05, 0.4),
    "slow mode in 12 %, +90 %": lambda draw, count: _two_modes(draw, count, 0.12, 0.9),
    "slow mode in 20 %, +5 %": lambda draw, count: _two_modes(draw, count, 0.2, 0.05),
    "slow mode in 35 %, +90 %": lambda draw, count: _two_modes(draw, count, 0.35, 0.9),
    "slow mode in 50 %, +30 %": lambda draw, count: _two_modes(draw, count, 0.5, 0.3),
    "exponential": lambda draw, count: np.log1p(draw.exponential(size=count)),
    "lognormal": lambda draw, count: np.log1p(0.02 * np.exp(draw.standard_normal(count))),
    "gamma": lambda draw, count: 0.02 * draw.gamma(0.5, size=count),
    "correlated": lambda draw, count: 0.01 * _correlated(draw, count),
    "correlated and two modes": lambda draw, count: 0.01 * _correlated(draw, count) + 0.3 * (draw.random(count) < 0.2),
    "correlated and ticks": lambda draw, count: np.log(np.round(20 + 0.7 * _correlated(draw, count))),
    "two ticks": lambda draw, count: _ticks(draw, count, 0.65, 0.35),
    "a rare tick": lambda draw, count: _ticks(draw, count, 0.92, 0.08),
    "three ticks": lambda draw, count: _ticks(draw, count, 0.1, 0.8, 0.1),
    "four ticks": lambda draw, count: _ticks(draw, count, 0.4, 0.3, 0.2, 0.1),
    "skewed ticks": lambda draw, count: np.log(np.round(20 + draw.exponential(size=count))),
}


@pytest.mark.parametrize("count", [20, 40, 120])
@pytest.mark.parametrize("kind", NOISES)
def test_noise_of_any_shape_alarms_in_at_most_five_per_cent_of_histories(kind: str, count: int) -> None:
    draw = np.random.default_rng(count)
    alarms = sum(bool(changes(np.exp(NOISES[kind](draw, count)))) for _ in range(60))
    assert alarms <= 3


def test_a_program_in_two_modes_has_no_points_apart() -> None:
    values = np.exp(_two_modes(np.random.default_rng(3), 40, 0.35, 0.9))
    assert not apart(values).any()
    assert not changes(values)


@pytest.mark.parametrize(("step", "least"), [(0.03, 0.97), (0.02, 0.95)])
def test_small_steps_in_little_noise_are_found(step: float, least: float) -> None:
    draw = np.random.default_rng(7)
    hits = 0
    for _ in range(150):
        at = int(draw.integers(10, 110))
        up = float(draw.choice([1, 1 / (1 + step) ** 2]))
        values = _series(draw, [(at, 1.0), (120 - at, (1 + step) * up)], draw.uniform(0.003, 0.0095))
        hits += any(abs(found.at - at) <= 3 for found in changes(values))
    assert hits >= least * 150


def test_a_small_step_is_found_beside_outliers_and_a_large_one() -> None:
    draw = np.random.default_rng(8)
    values = _series(draw, [(40, 1.0), (40, 1.3), (40, 1.34)], 0.007)
    values[draw.choice(120, 8, replace=False)] *= 1.2
    assert [min(abs(found.at - at) for found in changes(values)) <= 2 for at in (40, 80)] == [True, True]


def test_committed_penalty_is_what_its_simulation_gives(monkeypatch: pytest.MonkeyPatch) -> None:
    assert critical_penalty(30, series=300, seed=5) == pytest.approx(penalty(30), rel=0.2)
    monkeypatch.setattr(module, "ALARMS", 0.5)
    monkeypatch.setattr(module, "CORRELATED_ALARMS", 0.5)
    assert critical_penalty(30, series=100, seed=5) < 0.6 * penalty(30)


def test_a_step_is_found_where_it_is_and_with_its_size() -> None:
    draw = np.random.default_rng(1)
    alone = [found for _ in range(40) if len(found := changes(_series(draw, [(60, 1.0), (60, 1.05)]))) == 1]
    assert len(alone) >= 36
    for (found,) in alone:
        assert abs(found.at - 60) <= 4
        assert found.ratio.point == pytest.approx(1.05, abs=0.015)
        assert (found.before, found.after) == (found.at, 120 - found.at)
    assert sum(found.ratio.low <= 1.05 <= found.ratio.high for (found,) in alone) >= 0.85 * len(alone)


def test_several_steps_and_their_directions() -> None:
    found = changes(_series(np.random.default_rng(2), [(20, 1.0), (20, 1.2), (20, 0.9)]))
    assert [change.at for change in found] == [20, 40]
    assert found[0].ratio.low > 1 > found[1].ratio.high


@pytest.mark.parametrize("place", [0, 30, 118])
def test_two_neighbouring_outliers_are_no_step(place: int) -> None:
    values = _series(np.random.default_rng(3), [(120, 1.0)])
    values[place : place + 2] *= 2.5
    assert not changes(values)
    assert np.flatnonzero(apart(values)).tolist() == [place, place + 1]


def test_three_points_that_last_are_a_level() -> None:
    values = _series(np.random.default_rng(4), [(60, 1.0), (3, 1.5)])
    assert not apart(values)[-3:].any()
    assert [change.at for change in changes(values)] == [60]


@pytest.mark.parametrize("count", [8, 12, 16, 20])
def test_a_large_step_in_a_short_history_is_found_wherever_it_is(count: int) -> None:
    draw = np.random.default_rng(count)
    for at in range(LASTS, count - LASTS + 1):
        for up in (1.5, 1 / 1.5, 1.05):
            values = _series(draw, [(at, 1.0), (count - at, up)], 0.003)
            assert [change.at for change in changes(values)] == [at]


@pytest.mark.parametrize("count", [8, 12])
@pytest.mark.parametrize("kind", NOISES)
def test_noise_of_any_shape_alarms_in_few_short_histories(kind: str, count: int) -> None:
    draw = np.random.default_rng(count + 1)
    alarms = sum(bool(changes(np.exp(NOISES[kind](draw, count)))) for _ in range(120))
    assert alarms <= 6


def test_scale_and_direction_of_time_change_nothing() -> None:
    values = _series(np.random.default_rng(5), [(40, 1.0), (50, 1.1)])
    (one,), (scaled,), (reverse,) = changes(values), changes(values * 1e6), changes(values[::-1])
    assert scaled.at == one.at
    assert scaled.ratio.point == pytest.approx(one.ratio.point)
    assert reverse.at == len(values) - one.at
    assert reverse.ratio.point == pytest.approx(1 / one.ratio.point)


def test_exact_repetition_has_changes_and_no_false_ones() -> None:
    assert changes(np.full(40, 1234.0)) == []
    found = changes(np.array([1e9] * 8 + [1.003e9] * 8))
    assert [change.at for change in found] == [8]


def test_no_values_have_no_levels() -> None:
    assert levels(np.array([])).tolist() == []


def test_fewer_than_the_fewest_have_none() -> None:
    assert changes(np.array([])) == []
    assert changes(np.array([1.0] * 4 + [9.0] * (FEWEST - 5))) == []


@pytest.mark.parametrize("bad", [0.0, -1.0, np.nan, np.inf])
def test_values_must_be_above_zero(bad: float) -> None:
    with pytest.raises(ValueError, match="above zero"):
        changes(np.array([1.0] * 20 + [bad]))


def test_running_median_keeps_steps_and_ignores_pairs_and_gaps() -> None:
    assert running_median(np.array([0.0] * 5 + [1.0] * 5)).tolist() == [0.0] * 5 + [1.0] * 5
    assert running_median(np.array([0.0, 0, 0, 9, 9, 0, 0, 0])).tolist() == [0.0] * 8
    assert running_median(np.array([5.0, 5, 0, 0, 0, 0, 0])).tolist() == [0.0] * 7
    assert running_median(np.array([1.0, np.nan, 3.0])).tolist() == [2.0] * 3
    columns = running_median(np.array([[0.0, 1.0], [0.0, np.nan], [0.0, 1.0], [9.0, 1.0], [0.0, 1.0], [0.0, 1.0]]))
    assert columns.tolist() == [[0.0, 1.0]] * 6


def test_noise_is_the_spread_whatever_the_level_does() -> None:
    draw = np.random.default_rng(6)
    logs = 0.03 * draw.standard_normal(4000) + np.repeat([0.0, 2.0, -1.0, 4.0], 1000)
    assert noise(logs) == pytest.approx(0.03, rel=0.1)
