"""The controller's end of a campaign on another host: what bench.agent is asked, and its answers."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from types import NoneType
from typing import Any, Protocol

from bench import image
from bench.agent import BEAT, END_SILENCE, SILENCE
from bench.answers import (
    Answer,
    Bye,
    Cleaned,
    Facts,
    Form,
    Hello,
    InvalidAnswer,
    Lacking,
    Loaded,
    Probe,
    Slot,
    parse,
    plain,
)
from bench.backends import base
from bench.errors import HostLost, TareError
from bench.kexec import MAKE_LIMIT
from bench.lines import TooLong

_CALL_LIMIT = 120.0
_SET_UP_LIMIT = 600.0
_END_LIMIT = 90.0
#: Seconds for the other end to take down what it holds when somebody waits at the keyboard, and for a way to close.
CANCEL_LIMIT = 20.0
_CLOSE_LIMIT = 5.0
#: An initramfs is made by two attempts at most; to unpack its kernel takes less.
_LOAD_LIMIT = 3 * MAKE_LIMIT


class Door(Protocol):
    """A way to a program on a host, by its standard input and output."""

    def send(self, data: bytes) -> None:
        """Raises OSError where the way is broken."""

    def lines(self) -> Iterator[bytes]:
        """What it writes, until it ends or the way breaks. Raises TooLong for a line longer than any answer."""

    def last_words(self) -> str:
        """What it said on standard error."""

    def hang_up(self) -> None:
        """Send no more; what it still writes can be read."""

    def close(self) -> None: ...


def left_behind(host: str) -> str:
    """What is to be said of a host that was not heard of at the end."""
    return f"what runs on {host} is taken down when it has heard nothing for {SILENCE:g} s"


class Cancelled(BaseException):
    """The user interrupted the campaign: see Conversation.cancel()."""


class Conversation:
    """Requests and their answers, each with its request's number, and heartbeats between them.

    A host that is not heard of any more, or that speaks in another way, is lost. Nothing here waits for what it sends
    or takes but until a limit: a thread sends and another one listens, and a way that is stuck holds up these alone.

    cancelled: somebody waits at the keyboard for the end.
    """

    def __init__(self, door: Door, host: str) -> None:
        self._door = door
        self._host = host
        self.lost = False
        self._number = 0
        self._awaited: int | None = None
        self._requests: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()
        self._answers: queue.SimpleQueue[Answer | BaseException | None] = queue.SimpleQueue()
        self._heard = time.monotonic()
        self.cancelled = False
        self._closed = False
        self._listener = threading.Thread(target=self._listen, name=f"{host}-listen", daemon=True)
        self._listener.start()
        threading.Thread(target=self._send, name=f"{host}-send", daemon=True).start()

    def ask(self, within: float, form: type[Form], /, **request: Any) -> Form:
        """What is answered to a request, which has this form.

        Raises the TareError that the host answers with, HostLost without an answer or with another one.
        """
        answer = self.answer(within, **request)
        try:
            return answer.read(form)
        except InvalidAnswer as error:
            raise self._lost(str(error)) from error

    def answer(self, within: float, /, **request: Any) -> Answer:
        """The answer to a request. Raises HostLost."""
        if self.lost:
            raise self._lost()
        self._number += 1
        self._awaited = self._number
        self._requests.put(json.dumps({"id": self._number, **request}).encode() + b"\n")
        deadline = time.monotonic() + within
        while True:
            left = min(deadline, self._heard + SILENCE) - time.monotonic()
            if left <= 0:
                raise self._lost()
            with contextlib.suppress(queue.Empty):
                answer = self._answers.get(timeout=min(left, 1.0))
                if isinstance(answer, Answer):
                    return answer
                if isinstance(answer, Cancelled):
                    raise answer
                raise self._lost(str(answer or ""))

    def _lost(self, how: str = "") -> HostLost:
        self.lost = True
        self._awaited = None
        if how:
            return HostLost(f"{self._host} answers in a way that is not ours: {how}")
        words = " ".join(self._door.last_words().split())[-300:]
        return HostLost(f"{self._host} is not heard of any more" + (f" (its last words: {words})" if words else ""))

    def cancel(self) -> None:
        """Have whoever waits for an answer raise Cancelled. May be called from another thread."""
        self.cancelled = True
        self._answers.put(Cancelled())

    def close(self) -> bool:
        """Have the other end take down what it holds, and wait until it has, for as long as it is heard of; whether it
        has ended."""
        if self._closed:
            return not self._listener.is_alive()
        self._closed = True
        self._requests.put(None)
        begin = time.monotonic()
        limit = 0.0 if self.lost else CANCEL_LIMIT if self.cancelled else _END_LIMIT
        while self._listener.is_alive() and time.monotonic() < min(
            begin + limit, max(begin, self._heard) + END_SILENCE
        ):
            self._listener.join(0.2)
        ended = not self._listener.is_alive() and not self.lost
        closing = threading.Thread(target=self._door.close, name=f"{self._host}-close", daemon=True)
        closing.start()
        closing.join(_CLOSE_LIMIT)
        return ended

    def _listen(self) -> None:
        end: BaseException | None = None
        try:
            for line in self._door.lines():
                self._heard = time.monotonic()
                if line.strip():
                    self._take(parse(line))
        except (InvalidAnswer, TooLong) as error:
            end = error
        except (OSError, EOFError):
            pass
        finally:
            self._answers.put(end)

    def _take(self, answer: Answer) -> None:
        """One that comes again, or too late, is nobody's."""
        if answer.to > self._number:
            raise InvalidAnswer(f"an answer to a request {answer.to} that was never sent")
        if answer.to == self._awaited:
            self._awaited = None
            self._answers.put(answer)

    def _send(self) -> None:
        """Whole lines: a heartbeat must not come to lie inside a request."""
        try:
            while (line := self._next()) is not None:
                self._door.send(line)
            self._door.hang_up()
        except (OSError, EOFError):
            self._answers.put(None)

    def _next(self) -> bytes | None:
        try:
            return self._requests.get(timeout=BEAT)
        except queue.Empty:
            return b"\n"


