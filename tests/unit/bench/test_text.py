"""Foreign words are shown without what a terminal would obey."""

from __future__ import annotations

import time
import unicodedata

import pytest

from bench.text import clean, one_line


def test_what_can_be_shown_stays() -> None:
    for text in ("plain", "a\tb\nc é 1\N{NO-BREAK SPACE}s", "δ ≥ 3 × 日本 😀", "  spaces  "):
        assert clean(text) == text
    assert clean(7) == "7"


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("\x1b[31mred\x1b[0m", "·red·"),
        ("\x1b[2J\x1b[1;1Hgone?", "··gone?"),
        ("\x9b2Jeight bits", "·eight bits"),
        ("\x1b]0;title\x07after", "·after"),
        ("\x1b]52;c;cm0gLXJm\x1b\\after", "·after"),
        ("\x9d52;c;cm0gLXJm\x9cafter", "·after"),
        ("\x1bP1;2q#0~~\x1b\\after", "·after"),
        ("\x1bcreset", "·reset"),
        ("\x1b(Bset", "·set"),
        ("\x1b#8lines", "·lines"),
        # Without an end: only what begins it is taken.
        ("\x1b]0;said to nobody", "·0;said to nobody"),
        ("\x9d0;said\nsecond", "·0;said\nsecond"),
        ("cut \x1b[12", "cut ·12"),
        ("cut \x1b", "cut ·"),
        ("\x1b\x1b[2J", "··"),
        ("a\x00b\x7fc\x08d\x0ce", "a·b·c·d·e"),
        ("one\r\ntwo\rthree", "one\ntwothree"),
        ("left\N{RIGHT-TO-LEFT OVERRIDE}right\N{POP DIRECTIONAL FORMATTING}", "left·right·"),
        ("\N{RIGHT-TO-LEFT ISOLATE}a\N{LINE SEPARATOR}b\N{ZERO WIDTH SPACE}", "·a·b·"),
        ("caf\udce9", "caf?"),
    ],
)
def test_what_a_terminal_obeys_is_taken_out(text: str, shown: str) -> None:
    assert clean(text) == shown


def test_no_character_at_all_gets_through_that_controls() -> None:
    text = clean("".join(map(chr, range(0x110000))))
    assert {unicodedata.category(c) for c in text} & {"Cc", "Cf", "Cs", "Co", "Zl", "Zp"} == {"Cc"}
    assert {c for c in text if unicodedata.category(c) == "Cc"} == {"\n", "\t"}


def test_one_line_is_one() -> None:
    assert one_line("not found\ntare: PASSED\t\r\n") == "not found tare: PASSED"
    assert one_line("1\N{NO-BREAK SPACE}s") == "1\N{NO-BREAK SPACE}s"


@pytest.mark.parametrize("part", ["\x1b[", "\x1b]", "\x9d", "\x1b[0", "\x1b ", "\x90a", "\x1b"])
def test_a_flood_takes_no_more_than_its_length(part: str) -> None:
    begin = time.process_time()
    clean(part * (2_000_000 // len(part)))
    assert time.process_time() - begin < 5
