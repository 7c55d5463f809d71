"""One campaign at a time, with real processes, on an address of the test's own."""

from __future__ import annotations

import contextlib
import os
import secrets
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import lock, state
from bench.errors import HostError

_HOLD = """
import sys
from bench import lock
lock._ADDRESS = "\\0" + sys.argv[1]
with lock.hold():
    print("held", flush=True)
    sys.stdin.read()
"""


@pytest.fixture(autouse=True)
def address(monkeypatch: pytest.MonkeyPatch) -> str:
    name = f"tare-test-{secrets.token_hex(8)}"
    monkeypatch.setattr(lock, "_ADDRESS", "\0" + name)
    return name


@contextlib.contextmanager
def holder(address: str) -> Iterator[subprocess.Popen[str]]:
    with subprocess.Popen(
        [sys.executable, "-c", _HOLD, address], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        assert child.stdout is not None
        assert child.stdout.readline() == "held\n"
        try:
            yield child
        finally:
            child.kill()


def await_free() -> None:
    deadline = time.monotonic() + 5
    while lock.is_held():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_held_only_inside_the_block() -> None:
    assert not lock.is_held()
    with lock.hold():
        assert lock.is_held()
    assert not lock.is_held()
    with lock.hold():
        pass


def test_an_error_inside_releases_it() -> None:
    with contextlib.suppress(ZeroDivisionError), lock.hold():
        raise ZeroDivisionError
    assert not lock.is_held()


def test_the_second_is_told_who_holds_it(address: str) -> None:
    with holder(address) as child:
        assert lock.is_held()
        with pytest.raises(HostError, match=f"held by pid {child.pid}, uid .*python") as caught, lock.hold():
            pytest.fail("two holders")
        assert caught.value.exit_code == 4


def test_a_campaign_is_called_by_its_name(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    with holder(address) as child:
        run = state.Run(
            "0123abcd", tmp_path_factory.mktemp("run"), child.pid, 1, "campaign quick", "2026-01-01 00:00:00 UTC", 0
        )
        monkeypatch.setattr(state, "runs", lambda: [run])
        with (
            pytest.raises(HostError, match=rf"campaign quick \(pid {child.pid}, uid \d+, since 2026-01-01"),
            lock.hold(),
        ):
            pytest.fail("two holders")


def test_a_folder_of_runs_that_cannot_be_trusted_does_not_hide_the_holder(
    address: str, monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    top = tmp_path_factory.mktemp("runs")
    top.chmod(0o777)
    monkeypatch.setattr(state, "top", lambda: top)
    with holder(address) as child, pytest.raises(HostError, match=f"held by pid {child.pid}"), lock.hold():
        pytest.fail("two holders")


def test_kill_9_releases_it(address: str) -> None:
    with holder(address) as child:
        child.kill()
        child.wait()
        await_free()
        with lock.hold():
            assert lock.is_held()


def test_the_thirtieth_to_ask_is_answered_as_the_first(address: str) -> None:
    with holder(address) as child:
        for _ in range(30):
            with pytest.raises(HostError, match=f"pid {child.pid}"), lock.hold():
                pytest.fail("two holders")
            assert lock.is_held()


def test_only_what_a_run_starts_bears_its_id(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "top", lambda: tmp_path / "runs")
    monkeypatch.setattr(state, "records", lambda: tmp_path / "records")
    monkeypatch.setattr(lock.clean, "clean", lambda resisted: [])
    monkeypatch.setattr(lock.clean, "release", lambda run: [])
    for before in (None, "0123abcd"):
        if before:
            monkeypatch.setenv("TARE_RUN", before)
        with lock.occupy("a test", lambda removed: None, pytest.fail) as own:
            assert os.environ["TARE_RUN"] == own.id
        assert os.environ.get("TARE_RUN") == before


@pytest.mark.parametrize("left", [[], ["cgroup x cannot be removed"]])
def test_what_resists_is_told_and_stays_on_record(
    left: list[str], monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(state, "top", lambda: tmp_path / "runs")
    monkeypatch.setattr(state, "records", lambda: tmp_path / "records")
    monkeypatch.setattr(lock.clean, "clean", lambda resisted: [])
    monkeypatch.setattr(lock.clean, "release", lambda run: left)
    told: list[str] = []
    with lock.occupy("a test", lambda removed: None, told.append) as own:
        pass
    assert told == [f"could not be removed: {each}" for each in left]
    assert [run.id for run in state.runs()] == [own.id for _ in left]


def test_what_of_the_dead_resists_is_told_before_anything_runs(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(state, "top", lambda: tmp_path / "runs")
    monkeypatch.setattr(state, "records", lambda: tmp_path / "records")
    monkeypatch.setattr(lock.clean, "clean", lambda resisted: [resisted("a process stays")][:0])
    monkeypatch.setattr(lock.clean, "release", lambda run: [])
    warned: list[str] = []
    resisted: list[str] = []
    with lock.occupy("a test", lambda removed: None, warned.append):
        assert warned == ["a process stays"]
    with lock.occupy("a test", lambda removed: None, pytest.fail, resisted.append):
        assert resisted == ["a process stays"]
