"""Absolute limits: proved by the end of an interval, or not at all."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from analysis.absolute import Bound, Held, bound, held, lacking
from bench.errors import InputError

MS = 1e-3


def judged(
    values: list[float], text: str | float, *, most: bool = True, alpha: float = 0.05, unit: str = "second"
) -> Held:
    return held(("", "s", "boot"), unit, np.array(values), bound(text, most=most), alpha, unit == "instruction")


def spread(middle: float, count: int) -> list[float]:
    return list(np.random.default_rng(1).normal(middle, middle / 100, count))


@pytest.mark.parametrize(
    ("text", "value", "unit"),
    [
        ("125 ms", 0.125, "second"),
        ("2.5s", 2.5, "second"),
        (" 7 µs ", 7e-6, "second"),
        ("40 us", 40e-6, "second"),
        ("1 min", 60.0, "second"),
        ("64 MiB", 64 * 2**20, "byte"),
        ("3 kB", 3000.0, "byte"),
        ("12", 12.0, ""),
        ("1e6", 1e6, ""),
        (0.125, 0.125, ""),
        (9, 9.0, ""),
    ],
)
def test_levels_as_people_write_them(text: str | float, value: float, unit: str) -> None:
    found = bound(text, most=True)
    assert (found.value, found.unit) == (pytest.approx(value), unit)


@pytest.mark.parametrize(
    "text", ["fast", "", "-3 ms", "3 parsecs", "0 ms", 0, -1.0, float("nan"), "1e999", "5 %", "1 ms 2"]
)
def test_what_is_no_level(text: str | float) -> None:
    with pytest.raises(ValueError, match="is no level"):
        bound(text, most=True)


@pytest.mark.parametrize("most", [True, False])
@pytest.mark.parametrize("count", [5, 12, 40])
def test_a_limit_is_kept_broken_or_neither(most: bool, count: int) -> None:
    values = spread(100 * MS, count)
    near, far = ("110 ms", "90 ms") if most else ("90 ms", "110 ms")
    assert judged(values, near, most=most).kind == "kept"
    assert judged(values, far, most=most).kind == "broken"
    across = judged(values, f"{1000 * float(np.median(values)):.9f} ms", most=most)
    assert (across.kind, across.reason) == ("unproved", "the interval does not lie on one side of the limit")
    assert across.low < across.level < across.high


@pytest.mark.parametrize(("count", "alpha", "said"), [(4, 0.05, "at least 5"), (6, 0.001, "at least 10")])
def test_too_few_prove_nothing_and_say_how_many_it_takes(count: int, alpha: float, said: str) -> None:
    found = judged(spread(100 * MS, count), "50 ms", alpha=alpha)
    assert found.kind == "unproved"
    assert said in found.reason


def test_the_reason_fits_the_figures() -> None:
    values = spread(100 * MS, 12)
    limit = f"{1000 * sum(sorted(values)[1:3]) / 2:.6f} ms"
    apart = held(("", "s", "boot"), "second", np.array(values), bound(limit, most=True), 0.05 / 9, False, claims=9)
    assert apart.low > apart.bound.value
    assert (apart.kind, apart.reason) == ("unproved", "beyond it at 90 %, but not at the level that 9 claims share")


def test_what_new_does_not_have_is_not_proved() -> None:
    limit = bound("50 ms", most=True)
    found = lacking(("", "s", "boot"), limit)
    assert (found.kind, found.reason, found.count) == ("unproved", "NEW does not have it", 0)
    assert lacking(("", "s", "boot"), limit, "it failed").reason == "it failed"


def test_the_interval_is_the_sign_tests() -> None:
    for count in range(5, 60):
        found = judged([float(value) for value in range(1, count + 1)], 1e9)
        left = int(found.low) - 1
        assert stats.binom.cdf(left, count, 0.5) <= 0.05 < stats.binom.cdf(left + 1, count, 0.5)
        assert found.high == count - left


def test_limits_at_the_true_level_are_seldom_said_to_be_kept_or_broken() -> None:
    draw = np.random.default_rng(2)
    for skewed in (draw.exponential(1, (2000, 20)) / np.log(2), draw.lognormal(0, 1, (2000, 20))):
        kinds = [judged(list(values), 1.0).kind for values in skewed]
        assert kinds.count("kept") < 0.06 * len(kinds)
        assert kinds.count("broken") < 0.06 * len(kinds)


def test_counts_that_repeat_need_no_more_than_a_repetition() -> None:
    assert judged([1e9, 1e9], 1e9, unit="instruction").kind == "kept"
    assert judged([1e9, 1e9], 0.99e9, unit="instruction").kind == "broken"
    assert judged([1e9, 1.1e9], 2e9, unit="instruction").kind == "unproved"
    assert judged([1e9], 2e9, unit="instruction").kind == "unproved"


def test_a_limit_in_another_unit_is_refused() -> None:
    with pytest.raises(InputError, match="boot is measured in another unit"):
        judged(spread(0.1, 9), "64 MiB")
    assert str(Bound(False, 1.0, "", "1")) == "at least 1"
