"""Figures as people read them."""

from __future__ import annotations

import html
import math

import pytest

from analysis.estimate import Interval
from analysis.words import (
    digits,
    listed,
    markdown,
    plural,
    show,
    show_range,
    show_ratio,
    show_span,
    show_tick,
    show_times,
)


@pytest.mark.parametrize(
    ("value", "unit", "text"),
    [
        (0.00807, "second", "8.07 ms"),
        (0.9996, "second", "1.00 s"),
        (1.126, "second", "1.13 s"),
        (0.000895, "second", "895 µs"),
        (3e-8, "second", "30.0 ns"),
        (0.0, "second", "0 ns"),
        (-0.002, "second", "-2.00 ms"),
        (1115353, "byte", "1.06 MiB"),
        (2**30, "byte", "1.00 GiB"),
        (512, "byte", "512 B"),
        (75757.58, "operation/s", "75.8 k/s"),
        (3083264, "operation/s", "3.08 M/s"),
        (412.2, "operation/s", "412 /s"),
        (0.5, "operation/s", "0.500 /s"),
        (2.5e9, "operation/s", "2.50 G/s"),
        (3.08 * 2**30, "byte/s", "3.08 GiB/s"),
        (999, "byte/s", "999 B/s"),
        (12.0, "integer", "12"),
        (12.5, "integer", "12.5"),
        (1000, "integer", "1,000"),
        (3.14159, "furlong", "3.14 furlong"),
    ],
)
def test_show(value: float, unit: str, text: str) -> None:
    assert show(value, unit).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (559.26, "559"),
        (24.99, "25.0"),
        (9.999, "10.0"),
        (0.1234, "0.123"),
        (12345.6, "12,346"),
        (math.nan, "–"),
    ],
)
def test_three_digits(value: float, text: str) -> None:
    assert digits(value) == text


def test_ticks_are_short() -> None:
    ticks = [show_tick(value, "second") for value in (0.0, 0.01, 1.0)]
    assert [tick.replace("\N{NO-BREAK SPACE}", " ") for tick in ticks] == ["0", "10 ms", "1 s"]
    assert show_tick(20000, "operation/s") == "20 k/s"
    assert show_tick(2.0**31, "byte/s") == "2 GiB/s"
    assert show_tick(400, "operation/s") == "400 /s"


@pytest.mark.parametrize(
    ("values", "unit", "texts"),
    [
        ((0.0325, 0.03275, 0.033, 0.1 * 0.3325), "second", ["32.5 ms", "32.75 ms", "33 ms", "33.25 ms"]),
        ((4.05e-4, 4.075e-4, 4.1e-4, 4.125e-4), "second", ["405 µs", "407.5 µs", "410 µs", "412.5 µs"]),
        ((1234567.5, 1.25e6), "integer", ["1,234,567.5", "1,250,000"]),
        ((1.001, 1.0015), "ratio", ["1.001×", "1.0015×"]),
        ((653_848_153.0,), "instruction", ["653,848,153 instr."]),
        ((123456.25,), "furlong", ["123,456.25 furlong"]),
    ],
)
def test_ticks_say_where_they_are(values: tuple[float, ...], unit: str, texts: list[str]) -> None:
    assert [show_tick(value, unit).replace("\N{NO-BREAK SPACE}", " ") for value in values] == texts


def test_ratios_and_intervals() -> None:
    assert show_ratio(1.3878) == "1.39×"
    assert show_range(Interval(1.4, 1.31, 1.47, 12)) == "[1.3,\N{NO-BREAK SPACE}1.5]"
    assert show_range(Interval(1.4, math.nan, math.nan, 3)) == "3 blocks, no interval"


def test_lists_and_plurals() -> None:
    assert [listed([]), listed("a"), listed("abc")] == ["", "a", "a, b and c"]
    assert [plural(1, "block"), plural(0, "block")] == ["1 block", "0 blocks"]


def test_markdown_is_inert() -> None:
    text = markdown("a|b\n<script>`x`</script> [link](url) *b*")
    assert not set("|<>`[]*\n") & set(text)
    assert html.unescape(text) == "a|b <script>`x`</script> [link](url) *b*"


@pytest.mark.parametrize(
    ("interval", "point", "ends"),
    [
        (Interval(2319, 1720, 2621, 10), "2,300×", "[1,700, 2,600]"),
        (Interval(1.39, 1.31, 1.47, 12), "1.4×", "[1.3, 1.5]"),
        (Interval(0.998, 0.985, 1.03, 10), "0.998×", "[0.985, 1.03]"),
        (Interval(1.0034, 1.0012, 1.0051, 10), "1.003×", "[1.001, 1.005]"),
        (Interval(6303, math.nan, math.nan, 1), "6,300×", "1 block, no interval"),
        # No end that leaves 1 out is rounded to it.
        (Interval(1.56, 1.01, 2.66, 6), "1.6×", "[1.01, 2.7]"),
        (Interval(0.9, 0.8, 0.996, 6), "0.90×", "[0.80, 0.996]"),
        (Interval(1.02, 0.98, 1.08, 6), "1.0×", "[0.98, 1.1]"),
    ],
)
def test_a_ratio_has_as_many_digits_as_are_known(interval: Interval, point: str, ends: str) -> None:
    assert show_times(interval) == point
    assert show_range(interval).replace("\N{NO-BREAK SPACE}", " ") == ends


@pytest.mark.parametrize(
    ("value", "unit", "figures", "text"),
    [(0.04178, "second", 2, "42 ms"), (0.9962, "second", 2, "1.0 s"), (708 * 1024, "byte", 2, "710 KiB")]
    + [(1.794e-3, "second", 2, "1.8 ms"), (16519.17, "operation/s", 2, "17 k/s"), (0.00994, "second", 3, "9.94 ms")]
    + [(6.0, "integer", 2, "6"), (653_848_153, "instruction", 2, "653,848,153 instr.")],
)
def test_values_have_as_many_digits_as_are_known(value: float, unit: str, figures: int, text: str) -> None:
    assert show(value, unit, figures).replace("\N{NO-BREAK SPACE}", " ") == text


@pytest.mark.parametrize(
    ("low", "high", "text"),
    [(0.0055, 0.0418, "5.5 to 42 ms"), (0.000681, 0.000829, "680 to 830 µs"), (0.00069, 0.0012, "0.69 to 1.2 ms")]
    + [(0.0055, 1.24, "5.5 ms to 1.2 s"), (0.00101, 0.00102, "1.0 ms")],
)
def test_spans(low: float, high: float, text: str) -> None:
    assert show_span(low, high, "second").replace("\N{NO-BREAK SPACE}", " ") == text
