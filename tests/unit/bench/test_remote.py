"""The conversation with an agent: answers, errors, silence."""

from __future__ import annotations

import json
import queue
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from bench import errors, remote
from bench.agent import failure


class Door:
    """Stands for a host: answers each request by a function of it, or not at all."""

    def __init__(self, answer: Callable[[dict[str, Any]], bytes | None]) -> None:
        self._answer = answer
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self.beats = 0
        self.closed = False

    def send(self, data: bytes) -> None:
        if data == b"\n":
            self.beats += 1
            self._out.put(b"")
        elif (answer := self._answer(json.loads(data))) is not None:
            self._out.put(answer)

    def lines(self) -> Iterator[bytes]:
        yield from iter(self._out.get, None)

    def last_words(self) -> str:
        return "Killed\n"

    def hang_up(self) -> None:
        self._out.put(None)

    def close(self) -> None:
        self.closed = True


def talk(answer: Callable[[dict[str, Any]], bytes | None]) -> tuple[remote.Conversation, Door]:
    door = Door(answer)
    return remote.Conversation(door, "rack1"), door


def test_an_answer_comes_back() -> None:
    conversation, door = talk(lambda request: json.dumps({"ok": request["arm"]}).encode())
    assert conversation.ask(5, do="probe", arm="crun") == "crun"
    conversation.close()
    assert door.closed


@pytest.mark.parametrize("kind", ["HostError", "InputError", "InstanceTimeout", "TareError"])
def test_an_error_is_raised_again_as_what_it_was(kind: str) -> None:
    made: errors.TareError = getattr(errors, kind)("held", detail="by whom", hint="wait")
    conversation, _ = talk(lambda request: json.dumps(failure(made)).encode())
    with pytest.raises(getattr(errors, kind), match="held; wait") as caught:
        conversation.ask(5, do="enter")
    assert caught.value.detail == "by whom"


@pytest.mark.parametrize("line", [b"Last login: today", b"[]", b'{"error": {"kind": "Nothing"}}', b"\xff"])
def test_what_is_no_answer_of_ours_is_said(line: bytes) -> None:
    conversation, _ = talk(lambda request: line)
    with pytest.raises(errors.HostLost, match="not ours"):
        conversation.ask(5, do="enter")


def test_a_host_that_says_nothing_is_lost_and_its_last_words_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENCE", 0.5)
    conversation, _ = talk(lambda request: None)
    begin = time.monotonic()
    with pytest.raises(errors.HostLost, match=r"rack1 is not heard of any more .*Killed"):
        conversation.ask(60, do="slot")
    assert time.monotonic() - begin < 10
    assert conversation.lost


def test_heartbeats_keep_a_long_slot_alive(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(remote, "SILENCE", 1.0)
    monkeypatch.setattr(remote, "BEAT", 0.1)
    door = Door(lambda request: None)
    conversation = remote.Conversation(door, "rack1")
    threading.Timer(2.5, lambda: door._out.put(b'{"ok": 1}')).start()
    assert conversation.ask(60, do="slot") == 1
    assert door.beats > 10


def test_an_end_of_output_is_a_loss_at_once() -> None:
    conversation, door = talk(lambda request: None)
    door.hang_up()
    with pytest.raises(errors.HostLost):
        conversation.ask(60, do="slot")


def test_who_waits_can_be_cancelled_from_another_thread() -> None:
    conversation, _ = talk(lambda request: None)
    threading.Timer(0.2, conversation.cancel).start()
    with pytest.raises(remote.Cancelled):
        conversation.ask(60, do="slot")
