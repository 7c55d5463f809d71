"""The journal: whole lines or none, whatever the disk does."""

from __future__ import annotations

import json
import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench.errors import InputError, RecordError
from bench.results import Journal, Record, last_of_each_slot, read_facts, read_journal, read_plan, torn_bytes


@contextmanager
def room_for(count: int) -> Iterator[None]:
    """No file may grow beyond `count` bytes: the kernel cuts writes short, then refuses them."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (count, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_what_is_appended_is_read(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    records = [
        {"slot": "b01-s01", "console": "ü\n\ud800"},
        {"slot": "b01-s02", "unknown": {"kept": [1, None]}},
    ]
    with Journal(path) as journal:
        for record in records:
            journal.append(record)
            assert path.read_bytes().endswith(b"\n")
    assert read_journal(path) == records


def test_each_line_is_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import os

    written: list[bytes] = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda fd, data: written.append(data) or write(fd, data))
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append({"slot": "a", "console": "x" * 100_000})
    assert len(written) == 1


def test_a_disk_that_fills_inside_a_line_keeps_the_lines_before(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append({"slot": "a"})
        whole = path.read_bytes()
        with room_for(len(whole) + 5), pytest.raises(RecordError, match="cannot write slot 'b'") as caught:
            journal.append({"slot": "b"})
        assert path.read_bytes() == whole
        with room_for(len(whole)), pytest.raises(RecordError):
            journal.append({"slot": "b"})
        assert path.read_bytes() == whole
        journal.append({"slot": "c"})
    assert [record["slot"] for record in read_journal(path)] == ["a", "c"]
    assert "resume" in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_full_device_is_a_clear_error() -> None:
    with Journal(Path("/dev/full")) as journal, pytest.raises(RecordError, match="No space left on device"):
        journal.append({"slot": "a"})


def test_a_value_that_is_no_number_is_not_journaled(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal, pytest.raises(RecordError, match="slot 'a' cannot be journaled"):
        journal.append({"slot": "a", "wall_s": float("nan")})
    assert path.read_bytes() == b""


@pytest.mark.parametrize("torn", [b'{"slot": "b', b"x" * 200_000, b'{"slot":"b"}'])
def test_a_torn_last_line_is_ignored_and_cut_off_on_resume(tmp_path: Path, torn: bytes) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"slot":"a"}\n' + torn)
    assert read_journal(path) == [{"slot": "a"}]
    assert torn_bytes(path) == len(torn)
    with Journal(path) as journal:
        assert path.read_bytes() == b'{"slot":"a"}\n'
        journal.append({"slot": "b"})
    assert [record["slot"] for record in read_journal(path)] == ["a", "b"]
    assert torn_bytes(path) == 0


def test_a_journal_of_one_torn_line_starts_anew(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"slot": "a')
    with Journal(path):
        assert path.read_bytes() == b""


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (b"garbage", "not a JSON object"),
        (b"\x00\x00\x00", "not a JSON object"),
        (b"\xff\xfe", "not a JSON object"),
        (b"[1]", "a list where a JSON object should be"),
        (b"[" * 100_000, "not a JSON object"),
        (b'{"block": 1}', "no slot id"),
        (b'{"slot": 7}', "no slot id"),
        (b'{"slot": "b", "schema": 2}', "journal schema 2"),
    ],
)
def test_garbage_in_the_middle_names_file_and_line(tmp_path: Path, line: bytes, why: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"slot": "a"}\n' + line + b'\n{"slot": "c"}\n')
    with pytest.raises(InputError, match=rf"journal\.jsonl:2: {why}") as caught:
        read_journal(path)
    assert "\n" not in str(caught.value)


def test_a_folder_that_cannot_be_written_is_a_clear_error(tmp_path: Path) -> None:
    with pytest.raises(RecordError, match="cannot write"):
        Journal(tmp_path / "missing" / "journal.jsonl")


def test_the_last_of_each_slot_counts_in_the_order_first_seen() -> None:
    records = [{"slot": "a", "n": 1}, {"slot": "b"}, {"slot": "a", "n": 2}]
    assert last_of_each_slot(records) == [{"slot": "a", "n": 2}, {"slot": "b"}]


def test_a_block_that_a_job_left_to_another_is_the_other_s() -> None:
    def record(block: int, slot: str, job: str) -> Record:
        return {"slot": f"b{block}-{slot}", "block": block, "job": job}

    records = [record(1, "s1", "A"), record(2, "s1", "A"), record(2, "s2", "A"), record(2, "s1", "B")]
    assert last_of_each_slot(records) == [record(1, "s1", "A"), record(2, "s1", "B")]


def test_plan_and_facts_may_be_missing_but_not_garbage(tmp_path: Path) -> None:
    assert read_plan(tmp_path) is None
    assert read_facts(tmp_path) is None
    (tmp_path / "plan.json").write_text(json.dumps({"schema": 1}))
    assert read_plan(tmp_path) == {"schema": 1}
    (tmp_path / "facts.json").write_text("]")
    with pytest.raises(InputError, match=r"facts\.json: not JSON"):
        read_facts(tmp_path)
