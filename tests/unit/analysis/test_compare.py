"""Verdicts on plain frames: what is matched with what, what is refused, what is judged exactly."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest

from analysis.compare import COLUMNS, judged, verdicts
from analysis.matching import Found, Gap, Matched, match_blocks, match_runs
from analysis.policy import Policy, Rule
from bench.errors import InputError

Values = dict[str, list[list[float]]]  # by arm the values of each block


def frame(
    metrics: dict[str, Values], *, unit: str = "second", scenario: str = "s", better: str = "lower"
) -> pd.DataFrame:
    """Samples in the layout of Loaded.samples, a slot a block and arm."""
    rows = [
        (0, f"b{block}-{arm}", block, scenario, arm, "ok", metric, unit, better, False, index, value)
        for metric, arms in metrics.items()
        for arm, blocks in arms.items()
        for block, values in enumerate(blocks, start=1)
        for index, value in enumerate(values)
    ]
    columns = [
        "run",
        "slot",
        "block",
        "scenario",
        "arm",
        "status",
        "metric",
        "unit",
        "better",
        "warmup",
        "index",
        "value",
    ]
    return pd.DataFrame(rows, columns=columns)


def noisy(count: int, factor: float = 1.0, seed: int = 1, spread: float = 0.02) -> list[list[float]]:
    draw = np.random.default_rng(seed)
    return [[float(value)] for value in factor * np.exp(draw.normal(0, spread, count))]


def only(found: list[Found]) -> Matched:
    (one,) = found
    assert isinstance(one, Matched)
    return one


def test_a_block_is_paired_by_the_median_of_each_slot() -> None:
    found = only(match_blocks(frame({"boot": {"a": [[1, 9, 2], [3]], "b": [[4, 6], [8]]}}), "a", "b"))
    assert found.base.tolist() == [2, 3]
    assert found.new.tolist() == [5, 8]
    assert found.paired
    assert found.levels == (2.5, 6.5)


def test_blocks_without_both_are_dropped_and_counted() -> None:
    samples = frame({"boot": {"a": noisy(6), "b": noisy(6, seed=2)}})
    samples.loc[(samples["arm"] == "b") & (samples["block"] == 2), "status"] = "failed"
    samples = samples[~((samples["arm"] == "a") & (samples["block"] == 5))]
    found = only(match_blocks(samples, "a", "b", failed=[("s", 0, 2), ("s", 0, 7), ("other", 0, 1)]))
    assert len(found.base) == 4
    assert found.dropped == 3  # 2 and 7 failed, 5 is not there


def test_warm_ups_and_other_arms_do_not_count() -> None:
    samples = frame({"boot": {"a": [[1.0], [1.0]], "b": [[2.0], [2.0]], "c": [[50.0], [50.0]]}})
    warm = samples.assign(warmup=True, value=99.0)
    found = only(match_blocks(pd.concat([samples, warm], ignore_index=True), "a", "b"))
    assert found.levels == (1.0, 2.0)


def test_what_one_side_lacks_is_a_gap() -> None:
    samples = frame({"boot": {"a": noisy(3), "b": noisy(3)}, "exec": {"a": noisy(3)}, "spawn": {"b": noisy(3)}})
    _, lost, gained = match_blocks(samples, "a", "b")
    assert (lost, gained) == (
        Gap("s", "exec", "only BASE has it"),
        Gap("s", "spawn", "only NEW has it", unproved=False),
    )


def test_units_must_be_the_same() -> None:
    seconds, bytes_ = frame({"boot": {"a": noisy(3)}}), frame({"boot": {"b": noisy(3)}}, unit="byte")
    with pytest.raises(InputError, match="s:boot differs in its unit: 'second' in BASE, 'byte' in NEW"):
        match_blocks(pd.concat([seconds, bytes_]), "a", "b")
    higher = frame({"boot": {"b": noisy(3)}}, better="higher")
    with pytest.raises(InputError, match="s:boot differs in its better: 'lower' in BASE, 'higher' in NEW"):
        match_runs(seconds, higher, "a", "b")
    with pytest.raises(InputError, match="changes its unit or direction between slots of NEW"):
        match_blocks(pd.concat([seconds, bytes_, frame({"boot": {"b": noisy(3)}})]), "a", "b")


@pytest.mark.parametrize("value", [-0.1, float("nan"), float("inf")])
def test_what_is_no_time_is_refused_by_its_slot(value: float) -> None:
    samples = frame({"boot": {"a": noisy(3), "b": [[1.0], [1.0, value, 1.0], [1.0]]}})
    with pytest.raises(InputError, match=r"s:boot of arm b, slot b2-b is (-0.1|nan|inf) s: that is no time"):
        match_blocks(samples, "a", "b")


def test_a_time_of_zero_leaves_out_its_metric_alone() -> None:
    values = {"a": noisy(40), "b": [[0.0], *noisy(39)]}
    both = frame({"boot": values, "spawn": {"a": noisy(40), "b": noisy(40, 1.2, 2)}})
    gap, other = match_blocks(both, "a", "b")
    assert gap == Gap("s", "boot", "0 s in 1 slot, and there is no ratio of that")
    assert isinstance(other, Matched)
    table = verdicts(both, "a", "b")
    assert table[["metric", "kind"]].to_numpy().tolist() == [["spawn", "regressed"]]


@pytest.mark.parametrize("far", [1e308, 5e-324])
def test_numbers_of_no_measurement_leave_out_their_metric_alone(far: float) -> None:
    """No median or ratio leaves what a computer holds."""
    both = frame({"boot": {"a": [[far]] * 8, "b": noisy(8)}, "spawn": {"a": noisy(8), "b": noisy(8)}})
    for found in (match_blocks(both, "a", "b"), match_runs(both, both, "a", "b")):
        gap, other = found
        assert isinstance(gap, Gap)
        assert "there is no ratio of that" in gap.why
        assert gap.unproved
        assert isinstance(other, Matched)


def test_steps_are_those_of_the_single_values() -> None:
    """A slot's median may lie between them."""
    draw = np.random.default_rng(1)
    whole = {arm: [[float(v) for v in draw.integers(4, 7, 2)] for _ in range(12)] for arm in "ab"}
    assert only(match_blocks(frame({"p99": whole}), "a", "b")).step == pytest.approx(1 / 5)
    assert verdicts(frame({"p99": whole}), "a", "b")["step"].tolist() == [pytest.approx(0.2)]


