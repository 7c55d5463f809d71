"""The channel, with the real init served by a shell on real pipes."""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

import bench
from bench import process
from bench.channel import Channel
from bench.errors import InstanceError, InstanceTimeout
from bench.launch import Launched

INIT = str(Path(bench.__file__).with_name("init.sh"))
SHELLS = {"sh": ["/bin/sh"], "busybox": ["busybox", "sh"]}


@dataclass
class Served:
    launched: Launched
    channel: Channel


def soon(seconds: float = 10.0) -> float:
    return time.monotonic() + seconds


@contextlib.contextmanager
def running(*argv: str, **environment: str) -> Iterator[Served]:
    """A command with a channel on its pipes, its errors as the console."""
    launched = Launched(argv, env={"PATH": os.environ["PATH"], **environment})
    try:
        launched.go()
        yield Served(
            launched, Channel(launched.output, launched.input, console=launched.errors, exited=launched.exited)
        )
    finally:
        launched.kill()
        launched.close()


@pytest.fixture(params=SHELLS)
def init(request: pytest.FixtureRequest) -> Iterator[Served]:
    """An init that has said READY."""
    program, *rest = SHELLS[request.param]
    with running(process.require(program, "busybox-static"), *rest, INIT) as served:
        first = served.channel.expect("INIT", soon())
        assert served.channel.expect("READY", soon()) >= first > 0
        yield served


def test_status_and_output(init: Served) -> None:
    reply = init.channel.call(["/bin/sh", "-c", "echo out; echo err >&2; exit 7"], soon())
    assert (reply.status, reply.output) == (7, b"out\nerr\n")
    assert 0 < reply.seconds < 10


@pytest.mark.parametrize("status", [0, 1, 126, 127, 255])
def test_every_status(init: Served, status: int) -> None:
    assert init.channel.call(["/bin/sh", "-c", f"exit {status}"], soon()).status == status


def test_a_signal_is_a_status_above_128(init: Served) -> None:
    assert init.channel.call(["/bin/sh", "-c", "kill -9 $$"], soon()).status == 128 + signal.SIGKILL


def test_words_arrive_as_they_are(init: Served) -> None:
    words = ["a  b", "", " lead", "trail ", "$HOME", "`id`", "*", "\\n", "'\"", "-n", "\tx", "ü", ""]
    reply = init.channel.call(["/usr/bin/printf", "%s|", *words], soon())
    assert reply.output.decode() == "".join(f"{word}|" for word in words)


def test_output_without_a_line_end_and_output_that_looks_like_an_answer(init: Served) -> None:
    assert init.channel.call(["/usr/bin/printf", "no end"], soon()).output == b"no end"
    lines = r"\ndeadbeef 0\n\nREADY\n"
    assert init.channel.call(["/usr/bin/printf", lines], soon()).output == b"\ndeadbeef 0\n\nREADY\n"
    assert init.channel.call(["/bin/true"], soon()).output == b""


def test_a_mebibyte_of_output(init: Served) -> None:
    reply = init.channel.call(["/bin/sh", "-c", "head -c 1048576 /dev/zero | tr '\\0' x; exit 3"], soon())
    assert reply.status == 3
    assert reply.output == b"x" * (1 << 20)


def test_one_command_after_another(init: Served) -> None:
    for number in range(20):
        assert init.channel.call(["/bin/echo", str(number)], soon()).output == f"{number}\n".encode()


def test_a_command_has_no_input_of_the_channel(init: Served) -> None:
    """One that reads its standard input must not swallow the next request."""
    assert init.channel.call(["/bin/cat"], soon()).output == b""
    assert init.channel.call(["/bin/echo", "still"], soon()).output == b"still\n"


def test_a_program_that_is_not_there(init: Served) -> None:
    reply = init.channel.call(["/nonexistent"], soon())
    assert reply.status == 127
    assert b"nonexistent" in reply.output


def test_ping(init: Served) -> None:
    assert 0 < init.channel.ping(soon()) < 10


def test_halt(init: Served) -> None:
    init.channel.halt(soon())
    assert init.launched.wait(soon())
    assert init.launched.status == 0


def test_a_hanging_command_is_a_timeout(init: Served) -> None:
    begin = time.monotonic()
    with pytest.raises(InstanceTimeout, match="the end of /bin/sleep"):
        init.channel.call(["/bin/sleep", "60"], soon(0.2))
    assert 0.1 < time.monotonic() - begin < 5


def test_an_init_that_dies_is_an_error_and_no_timeout(init: Served) -> None:
    begin = time.monotonic()
    with pytest.raises(InstanceError, match="the instance ended before") as caught:
        init.channel.call(["/bin/sh", "-c", "kill -9 $PPID; sleep 60 >/dev/null 2>&1"], soon())
    assert not isinstance(caught.value, InstanceTimeout)
    assert time.monotonic() - begin < 5


