"""A campaign on two hosts, one of which misbehaves in one way or another: the other one's part is whole."""

from __future__ import annotations

import contextlib
import json
import queue
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import config, facts, inventory, remote, runner
from bench.answers import LONGEST
from bench.host import LocalFiles
from bench.lines import split
from bench.results import JOURNAL, LOST, read_journal
from bench.slots import Watcher

CAMPAIGN = """
name = "two"
blocks = 2
baseline = "process"
hosts = ["good", "bad"]
[scenarios]
boot = {}
[arms]
process = {}
crun = {}
"""
SLOTS = 2 * 2
HERE = facts.host()
SLOT: dict[str, Any] = {"status": "ok", "reason": None, "wall_s": 0.0, "cpu_s": None, "caged": True}
GOOD: dict[str, Any] = {
    "enter": {"run": "0" * 8, "host": HERE, "cleaned": []},
    "crew": None,
    "lacking": {},
    "probe": {"reason": None},
    "facts": {"host": HERE, "tools": {}, "user": "root", "python": "3", "cgroup": "v2", "cage": {}, "notes": []},
    "slot": SLOT,
    "bye": {"left": []},
}

#: What a host says when it is asked something: raw, its request known.
Speech = Callable[[dict[str, Any]], bytes]


def right(request: dict[str, Any]) -> bytes:
    return told(request, GOOD[request["do"]])


def told(request: dict[str, Any], answer: Any) -> bytes:
    return json.dumps({"to": request["id"], "ok": answer}).encode() + b"\n"


class Door:
    def __init__(self, speech: Speech) -> None:
        self._speech = speech
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def send(self, data: bytes) -> None:
        if data.strip():
            self._out.put(self._speech(json.loads(data)) or None)

    def lines(self) -> Iterator[bytes]:
        yield from split(iter(self._out.get, None), LONGEST)

    def last_words(self) -> str:
        return ""

    def hang_up(self) -> None:
        self._out.put(None)

    def close(self) -> None: ...


class Heard(Watcher):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warned(self, text: str) -> None:
        self.warnings.append(text)


@pytest.fixture(scope="module")
def sent(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What hosts were sent, which all may have together."""
    return tmp_path_factory.mktemp("sent")


def run(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: Path, bad: Speech) -> tuple[Path, Heard]:
    """The results folder."""

    @contextlib.contextmanager
    def enter(host: inventory.Host, what: str, warned: object, **_: object) -> Iterator[remote.RemoteSeat]:
        door = Door(bad if host.name == "bad" else right)
        with remote.occupy(door, LocalFiles(sent), host.name, what) as seat:
            yield seat

    entries = {name: inventory.Host(name, inventory.Entry()) for name in ("good", "bad")}
    monkeypatch.setattr(inventory, "hosts", lambda: entries)
    monkeypatch.setattr(runner, "enter", enter)
    monkeypatch.setattr(runner, "reach", lambda host: None)
    monkeypatch.setattr(runner, "_LOST_STEP", 0.0)
    heard = Heard()
    return runner.run(config.parse(CAMPAIGN, tmp_path / "two.toml"), tmp_path / "results", heard), heard


def lines(folder: Path, host: str) -> list[dict[str, Any]]:
    file = folder / host / JOURNAL
    return read_journal(file) if file.exists() else []


def assert_good_is_whole(folder: Path) -> None:
    told = lines(folder, "good")
    assert [line["status"] for line in told] == ["ok"] * SLOTS
    assert {line["host"] for line in told} == {HERE["name"]}
    assert not (folder / "good" / LOST).exists()


def deep(kind: str = "list") -> bytes:
    return b"[" * 100_000 if kind == "list" else b'{"a":' * 100_000


SPEECHES: dict[str, Callable[[dict[str, Any]], bytes]] = {
    "nothing more": lambda request: b"",
    "a greeting": lambda request: b"Last login: today\n",
    "a list": lambda request: told(request, []),
    "a table": lambda request: told(request, {}),
    "a number": lambda request: told(request, 1),
    "a text": lambda request: told(request, "x"),
    "a deep list": lambda request: deep() + b"\n",
    "a deep answer": lambda request: b'{"to": %d, "ok": ' % request["id"] + deep("table") + b"\n",
    "another's number": lambda request: told(request | {"id": request["id"] + 1}, GOOD[request["do"]]),
    "no number": lambda request: json.dumps({"ok": GOOD[request["do"]]}).encode() + b"\n",
    "too long a line": lambda request: b"x" * (LONGEST + 2),
    "an error of no kind": lambda request: b'{"to": %d, "error": {}}\n' % request["id"],
    "a lost host": lambda request: error(request, "HostLost"),
    "wrong input": lambda request: error(request, "InputError"),
    "a way out": lambda request: error(request, "SystemExit"),
}


def error(request: dict[str, Any], kind: str) -> bytes:
    failure = {"kind": kind, "what": "no", "detail": "", "hint": ""}
    return json.dumps({"to": request["id"], "error": failure}).encode() + b"\n"


SOME = {name: SPEECHES[name] for name in ("nothing more", "a table", "a deep answer", "another's number")}


@pytest.mark.parametrize("what", sorted(GOOD.keys() - {"slot", "bye"}))
@pytest.mark.parametrize("speech", SOME.values(), ids=SOME)
def test_a_host_that_answers_nothing_of_use_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: Path, what: str, speech: Speech
) -> None:
    folder, heard = run(
        monkeypatch, tmp_path, sent, lambda request: (speech if request["do"] == what else right)(request)
    )
    assert_good_is_whole(folder)
    if (what, speech) != ("lacking", SPEECHES["a table"]):  # which is what a host says that lacks nothing
        assert any("bad takes no further part" in text for text in heard.warnings)


@pytest.mark.parametrize("speech", SPEECHES.values(), ids=SPEECHES)
def test_a_host_whose_slots_come_to_nothing_ends_no_other(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: Path, speech: Speech
) -> None:
    folder, _ = run(
        monkeypatch, tmp_path, sent, lambda request: (speech if request["do"] == "slot" else right)(request)
    )
    assert_good_is_whole(folder)
    bad = lines(folder, "bad")
    assert all(line["status"] == "failed" and line["reason"] for line in bad)
    assert len(bad) == SLOTS or (folder / "bad" / LOST).exists()


@pytest.mark.parametrize("more", [b"", b"\n\n\n"])
def test_answers_that_come_twice_are_each_slots_own(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: Path, more: bytes
) -> None:
    count = 0

    def twice(request: dict[str, Any]) -> bytes:
        nonlocal count
        if request["do"] != "slot":
            return right(request)
        count += 1
        answer = told(request, SLOT | {"cpu_s": float(count)})
        return answer + more + answer + told(request, SLOT | {"cpu_s": -1.0})

    folder, _ = run(monkeypatch, tmp_path, sent, twice)
    assert_good_is_whole(folder)
    assert [line["cpu_s"] for line in lines(folder, "bad")] == [float(n) for n in range(1, SLOTS + 1)]


def test_the_plans_keys_are_the_plans(monkeypatch: pytest.MonkeyPatch, tmp_path: Path, sent: Path) -> None:
    stolen = SLOT | {"slot": "b01-s01", "arm": "process", "block": 1, "schema": 99, "host": "good"}
    folder, _ = run(
        monkeypatch,
        tmp_path,
        sent,
        lambda request: told(request, stolen) if request["do"] == "slot" else right(request),
    )
    assert_good_is_whole(folder)
    found = lines(folder, "bad")
    assert len({line["slot"] for line in found}) == SLOTS
    assert {(line["schema"], line["status"]) for line in found} == {(1, "failed")}