def test_bytes_below_zero_are_a_gap() -> None:
    (gap,) = match_blocks(frame({"residual": {"a": [[5.0]], "b": [[-4.0]]}}, unit="byte"), "a", "b")
    assert isinstance(gap, Gap)
    assert "it goes down to -4" in gap.why


def test_runs_of_different_times_are_not_paired() -> None:
    base, new = frame({"boot": {"a": noisy(5)}}), frame({"boot": {"a": noisy(9, 2.0)}})
    found = only(match_runs(base, new, "a", "a"))
    assert (len(found.base), len(found.new), found.paired, found.per) == (5, 9, False, "")


def test_a_host_twice_as_slow_is_taken_out_by_the_arm_beside_it() -> None:
    draw = np.random.default_rng(3)

    def host(speed: float) -> pd.DataFrame:
        blocks = speed * np.exp(draw.normal(0, 0.2, 20))  # each block has a speed of its own
        arms = {"floor": [[float(v)] for v in blocks], "x": [[3 * float(v)] for v in blocks]}
        return frame({"boot": arms, "exec": {"x": arms["x"]}})

    old, new = host(1.0), host(2.0)
    boot, run = match_runs(old, new, "x", "x", per="floor")
    assert isinstance(boot, Matched)
    assert isinstance(run, Matched)
    assert boot.per == "floor"
    assert np.allclose([*boot.base, *boot.new], 3)
    assert boot.levels[1] / boot.levels[0] > 1.5
    assert run.per == ""  # the floor has no exec
    assert np.median(run.new) / np.median(run.base) > 1.5


def test_counts_of_instructions_are_never_divided() -> None:
    counts = frame({"boot.instructions": {"x": [[100.0]] * 3, "floor": [[7.0], [8.0], [9.0]]}}, unit="instruction")
    found = only(match_runs(counts, counts, "x", "x", per="floor"))
    assert found.base.tolist() == [100, 100, 100]
    assert found.per == ""


def test_verdicts_has_the_columns_that_it_says() -> None:
    metrics = {"boot": {"a": noisy(40), "b": noisy(40, 1.2, 2)}, "spawn": {"a": noisy(40, 1, 3), "b": noisy(40, 1, 4)}}
    table = verdicts(frame(metrics), "a", "b")
    assert tuple(table.columns) == COLUMNS
    assert table["kind"].tolist() == ["regressed", "equivalent"]
    row = table.iloc[0]
    assert row["low"] < 1.2 < row["high"]
    assert (row["count"], row["paired"], row["unit"], row["per"]) == (40, True, "second", "")
    faster = verdicts(frame(metrics, better="higher"), "a", "b")
    assert faster["kind"].tolist() == ["improved", "equivalent"]


