"""The journal: whole lines or none, whatever the disk does."""

from __future__ import annotations

import json
import os
import resource
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import files, results
from bench.errors import InputError, RecordError
from bench.results import (
    Journal,
    Record,
    last_of_each_slot,
    read_decisions,
    read_facts,
    read_hosts,
    read_journal,
    read_lost,
    read_nodes,
    read_plan,
    torn_bytes,
    write,
    write_object,
)

_READERS: dict[str, Callable[[Path], object]] = {
    "journal.jsonl": lambda folder: read_journal(folder / "journal.jsonl"),
    "plan.json": read_plan,
    "facts.json": read_facts,
    "hosts.json": read_hosts,
    "decisions.json": read_decisions,
    "lost.json": read_lost,
    "nodes.json": read_nodes,
}


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
        (b"garbage", "not JSON"),
        (b"\x00\x00\x00", "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"[1]", "a list where a JSON object should be"),
        (b"[" * 100_000, "not JSON that can be read: nested too deeply"),
        (b'{"block": 1}', "there is no `slot`"),
        (b'{"slot": 7}', "`slot` is the number 7, not a text"),
        (b'{"slot": ""}', "no slot id"),
        (b'{"slot": "b", "schema": 2}', "written in schema 2"),
        (b'{"slot": "b", "schema": "\\u001b\\n' + b"x" * 1000 + b'"}', "written in schema "),
        (b'{"slot": "b", "wall_s": NaN}', "not JSON: a number is out of range"),
        (b'{"slot": "b", "wall_s": 1e999}', "not JSON: a number is out of range"),
        (b'{"slot": "b", "cpu_s": 10000000000000000000000000}', "not JSON: a number is out of range"),
        (b'{"slot": "b", "other": ' + b"1" * 5000 + b"}", "not JSON: Exceeds the limit"),
        (b'{"slot": "b", "other": ' + b"[" * 60 + b"]" * 60 + b"}", "nested too deeply: more than 50 levels"),
        (b'{"slot": "b", "samples": [{"values": []}]}', r"`samples\[0\]` has no `metric`"),
        (b'{"slot": "b", "equivalence": []}', "`equivalence` is a list, not a table"),
    ],
)
def test_garbage_in_the_middle_names_file_and_line(tmp_path: Path, line: bytes, why: str) -> None:
    path = tmp_path / "journal.jsonl"
    path.write_bytes(b'{"slot": "a"}\n' + line + b'\n{"slot": "c"}\n')
    with pytest.raises(InputError, match=rf"journal\.jsonl:2: {why}") as caught:
        read_journal(path)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 400


def test_a_journal_without_bounds_is_refused_without_reading_it(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    with path.open("wb") as file:
        file.truncate(600 << 20)
    with pytest.raises(InputError, match=r"jsonl:1: more than 16 MiB are no journal line"):
        read_journal(path)
    with path.open("wb") as file:
        file.truncate(5 << 30)
    with pytest.raises(InputError, match="5 GiB is too large"):
        read_journal(path)
    path.write_bytes(b'{"slot": "a"}\n{"slot": "' + b"b" * (17 << 20) + b'"}\n')
    with pytest.raises(InputError, match=r"jsonl:2: more than 16 MiB"):
        read_journal(path)


@pytest.mark.parametrize("name", ["journal.jsonl", "plan.json", "facts.json", "hosts.json", "decisions.json"])
def test_a_pipe_is_not_waited_for(tmp_path: Path, name: str) -> None:
    os.mkfifo(tmp_path / name)
    with pytest.raises(InputError, match="is a pipe, not a file"):
        _READERS[name](tmp_path)


@pytest.mark.parametrize(
    ("name", "text", "why"),
    [
        ("plan.json", '{"arms": []}', "`arms` is a list, not a table"),
        ("plan.json", '{"slots": [{"slot": "a", "arm": "b"}]}', r"`slots\[0\]` has no `scenario`"),
        ("plan.json", '{"schema": 7}', "written in schema 7"),
        ("plan.json", "[]", "a list where"),
        ("facts.json", '{"host": ["local"]}', "`host` is a list"),
        ("facts.json", '{"git": "abc"}', "`git` is the text 'abc', not a table"),
        ("hosts.json", '{"hosts": []}', "no list of hosts"),
        ("hosts.json", '{"hosts": "rack1"}', "not a list"),
        ("hosts.json", '{"hosts": ["../evil"]}', "'../evil' is not a host's name"),
        ("hosts.json", '{"hosts": ["/etc"]}', "'/etc' is not a host's name"),
        ("hosts.json", '{"hosts": [".."]}', "is not a host's name"),
        ("hosts.json", '{"hosts": ["<img src=x>"]}', "is not a host's name"),
        ("decisions.json", '{"block": 8}', "there is no `stopped`"),
        ("decisions.json", '{"block": 8, "stopped": [3]}', r"`stopped\[0\]` is the number 3"),
        ("lost.json", '{"reason": {}}', "`reason` is a table, not a text"),
        ("nodes.json", '{"nodes": {"n1": 3}}', "`nodes.n1` is the number 3"),
    ],
)
def test_what_is_not_as_it_is_written_is_said_in_a_line(tmp_path: Path, name: str, text: str, why: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=why) as caught:
        _READERS[name](tmp_path)
    assert str(caught.value).isprintable()
    assert str(tmp_path / name) in str(caught.value)


def test_a_host_s_folder_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "hosts.json").write_text('{"hosts": ["rack1"]}')
    (tmp_path / "rack1").symlink_to("/etc")
    with pytest.raises(InputError, match="rack1 is a symbolic link"):
        read_hosts(tmp_path)


