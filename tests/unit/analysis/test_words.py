"""Figures as people read them."""

from __future__ import annotations

import html
import math

import pytest

from analysis.estimate import Interval
from analysis.words import digits, listed, markdown, plural, show, show_range, show_ratio, show_tick


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
