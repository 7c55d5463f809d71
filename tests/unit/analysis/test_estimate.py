"""The estimates, held against scipy's signed-rank test, against brute force, against what must not matter."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from scipy import stats

from analysis import estimate, ranks
from analysis.estimate import Interval, drifts, estimates, hodges_lehmann, ratio_of, slopes, slot_medians
from analysis.load import load
from tests.synthetic import ARMS, campaign


def test_point_is_the_median_of_all_pairwise_averages() -> None:
    values = np.array([0.3, -0.1, 0.7, 0.2])
    pairs = itertools.combinations_with_replacement(values, 2)
    assert hodges_lehmann(values).point == pytest.approx(np.median([(a + b) / 2 for a, b in pairs]))


@pytest.mark.parametrize("count", [6, 7, 12, 25])
def test_interval_excludes_exactly_what_the_signed_rank_test_rejects(count: int) -> None:
    draw = np.random.default_rng(count)
    rejected = 0
    for _ in range(60):
        values = draw.normal(0.4, 1.0, count)
        interval = hodges_lehmann(values)
        rejects = stats.wilcoxon(values, method="exact").pvalue <= 0.05
        assert (interval.low > 0 or interval.high < 0) == rejects
        rejected += rejects
    assert 0 < rejected < 60


def test_interval_covers_the_true_ratio_as_often_as_it_says() -> None:
    draw = np.random.default_rng(7)
    logs = np.log(1.3) + 0.1 * draw.standard_t(3, size=(1500, 12))
    covered = sum(found.low <= 1.3 <= found.high for found in map(ratio_of, logs))
    # 12 blocks: 1 - 2 P(W <= 13) = 95.75 %; four standard errors around it.
    assert covered / 1500 == pytest.approx(0.9575, abs=4 * (0.9575 * 0.0425 / 1500) ** 0.5)


def test_coverage_of_twelve_blocks_is_that_of_the_exact_distribution() -> None:
    signs = np.array(list(itertools.product((0, 1), repeat=12)))
    sums = signs @ np.arange(1, 13)
    rank = ranks.signed_rank_critical(12, 0.025)
    assert rank is not None
    assert np.mean(sums <= rank) <= 0.025 < np.mean(sums <= rank + 1)


@pytest.mark.parametrize("count", [1, 2, 5])
def test_too_few_values_have_no_interval(count: int) -> None:
    found = hodges_lehmann(np.arange(count, dtype=float))
    assert not found.bounded
    assert found.count == count


def test_six_values_have_the_smallest_interval_there_is() -> None:
    found = hodges_lehmann(np.array([3.0, 1.0, 2.0, 6.0, 5.0, 4.0]))
    assert (found.low, found.high) == (1.0, 6.0)


def test_no_values_is_an_error() -> None:
    with pytest.raises(ValueError, match="no values"):
        hodges_lehmann(np.array([]))


def test_many_values_are_counted_to_the_same_averages_as_listing_finds(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    values = np.random.default_rng(3).lognormal(size=321)
    listed = hodges_lehmann(values)
    monkeypatch.setattr(estimate, "_ALL_PAIRS_UP_TO", 10)
    counted = hodges_lehmann(values)
    assert [counted.point, counted.low, counted.high] == pytest.approx([listed.point, listed.low, listed.high])


def test_many_equal_values_do_not_hang(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(estimate, "_ALL_PAIRS_UP_TO", 10)
    found = hodges_lehmann(np.full(50, 2.5))
    assert (found.point, found.low, found.high) == (2.5, 2.5, 2.5)


def test_normal_ranks_join_the_exact_ones(monkeypatch: pytest.MonkeyPatch) -> None:
    exact = ranks.signed_rank_critical(60, 0.025)
    monkeypatch.setattr(ranks, "_EXACT_UP_TO", 10)
    normal = ranks.signed_rank_critical.__wrapped__(60, 0.025)
    assert exact is not None
    assert normal is not None
    assert abs(exact - normal) <= 1


def _medians(pairs: list[tuple[float, float]], scale: float = 1.0) -> pd.DataFrame:
    """Slot medians of two arms, a and b, one pair a block."""
    rows = [
        (0, f"b{block}-{arm}", block, "lifecycle", arm, "boot", "second", "lower", value * scale)
        for block, pair in enumerate(pairs)
        for arm, value in zip("ab", pair, strict=True)
    ]
    columns = ["run", "slot", "block", "scenario", "arm", "metric", "unit", "better", "value"]
    return pd.DataFrame(rows, columns=columns)


def _ratio(medians: pd.DataFrame, baseline: str, arm: str) -> Interval:
    (found,) = [e.ratio for e in estimates(medians, baseline) if e.arm == arm]
    assert found is not None
    return found


def _pairs(count: int = 12) -> list[tuple[float, float]]:
    draw = np.random.default_rng(5)
    return [(float(a), float(a * b)) for a, b in draw.lognormal(0, 0.3, (count, 2))]


def test_swapping_arms_turns_the_ratio_round() -> None:
    medians = _medians(_pairs())
    forth, back = _ratio(medians, "a", "b"), _ratio(medians, "b", "a")
    assert forth.point == pytest.approx(1 / back.point)
    assert (forth.low, forth.high) == pytest.approx((1 / back.high, 1 / back.low))


def test_units_do_not_change_the_ratio() -> None:
    seconds, nanoseconds = _ratio(_medians(_pairs()), "a", "b"), _ratio(_medians(_pairs(), 1e9), "a", "b")
    assert (seconds.point, seconds.low, seconds.high) == pytest.approx(
        (nanoseconds.point, nanoseconds.low, nanoseconds.high)
    )


def test_the_host_slowing_down_from_block_to_block_cancels() -> None:
    steady = [(1.0, 1.5)] * 12
    slowing = [(a * 1.1**block, b * 1.1**block) for block, (a, b) in enumerate(steady)]
    found = _ratio(_medians(slowing), "a", "b")
    assert (found.point, found.low, found.high) == pytest.approx((1.5, 1.5, 1.5))


def test_only_blocks_that_have_both_arms_count() -> None:
    medians = _medians(_pairs(8))
    found = _ratio(medians[~medians["slot"].isin(["b0-a", "b1-b"])], "a", "b")
    assert found.count == 6


def test_a_value_of_zero_has_no_ratio() -> None:
    assert [e.ratio for e in estimates(_medians([(0.0, 1.0)]), "a")] == [None, None]


def test_without_a_baseline_figures_stand_alone() -> None:
    assert [(e.arm, e.median, e.ratio) for e in estimates(_medians([(1.0, 3.0)]), None)] == [
        ("a", 1.0, None),
        ("b", 3.0, None),
    ]


def test_the_slot_counts_once_however_many_values_it_has(tmp_path: Path) -> None:
    def spoil(record: dict[str, object]) -> None:
        if record["slot"] == "b01-s01" and isinstance(record["samples"], list):
            for sample in record["samples"]:
                sample["values"] = [*sample["values"], *[1000.0] * (len(sample["values"]) - 1)]

    medians = slot_medians(load([campaign(tmp_path / "a", values=9, change=spoil)]).samples)
    assert (medians.groupby(["slot", "metric"], observed=True).size() == 1).all()


def test_failed_slots_and_warm_ups_give_no_figures(tmp_path: Path) -> None:
    def fail(record: dict[str, object]) -> None:
        record["status"] = "ok" if record["block"] == 1 else "failed"
        if isinstance(record["samples"], list):
            for sample in record["samples"]:
                sample["warmups"] = [[1, 99.0]]

    medians = slot_medians(load([campaign(tmp_path / "a", blocks=2, change=fail)]).samples)
    assert set(medians["block"]) == {1}
    assert (medians.loc[medians["unit"] == "second", "value"] < 99).all()


def test_slopes_find_the_cost_of_one_more_instance(tmp_path: Path) -> None:
    loaded = load([campaign(tmp_path / "a", ramp=30)])
    found = {slope.arm: slope for slope in slopes(loaded, ("memavailable",))}
    assert found.keys() == ARMS.keys()
    for name, slope in found.items():
        assert slope.slope.point == pytest.approx(ARMS[name].bytes, rel=0.1)
        assert slope.slope.low <= slope.slope.point <= slope.slope.high
        assert slope.largest == 30


def test_slope_ignores_the_part_that_is_paid_once(tmp_path: Path) -> None:
    def fixed(record: dict[str, object]) -> None:
        for step in record.get("ramp") or []:  # type: ignore[attr-defined]
            step["memavailable"] = 500_000_000 + step["n"] * 1000

    (slope,) = slopes(load([campaign(tmp_path / "a", arms={"crun": ARMS["crun"]}, change=fixed)]), ("memavailable",))
    assert slope.slope.point == 1000


def test_a_steady_campaign_does_not_drift_and_a_slowing_one_does() -> None:
    draw = np.random.default_rng(11)
    steady = [(float(a), float(b)) for a, b in draw.lognormal(0, 0.05, (20, 2))]
    assert drifts(_medians(steady)) == []
    slowing = [(a * 1.02**block, b) for block, (a, b) in enumerate(steady)]
    (found,) = drifts(_medians(slowing))
    assert found.arm == "a"
    assert found.factor.low < 1.02**19 < found.factor.high
