"""The verdicts, against scipy and statsmodels, and against what they promise."""

from __future__ import annotations

import itertools

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
        assert ranks.signed_rank_p(values) == pytest.approx(stats.wilcoxon(values, method="exact").pvalue)


def test_signed_rank_with_ties_and_zeros_is_exact() -> None:
    """Every sign pattern is counted."""
    values = np.array([0.0, 1.0, 1.0, -1.0, 2.0, 2.0, 3.0, 0.0, 5.0])
    sizes = stats.rankdata(np.abs(values))[values != 0]
    seen = sizes[(values > 0)[values != 0]].sum()
    middle = sizes.sum() / 2
    sums = [sizes[np.array(signs, dtype=bool)].sum() for signs in itertools.product((0, 1), repeat=len(sizes))]
    assert ranks.signed_rank_p(values) == pytest.approx(np.mean([abs(s - middle) >= abs(seen - middle) for s in sums]))


def test_nothing_but_zeros_is_no_evidence() -> None:
    assert ranks.signed_rank_p(np.zeros(20)) == 1.0


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
        assert (ranks.mann_whitney_p(base, new) <= 0.05) == rejected


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
        assert (judge.p_value(test) <= 0.05) == (not found.low <= 1 <= found.high)


def test_holm_is_statsmodels() -> None:
    tests = [pair(shift) for shift in (1.0, 1.02, 1.03, 1.05, 1.0, 0.98, 1.015, 1.01)]
    verdicts = judge.judge(tests)
    rejected, *_ = multipletests([verdict.p for verdict in verdicts], 0.05, method="holm")
    assert [verdict.kind in ("regressed", "improved") for verdict in verdicts] == list(rejected)


def test_metrics_that_only_inform_are_no_part_of_the_family() -> None:
    marginal = next(test for test in iter(lambda: pair(1.02), None) if 0.01 < judge.p_value(test) < 0.04)
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
    test = next(test for test in iter(lambda: pair(spread=0.5), None) if judge.p_value(test) > 0.5)
    (verdict,) = judge.judge([test])
    assert verdict.kind == "inconclusive"
    assert str(verdict).startswith("inconclusive(MDE=")
    assert "±3%" in verdict.reason


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
        found.append(judge.p_value(shifted) <= 0.05 / family)
    assert 0.7 < np.mean(found) < 0.9


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
