"""The controller's end of a campaign on another host: what bench.agent is asked, and its answers."""

from __future__ import annotations

import contextlib
import json
import queue
import threading
import time
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

from bench import errors
from bench.agent import BEAT, SILENCE
from bench.backends import base
from bench.errors import HostLost, TareError
from bench.kexec import MAKE_LIMIT

_CALL_LIMIT = 120.0
_SET_UP_LIMIT = 600.0
_END_LIMIT = 90.0
#: An initramfs is made by two attempts at most; to unpack its kernel takes less.
_LOAD_LIMIT = 3 * MAKE_LIMIT


class Door(Protocol):
    """A way to a program on a host, by its standard input and output."""

    def send(self, data: bytes) -> None:
        """Raises OSError where the way is broken."""

    def lines(self) -> Iterator[bytes]:
        """What it writes, until it ends or the way breaks."""

    def last_words(self) -> str:
        """What it said on standard error."""

    def hang_up(self) -> None:
        """Send no more; what it still writes can be read."""

    def close(self) -> None: ...


class Cancelled(BaseException):
    """The user interrupted the campaign: see Conversation.cancel()."""


class Conversation:
    """Requests and their answers, with heartbeats between them. A host that is not heard of any more is lost."""

    def __init__(self, door: Door, host: str) -> None:
        self._door = door
        self._host = host
        self.lost = False
        self._answers: queue.SimpleQueue[bytes | BaseException | None] = queue.SimpleQueue()
        self._heard = time.monotonic()
        self._sending = threading.Lock()
        self._over = threading.Event()
        self._listener = threading.Thread(target=self._listen, name=f"{host}-listen", daemon=True)
        self._listener.start()
        threading.Thread(target=self._beat, name=f"{host}-beat", daemon=True).start()

    def ask(self, within: float, /, **request: Any) -> Any:
        """The answer to a request. Raises the TareError that the host answers with, HostLost without an answer."""
        try:
            self._send(json.dumps(request).encode() + b"\n")
        except OSError as error:
            raise self._lost() from error
        deadline = time.monotonic() + within
        while True:
            try:
                answer = self._answers.get(timeout=1)
            except queue.Empty:
                if time.monotonic() > min(deadline, self._heard + SILENCE):
                    raise self._lost() from None
                continue
            if answer is None:
                raise self._lost()
            if isinstance(answer, BaseException):
                raise answer
            return _open(answer)

    def _lost(self) -> HostLost:
        self.lost = True
        words = " ".join(self._door.last_words().split())[-300:]
        return HostLost(f"{self._host} is not heard of any more" + (f" (its last words: {words})" if words else ""))

    def cancel(self) -> None:
        """Have whoever waits for an answer raise Cancelled. May be called from another thread."""
        self._answers.put(Cancelled())

    def close(self) -> None:
        """Have the other end take down what it holds, and wait until it has."""
        self._over.set()
        with contextlib.suppress(OSError):
            self._door.hang_up()
        self._listener.join(0.0 if self.lost else _END_LIMIT)
        self._door.close()

    def _listen(self) -> None:
        with contextlib.suppress(OSError):
            for line in self._door.lines():
                self._heard = time.monotonic()
                if line.strip():
                    self._answers.put(line)
        self._answers.put(None)

    def _beat(self) -> None:
        with contextlib.suppress(OSError):
            while not self._over.wait(BEAT):
                self._send(b"\n")

    def _send(self, line: bytes) -> None:
        """Whole: a heartbeat must not come to lie inside a request."""
        with self._sending:
            self._door.send(line)


def _open(line: bytes) -> Any:
    try:
        answer = json.loads(line)
        if "ok" in answer:
            return answer["ok"]
        error = raised(answer["error"])
    except (ValueError, KeyError, TypeError, AttributeError) as wrong:
        raise HostLost(f"the host answers in a way that is not ours: {line[:100]!r}") from wrong
    raise error


def raised(found: Mapping[str, str]) -> TareError:
    """The error that agent.failure() wrote down."""
    error: TareError = getattr(errors, found["kind"])(found["what"], detail=found["detail"], hint=found["hint"])
    return error


