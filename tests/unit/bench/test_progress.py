"""Words of guests, hosts and tools reach no terminal with anything in them that it would obey."""

from __future__ import annotations

import io
import os
import pty
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from bench import show
from bench.kernels import Kernel
from bench.plan import Estimate
from bench.progress import Screen
from tests.program import planted

EVIL = "last \x1b[2J\x1b]52;c;cm0gLXJm\x07words\x9b31m \N{RIGHT-TO-LEFT OVERRIDE}back\r\ntare: PASSED [red]x[/red]\x00"
SHOWN = "last ··words· ·back tare: PASSED [red]x[/red]·"
SLOT = {"slot": EVIL, "block": 1, "order": 1, "scenario": EVIL, "arm": EVIL}
LINE = {**SLOT, "status": "failed", "reason": EVIL, "host": EVIL, "clock_jump_s": 3}

SAYINGS: dict[str, Callable[[Any], None]] = {
    "say": lambda watcher: watcher.say(EVIL),
    "warned": lambda watcher: watcher.warned(EVIL),
    "cleaned": lambda watcher: watcher.cleaned([(EVIL, EVIL)]),
    "preparing": lambda watcher: watcher.preparing(EVIL),
    "probed": lambda watcher: watcher.probed(EVIL, EVIL, EVIL),
    "runs": lambda watcher: watcher.probed(EVIL, "linux", None),
    "started": lambda watcher: watcher.started(Path(EVIL), 2, 1),
    "looked": lambda watcher: watcher.looked(EVIL),
    "slot_begins": lambda watcher: watcher.slot_begins(SLOT, 60.0),
    "slot_ended": lambda watcher: watcher.slot_ended(LINE),
}


@pytest.mark.parametrize("host", [None, "far"])
@pytest.mark.parametrize("name", SAYINGS)
def test_lines_hold_nothing_to_obey(name: str, host: str | None, capsys: pytest.CaptureFixture[str]) -> None:
    screen = Screen()
    screen._said -= 60  # the next slot is told
    SAYINGS[name](screen if host is None else screen.on(host))
    said = capsys.readouterr().err
    assert SHOWN in said
    assert "\x1b" not in said
    assert "\ntare: PASSED" not in said


def test_the_bar_of_a_terminal_has_no_words_to_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    """rich's own escape sequences are all that there are."""
    heard = bytearray()
    leader, follower = pty.openpty()

    def listen() -> None:
        try:
            while data := os.read(leader, 1 << 16):
                heard.extend(data)
        except OSError:  # nobody has the other end any more
            pass

    reader = threading.Thread(target=listen)
    reader.start()
    with open(follower, "w", encoding="utf-8") as terminal:  # noqa: PTH123 # of a descriptor
        monkeypatch.setattr("sys.stderr", terminal)
        monkeypatch.setenv("TERM", "xterm-256color")
        with Screen() as screen:
            for saying in SAYINGS.values():
                saying(screen)
                screen._bar.refresh()
    reader.join(10)
    os.close(leader)
    text = heard.decode()
    assert "··words·" in text
    for bad in ("\x1b]52", "\x1b[2J\x1b", "\x9b", "\x00", "\N{RIGHT-TO-LEFT OVERRIDE}"):
        assert bad not in text


def _printed(monkeypatch: pytest.MonkeyPatch, work: Callable[[], None]) -> str:
    file = io.StringIO()
    monkeypatch.setattr(show, "Console", lambda **options: Console(file=file, **options))
    work()
    return file.getvalue()


def test_tables_of_plans_and_kernels_hold_nothing_to_obey(monkeypatch: pytest.MonkeyPatch) -> None:
    made = {
        "campaign": "x",
        "blocks": 1,
        "seed": 1,
        "baseline": "process",
        "envelope": {"cpus": 1, "memory": 1 << 20, "rootfs": "tiny"},
        "slurm": {"options": [EVIL], "nodes": 1},
        "scenarios": {"boot": {}},
        "arms": {"process": {}},
        "measures": {},
        "slots": [],
        "left_out": [{"arm": "process", "scenario": "boot", "reason": EVIL}],
    }
    cost = Estimate(1.0, 1, 1)
    said = _printed(monkeypatch, lambda: show.plan(made, cost, {"process": EVIL}, [EVIL]))
    assert said.count(SHOWN) == 4
    kernel = Kernel(EVIL, "machine", Path("/dev/null"), "0" * 64, {"package": EVIL, "version": EVIL})
    said += _printed(monkeypatch, lambda: show.kernels([kernel]))
    assert said.count("··words·") == 7
    assert not any(c in said for c in "\x1b\x9b\x00\r\N{RIGHT-TO-LEFT OVERRIDE}")


def test_errors_and_answers_hold_nothing_to_obey() -> None:
    statement = f"""
from bench import doctor
from bench.errors import HostError
evil = {EVIL!r}
def examine(where, names):
    yield doctor.Answer(evil, evil, True, evil, 1.0, [evil])
    raise HostError(evil, hint=evil, detail=evil + "\\nsecond line")
doctor.examine = examine
def plan(arguments):
    arguments.host, arguments.backends, arguments.json = None, [], False
    return cli._doctor(arguments)
"""
    done = planted(statement)
    assert done.returncode == 4
    first, note = done.stdout.splitlines()
    assert first.count(SHOWN) == 3
    assert note.endswith(f"note: {SHOWN}")
    line, *detail = done.stderr.splitlines()
    assert line == f"tare: {SHOWN}; {SHOWN}"
    assert detail == ["last ··words· ·back", "tare: PASSED [red]x[/red]·", "second line"]
