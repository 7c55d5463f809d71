"""A signal ends a command in order, and cuts short nothing that is held."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from bench import interrupts

SCRIPT = """
import sys, time
from bench import interrupts
interrupts.listen()
try:
    with interrupts.held():
        print("held", flush=True)
        sys.stdin.readline()
        print("whole", flush=True)
    time.sleep(20)
except KeyboardInterrupt as stop:
    print("then", stop.args[0], flush=True)
"""


@pytest.mark.parametrize("times", [1, 3])
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_a_signal_waits_for_what_is_held(number: signal.Signals, times: int) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", SCRIPT],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    ) as process:
        assert process.stdin
        assert process.stdout
        assert process.stdout.readline() == "held\n"
        for _ in range(times):
            process.send_signal(number)
        out, _ = process.communicate("go\n", timeout=20)
    assert out.splitlines() == ["whole", f"then {int(number)}"]


def test_none_came_and_none_is_raised() -> None:
    script = SCRIPT.replace("time.sleep(20)", "print('done')")
    done = subprocess.run(
        [sys.executable, "-c", script],
        input="go\n",
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert done.stdout.splitlines() == ["held", "whole", "done"]


FAILING = """
import os, signal
from bench import interrupts
interrupts.listen()
try:
    with interrupts.held(), interrupts.held():
        os.kill(os.getpid(), signal.SIGTERM)
        raise ERROR
except BaseException as error:
    print(repr(error), flush=True)
with interrupts.held():
    print("held", flush=True)
"""


@pytest.mark.parametrize(
    ("error", "told"),
    [
        ("ValueError('it stays')", "KeyboardInterrupt('it stays')"),
        ("ValueError", "KeyboardInterrupt('ValueError')"),
        ("SystemExit(3)", "SystemExit(3)"),
    ],
)
def test_a_signal_is_not_kept_for_the_next_block_where_the_one_that_it_came_in_fails(error: str, told: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FAILING.replace("ERROR", error)],
        capture_output=True,
        text=True,
        env={**os.environ, "PYTHONPATH": "."},
    )
    assert (done.stdout.splitlines(), done.stderr) == ([told, "held"], "")


def test_a_held_block_that_fails_without_a_signal_raises_its_own_error() -> None:
    with pytest.raises(ValueError, match="own"), interrupts.held(), interrupts.held():
        raise ValueError("own")


AGAIN = """
import time
from bench import interrupts
interrupts.PATIENCE = 1.0
interrupts.listen()
try:
    print("ready", flush=True)
    time.sleep(60)
except KeyboardInterrupt:
    print("first", flush=True)
    try:
        time.sleep(60)
    except KeyboardInterrupt:
        print("another", flush=True)
"""


def test_signals_are_not_ignored_for_ever() -> None:
    with subprocess.Popen(
        [sys.executable, "-c", AGAIN], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}
    ) as process:
        assert process.stdout
        for word in ("ready", "first"):
            assert process.stdout.readline() == f"{word}\n"
            process.send_signal(signal.SIGINT)
        sent = time.monotonic()
        while process.poll() is None and time.monotonic() < sent + 20:
            time.sleep(0.1)
            process.send_signal(signal.SIGINT)
        assert process.stdout.read() == "another\n"
    assert process.returncode == 0
