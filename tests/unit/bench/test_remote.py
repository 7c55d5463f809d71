"""The conversation with an agent: answers, errors, silence."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import errors, facts, remote
from bench.agent import failure
from bench.answers import LONGEST, Hello, Probe
from bench.host import LocalFiles
from bench.lines import split


class Door:
    """Stands for a host: answers each request by a function of it, or not at all."""

    def __init__(self, answer: Callable[[dict[str, Any]], bytes | None]) -> None:
        self._answer = answer
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.beats = 0
        self.closed = threading.Event()
        self.hung_up = False

    def send(self, data: bytes) -> None:
        if data == b"\n":
            self.beats += 1
            self._out.put(b"\n")
        elif (answer := self._answer(json.loads(data))) is not None:
            self._out.put(answer + b"\n")

    def say(self, text: bytes) -> None:
        self._out.put(text)

    def lines(self) -> Iterator[bytes]:
        yield from split(iter(self._out.get, None), LONGEST)

    def last_words(self) -> str:
        return "Killed\n"

    def hang_up(self) -> None:
        self.hung_up = True
        self._out.put(None)

    def close(self) -> None:
        self.closed.set()


def talk(answer: Callable[[dict[str, Any]], bytes | None]) -> tuple[remote.Conversation, Door]:
    door = Door(answer)
    return remote.Conversation(door, "rack1"), door


def ok(request: dict[str, Any], answer: Any) -> bytes:
    return json.dumps({"to": request["id"], "ok": answer}).encode()


def test_an_answer_comes_back() -> None:
    conversation, door = talk(lambda request: ok(request, {"reason": request["arm"]}))
    assert conversation.ask(5, Probe, do="probe", arm="crun") == Probe("crun")
    conversation.close()
    assert door.closed.wait(5)


def test_an_error_is_raised_again() -> None:
    made = errors.InstanceTimeout("held", detail="by whom", hint="wait")
    conversation, _ = talk(lambda request: json.dumps({"to": request["id"], **failure(made)}).encode())
    with pytest.raises(errors.InstanceTimeout, match="held; wait") as caught:
        conversation.ask(5, Hello, do="enter")
    assert caught.value.detail == "by whom"


NOT_OURS: list[bytes] = [
    *(b"Last login: today", b"[]", b"null", b"{}", b"\xff", b"[" * 100_000, b'{"ok": 1}', b'{"to": 1}'),
    *(b'{"to": 1, "error": {"kind": "Nothing"}}', b'{"to": 2, "ok": {"reason": null}}', b'{"to": 1, "ok": [1]}'),
    b'{"to": 1, "ok": ' + b"[" * 100_000,
]


@pytest.mark.parametrize("line", NOT_OURS, ids=range(len(NOT_OURS)))
def test_a_host_that_answers_in_another_way_is_lost(line: bytes) -> None:
    conversation, _ = talk(lambda request: line)
    with pytest.raises(errors.HostLost, match=r"rack1 .*not ours"):
        conversation.ask(5, Probe, do="probe")
    assert conversation.lost


def test_an_answer_that_comes_again_is_not_the_next_ones() -> None:
    def twice(request: dict[str, Any]) -> bytes:
        return ok(request, {"reason": request["arm"]}) + b"\n" + ok(request, {"reason": "extra"})

    conversation, _ = talk(twice)
    arms = [str(number) for number in range(20)]
    assert [conversation.ask(5, Probe, do="probe", arm=arm).reason for arm in arms] == arms


def test_a_slot_that_is_answered_in_another_form_fails_alone() -> None:
    found = [[], {"status": "ok", "reason": None, "slot": "b07-s03"}, {"status": "failed", "reason": "it fell"}]
    conversation, _ = talk(lambda request: ok(request, found.pop(0)))
    crew = remote.RemoteCrew(conversation)
    for _ in range(2):
        with pytest.raises(errors.HostError, match="another form") as caught:
            crew.slot("crun", {}, 5)
        assert not isinstance(caught.value, errors.HostLost)
    assert crew.slot("crun", {}, 5) == {"status": "failed", "reason": "it fell"}


def test_a_host_that_says_nothing_is_lost_and_its_last_words_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENCE", 0.2)
    conversation, _ = talk(lambda request: None)
    with pytest.raises(errors.HostLost, match=r"rack1 is not heard of any more .*Killed"):
        conversation.ask(60, Probe, do="slot")
    assert conversation.lost


def test_heartbeats_keep_a_long_slot_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENCE", 3)
    monkeypatch.setattr(remote, "BEAT", 0.1)
    door = Door(lambda request: None)
    conversation = remote.Conversation(door, "rack1")
    threading.Timer(4, lambda: door.say(b'{"to": 1, "ok": {"reason": null}}\n')).start()
    assert conversation.ask(60, Probe, do="slot") == Probe(None)
    assert door.beats > 10


def test_heartbeats_do_not_move_the_deadline(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "BEAT", 0.02)
    conversation, _ = talk(lambda request: None)
    begin = time.monotonic()
    with pytest.raises(errors.HostLost):
        conversation.ask(0.3, Probe, do="slot")
    assert time.monotonic() - begin < 5


def flood(door: Door, text: bytes, over: threading.Event) -> None:
    while not over.wait(0.0005):
        door.say(text)


@pytest.mark.parametrize("text", [b"\n" * 1000, b'{"to": 0, "ok": 1}\n' * 1000], ids=["heartbeats", "late answers"])
def test_endless_lines_do_not_move_the_deadline(text: bytes) -> None:
    conversation, door = talk(lambda request: None)
    over = threading.Event()
    threading.Thread(target=flood, args=[door, text, over], daemon=True).start()
    try:
        with pytest.raises(errors.HostLost):
            conversation.ask(0.3, Probe, do="slot")
    finally:
        over.set()


def test_a_byte_at_a_time_is_silence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENCE", 0.3)
    conversation, door = talk(lambda request: None)
    over = threading.Event()
    threading.Thread(target=flood, args=[door, b"[", over], daemon=True).start()
    try:
        with pytest.raises(errors.HostLost):
            conversation.ask(60, Probe, do="slot")
    finally:
        over.set()


def test_a_line_without_an_end_is_a_loss() -> None:
    conversation, _ = talk(lambda request: b"x" * (LONGEST + 1))
    with pytest.raises(errors.HostLost, match="a line of more than"):
        conversation.ask(10, Probe, do="slot")


class Stuck(Door):
    """Takes nothing and says nothing, until it is closed; or for ever."""

    def __init__(self, *, closes: bool) -> None:
        super().__init__(lambda request: None)
        self._closes = closes
        self._free = threading.Event()

    def send(self, data: bytes) -> None:
        self._free.wait()
        raise BrokenPipeError

    def close(self) -> None:
        if not self._closes:
            self._free.wait()
        self._free.set()
        super().close()


@pytest.mark.parametrize("closes", [True, False])
def test_a_host_that_takes_nothing_is_lost_at_the_deadline(monkeypatch: pytest.MonkeyPatch, closes: bool) -> None:
    monkeypatch.setattr(remote, "_CLOSE_LIMIT", 0.1)
    conversation = remote.Conversation(Stuck(closes=closes), "rack1")
    begin = time.monotonic()
    with pytest.raises(errors.HostLost):
        conversation.ask(0.2, Probe, do="probe")
    conversation.close()
    assert time.monotonic() - begin < 5


def test_who_waits_for_a_host_that_takes_nothing_can_be_cancelled(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "END_SILENCE", 0.1)
    monkeypatch.setattr(remote, "_CLOSE_LIMIT", 0.1)
    conversation = remote.Conversation(Stuck(closes=False), "rack1")
    threading.Timer(0.1, conversation.cancel).start()
    begin = time.monotonic()
    with pytest.raises(remote.Cancelled):
        conversation.ask(600, Probe, do="slot")
    conversation.close()
    assert time.monotonic() - begin < 5


def test_an_end_of_output_is_a_loss_at_once() -> None:
    conversation, door = talk(lambda request: None)
    door.hang_up()
    with pytest.raises(errors.HostLost):
        conversation.ask(60, Probe, do="slot")
    with pytest.raises(errors.HostLost):
        conversation.ask(60, Probe, do="slot")


def test_the_end_is_waited_for_as_long_as_the_host_is_heard_of(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "END_SILENCE", 3)

    class Slow(Door):
        def hang_up(self) -> None:
            def end() -> None:
                for _ in range(8):
                    time.sleep(0.5)
                    self.say(b"\n")
                super(Slow, self).hang_up()

            threading.Thread(target=end, daemon=True).start()

    door = Slow(lambda request: None)
    remote.Conversation(door, "rack1").close()
    assert door.hung_up
    assert door.closed.wait(5)


@pytest.mark.parametrize("closes", [True, False])
def test_an_interrupt_says_of_a_host_that_is_not_heard_of_what_becomes_of_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, closes: bool
) -> None:
    """And of one that has ended it has nothing to say."""
    monkeypatch.setattr(remote, "END_SILENCE", 0.1)
    hello = {"host": facts.host(), "cleaned": [], "run": "0" * 8}

    class Deaf(Door):
        def hang_up(self) -> None:
            if closes:
                super().hang_up()

    door = Deaf(lambda request: ok(request, hello))
    with pytest.raises(KeyboardInterrupt) as caught, remote.occupy(door, LocalFiles(tmp_path), "rack1", "a test"):
        raise KeyboardInterrupt(2)
    assert caught.value.args == ((2,) if closes else (remote.left_behind("rack1"),))
