"""What must not matter to the judge, on recorded slots: the names of arms, the units of metrics."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.judge import Test, judge
from tests.judge.recordings import Floats, Window, windows

FLIPPED = {"regressed": "improved", "improved": "regressed"}


@pytest.fixture(scope="module")
def recorded() -> list[tuple[Floats, Floats]]:
    """Slot medians of the twins, of every metric of every window."""
    return [
        (_medians(window, 0, metric.name), _medians(window, 1, metric.name))
        for window in windows()
        for metric in window.metrics
    ]


def _medians(window: Window, twin: int, metric: str) -> Floats:
    return np.array([np.median(pair[twin].values[metric]) for pair in window.slots])


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("shift", [1.0, 1.04, 1.15])
def test_swapped_arms_are_the_other_way_round(
    recorded: list[tuple[Floats, Floats]], paired: bool, shift: float
) -> None:
    tests = [(base, new * shift) for base, new in recorded[::7]]
    there = judge([Test(base, new, paired) for base, new in tests])
    back = judge([Test(new, base, paired) for base, new in tests])
    for one, other in zip(there, back, strict=True):
        assert other.kind == FLIPPED.get(one.kind, one.kind)
        assert other.p == pytest.approx(one.p)
        assert 1 / other.ratio.point == pytest.approx(one.ratio.point)
        assert 1 / other.ratio.high == pytest.approx(one.ratio.low)
    assert shift < 1.15 or any(verdict.kind == "regressed" for verdict in there)


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("unit", [1e-9, 1e3, 60.0])
def test_units_do_not_matter(recorded: list[tuple[Floats, Floats]], paired: bool, unit: float) -> None:
    tests = [(base, new * 1.04) for base, new in recorded[::7]]
    plain = judge([Test(base, new, paired) for base, new in tests])
    scaled = judge([Test(base * unit, new * unit, paired) for base, new in tests])
    assert [verdict.kind for verdict in scaled] == [verdict.kind for verdict in plain]
    for one, other in zip(plain, scaled, strict=True):
        assert other.p == pytest.approx(one.p, rel=0.05, abs=1e-4)  # rounding makes and breaks ties
        assert other.ratio.point == pytest.approx(one.ratio.point)


def test_more_is_better_turns_the_verdict(recorded: list[tuple[Floats, Floats]]) -> None:
    tests = [(base, new * 1.15) for base, new in recorded[::7]]
    lower = judge([Test(base, new, True, "lower") for base, new in tests])
    higher = judge([Test(base, new, True, "higher") for base, new in tests])
    assert [verdict.kind for verdict in higher] == [FLIPPED.get(verdict.kind, verdict.kind) for verdict in lower]


def test_labels_drawn_anew_inside_blocks_give_uniform_p(recorded: list[tuple[Floats, Floats]]) -> None:
    draw = np.random.default_rng(1)
    found = []
    while len(found) < 2000:
        first, second = recorded[draw.integers(len(recorded))]
        swap = draw.integers(0, 2, len(first)).astype(bool)
        test = Test(np.where(swap, second, first), np.where(swap, first, second), True)
        found.append(judge([test])[0].p)
    assert stats.kstest(found, "uniform").pvalue > 0.001
    assert 0.035 < np.mean(np.array(found) <= 0.05) < 0.065
