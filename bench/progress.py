"""What people see while a campaign runs: a bar on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from bench import units
from bench.slots import Watcher
from bench.text import one_line

_PLAIN_EVERY = 5.0


def _plain(text: str) -> str:
    """What is said may hold words of guests, hosts and tools: neither the terminal nor rich obeys them."""
    return escape(one_line(text))


class Screen(Watcher):
    """Tells a run's progress on standard error. Use as a context manager."""

    def __init__(self) -> None:
        self._console = Console(stderr=True, highlight=False, emoji=False)
        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[left]}"),
            console=self._console,
            transient=True,
            disable=not self._console.is_terminal,
        )
        self._task = self._bar.add_task("starting", total=None, left="")
        self._begin = self._said = time.monotonic()
        self._total = self._done = 0
        self._left = self._step = ""
        self.folder: Path | None = None

    def __enter__(self) -> Screen:
        self._bar.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._bar.stop()

    def say(self, text: str, style: str = "") -> None:
        self._console.print(_plain(text), style=style, soft_wrap=True)

    def on(self, host: str) -> Voice:
        return Voice(self, host)

    def cleaned(self, removed: list[tuple[str, str]]) -> None:
        for kind, name in removed:
            self.say(f"left by a dead run, removed: {kind} {name}", "yellow")

    def warned(self, text: str) -> None:
        self.say(f"warning {text}", "red")

    def preparing(self, text: str, what: str = "kernel") -> None:
        """What is made before anything can run, of a kind in a word; how far it is stands behind a colon."""
        step = text.partition(":")[0]
        self._bar.update(self._task, description=_plain(text))
        if step != self._step or (self._bar.disable and time.monotonic() - self._said >= _PLAIN_EVERY):
            self._step, self._said = step, time.monotonic()
            self.say(f"{what:7} {text}")

    def probed(self, arm: str, guest: str, reason: str | None) -> None:
        what = arm if guest == "linux" else f"{arm} ({guest})"
        self._bar.update(self._task, description=_plain(f"probe {what}"))
        if reason is None:
            self.say(f"probe   {what}: runs")
        else:
            self.say(f"probe   {what}: left out: {reason}", "yellow")

    def started(self, folder: Path, total: int, done: int) -> None:
        self.folder = folder
        self._total, self._done = total, done
        self._begin = time.monotonic()
        self.say(f"results {folder}")
        if done:
            self.say(f"resumed {done} of {total} slots are in the journal already")
        self._bar.update(self._task, total=total, completed=done)

    def joined(self, folder: Path, total: int, done: int) -> None:
        """One of several hosts begins its slots. folder: the campaign's."""
        if self.folder is None:
            self._begin = time.monotonic()
        self.folder = folder
        self._total, self._done = self._total + total, self._done + done
        self._bar.update(self._task, total=self._total, completed=self._done)

    def slot_begins(self, slot: Mapping[str, Any], left: float) -> None:
        where = f"block {slot['block']} slot {slot['order']} {slot['scenario']} {slot['arm']}"
        self._left = f"{units.show_time(left)} left"
        self._bar.update(self._task, description=_plain(where), left=self._left)
        if self._bar.disable and time.monotonic() - self._said >= _PLAIN_EVERY:
            self._said = time.monotonic()
            elapsed = units.show_time(self._said - self._begin)
            self.say(f"{self._done}/{self._total}  {where}  {elapsed} elapsed, {self._left}")

    def looked(self, text: str) -> None:
        self.say(f"look    {text}")

    def spared(self, slot: Mapping[str, Any]) -> None:
        """A slot that an early stop saves counts as done: the bar runs to its end."""
        self._done += 1
        self._bar.update(self._task, completed=self._done)

    def slot_ended(self, line: Mapping[str, Any]) -> None:
        self._done += 1
        self._bar.update(self._task, completed=self._done)
        if "clock_jump_s" in line:
            what = f"{line['host']}: its clock was set by {line['clock_jump_s']:+g} s; nothing is measured by it"
            self.say(f"warning {what}", "yellow")
        if line["status"] != "ok":
            self.say(f"{line['status']:7} {line['slot']} {line['scenario']} {line['arm']}: {line['reason']}", "red")


class Voice(Watcher):
    """One of several hosts on a screen: its lines begin with its name, its slots count together with the others'."""

    def __init__(self, screen: Screen, host: str) -> None:
        self._screen = screen
        self._host = host

    def cleaned(self, removed: list[tuple[str, str]]) -> None:
        for kind, name in removed:
            self.say(f"left by a dead run, removed: {kind} {name}", "yellow")

    def warned(self, text: str) -> None:
        self.say(f"warning {text}", "red")

    def preparing(self, text: str) -> None:
        self._screen.preparing(text)

    def probed(self, arm: str, guest: str, reason: str | None) -> None:
        what = arm if guest == "linux" else f"{arm} ({guest})"
        self.say(
            f"probe   {what}: " + ("runs" if reason is None else f"left out: {reason}"), "yellow" if reason else ""
        )

    def started(self, folder: Path, total: int, done: int) -> None:
        self.say(f"results {folder}" + (f", {done} of {total} slots are in the journal already" if done else ""))
        self._screen.joined(folder.parent, total, done)

    def slot_begins(self, slot: Mapping[str, Any], left: float) -> None:
        self._screen.slot_begins({**slot, "arm": f"{slot['arm']} on {self._host}"}, left)

    def looked(self, text: str) -> None:
        self.say(f"look    {text}")

    def spared(self, slot: Mapping[str, Any]) -> None:
        self._screen.spared(slot)

    def slot_ended(self, line: Mapping[str, Any]) -> None:
        self._screen.slot_ended({**line, "arm": f"{line['arm']} on {self._host}"})

    def say(self, text: str, style: str = "") -> None:
        self._screen.say(f"{self._host}: {text}", style)
