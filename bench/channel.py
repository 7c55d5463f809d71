"""The channel: how the harness talks to the init inside an instance. The same few lines of text for every family.

init     →  "INIT" when it starts, "READY" when it serves
harness  →  "run TAG COUNT" and COUNT lines, one word of the command each
init     →  the command's output, then "TAG STATUS" on a line of its own
harness  →  "ping TAG"        init → "TAG 0"        (what talking itself costs)
harness  →  "halt"            the init ends, and with it the instance
"""

from __future__ import annotations

import contextlib
import os
import re
import secrets
import select
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

from bench.errors import InstanceError, InstanceTimeout

_CHUNK = 1 << 18
_CONSOLE_KEPT = 1 << 16
#: Bytes that a command inside may print.
OUTPUT_LIMIT = 64 << 20
#: A line of a Linux kernel's after which it runs nothing any more, with the time that it may stand behind.
_LONGEST_LINE = 1024
_PANIC = re.compile(rb"(?:^|\n)(?:\[ *\d+\.\d+\] )?Kernel panic - not syncing: ([^\r\n]*)\r?\n")


@dataclass(frozen=True)
class Reply:
    """output: what the command printed; status: its exit status; seconds: request → status, on the host's clock."""

    output: bytes
    status: int
    seconds: float


def _check_panic(words: bytearray, since: int) -> None:
    """Raises InstanceError where a guest's kernel has said that it goes no further, in what came since a place."""
    if panic := _PANIC.search(words, max(0, since - _LONGEST_LINE)):
        raise InstanceError(f"the guest's kernel panicked: {panic[1].decode(errors='replace')}")


class Channel:
    """Byte streams to and from one init, plus the console whose text explains failures.

    `exited` is a descriptor that turns readable when the instance's process has ended; a console or exited of -1 is
    absent. Times are host CLOCK_MONOTONIC: marks in ns, deadlines in seconds (time.monotonic).
    """

    def __init__(self, reader: int, writer: int, *, console: int = -1, exited: int = -1) -> None:
        self._reader = reader
        self._writer = writer
        self._console = console
        self._exited = exited
        self._heard = bytearray()
        self._console_tail = bytearray()
        self.first_console: int | None = None
        self._now = 0
        self._poller = select.poll()
        for fd in (reader, console, exited):
            if fd >= 0:
                os.set_blocking(fd, False)
                self._poller.register(fd, select.POLLIN)
        os.set_blocking(writer, False)

    def console(self) -> str:
        """The end of what the instance said outside the protocol, for people."""
        self._take_console(time.monotonic_ns())
        text = (
            bytes(self._console_tail)
            + (b"\n" if self._console_tail and self._heard else b"")
            + bytes(self._heard[-4096:])
        )
        return text.decode(errors="replace").replace("\r", "")[-4096:]

    def expect(self, word: str, deadline: float) -> int:
        """Wait for a line that is exactly `word`; when it was heard, in ns."""
        wanted = re.compile(rb"\n%s(?=\r?\n)" % re.escape(word.encode()))
        searched = 0
        while True:
            if match := wanted.search(self._heard, searched):
                del self._heard[: match.end()]
                return self._now
            # Where the console is the channel, nothing but the kernel speaks before its init does.
            _check_panic(self._heard, searched)
            searched = max(0, len(self._heard) - len(word) - 2)
            self._listen(deadline, word)

    def call(self, argv: Sequence[str], deadline: float) -> Reply:
        """Have the init run a command. Raises InstanceTimeout at the deadline, InstanceError if the instance dies."""
        if not argv or any("\n" in word or "\0" in word for word in argv):
            raise InstanceError(f"a command is one or more words without line ends, not {list(argv)!r}")
        return self._ask(lambda tag: "\n".join([f"run {tag} {len(argv)}", *argv, ""]), deadline, argv[0])

    def reply(self, tag: str, deadline: float) -> Reply:
        """The answer to a request that the init had from elsewhere; its seconds are those spent waiting here."""
        reply = self._reply(tag, time.monotonic_ns(), deadline, "a request")
        return replace(reply, output=reply.output.removeprefix(b"\n"))

    def ping(self, deadline: float) -> float:
        """Seconds for a request that does nothing."""
        return self._ask(lambda tag: f"ping {tag}\n", deadline, "ping").seconds

    def halt(self, deadline: float) -> None:
        """Ask the init to end. The caller watches the instance go."""
        self._send(b"halt\n", deadline)

    def _ask(self, request: Callable[[str], str], deadline: float, name: str) -> Reply:
        tag = secrets.token_hex(4)
        message = request(tag).encode()
        self._take_quietly()
        self._heard.clear()
        start = time.monotonic_ns()
        self._send(message, deadline)
        return self._reply(tag, start, deadline, name)

    def _reply(self, tag: str, start: int, deadline: float, name: str) -> Reply:
        mark = f"\n{tag} ".encode()
        searched = 0
        while True:
            at = self._heard.find(mark, searched)
            end = -1 if at < 0 else self._heard.find(b"\n", at + len(mark))
            if end >= 0:
                seconds = (self._now - start) / 1e9
                status = int(self._heard[at + len(mark) : end])
                output = bytes(self._heard[:at]).replace(b"\r\n", b"\n")
                del self._heard[:end]
                return Reply(output, status, seconds)
            searched = at if at >= 0 else max(0, len(self._heard) - len(mark))
            self._listen(deadline, f"the end of {name}")

    def _send(self, data: bytes, deadline: float) -> None:
        while data:
            try:
                data = data[os.write(self._writer, data) :]
            except BlockingIOError:
                if time.monotonic() > deadline:
                    raise InstanceTimeout("the instance does not read its channel") from None
                time.sleep(0.001)
            except OSError as error:
                raise InstanceError(f"the instance closed its channel: {error.strerror}") from error

    def _listen(self, deadline: float, waiting_for: str) -> None:
        """Wait for bytes on the channel, keeping the console drained."""
        left = deadline - time.monotonic()
        events = self._poller.poll(max(0.0, left) * 1000)
        now = time.monotonic_ns()
        if not events or left < 0:
            raise InstanceTimeout(f"waited for {waiting_for} until the time limit")
        ready = {fd for fd, _ in events}
        if self._console in ready:
            new = self._take_console(now)
            _check_panic(self._console_tail, len(self._console_tail) - new)
        if self._reader in ready:
            data = self._read(self._reader)
            if data is None:
                return
            if data:
                self._now = now
                self._heard += data
                if len(self._heard) > OUTPUT_LIMIT:
                    raise InstanceError(f"more than {OUTPUT_LIMIT >> 20} MiB of output before {waiting_for}")
                return
            raise InstanceError(f"the instance ended before {waiting_for}")
        if self._exited in ready:
            raise InstanceError(f"the instance ended before {waiting_for}")

    def _take_quietly(self) -> None:
        with contextlib.suppress(OSError):
            while self._read(self._reader):
                pass

    def _take_console(self, now: int) -> int:
        """How many bytes it had to say."""
        if self._console < 0:
            return 0
        data = self._read(self._console)
        if data is None:
            return 0
        if not data:
            self._poller.unregister(self._console)
            self._console = -1
            return 0
        if self.first_console is None:
            self.first_console = now
        self._console_tail += data
        del self._console_tail[:-_CONSOLE_KEPT]
        return len(data)

    @staticmethod
    def _read(fd: int) -> bytes | None:
        """Bytes, b"" at the end of the stream, None when there is nothing now."""
        try:
            return os.read(fd, _CHUNK)
        except BlockingIOError:
            return None
        except OSError:
            return b""