def test_few_blocks_prove_nothing_and_say_how_many_it_takes() -> None:
    table = verdicts(frame({"boot": {"a": [[1.0]] * 4, "b": [[1.0]] * 4}}), "a", "b")
    assert table["kind"].tolist() == ["inconclusive"]
    assert table["needed"].tolist() == [6]
    assert "at least 6 are needed" in table["reason"][0]


def test_informing_metrics_leave_the_family_alone() -> None:
    metrics = {f"m{place}": {"a": noisy(12, 1, place), "b": noisy(12, 1, 50 + place)} for place in range(20)}
    strict = verdicts(frame(metrics), "a", "b")
    alone = verdicts(frame(metrics), "a", "b", policy=Policy(rules={"*": Rule(gates=False), "m3": Rule(gates=True)}))
    assert strict["needed"].max() == 10
    gating = alone[alone["gates"]]
    assert gating["metric"].tolist() == ["m3"]
    assert gating["needed"].tolist() == [6]
    assert alone["metric"].iloc[0] == "m3"


def _counts(old: dict[str, float], new: dict[str, float]) -> pd.DataFrame:
    metrics = {name: {"a": [[old[name]]] * 2, "b": [[new[name]]] * 2} for name in old}
    return frame(metrics, unit="instruction")


def test_a_difference_of_counts_is_exact_and_in_its_phase() -> None:
    old = {"boot.instructions": 1000.0, "boot.setup.instructions": 300.0, "boot.kernel.instructions": 700.0}
    new = {"boot.instructions": 1010.0, "boot.setup.instructions": 300.0, "boot.kernel.instructions": 710.0}
    seconds = frame({"boot": {"a": noisy(2), "b": noisy(2)}})
    table = verdicts(pd.concat([seconds, _counts(old, new)], ignore_index=True), "a", "b")
    assert table["metric"].iloc[0] == "boot.instructions"
    rows = table.set_index("metric")
    assert rows.loc["boot.instructions", ["kind", "exact", "ratio"]].tolist() == ["regressed", True, 1.01]
    assert rows.loc["boot.instructions", "where"] == "boot.kernel.instructions holds 100.0% of it (+10 of +10)"
    assert rows.loc["boot.setup.instructions", "kind"] == "equivalent"
    assert rows.loc["boot", "kind"] == "inconclusive"


def test_a_phase_that_was_not_counted_is_said() -> None:
    old = {"boot.instructions": 1000.0, "boot.kernel.instructions": 700.0}
    new = {"boot.instructions": 1010.0, "boot.kernel.instructions": 694.0}
    where = verdicts(_counts(old, new), "a", "b").set_index("metric").loc["boot.instructions", "where"]
    assert where == "boot.kernel.instructions holds -60.0% of it (-6 of +10); +16 are in no phase that was counted"


def test_counts_that_do_not_repeat_are_judged_by_statistics() -> None:
    values = {"a": [[100.0], [101.0], [100.0]], "b": [[200.0], [200.0], [200.0]]}
    table = verdicts(frame({"boot.instructions": values}, unit="instruction"), "a", "b")
    assert table["exact"].tolist() == [False]
    assert table["kind"].tolist() == ["inconclusive"]
    assert "do not repeat" in table["reason"][0]


@pytest.mark.parametrize(("tolerate", "tolerated"), [(0.0, False), (0.05, False), (0.2, True)])
@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_regression_is_tolerated_below_the_limit_only(tolerate: float, tolerated: bool, better: str) -> None:
    factor = 1.1 if better == "lower" else 1 / 1.1
    samples = frame({"boot": {"a": noisy(40), "b": noisy(40, factor, 2)}}, better=better)
    table = verdicts(samples, "a", "b", policy=Policy(tolerate=tolerate))
    assert table[["kind", "tolerated"]].to_numpy().tolist() == [["regressed", tolerated]]


def test_an_arm_that_only_informs_gates_nothing() -> None:
    found = {arm: match_blocks(frame({"boot": {"a": noisy(9), "b": noisy(9)}}), "a", "b") for arm in ("x", "y")}
    table = judged(found, Policy(), informs={"x"})
    assert table[["arm", "gates"]].to_numpy().tolist() == [["y", True], ["x", False]]


@pytest.mark.parametrize("better", ["lower", "higher"])
def test_a_regression_within_the_margin_says_so(better: str) -> None:
    factor = 1.01 if better == "lower" else 1 / 1.01
    samples = frame({"boot": {"a": noisy(40, spread=0.004), "b": noisy(40, factor, 2, 0.004)}}, better=better)
    table = verdicts(samples, "a", "b")
    assert table[["kind", "within", "verdict"]].to_numpy().tolist() == [["regressed", True, "regressed within ±3%"]]
