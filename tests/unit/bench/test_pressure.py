"""What is noted of a host beside each slot: load, steal and pressure, as far as its kernel tells them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from bench import pressure
from bench.crew import Crew
from bench.pressure import Pressure


def proc(folder: Path, **files: str) -> Path:
    (folder / "pressure").mkdir(parents=True)
    for name, text in files.items():
        (folder / name.replace("_", "/")).write_text(text)
    return folder


def test_what_proc_tells(tmp_path: Path) -> None:
    there = proc(
        tmp_path,
        loadavg="7.37 6.12 3.58 1/107 5275\n",
        stat="cpu  100 0 50 800 20 0 10 20 5 0\ncpu0 1 2 3\n",
        pressure_cpu="some avg10=0.25 avg60=5.69 avg300=4.77 total=2500000\nfull avg10=0 avg60=0 avg300=0 total=9\n",
    )
    found = pressure.now(there)
    assert (found.load, found.steal, found.ticks) == (7.37, 20, 1000)  # guests' time is in the users' already
    assert found.waited == {"cpu": 2.5}


def test_a_kernel_that_tells_nothing(tmp_path: Path) -> None:
    found = pressure.now(tmp_path)
    assert (found.load, found.steal, found.waited) == (None, None, {})
    told = pressure.between(found, found)
    assert told == {"before": None, "after": None, "steal": None, "pressure": {}}


def test_shares_of_the_time_between() -> None:
    first = Pressure(10.0, 0.5, steal=20, ticks=1000, waited={"cpu": 1.0, "io": 2.0})
    last = Pressure(14.0, 1.5, steal=40, ticks=1400, waited={"cpu": 2.0, "io": 2.0})
    assert pressure.between(first, last) == {
        "before": 0.5,
        "after": 1.5,
        "steal": 0.05,
        "pressure": {"cpu": 0.25, "io": 0.0},
    }


@pytest.mark.parametrize("text", ["", "cpu 1 2 3\n", "cpu a b c d e f g h i j\n", "intr 1 2 3 4 5 6 7 8 9\n"])
def test_times_that_are_none(tmp_path: Path, text: str) -> None:
    assert pressure.now(proc(tmp_path, stat=text)).steal is None


class _Still(Crew):
    """A crew whose only worker answers at once."""

    def __init__(self) -> None:
        self._workers = {}
        self._clock = 0.0

    def _worker(self, arm: str):  # type: ignore[no-untyped-def]
        class Worker:
            def slot(self, job: object, limit: float) -> dict[str, object]:
                return {"status": "ok"}

        return Worker()


def test_each_slot_says_how_busy_its_host_was() -> None:
    found = _Still().slot("crun", {}, 1.0)
    assert set(found["load"]) == {"before", "after", "steal", "pressure"}
    assert json.loads(json.dumps(found["load"])) == found["load"]
    assert isinstance(found["load"]["before"], float)  # /proc/loadavg is everywhere
