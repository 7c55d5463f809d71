"""What is taken of an answer, and what is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import msgspec
import pytest

from bench import answers, equivalence, errors, facts, slots
from bench.agent import failure
from bench.answers import InvalidAnswer
from bench.results import JOURNAL, Journal, read_journal

MEMORY = 128 << 20
HOST = {"name": "rack1", "kernel": "6.1.0-50-amd64", "boot_id": "b", "clocksource": "tsc", "mitigations": {}}
PLANNED = {"slot": "b01-s02", "block": 1, "order": 2, "scenario": "boot", "arm": "crun"}
PLAN = {"arms": {"crun": {"family": "container", "backend": "crun"}}}
EXPECTED = equivalence.reference({"cpus": 1, "memory": MEMORY, "rootfs": "tiny"}, HOST, "sha256:aa")
SEEN = {
    "kernel": "6.1.0-50-amd64",
    "cpus": 1,
    "memory": MEMORY,
    "rootfs": "sha256:aa",
    "clocksource": "tsc",
    "mounts": ["proc on /proc"],
    "mitigations": {},
    "seccomp": 0,
    "read_only": EXPECTED["read_only"],
    **equivalence.CONFINED,
    "disk": None,
    "link": None,
    "link_device": None,
}
GOOD = {
    "status": "ok",
    "reason": None,
    "wall_s": 0.25,
    "cpu_s": 0.02,
    "marks": {"requested": 1, "ready": 7},
    "samples": [{"metric": "boot", "values": [0.1, 2], "unit": "second", "warmups": [], "better": "lower"}],
    "memory": {"cage": 4096, "guest": None},
    "seen": SEEN,
    "caged": True,
    "memory_limit": MEMORY,
}


def line(answer: Any, slot: dict[str, Any] = PLANNED, final: dict[str, Any] = PLAN) -> dict[str, Any]:
    return slots.line(final, slot, HOST, EXPECTED, answer, started="2026-01-01T00:00:00Z", wall_s=9.0)


def test_a_good_answer_is_taken_whole() -> None:
    told = line(GOOD)
    assert told["status"] == "ok"
    assert {key: told[key] for key in PLANNED} == PLANNED
    assert told["samples"] == GOOD["samples"]
    assert (told["seen"], told["marks"], told["memory"]) == (SEEN, GOOD["marks"], GOOD["memory"])
    assert (told["wall_s"], told["cpu_s"]) == (0.25, 0.02)
    assert told["equivalence"]["badge"] == "equal"
    assert "caged" not in told
    assert "memory_limit" not in told


def test_what_was_not_told_is_what_the_controller_knows() -> None:
    told = line({"status": "failed", "reason": "it fell over"})
    assert (told["reason"], told["wall_s"], told["samples"], told["kernel"]) == (
        "it fell over",
        9.0,
        [],
        HOST["kernel"],
    )


def nested(depth: int) -> Any:
    found: Any = None
    for _ in range(depth):
        found = [found]
    return found


HOSTILE: dict[str, Any] = {
    "null": None,
    "a list": [],
    "a text": "ok",
    "a number": 7,
    "nothing": {},
    "no reason": {"status": "ok"},
    "another status": GOOD | {"status": "perfect"},
    "a status that is a list": GOOD | {"status": ["ok"]},
    **{f"the plan's {key}": GOOD | {key: given} for key, given in PLANNED.items()},
    **{f"the record's {key}": GOOD | {key: 99} for key in ("schema", "family", "host", "job", "boot_id", "kernel")},
    **{f"the judge's {key}": GOOD | {key: {}} for key in ("equivalence", "started", "emulated")},
    "seen is a list": GOOD | {"seen": [1]},
    "seen has more": GOOD | {"seen": SEEN | {"more": 1}},
    "a count that is no whole number": GOOD | {"seen": SEEN | {"cpus": 1.5}},
    "a count that is a truth": GOOD | {"seen": SEEN | {"cpus": True}},
    "marks with a float": GOOD | {"marks": {"ready": 1.5}},
    "marks of none": GOOD | {"marks": None},
    "a mark beyond 64 bits": GOOD | {"marks": {"ready": 10**25}},
    "memory beyond 64 bits": GOOD | {"memory": {"cage": 10**25}},
    "memory below 64 bits": GOOD | {"memory": {"cage": -(2**63)}},
    "cpu time of 5000 digits": GOOD | {"cpu_s": 10**5000},
    "cpu time that is no number": GOOD | {"cpu_s": float("nan")},
    "endless time": GOOD | {"wall_s": float("inf")},
    "more than 64 bits": GOOD | {"cpu_s": 1e20},
    "what nothing measures": GOOD
    | {"samples": [{"metric": "boot", "values": [1e19], "unit": "second", "better": "lower"}]},
    "time before it began": GOOD | {"wall_s": -1.0},
    "a sample of text": GOOD | {"samples": ["boot"]},
    "a value of text": GOOD | {"samples": [GOOD["samples"][0] | {"values": ["0.1"]}]},
    "a value that is no number": GOOD | {"samples": [GOOD["samples"][0] | {"values": [float("nan")]}]},
    "an unknown unit": GOOD | {"samples": [GOOD["samples"][0] | {"unit": "furlong"}]},
    "a ramp of numbers": GOOD | {"ramp": [1, 2]},
    "a reason of a megabyte": GOOD | {"status": "failed", "reason": "x" * (1 << 20)},
    "deep": GOOD | {"seen": {"mounts": nested(100_000)}},
}


@pytest.mark.parametrize("answer", HOSTILE.values(), ids=HOSTILE)
def test_any_other_answer_is_a_failed_slot_with_a_reason(answer: Any) -> None:
    told = line(answer)
    assert told["status"] == "failed"
    assert "another form" in told["reason"]
    assert len(told["reason"]) < 1000
    assert {key: told[key] for key in PLANNED} == PLANNED
    assert (told["schema"], told["host"], told["family"], told["samples"]) == (1, "rack1", "container", [])
    json.dumps(told, allow_nan=False)


@pytest.mark.parametrize(
    "answer",
    [
        GOOD | {"marks": {f"{number}-{'x' * 60_000}": 1 for number in range(300)}},
        GOOD | {"seen": SEEN | {"mitigations": {f"{number}": "\x00" * 60_000 for number in range(60)}}},
    ],
    ids=["many marks", "what JSON writes in six characters each"],
)
def test_an_answer_that_no_journal_holds_is_a_failed_slot(answer: Any, tmp_path: Path) -> None:
    told = line(answer)
    assert told["status"] == "failed"
    assert "more than 16 MiB" in told["reason"]
    assert {key: told[key] for key in PLANNED} == PLANNED
    with Journal(tmp_path / JOURNAL) as journal:
        journal.append(told)
    assert read_journal(tmp_path / JOURNAL) == [told]


def test_no_field_of_an_answer_is_one_of_the_record() -> None:
    known = {field.encode_name for field in msgspec.structs.fields(answers.Slot)}
    record = set(line({"status": "failed", "reason": ""})) - known
    assert not known & (
        {*PLANNED, "schema", "family", "host", "job", "boot_id", "kernel", "started", "emulated"} | record
    )


def test_this_machine_tells_of_itself_what_is_known() -> None:
    here = facts.host()
    told = {"host": here, "cleaned": [["folder", "/x"]], "run": "0" * 8}
    text = json.dumps({"to": 3, "ok": told}).encode()
    hello = answers.parse(text).read(answers.Hello)
    assert answers.plain(hello.host) == here


@pytest.mark.parametrize(
    ("wanted", "seen", "fits"),
    [
        ("6.1.0-5", "6.1.0-50-amd64", False),
        ("6.1.0-50", "6.1.0-50-amd64", True),
        ("6.1.0-50-amd64", "6.1.0-50-amd64", True),
        ("6.1.17", "6.1.170", False),
        ("6.1.170", "6.1.17", False),
        ("6.1", "6.1.170-um", True),
    ],
)
def test_the_kernel_that_an_arm_names_is_the_one_that_runs(wanted: str, seen: str, fits: bool) -> None:
    arm = f"crun@{wanted}"
    told = line(GOOD | {"seen": SEEN | {"kernel": seen}}, PLANNED | {"arm": arm}, {"arms": {arm: PLAN["arms"]["crun"]}})
    assert (told["status"] == "ok") == fits


LINES: dict[str, bytes] = {
    "a greeting": b"Last login: today",
    "a list": b"[]",
    "null": b"null",
    "no JSON": b"\xff",
    "empty": b"{}",
    "deep": b"[" * 100_000,
    "deep inside": b'{"to":1,"ok":' + b"[" * 100_000,
    "no number": b'{"ok":1}',
    "a number of text": b'{"to":"1","ok":1}',
    "a negative number": b'{"to":-1,"ok":1}',
    "a number with a point": b'{"to":1.5,"ok":1}',
    "a number of 5000 digits": b'{"to":' + b"9" * 5000 + b',"ok":1}',
    "both": b'{"to":1,"ok":1,"error":{"kind":"HostError","what":"","detail":"","hint":""}}',
    "neither": b'{"to":1}',
    "an error of text": b'{"to":1,"error":"no"}',
    "half an error": b'{"to":1,"error":{"kind":"HostError"}}',
    "more": b'{"to":1,"ok":1,"slot":"b07-s03"}',
    "not UTF-8": b'{"to":1,"ok":"\xff"}',
}


@pytest.mark.parametrize("text", LINES.values(), ids=LINES)
def test_no_other_line_is_an_answer(text: bytes) -> None:
    with pytest.raises(InvalidAnswer) as caught:
        answers.parse(text).read(answers.Probe)
    assert len(str(caught.value)) < 1000


WRONG: list[tuple[type, Any]] = [
    *((answers.Hello, given) for given in (None, [], {}, "x", {"host": {}, "cleaned": []})),
    *((answers.Hello, {"host": facts.host(), "cleaned": given}) for given in ([1], [[1, 2]], [["a"]], {}, None)),
    *((answers.Hello, {"host": facts.host() | {"cores": given}, "cleaned": []}) for given in ("2", 2.5, [2], 10**30)),
    *((answers.Probe, given) for given in ({}, [], None, {"reason": 1}, {"reason": None, "more": 1})),
    *((answers.Loaded, given) for given in ({}, {"runs": "no", "version": None}, {"runs": 0, "version": None})),
    *((answers.Bye, given) for given in (None, {"left": None}, {"left": [1]})),
    *((list[str], given) for given in (None, {}, [1], "x", [["x"]])),
]


@pytest.mark.parametrize(("shape", "given"), WRONG)
def test_no_answer_of_another_shape_is_taken(shape: type, given: Any) -> None:
    answer = answers.parse(json.dumps({"to": 1, "ok": given}).encode())
    with pytest.raises(InvalidAnswer):
        answer.read(shape)


@pytest.mark.parametrize("kind", ["HostError", "InputError", "InstanceTimeout", "TareError"])
def test_an_error_is_what_it_was(kind: str) -> None:
    made: errors.TareError = getattr(errors, kind)("held", detail="by whom", hint="wait")
    found = answers.parse(json.dumps({"to": 1, **failure(made)}).encode()).error
    assert type(found) is getattr(errors, kind)
    assert (found.what, found.detail, found.hint) == ("held", "by whom", "wait")


@pytest.mark.parametrize("kind", ["KeyboardInterrupt", "annotations", "__builtins__", "", "SystemExit", "x" * 999])
def test_an_error_of_another_kind_is_an_error_of_the_host(kind: str) -> None:
    told = {"to": 1, "error": {"kind": kind, "what": "it broke", "detail": "", "hint": ""}}
    assert type(answers.parse(json.dumps(told).encode()).error) is errors.HostError