def test_the_journal_is_no_link(tmp_path: Path) -> None:
    (tmp_path / "victim").write_text("precious")
    (tmp_path / "journal.jsonl").symlink_to(tmp_path / "victim")
    with pytest.raises(RecordError, match="it is a symbolic link"):
        Journal(tmp_path / "journal.jsonl")
    assert (tmp_path / "victim").read_text() == "precious"


def test_a_journal_has_one_writer(tmp_path: Path) -> None:
    with Journal(tmp_path / "journal.jsonl"), pytest.raises(RecordError, match="another tare writes it"):
        Journal(tmp_path / "journal.jsonl")
    with Journal(tmp_path / "journal.jsonl") as journal:
        journal.append({"slot": "a"})


@pytest.mark.parametrize("more", [{"wall_s": 1e30}, {"cpu_s": 10**25}, {"marks": 3}, {"samples": [{}]}, {"slot": 7}])
def test_what_could_not_be_read_again_is_not_journaled(tmp_path: Path, more: Record) -> None:
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append({"slot": "a"})
        with pytest.raises(RecordError, match="cannot be journaled"):
            journal.append({"slot": "b", **more})
    assert [line["slot"] for line in read_journal(path)] == ["a"]


def test_a_line_that_is_too_long_to_be_read_again_is_not_journaled(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    around = len(b'{"slot":"b","console":""}\n')
    with Journal(path) as journal:
        with pytest.raises(RecordError, match=r"slot 'b' cannot be journaled: .* more than 16 MiB"):
            journal.append({"slot": "b", "console": "x" * ((16 << 20) + 1 - around)})
        journal.append({"slot": "b", "console": "x" * ((16 << 20) - around)})
    assert [line["slot"] for line in read_journal(path)] == ["b"]


def test_a_journal_does_not_grow_beyond_what_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(results, "_LARGEST_JOURNAL", 40)
    path = tmp_path / "journal.jsonl"
    with Journal(path) as journal:
        journal.append({"slot": "a", "console": "x" * 10})
        with pytest.raises(RecordError, match="cannot write slot 'b'"):
            journal.append({"slot": "b", "console": "x" * 10})
    assert [line["slot"] for line in read_journal(path)] == ["a"]


def test_a_file_that_is_too_large_to_be_read_again_is_not_written(tmp_path: Path) -> None:
    path = tmp_path / "plan.json"
    write(path, "{}\n")
    with pytest.raises(InputError, match="is too large"):
        write(path, json.dumps({"description": "ü" * (files.SMALL // 2)}, ensure_ascii=False))
    assert read_plan(tmp_path) == {}


def test_other_records_are_appended_alike(tmp_path: Path) -> None:
    with Journal(tmp_path / "answers.jsonl", of_slots=False) as journal:
        journal.append({"to": 0, "ok": None})
    assert (tmp_path / "answers.jsonl").read_bytes() == b'{"to":0,"ok":null}\n'


def test_what_is_written_is_json_that_is_read(tmp_path: Path) -> None:
    write_object(tmp_path / "facts.json", {"other": [float("nan"), 1.5, {"far": float("inf")}]})
    assert read_facts(tmp_path) == {"other": [None, 1.5, {"far": None}]}


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
