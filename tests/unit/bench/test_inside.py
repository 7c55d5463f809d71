"""The measure `inside`: names, warm-ups, and the instance's clock beside the host's."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from bench import slots, worker
from bench.channel import Reply
from bench.errors import InstanceError
from bench.measures import inside
from bench.session import Sample, Scenario

OUTPUTS = Path(__file__).parent / "outputs"
START = 1795390412 * 10**9


class Instance:
    """Prints canned outputs; a run takes 1 s, and 4 ms for the wrapper. rates: of its clock, run by run."""

    def __init__(self, rates: Sequence[float], status: int = 0, text: str | None = None) -> None:
        self.rates = [*rates]
        self.status = status
        self.text = text
        self.asked: list[str] = []

    def call(self, argv: Sequence[str], deadline: float) -> Reply:
        tool = next(word for word in argv if word.startswith(("/usr/bin/", "/bin/true")))
        self.asked.append(tool)
        if tool == "/bin/true":
            text, real, own = "", 0.005, 0.001
        else:
            text, real = (OUTPUTS / "perf_syscall.txt").read_text(), 1.004
            own = self.rates.pop(0)
        text = text if self.text is None else self.text
        return Reply(f"{START}\n{text}{START + round(own * 1e9)}\n".encode(), self.status, real)


class Session:
    """One whose instance is there already."""

    def __init__(self, instance: Instance, **scenario: Any) -> None:
        self.scenario = Scenario(("inside",), **scenario)
        self.instance = instance
        self.samples: list[Sample] = []

    def boot(self) -> Instance:
        return self.instance

    def deadline(self) -> float:
        return 0.0

    @contextlib.contextmanager
    def counting_cpu(self, metric: str, times: int) -> Iterator[None]:
        yield
        self.samples.append(Sample(metric, [0.5 / times]))

    def add(
        self, metric: str, values: list[float], unit: Any, warmups: list[float], higher: bool, clock: float | None
    ) -> None:
        self.samples.append(Sample(metric, values, unit, warmups, "higher" if higher else "lower", clock))


def measured(instance: Instance, **scenario: Any) -> dict[str, Sample]:
    session = Session(instance, **scenario)
    inside.measure(session)  # type: ignore[arg-type]
    return {sample.metric: sample for sample in session.samples}


def test_what_a_tool_says_and_how_far_its_clock_was_off() -> None:
    instance = Instance([0.5, 1.01, 0.97])
    found = measured(instance, workloads=("perf_syscall",), warmups=1, values=2)
    perf, true = "/usr/bin/perf", "/bin/true"
    assert instance.asked == [perf, true, perf, perf, true]
    assert list(found) == ["perf_syscall.cpu", "perf_syscall.call"]
    call = found["perf_syscall.call"]
    assert (call.values, call.warmups) == (pytest.approx([0.13224e-6] * 2), pytest.approx([0.13224e-6]))
    assert call.clock == pytest.approx(0.99)  # of the values, not of the warm-up
    assert (found["perf_syscall.cpu"].values, found["perf_syscall.cpu"].clock) == ([0.25], None)


def test_without_readings_there_is_the_cpu() -> None:
    assert list(measured(Instance([]), workloads=("true",), warmups=0, values=1)) == ["true.cpu"]


@pytest.mark.parametrize(
    ("instance", "wrong"),
    [
        (Instance([1.0], status=127, text="sh: 1: perf: not found\n"), "ended with status 127: .*not found"),
        (Instance([1.0], text="no end of line"), "perf_syscall printed something unexpected: .*nanoseconds"),
    ],
)
def test_what_goes_wrong_is_said(instance: Instance, wrong: str) -> None:
    with pytest.raises(InstanceError, match=f"(?s){wrong}"):
        measured(instance, workloads=("perf_syscall",))


def test_a_clock_nobody_looked_at_is_not_in_the_journal() -> None:
    assert "clock" not in worker._told(Sample("boot", [0.1]))
    assert worker._told(Sample("fio.rate", [300.0], "operation/s", clock=0.99))["clock"] == 0.99


@pytest.mark.parametrize("named", [{"workload": "sha256"}, {"workloads": ["sha256"]}], ids=["an older plan", "now"])
def test_a_worker_is_asked_for_several_workloads(named: dict[str, Any]) -> None:
    scenario = {"description": "", "blocks": None, "warmups": 1, "values": 2, "instances": 1, "timeout": 10.0, **named}
    final = {"scenarios": {"s": scenario}, "measures": {"s": {"crun": ["spawn"]}}}
    task, limit = slots.task(final, {"slot": "b01-s01", "scenario": "s", "arm": "crun"})
    assert task["scenario"]["workloads"] == ["sha256"]
    assert "workload" not in task["scenario"]
    assert limit > 60
