"""A harness that stood still while a slot ran is noticed, and the slot is none to go by."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from bench import stalls
from bench.crew import fail_if_stalled

#: Looks at the clock for seven seconds and prints what the watch says.
WATCHER = """
import time
from bench import stalls
stalls.Continued.listen()
watch = stalls.Watch(5)
print("watching", flush=True)
end = time.monotonic() + 7
while time.monotonic() < end:
    watch.look()
    time.sleep(stalls.TICK)
print(f"{watch.stalled():.2f} {stalls.Continued.times}")
"""


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Its one entry is the time."""
    now = [100.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def test_looks_that_come_in_time_are_no_stall(clock: list[float]) -> None:
    watch = stalls.Watch()
    for _ in range(100):
        clock[0] += stalls.TICK + 0.3
        watch.look()
    assert watch.stalled() == 0


def test_a_late_look_is_a_stall_of_so_long(clock: list[float]) -> None:
    watch = stalls.Watch()
    clock[0] += stalls.TICK + 5
    watch.look()
    clock[0] += stalls.TICK
    assert watch.stalled() == pytest.approx(5)


def test_time_that_the_machine_slept_is_one_too(monkeypatch: pytest.MonkeyPatch) -> None:
    asleep = [7.0]
    monkeypatch.setattr(stalls, "_suspended", lambda: asleep[0])
    watch = stalls.Watch()
    asleep[0] += 60
    assert watch.stalled() == pytest.approx(60)


def test_who_was_stopped_alone_knows_that_the_worker_went_on() -> None:
    process = subprocess.Popen(
        [sys.executable, "-c", WATCHER], stdout=subprocess.PIPE, text=True, env={**os.environ, "PYTHONPATH": "."}
    )
    assert process.stdout is not None
    process.stdout.readline()
    process.send_signal(signal.SIGSTOP)
    time.sleep(6)
    process.send_signal(signal.SIGCONT)
    out, _ = process.communicate(timeout=20)
    assert out.split() == ["0.00", "1"]


@pytest.mark.parametrize(
    ("found", "reason"),
    [
        ({"status": "ok", "reason": None, "stalled_s": 5.1}, "the harness stood still for 5.1 s while this slot ran"),
        ({"status": "ok", "reason": None, "stopped": True}, "the harness was stopped and continued while this slot"),
        ({"status": "timeout", "reason": "no READY", "stalled_s": 70.0}, "no READY; the harness stood still for 70 s"),
    ],
)
def test_a_slot_of_a_stalled_harness_is_a_failed_one(found: dict[str, object], reason: str) -> None:
    marked = fail_if_stalled(found)
    assert marked["status"] == "failed"
    assert reason in str(marked["reason"])


def test_any_other_slot_stays_what_it_is() -> None:
    found = {"status": "ok", "reason": None}
    assert fail_if_stalled(found) == found
