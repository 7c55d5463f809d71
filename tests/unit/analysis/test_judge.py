"""The verdicts, against scipy and statsmodels, and against what they promise."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest
from scipy import stats
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.weightstats import ttost_paired

from analysis import judge, ranks
from analysis.judge import Test

draw = np.random.default_rng()


@pytest.fixture(autouse=True)
def _same_draws_for_each_test(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(globals(), "draw", np.random.default_rng(7))


def pair(shift: float = 1.0, spread: float = 0.05, blocks: int = 40, **given: object) -> Test:
    base, new = (np.exp(draw.standard_normal(blocks) * spread / np.sqrt(2)) for _ in range(2))
    return Test(base, new * shift, paired=True, **given)  # type: ignore[arg-type]


def test_signed_rank_is_scipys_where_scipys_is_exact() -> None:
    for blocks in range(3, 50):
        values = draw.standard_normal(blocks) + 0.2
        assert ranks.signed_rank(values).p == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


def test_ties_and_zeros_are_broken_in_the_worst_way() -> None:
    """No way to break them, drawn at random, gives a larger p."""
    for _ in range(50):
        values = draw.integers(-2, 4, 12).astype(float)
        shown = ranks.signed_rank(values)
        broken = [values + draw.choice([-1, 1], 12) * draw.uniform(1e-6, 1e-5, 12) for _ in range(50)]
        assert shown.p >= max(ranks.signed_rank(each).p for each in broken) - 1e-12
        first, second = values[:6], values[6:]
        shown = ranks.rank_sum(first, second)
        broken = [draw.uniform(-1e-6, 1e-6, 12) for _ in range(50)]
        assert shown.p >= max(ranks.rank_sum(first + each[:6], second + each[6:]).p for each in broken) - 1e-12


def test_nothing_but_zeros_is_no_evidence() -> None:
    assert ranks.signed_rank(np.zeros(20)) == ranks.Shown(1.0, 0)


@pytest.mark.parametrize(("first", "second"), [(4, 4), (5, 9), (12, 7), (20, 20)])
def test_mann_whitney_critical_is_the_exact_distributions(first: int, second: int) -> None:
    critical = ranks.mann_whitney_critical(first, second, 0.025)
    assert critical is not None
    # U = critical is rejected, U = critical + 1 is not.
    for u, rejected in ((critical, True), (critical + 1, False)):
        base = np.arange(first, dtype=float)
        new = np.full(second, 1e9) + np.arange(second)
        left = u
        for i in range(second):  # each of NEW's values that lies below k of BASE's takes k from the largest U
            below = min(left, first)
            new[i] = first - below - 0.5 + i * 1e-3
            left -= below
            if not left:
                break
        assert (ranks.rank_sum(base, new).p <= 0.05) == rejected


def test_least_counts() -> None:
    assert ranks.least_count(0.05) == 6
    assert ranks.least_count(0.05 / 100) == 12
    assert ranks.least_group(0.05) == 4


@pytest.mark.parametrize("paired", [True, False])
def test_p_and_interval_say_the_same(paired: bool) -> None:
    for shift in (1.0, 1.02, 1.04, 0.97):
        test = pair(shift, blocks=20)
        test = Test(test.base, test.new, paired=paired)
        found = judge.ratio(test)
        assert (judge.evidence(test).p <= 0.05) == (not found.low <= 1 <= found.high)


@pytest.mark.parametrize("paired", [True, False])
def test_p_and_interval_say_the_same_of_ties(paired: bool) -> None:
    seen = set()
    for _ in range(500):
        base, new = (np.round(np.exp(draw.normal(0, 0.1, 20)) * shift, 1) for shift in (1, draw.choice([1, 1.1])))
        test = Test(base, new, paired=paired)
        found, shown = judge.ratio(test), judge.evidence(test)
        assert (shown.p <= 0.05) == (not found.low <= 1 <= found.high)
        if shown.p <= 0.05:
            assert (found.low > 1) == (shown.direction > 0)
        seen.add(shown.p <= 0.05)
    assert seen == {True, False}


def test_holm_is_statsmodels() -> None:
    tests = [pair(shift) for shift in (1.0, 1.02, 1.03, 1.05, 1.0, 0.98, 1.015, 1.01)]
    verdicts = judge.judge(tests)
    rejected, *_ = multipletests([verdict.p for verdict in verdicts], 0.05, method="holm")
    assert [verdict.kind in ("regressed", "improved") for verdict in verdicts] == list(rejected)


def test_metrics_that_only_inform_are_no_part_of_the_family() -> None:
    marginal = next(test for test in iter(lambda: pair(1.02), None) if 0.01 < judge.evidence(test).p < 0.04)
    alone = judge.judge([marginal])[0]
    among = judge.judge([marginal, *(pair() for _ in range(9))])[0]
    beside = judge.judge([marginal, *(pair(gates=False) for _ in range(9))])[0]
    assert (alone.kind, beside.kind) == ("regressed", "regressed")
    assert among.kind != "regressed"


def test_equivalence_agrees_with_two_one_sided_t_tests() -> None:
    """Rank and t tests differ in single cases only."""
    agree = []
    for _ in range(200):
        test = pair(spread=0.08)
        margin = np.log1p(test.delta)
        p, *_ = ttost_paired(np.log(test.new), np.log(test.base), -margin, margin)
        agree.append(judge.equivalent(test) == (p <= 0.05))
    assert np.mean(agree) > 0.85


def test_a_large_p_is_no_equivalence() -> None:
    test = next(test for test in iter(lambda: pair(spread=0.5), None) if judge.evidence(test).p > 0.5)
    (verdict,) = judge.judge([test])
    assert verdict.kind == "inconclusive"
    assert str(verdict).startswith("inconclusive(MDE=")
    assert "±3%" in verdict.reason


@pytest.mark.parametrize(
    ("fraction", "told"),
    [(None, "–"), (math.nan, "–"), (math.inf, "–"), (2e5, "–"), (10.01, "–"), (10.0, "1000%"), (0.0312, "3.1%")],
)
def test_an_mde_that_is_of_no_use_is_not_told(fraction: float | None, told: str) -> None:
    assert judge.mde_told(fraction) == told


def test_a_verdict_on_wild_values_tells_no_mde() -> None:
    logs = np.random.default_rng(1).normal(0, 9.0, (2, 40))
    (verdict,) = judge.judge([Test(*np.exp(logs), True)])
    assert verdict.mde is not None
    assert verdict.mde > 10
    assert str(verdict) == "inconclusive(MDE=–)"


def test_too_few_blocks_claim_nothing() -> None:
    """Not even that all is well, however alike the values are."""
    same = Test(np.ones(5), np.ones(5), paired=True)
    (verdict,) = judge.judge([same])
    assert (verdict.kind, verdict.mde, verdict.needed) == ("inconclusive", None, 6)
    assert "at least 6" in verdict.reason
    family = judge.judge([pair(blocks=10, spread=0.001) for _ in range(100)])
    assert {verdict.kind for verdict in family} == {"inconclusive"}
    assert family[0].needed == 12


@pytest.mark.parametrize(("better", "kind"), [("lower", "regressed"), ("higher", "improved")])
def test_direction(better: str, kind: str) -> None:
    assert judge.judge([pair(1.2, better=better)])[0].kind == kind


def test_swapping_and_rescaling() -> None:
    test = pair(1.07)
    (there,) = judge.judge([test])
    (back,) = judge.judge([Test(test.new, test.base, paired=True)])
    (scaled,) = judge.judge([Test(test.base * 1e6, test.new * 1e6, paired=True)])
    assert (there.kind, back.kind) == ("regressed", "improved")
    assert back.ratio.point == pytest.approx(1 / there.ratio.point)
    assert scaled.kind == there.kind
    assert scaled.ratio.point == pytest.approx(there.ratio.point)
    assert scaled.p == there.p


@pytest.mark.parametrize("blocks", [12, 20, 40, 80])
@pytest.mark.parametrize("family", [1, 10])
def test_a_shift_of_the_mde_is_found_four_times_in_five(blocks: int, family: int) -> None:
    found = []
    for _ in range(250):
        test = pair(spread=0.06, blocks=blocks)
        size = judge.mde(test, 0.05 / family)
        assert size is not None
        sign = draw.choice([1, -1])
        shifted = Test(test.base, test.new * (1 + size) ** sign, paired=True)
        found.append(judge.evidence(shifted).p <= 0.05 / family)
    assert 0.75 < np.mean(found) < 0.95  # what recordings ask for beyond such even noise: analysis.power


def test_false_alarms_and_power() -> None:
    def rate(shift: float, spread: float) -> float:
        verdicts = [judge.judge([pair(shift, spread)])[0] for _ in range(400)]
        return float(np.mean([verdict.kind == ("regressed" if shift > 1 else "improved") for verdict in verdicts]))

    assert rate(1.0, 0.08) < 0.05  # of one side
    assert rate(1.05, 0.08) > 0.85
    assert rate(1.02, 0.03) > 0.95


def test_counts_that_repeat_are_judged_by_identity() -> None:
    base, same, more = np.full(2, 1827997585.0), np.full(2, 1827997585.0), np.full(2, 1833408977.0)
    equal, changed = judge.judge([Test(base, same, True, exact=True), Test(base, more, True, exact=True)])
    assert (equal.kind, equal.ratio.point, equal.exact) == ("equivalent", 1.0, True)
    assert changed.kind == "regressed"
    assert changed.ratio.point == pytest.approx(1.00296, abs=1e-5)
    assert changed.ratio.low == changed.ratio.high


def test_counts_that_do_not_repeat_are_judged_by_statistics_and_say_so() -> None:
    base = np.array([100.0, 101.0])
    (verdict,) = judge.judge([Test(base, base + 5, True, exact=True)])
    assert verdict.kind == "inconclusive"
    assert not verdict.exact
    assert "do not repeat" in verdict.reason
    (once,) = judge.judge([Test(base[:1], base[:1], True, exact=True)])
    assert once.kind == "inconclusive"
    assert "once" in once.reason


def test_different_times_are_held_to_the_spread_of_times() -> None:
    base, new = (np.exp(draw.standard_normal(20) * 0.02) for _ in range(2))
    near = Test(base, new * 1.04, paired=False)
    far = Test(base, new * 2, paired=False, spread=judge.BETWEEN_SESSIONS)
    apart = Test(base, new * 1.04, paired=False, spread=judge.BETWEEN_SESSIONS)
    assert judge.judge([near])[0].kind == "regressed"
    (verdict,) = judge.judge([apart])
    assert verdict.kind == "inconclusive"
    assert "5.6 times" in verdict.reason
    assert judge.judge([far])[0].kind == "regressed"


def test_what_proves_nothing_has_no_smallest_effect_that_it_would_have_shown() -> None:
    base, new = (np.exp(draw.standard_normal(20) * 0.02) for _ in range(2))
    for proves in (True, False):
        (verdict,) = judge.judge([Test(base, new, paired=False, spread=judge.BETWEEN_SESSIONS, proves=proves)])
        assert (verdict.mde is not None) == proves


def sessions(size: float, count: int, scatter: float = 0.02) -> list[Test]:
    """The first of them moved by `size`."""
    values = np.exp(draw.standard_normal((count, 10)) * scatter)
    values[0, 5:] *= size
    return [Test(row[:5], row[5:], paired=False, sessions=tuple("abcdefghij")) for row in values]


def test_why_nothing_is_proved_fits_the_interval_and_the_level() -> None:
    seen = set()
    for size in (1.02, 1.03, 1.04, 1.06):
        for count in (1, 8, 40):
            for alpha in (0.01, 0.05, 0.1):
                blocks = [pair(shift, 0.05, 12) for shift in (size, *[1.0] * (count - 1))]
                for tests in (sessions(size, count), blocks):
                    for verdict in judge.judge(tests, alpha=alpha):
                        if verdict.kind != "inconclusive":
                            continue
                        apart = verdict.ratio.low > 1 or verdict.ratio.high < 1
                        assert not (apart and "does not leave out 1" in verdict.reason)
                        assert ("leaves out 1" in verdict.reason) <= apart
                        assert ("would do alone" in verdict.reason) <= (verdict.p <= alpha and count > 1)
                        seen |= {
                            part for part in ("does not leave", "leaves out", "do alone") if part in verdict.reason
                        }
                        if "metrics" in verdict.reason:
                            assert f"{count} metrics" in verdict.reason
    assert seen == {"does not leave", "leaves out", "do alone"}


def test_a_level_that_no_draw_of_sessions_reaches_is_said() -> None:
    values = np.exp(draw.standard_normal((1, 24)) * 0.01)
    values[:, 12:] *= 2
    test = Test(values[0, :12], values[0, 12:], paired=False, sessions=tuple("abcdefghijklmnopqrstuvwx"))
    (verdict,) = judge.judge([test], alpha=1e-6)
    assert verdict.kind == "inconclusive"
    assert "no p below 5e-05" in verdict.reason


@pytest.mark.parametrize(
    ("base", "new", "given", "said"),
    [
        ([], [1.0], {}, "one number per block"),
        ([[1.0]], [1.0], {}, "shape"),
        ([1.0, 0.0], [1.0, 1.0], {}, "above zero"),
        ([1.0, -1.0], [1.0, 1.0], {}, "above zero"),
        ([1.0, np.nan], [1.0, 1.0], {}, "finite"),
        ([1.0], [1.0, 1.0], {}, "no pairs"),
        ([1.0], [1.0], {"better": "more"}, "better"),
        ([1.0], [1.0], {"delta": 0.0}, "delta"),
        ([1.0], [1.0], {"spread": 2.0}, "spread"),
        ([1.0], [1.0], {"paired": False, "looks": (8, 10)}, "paired"),
    ],
)
def test_what_is_no_test(base: list[float], new: list[float], given: dict[str, object], said: str) -> None:
    with pytest.raises(ValueError, match=said):
        Test(np.array(base), np.array(new), **{"paired": True, **given})  # type: ignore[arg-type]


# Ties, steps and second modes.


def of_ratios(ratios: list[float], level: float = 0.00512345, **given: object) -> Test:
    return Test(np.full(len(ratios), level), np.array(ratios) * level, paired=True, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("better", ["lower", "higher"])
@pytest.mark.parametrize("equal", range(0, 30, 3))
def test_what_is_never_lower_never_gets_the_other_direction(equal: int, better: str) -> None:
    """Whether it is called changed, or its ties are too many."""
    for more in range(4, 30, 5):
        test = of_ratios([1.0] * equal + [1.1] * more, better=better)
        (verdict,) = judge.judge([test])
        (other,) = judge.judge([Test(test.new, test.base, True, better)])
        ahead, behind = ("regressed", "improved") if better == "lower" else ("improved", "regressed")
        assert verdict.kind in (ahead, "inconclusive")
        assert other.kind in (behind, "inconclusive")
        if verdict.kind == ahead:
            assert verdict.ratio.low > 1
        if more > 1.5 * equal and more > 8:
            assert verdict.kind == ahead


@pytest.mark.parametrize("paired", [True, False])
def test_nothing_is_called_changed_while_its_interval_holds_1(paired: bool) -> None:
    kinds = set()
    for _ in range(300):
        size = int(draw.integers(6, 40))
        base, new = (np.maximum(np.round(draw.lognormal(0, 0.2, size) * 5), 1) for _ in range(2))
        (verdict,) = judge.judge([Test(base, new + draw.integers(0, 3), paired=paired)])
        kinds.add(verdict.kind)
        if verdict.kind in ("regressed", "improved"):
            assert not verdict.ratio.low <= 1 <= verdict.ratio.high
            assert (verdict.ratio.point > 1) == (verdict.kind == "regressed")
    assert {"regressed", "inconclusive"} <= kinds


def test_counts_that_rose_in_some_boots_are_not_improved() -> None:
    test = of_ratios([1.0] * 17 + [1.2] * 7, 1e9, exact=True)
    (verdict,) = judge.judge([test])
    assert verdict.kind == "inconclusive"
    assert "in 17 of 24 blocks NEW equals BASE, in 7 it is higher and in 0 lower" in verdict.reason


@pytest.mark.parametrize("step", [0.001, 0.00025, 0.0004])
@pytest.mark.parametrize("stray", [False, True])
@pytest.mark.parametrize("paired", [True, False])
def test_a_coarse_timer_proves_nothing_alike(step: float, stray: bool, paired: bool) -> None:
    """Also where a value of another clock lies between the steps."""
    for spread in (0.04, 0.06, 0.1):
        base, new = (np.round(0.005 * np.exp(draw.normal(0, spread, 40)) / step) * step for _ in range(2))
        if stray:
            base[7] += 0.37 * step
        test = Test(base, new, paired=paired)
        (verdict,) = judge.judge([test])
        assert verdict.kind == "inconclusive"
        assert judge.step(test) > 0.9 * step / 0.0052
        assert verdict.mde is not None
        assert verdict.mde >= judge.step(test)
        if judge.equivalent(test):
            assert "values come in steps of" in verdict.reason


@pytest.mark.parametrize("level", [0.005, 0.05, 3.0, 20.0])
def test_values_that_are_always_the_same_and_round_prove_nothing_alike(level: float) -> None:
    (verdict,) = judge.judge([Test(np.full(40, level), np.full(40, level), paired=True)])
    assert verdict.kind == "inconclusive"
    assert "values come in steps of" in verdict.reason


@pytest.mark.parametrize("level", [1.0, 1e6])
def test_one_side_that_never_varies_takes_no_fineness_from_the_other(level: float) -> None:
    new = level * np.exp(draw.normal(0, 0.002, 10))
    for test in (Test(np.full(10, level), new, True), Test(np.full(60, level), new, False)):
        assert judge.step(test) < 1e-4
        assert judge.judge([test])[0].kind == "equivalent" or judge.judge([test])[0].within


@pytest.mark.parametrize("digits", [5, 9])
def test_fine_values_have_no_steps_to_speak_of(digits: int) -> None:
    for _ in range(20):
        base, new = (np.round(0.05 * np.exp(draw.normal(0, 0.02, 40)), digits) for _ in range(2))
        (verdict,) = judge.judge([Test(base, new, paired=True)])
        assert judge.step(Test(base, new, paired=True)) < 0.001
        assert "steps" not in verdict.reason


def test_constant_values_that_have_many_digits_are_equivalent() -> None:
    (verdict,) = judge.judge([of_ratios([1.0] * 20)])
    assert verdict.kind == "equivalent"


@pytest.mark.parametrize("paired", [True, False])
@pytest.mark.parametrize("blocks", [20, 40])
@pytest.mark.parametrize("slow", [1.2, 1.4, 3.0])
def test_a_slow_mode_that_grew_is_not_called_equivalent(paired: bool, blocks: int, slow: float) -> None:
    def side(often: int) -> np.ndarray:
        values = np.exp(draw.normal(0, 0.005, blocks))
        values[draw.permutation(blocks)[:often]] *= slow
        return values

    for _ in range(20):
        test = Test(side(blocks // 20), side(3 * blocks // 10), paired=paired)
        (verdict,) = judge.judge([test])
        assert verdict.kind in ("inconclusive", "regressed")
        if judge.equivalent(test):
            assert "the mean may not be" in verdict.reason
    alike = [judge.judge([Test(side(0), side(0), paired=paired)])[0] for _ in range(20)]
    assert sum(verdict.kind == "equivalent" or verdict.within for verdict in alike) >= 18


@pytest.mark.parametrize(("base", "new"), [(1, 40), (40, 1), (3, 20)])
def test_needed_counts_are_asked_metric_by_metric(base: int, new: int) -> None:
    few = Test(np.exp(draw.normal(0, 0.01, base)), 2 * np.exp(draw.normal(0, 0.01, new)), paired=False)
    many = Test(np.exp(draw.normal(0, 0.01, 20)), np.exp(draw.normal(0, 0.01, 20)), paired=False)
    wide = replace(few, spread=5.6)
    for tests in ([few], [few, many], [wide, many]):
        verdict = judge.judge(tests)[0]
        assert (verdict.kind, verdict.mde) == ("inconclusive", None)
        assert f"at least {verdict.needed} are needed" in verdict.reason
        assert verdict.needed > min(base, new)


def test_a_change_never_stands_beside_no_mde() -> None:
    """Also where Holm's later steps would let so few blocks reject."""
    sure = [pair(1.5, spread=0.01, blocks=20) for _ in range(9)]
    few = pair(1.5, spread=0.01, blocks=8)
    verdicts = judge.judge([*sure, few])
    assert all(verdict.mde is not None or verdict.kind == "inconclusive" for verdict in verdicts)
    assert verdicts[-1].needed == 9


@pytest.mark.parametrize(("shift", "kind"), [(1.01, "regressed"), (1 / 1.01, "improved")])
def test_a_small_change_is_proved_within_the_margin(shift: float, kind: str) -> None:
    (verdict,) = judge.judge([pair(shift, 0.005)])
    assert (verdict.kind, verdict.within, str(verdict)) == (kind, True, f"{kind} within ±3%")
    assert "within ±δ" in verdict.reason
    (large,) = judge.judge([pair(1.05, 0.005)])
    assert (large.kind, large.within, str(large)) == ("regressed", False, "regressed")
    (across,) = judge.judge([pair(1.03, 0.005)])
    assert not across.within


def test_numbers_at_the_ends_of_what_a_computer_holds() -> None:
    base, new = np.full(8, 5e-324), np.full(8, 1e308)
    for paired in (True, False):
        (verdict,) = judge.judge([Test(base, new, paired=paired)])
        assert verdict.kind == "regressed"
        assert np.isfinite([verdict.ratio.point, verdict.ratio.low, verdict.ratio.high]).all()