def test_talking_to_the_dead_is_an_error(init: Served) -> None:
    init.launched.kill()
    with pytest.raises(InstanceError, match=r"closed its channel|ended before"):
        init.channel.ping(soon())


@pytest.mark.parametrize("words", [[], ["/bin/echo", "two\nlines"], ["nul\0"]])
def test_what_cannot_be_a_command(init: Served, words: list[str]) -> None:
    with pytest.raises(InstanceError, match="one or more words"):
        init.channel.call(words, soon())
    assert init.channel.call(["/bin/echo", "fine"], soon()).output == b"fine\n"


def test_the_console_is_kept_apart_and_timed(tmp_path: Path) -> None:
    script = "echo kernel speaks >&2; sleep 0.1; printf '\\nINIT\\n'; sleep 60"
    with running("/bin/sh", "-c", script) as served:
        heard = served.channel.expect("INIT", soon())
        assert served.channel.first_console is not None
        assert served.channel.first_console < heard
        assert served.channel.console().rstrip() == "kernel speaks"


def test_a_line_that_only_begins_with_the_word_is_not_it() -> None:
    with running("/bin/sh", "-c", "printf '\\nREADYmade INIT\\nREADY\\r\\n'; sleep 60") as served:
        served.channel.expect("READY", soon())
        assert served.channel.console() == "\n"
    with (
        running("/bin/sh", "-c", "printf '\\nREADYmade\\n'; sleep 60") as served,
        pytest.raises(InstanceTimeout, match="waited for READY"),
    ):
        served.channel.expect("READY", soon(0.2))


def test_what_it_said_before_it_died_is_the_console() -> None:
    with running("/bin/sh", "-c", "echo no such root; echo panic >&2; exit 1") as served:
        with pytest.raises(InstanceError, match="the instance ended before INIT"):
            served.channel.expect("INIT", soon())
        assert "panic" in served.channel.console()
        assert "no such root" in served.channel.console()


@pytest.mark.parametrize("stream", ["1", "2"])
def test_one_that_never_stops_talking_meets_its_deadline(stream: str) -> None:
    begin = time.monotonic()
    with running("/bin/sh", "-c", f"exec yes >&{stream}") as served:
        with pytest.raises(InstanceError):
            served.channel.expect("READY", soon(0.3))
        assert time.monotonic() - begin < 3
        assert len(served.channel.console()) <= 4096


def test_one_that_does_not_read_is_a_timeout() -> None:
    with (
        running("/bin/sleep", "60") as served,
        pytest.raises(InstanceTimeout, match="does not read its channel"),
    ):
        served.channel.call(["/bin/echo", "x" * (1 << 20)], soon(0.2))


def test_a_serial_lines_carriage_returns_are_taken_away() -> None:
    script = "while read -r verb tag count; do printf 'a\\r\\nb\\r\\n\\r\\n%s 5\\r\\n' $tag; done"
    with running("/bin/sh", "-c", script) as served:
        reply = served.channel._ask(lambda tag: f"ping {tag}\n", soon(), "ping")
        assert reply.status == 5
        assert reply.output.rstrip(b"\r") == b"a\nb\n"


PANIC = "[    0.842138] Kernel panic - not syncing: VFS: Unable to mount root fs on unknown-block(0,0)"


@pytest.mark.parametrize("stream", ["", ">&2"])
@pytest.mark.parametrize("line", [PANIC, PANIC.partition("] ")[2]])
def test_a_panic_ends_the_wait(stream: str, line: str) -> None:
    """On a console of its own, or where that is the channel."""
    with (
        running("/bin/sh", "-c", f"printf 'Booting\\n{line}\\n more\\n' {stream}; exec sleep 30") as served,
        pytest.raises(InstanceError, match=r"kernel panicked: VFS: Unable to mount root fs on unknown-block\(0,0\)$"),
    ):
        served.channel.expect("INIT", soon(20))


def test_a_panic_that_comes_later_ends_a_command() -> None:
    script = f"printf '\\nREADY\\n'; read go; echo '{PANIC}' >&2; exec sleep 30"
    with running("/bin/sh", "-c", script) as served:
        served.channel.expect("READY", soon())
        with pytest.raises(InstanceError, match="kernel panicked: VFS"):
            served.channel.call(["true"], soon(20))


def test_a_command_may_speak_of_panic(init: Served) -> None:
    assert init.channel.call(["/bin/sh", "-c", f"echo '{PANIC}'"], soon()).output.decode() == f"{PANIC}\n"