class RemoteCrew:
    """As bench.crew.Crew, on the other side of a conversation."""

    def __init__(self, talk: Conversation) -> None:
        self._talk = talk

    def probe(self, arm: str, guest: base.Guest) -> str | None:
        answer = self._talk.ask(_SET_UP_LIMIT, do="probe", arm=arm, guest=guest)
        reason: str | None = answer["reason"]
        return reason

    def slot(self, arm: str, job: Mapping[str, Any], limit: float) -> dict[str, Any]:
        found: dict[str, Any] = self._talk.ask(limit + _CALL_LIMIT, do="slot", arm=arm, job=job, limit=limit)
        return found

    def facts(self, arms: Iterable[str]) -> dict[str, Any]:
        found: dict[str, Any] = self._talk.ask(_CALL_LIMIT, do="facts", arms=list(arms))
        return found

    def interrupt(self) -> None:
        """The agent takes everything down when the conversation ends."""

    def close(self) -> None:
        """As interrupt(): a crew lives as long as its host is held."""


@dataclass(frozen=True)
class Loaded:
    """A kernel that a host's next kexec boots. runs: whether it runs already; version: its `uname -v`, if known."""

    runs: bool
    version: str | None


class RemoteSeat:
    """A host that is held for us. host: facts.host() of it; run: the run's id there."""

    def __init__(self, talk: Conversation, files: Files, hello: Mapping[str, Any]) -> None:
        self._talk = talk
        self._files = files
        self.run: str = hello["run"]
        self.host: dict[str, Any] = hello["host"]
        self.cleaned: list[tuple[str, str]] = [(kind, name) for kind, name in hello["cleaned"]]

    def crew(
        self,
        arms: Mapping[str, Mapping[str, Any]],
        envelope: Mapping[str, Any],
        rootfs: base.Rootfs,
        kernels: Mapping[str, base.GuestKernel | str],
    ) -> RemoteCrew:
        """Workers for these arms, which have what they need over there. Arguments as of Crew."""
        self._talk.ask(_SET_UP_LIMIT, **crew_request(self._files, arms, envelope, rootfs, kernels))
        return RemoteCrew(self._talk)

    def own_kernels(self, releases: Iterable[str]) -> list[str]:
        """Those of these that the host has in its /boot. Raises HostError where it can boot none but that it runs."""
        found: list[str] = self._talk.ask(_CALL_LIMIT, do="kernels", releases=list(releases))
        return found

    def load_kernel(self, release: str, packed: Path | None, *, keep: bool) -> Loaded:
        """See bench.kexec.load(). packed: a file of bench.parcel's, which is sent where it is not there."""
        sent = self._files.put_file(packed) if packed else None
        return Loaded(**self._talk.ask(_LOAD_LIMIT, do="load", release=release, packed=sent, keep=keep))

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
    packed = files.put_rootfs(rootfs)
    sent = {
        arm: {"missing": kernel}
        if isinstance(kernel, str)
        else {key: files.put(file.read_bytes()) for key, file in vars(kernel).items() if file}
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
        """As put(), of a file that is named so already; it may be a large one."""

    def put_rootfs(self, rootfs: base.Rootfs) -> str: ...


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
        hello = talk.ask(limit, do="enter", what=what, name=host, emulated=emulated, replaces=replaces)
        yield RemoteSeat(talk, files, hello)
        with contextlib.suppress(HostLost):
            left = talk.ask(_END_LIMIT, do="bye")["left"]
            if left:
                raise TareError(f"{host}: {'; '.join(left)}")
    except Cancelled:
        raise KeyboardInterrupt from None
    finally:
        talk.close()


def clean(door: Door, host: str) -> list[tuple[str, str]]:
    """Remove what dead runs left on a host, and Tare's files there: (kind, name) of each."""
    talk = Conversation(door, host)
    try:
        return [(kind, name) for kind, name in talk.ask(_CALL_LIMIT, do="clean")]
    finally:
        talk.close()
