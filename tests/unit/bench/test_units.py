"""Sizes and durations as people write them."""

from __future__ import annotations

import pytest

from bench import units


@pytest.mark.parametrize(
    ("text", "count"),
    [
        ("128 MiB", 128 * 2**20),
        ("128MiB", 128 * 2**20),
        ("  1.5 GiB ", 3 * 2**29),
        ("1 B", 1),
        ("2 kB", 2000),
        ("2 KiB", 2048),
        ("9007199254740993 B", 9007199254740993),
    ],
)
def test_size(text: str, count: int) -> None:
    assert units.size(text) == count


@pytest.mark.parametrize(
    ("text", "seconds"), [("30 s", 30), ("1.5 min", 90), ("250 ms", 0.25), ("0.1 s", 0.1), ("2s", 2)]
)
def test_duration(text: str, seconds: float) -> None:
    assert units.duration(text) == pytest.approx(seconds, rel=1e-12)


@pytest.mark.parametrize(
    "text",
    [
        "128 MegaByte",
        "128 mib",
        "128",
        "MiB",
        "",
        "-1 MiB",
        "0 MiB",
        "0.4 B",
        "1e3 MiB",
        "1_000 MiB",
        "1,5 GiB",
        "128 MiB MiB",
        "128 MiB\nx",
        "١ MiB",
        "nan MiB",
        "30 s",
        "9" * 400 + " GiB",
    ],
)
def test_what_is_not_a_size(text: str) -> None:
    with pytest.raises(ValueError, match=r"128 MiB|more than zero|too much") as caught:
        units.size(text)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("text", ["30", "-30 s", "0 s", "0.0 ms", "30 sec", "inf s", "1 h", "5 MiB", "9" * 400 + " s"])
def test_what_is_not_a_duration(text: str) -> None:
    with pytest.raises(ValueError, match=r"30 s|more than zero|too much"):
        units.duration(text)


def test_a_bad_unit_is_told_the_good_ones() -> None:
    with pytest.raises(ValueError, match="'128 MegaByte' is not a quantity") as caught:
        units.size("128 MegaByte")
    for unit in ("B", "KiB", "MiB", "GiB", "kB", "MB", "GB", "128 MiB"):
        assert unit in str(caught.value)


@pytest.mark.parametrize(
    ("count", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1 KiB"),
        (1572864, "1.5 MiB"),
        (-(3 * 2**29), "-1.5 GiB"),
        (2**42, "4096 GiB"),
    ],
)
def test_show_size(count: float, text: str) -> None:
    shown = units.show_size(count)
    if count > 1000 * 2**30:
        assert float(shown.split()[0]) == pytest.approx(4096, rel=0.01)  # three digits are enough for a tebibyte
    else:
        assert shown == text


@pytest.mark.parametrize("count", [1, 1000, 1024, 128 * 2**20, 999 * 2**20, 1000 * 2**20, 1023 * 2**20, 7 * 2**30])
def test_a_shown_size_can_be_read_again(count: int) -> None:
    assert units.size(units.show_size(count)) == pytest.approx(count, rel=0.005)


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (0.0081, "8.1 ms"),
        (0.9994, "999 ms"),
        (1, "1 s"),
        (2.345, "2.35 s"),
        (99.4, "99.4 s"),
        (200, "3 min 20 s"),
        (119.6, "2 min 0 s"),
    ],
)
def test_show_time(seconds: float, text: str) -> None:
    assert units.show_time(seconds) == text


@pytest.mark.parametrize("seconds", [0.0001, 0.0123, 0.9996, 1.5, 59.96, 99.94])
def test_a_shown_time_can_be_read_again(seconds: float) -> None:
    assert units.duration(units.show_time(seconds)) == pytest.approx(seconds, rel=0.005)
