"""The controller of many hosts."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench import facts, prepare, runner
from bench.errors import HostError, HostLost, InputError, TareError
from bench.results import CAMPAIGN, FACTS, HOSTS, PLAN
from bench.slots import Watcher


def test_fifty_hosts_fit_into_200_megabytes(tmp_path: Path) -> None:
    script = Path(__file__).with_name("fifty.py")
    env = {**os.environ, "PYTHONPATH": str(script.parents[3]), "XDG_CACHE_HOME": str(tmp_path / "cache")}
    ran = subprocess.run([sys.executable, script, tmp_path], capture_output=True, text=True, env=env, check=False)
    assert ran.returncode == 0, ran.stderr
    slots, peak = map(int, ran.stdout.split())
    assert slots == 50 * 20 * 6
    assert peak < 200_000_000
    sent = [*tmp_path.glob("sent/*/*")]
    assert len(sent) == 50
    assert {file.name for file in sent} == {hashlib.sha256(sent[0].read_bytes()).hexdigest()}
    assert len([*tmp_path.glob("cache/tare/rootfs/*/packed.tar.gz")]) == 1


@pytest.mark.parametrize(
    ("change", "anyway", "begun", "refused"),
    [
        ({"git": {"revision": "a" * 40}}, False, ["rack1"], True),
        ({"code": "0" * 16}, False, ["rack2"], True),
        ({"git": {"revision": "a" * 40}}, True, ["rack1"], False),
        ({}, False, ["rack1"], False),
        ({"git": {"revision": "a" * 40}}, False, [], False),
        ({"git": {"revision": "a" * 40}}, False, ["rack1", "rack2"], False),  # each of them refuses by itself
    ],
)
def test_a_host_is_begun_with_the_tare_that_the_others_were_begun_with(
    change: dict[str, Any],
    anyway: bool,
    begun: list[str],
    refused: bool,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def make(*_: object) -> prepare.Ready:
        raise HostError("it would go on")

    monkeypatch.setattr(prepare.Ready, "make", make)
    text = 'name = "c"\nblocks = 1\nbaseline = "process"\nhosts = ["rack1", "rack2"]\n'
    (tmp_path / CAMPAIGN).write_text(
        text + '[scenarios]\nown = { measures = ["boot"] }\n[arms]\nprocess = {}\ncrun = {}\n'
    )
    (tmp_path / HOSTS).write_text('{"hosts": ["rack1", "rack2"]}')
    known = facts.gather({"host": facts.host(), "tools": {}}, rootfs={"name": "tiny", "digest": "sha256:0"})
    for name in begun:
        (tmp_path / name).mkdir()
        (tmp_path / name / PLAN).write_text("{}")
        (tmp_path / name / FACTS).write_text(json.dumps(known | change))
    if refused:
        with pytest.raises(InputError, match=rf"{begun[0]} was begun with something else: Tare.*--anyway"):
            runner.resume(tmp_path, Watcher(), anyway=anyway)
    else:
        with pytest.raises(HostError, match="it would go on"):
            runner.resume(tmp_path, Watcher(), anyway=anyway)


class Part:
    """Stands for a campaign's part on one host."""

    def __init__(self, name: str) -> None:
        self.host = SimpleNamespace(name=name)
        self.error: BaseException | None = None
        self.told: list[str] = []
        self.cancelled = threading.Event()

    def report(self, error: TareError) -> None:
        self.told.append(str(error))

    def cancel(self) -> None:
        self.cancelled.set()


def work_on(parts: list[Part], work: Callable[[Part], object]) -> None:
    runner._all(cast(list[runner._Part], parts), cast(Callable[[runner._Part], object], work))


@pytest.mark.parametrize(
    "error", [HostLost("gone"), KeyError("host"), TypeError("[1]"), RecursionError(), ValueError("x")]
)
def test_a_host_that_fails_ends_no_other(error: Exception, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    parts, done = [Part("rack1"), Part("rack2")], []

    def work(part: Part) -> None:
        if part is parts[0]:
            raise error
        done.append(part)

    work_on(parts, work)
    assert done == [parts[1]]
    assert len(parts[0].told) == 1
    if not isinstance(error, TareError):
        (kept,) = tmp_path.iterdir()
        assert str(kept) in parts[0].told[0]
        assert type(error).__name__ in kept.read_text()


def test_hosts_that_all_fail_are_the_first_ones_error() -> None:
    parts = [Part("rack1"), Part("rack2")]
    errors = {id(part): HostLost(part.host.name) for part in parts}

    def work(part: Part) -> None:
        raise errors[id(part)]

    with pytest.raises(HostLost, match="rack1"):
        work_on(parts, work)


def test_an_interrupt_ends_whatever_hosts_do(monkeypatch: pytest.MonkeyPatch) -> None:
    """One ends in order; one does not."""
    monkeypatch.setattr(runner, "_CANCEL_LIMIT", 3)
    before = signal.signal(signal.SIGINT, signal.default_int_handler)  # whoever runs this may have it ignored
    parts, stuck, both = [Part("rack1"), Part("rack2")], threading.Event(), threading.Barrier(2)

    def work(part: Part) -> None:
        if both.wait(30) == 0:
            os.kill(os.getpid(), signal.SIGINT)
        (part.cancelled if part is parts[0] else stuck).wait(60)

    begin = time.monotonic()
    try:
        with pytest.raises(KeyboardInterrupt) as caught:
            work_on(parts, work)
    finally:
        signal.signal(signal.SIGINT, before)
        stuck.set()
    assert time.monotonic() - begin < 30
    assert [part.cancelled.is_set() for part in parts] == [True, True]
    assert "rack2" in caught.value.args[0]
    assert "rack1" not in caught.value.args[0]


def test_an_interrupt_before_all_hosts_have_begun_ends_those_that_have(monkeypatch: pytest.MonkeyPatch) -> None:
    class Thread(threading.Thread):
        def start(self) -> None:
            if self.name == "rack2":
                raise KeyboardInterrupt
            super().start()

    monkeypatch.setattr(threading, "Thread", Thread)
    parts = [Part("rack1"), Part("rack2")]
    with pytest.raises(KeyboardInterrupt):
        work_on(parts, lambda part: part.cancelled.wait(60))
    assert [part.cancelled.is_set() for part in parts] == [True, True]
