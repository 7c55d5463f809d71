"""Lines out of parts."""

from __future__ import annotations

import time
import tracemalloc

import pytest

from bench.lines import TooLong, split


@pytest.mark.parametrize("size", [1, 2, 3, 100])
def test_lines_come_whole_whatever_parts_they_come_in(size: int) -> None:
    text = b"one\n\ntwo\nthree"
    parts = [text[start : start + size] for start in range(0, len(text), size)]
    assert list(split(parts, 100)) == [b"one", b"", b"two"]


def test_a_line_without_an_end_takes_no_more_memory_than_the_longest() -> None:
    tracemalloc.start()
    try:
        with pytest.raises(TooLong, match="1 MiB"):
            list(split((b"x" * 1000 for _ in range(1 << 30)), 1 << 20))
        assert tracemalloc.get_traced_memory()[1] < 4 << 20
    finally:
        tracemalloc.stop()


def test_a_long_line_takes_time_in_proportion() -> None:
    begin = time.process_time()
    with pytest.raises(TooLong):
        list(split((b"x" * 4096 for _ in range(1 << 30)), 64 << 20))
    assert time.process_time() - begin < 5