class RemoteCrew:
    """As bench.crew.Crew, on the other side of a conversation."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk

    def probe(self, arm: str, guest: base.Guest) -> str | None:
        return self._talk.ask(_SET_UP_LIMIT, Probe, do="probe", arm=arm, guest=guest).reason

    def lacking(self, asked: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
        return self._talk.ask(
            _CALL_LIMIT, Lacking, do="lacking", arms={arm: list(names) for arm, names in asked.items()}
        )

    def slot(self, arm: str, job: Mapping[str, Any], limit: float) -> dict[str, Any]:
        """Raises InvalidAnswer where the host answers with something else: that is this slot's failure alone."""
        return plain(self._talk.answer(limit + _CALL_LIMIT, do="slot", arm=arm, job=job, limit=limit).read(Slot))

    def facts(self, arms: Iterable[str]) -> dict[str, Any]:
        return plain(self._talk.ask(_CALL_LIMIT, Facts, do="facts", arms=list(arms)))

    def interrupt(self) -> None:
        """The agent takes everything down when the conversation ends."""

    def close(self) -> None:
        """As interrupt(): a crew lives as long as its host is held."""


class RemoteSeat:
    """A host that is held for us. host: facts.host() of it; run: the run's id there."""

    def __init__(self, talk: Conversation, files: Files, hello: Hello) -> None:
        self._talk = talk
        self._files = files
        self.run = hello.run or ""
        self.host = plain(hello.host)
        self.cleaned = hello.cleaned
        self.resisting = hello.resisting

    def crew(
        self,
        arms: Mapping[str, Mapping[str, Any]],
        envelope: Mapping[str, Any],
        rootfs: base.Rootfs,
        kernels: Mapping[str, base.GuestKernel | str],
    ) -> RemoteCrew:
        """Workers for these arms, which have what they need over there. Arguments as of Crew."""
        self._talk.ask(_SET_UP_LIMIT, NoneType, **crew_request(self._files, arms, envelope, rootfs, kernels))
        return RemoteCrew(self._talk)

    def own_kernels(self, releases: Iterable[str]) -> list[str]:
        """Those of these that the host has in its /boot. Raises HostError where it can boot none but that it runs."""
        return self._talk.ask(_CALL_LIMIT, list[str], do="kernels", releases=list(releases))

    def load_kernel(self, release: str, packed: Path | None, *, keep: bool) -> Loaded:
        """See bench.kexec.load(). packed: a file of bench.parcel's, which is sent where it is not there."""
        sent = self._files.put_file(packed) if packed else None
        return self._talk.ask(_LOAD_LIMIT, Loaded, do="load", release=release, packed=sent, keep=keep)

    def cancel(self) -> None:
        self._talk.cancel()


def crew_request(
    files: Files,
    arms: Mapping[str, Mapping[str, Any]],
    envelope: Mapping[str, Any],
    rootfs: base.Rootfs,
    kernels: Mapping[str, base.GuestKernel | str],
) -> dict[str, Any]:
    """What asks an agent for a crew, once the files are there that it needs. Arguments as of Crew."""
    packed = files.put_file(image.packed(rootfs))
    sent = {
        arm: {"missing": kernel}
        if isinstance(kernel, str)
        else {key: files.put_file(file) for key, file in vars(kernel).items() if file}
        for arm, kernel in kernels.items()
    }
    return {
        "do": "crew",
        "arms": arms,
        "envelope": envelope,
        "rootfs": {"name": envelope["rootfs"], "digest": rootfs.digest, "file": packed},
        "kernels": sent,
    }


class Files(Protocol):
    """Where files go on a host, by the SHA-256 of their content."""

    def put(self, content: bytes) -> str:
        """Its name there. Raises HostError where there is no room, HostLost."""

    def put_file(self, file: Path) -> str:
        """As put(), of a file that may be a large one."""


@contextlib.contextmanager
def occupy(
    door: Door, files: Files, host: str, what: str, *, emulated: bool = False, replaces: str | None = None
) -> Iterator[RemoteSeat]:
    """Hold the host behind a door on which bench.agent listens. replaces: our own earlier run there, which is to end.

    Raises HostError as lock.hold() does, HostLost.
    """
    talk = Conversation(door, host)
    try:
        limit = _CALL_LIMIT + (_END_LIMIT if replaces else 0)
        hello = talk.ask(limit, Hello, do="enter", what=what, name=host, emulated=emulated, replaces=replaces)
        yield RemoteSeat(talk, files, hello)
        with contextlib.suppress(HostLost):
            left = talk.ask(_END_LIMIT, Bye, do="bye").left
            if left:
                raise TareError(f"{host}: {'; '.join(left)}")
    except (Cancelled, KeyboardInterrupt) as stop:
        talk.cancelled = True
        if talk.close():
            raise KeyboardInterrupt(*stop.args) from None
        raise KeyboardInterrupt(left_behind(host)) from None
    finally:
        talk.close()


def clean(door: Door, host: str) -> Cleaned:
    """Remove what dead runs left on a host, and Tare's files there."""
    talk = Conversation(door, host)
    try:
        return talk.ask(_CALL_LIMIT, Cleaned, do="clean")
    finally:
        talk.close()
