"""The command line under signals: cleaning up is not interrupted."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

_COMMAND = """
import signal, sys, time
from bench import cli

def work(arguments):
    try:
        print("up", flush=True)
        time.sleep(30)
    finally:
        print("cleaning", flush=True)
        sys.stdin.readline()
        time.sleep(0.05)
        print("clean", flush=True)

cli._doctor = work
sys.exit(cli.main(["doctor"]))
"""
_SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP]


def _say(child: subprocess.Popen[str], line: str) -> None:
    assert child.stdin is not None
    child.stdin.write(line)
    child.stdin.flush()


@pytest.mark.parametrize("first", _SIGNALS)
def test_the_first_signal_ends_a_command_and_no_second_one_its_cleaning_up(first: signal.Signals) -> None:
    reset = f"import signal\nfor number in {list(map(int, _SIGNALS))}: signal.signal(number, signal.SIG_DFL)\n"
    reset += "signal.signal(signal.SIGINT, signal.default_int_handler)\n"
    with subprocess.Popen(
        [sys.executable, "-c", reset + _COMMAND],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        child.send_signal(first)
        assert child.stdout.readline() == "cleaning\n"
        for number in _SIGNALS:
            child.send_signal(number)
        _say(child, "\n")
        out, err = child.communicate(timeout=10)
    assert out == "clean\n"
    assert child.returncode == 130
    assert "interrupted" in err
    assert "Traceback" not in err


def test_a_signal_that_the_caller_ignores_stays_ignored() -> None:
    ignoring = "import signal\nsignal.signal(signal.SIGHUP, signal.SIG_IGN)\n"
    with subprocess.Popen(
        [sys.executable, "-c", ignoring + _COMMAND.replace("time.sleep(30)", "sys.stdin.readline()")],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "up\n"
        child.send_signal(signal.SIGHUP)
        _say(child, "\n\n")
        out, _ = child.communicate(timeout=10)
    assert out == "cleaning\nclean\n"
    assert child.returncode == 0
