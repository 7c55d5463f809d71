"""The measure `isolation` and its neighbours."""

from __future__ import annotations

import subprocess
from collections.abc import Sequence
from typing import Any

import pytest

from bench import neighbours
from bench.channel import Reply
from bench.errors import HostError, InstanceError, InstanceTimeout
from bench.measures import isolation
from bench.session import Scenario


class Instance:
    def __init__(self, session: Session, number: int) -> None:
        self.session = session
        self.number = number
        self.cpu = 0.0

    def start(self, deadline: float) -> None:
        self.session.said.append(f"start {self.number}")

    def call(self, argv: Sequence[str], deadline: float) -> Reply:
        kind = next((kind for kind in neighbours.KINDS if tuple(argv) == neighbours.start(kind)), None)
        if kind:
            self.session.said.append(f"{kind} {self.number}")
            self.session.beside = kind
            return Reply(b"", 0, 0.001)
        self.session.said.append(f"run {self.number}")
        if self.session.beside in self.session.never:
            raise InstanceTimeout("sh did not end within the time limit")
        return Reply(b"", 0, 0.05 * (3 if self.session.beside else 1))


class Session:
    """One whose tenants take three times as long beside a neighbour, and beside some for ever."""

    def __init__(self, kinds: tuple[str, ...], never: tuple[str, ...] = (), cpu: float = 1.0) -> None:
        self.scenario = Scenario(("isolation",), ("true",), kinds, warmups=1, values=2)
        self.backend = type("Backend", (), {"cageable": True})
        self.group: object | None = object()
        self.never, self.beside, self.used = never, "", cpu
        self.said: list[str] = []
        self.samples: dict[str, tuple[list[float], str]] = {}
        self.unfinished: dict[str, str] = {}
        self.made = 0
        self.tenant: Instance | None = None

    def deadline(self) -> float:
        return 0.0

    def boot(self) -> Instance:
        self.tenant = self.tenant or self.provision()
        return self.tenant

    def provision(self, processes: int | None = None) -> Instance:
        self.made += 1
        return Instance(self, self.made)

    def attach(self, instance: Instance) -> None:
        self.said.append(f"attach {instance.number}")

    def cpu(self, instance: Instance) -> float:
        instance.cpu += self.used
        return instance.cpu

    def kill(self, instance: Instance) -> None:
        self.said.append(f"kill {instance.number}")
        if instance is self.tenant:
            self.tenant = None
        else:
            self.beside = ""

    def add(self, metric: str, values: list[float], unit: Any = "second") -> None:
        self.samples[metric] = (values, unit)


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(isolation, "_GOING", 0.0)


def measure(session: Session) -> Session:
    isolation.measure(session)  # type: ignore[arg-type]
    return session


def test_a_tenant_alone_right_before_each_neighbour_and_then_beside_it() -> None:
    session = measure(Session(("cpu", "fork")))
    alone, beside = ["run 1"] * 3, ["run 1"] * 2
    assert session.said == [
        *alone, "start 2", "attach 2", "cpu 2", *beside, "kill 2",
        *alone, "start 3", "attach 3", "fork 3", *beside, "kill 3",
    ]  # fmt: skip
    assert session.samples["isolation.cpu"] == (pytest.approx([3.0]), "ratio")
    assert session.samples["isolation.alone"] == (pytest.approx([0.05] * 4), "second")


def test_a_tenant_that_does_not_finish_is_a_result_and_the_next_one_a_new_one() -> None:
    session = measure(Session(("cpu", "fork"), never=("cpu",)))
    assert session.unfinished == {"isolation.cpu": "sh did not end within the time limit"}
    assert session.said[:8] == ["run 1"] * 3 + ["start 2", "attach 2", "cpu 2", "run 1", "kill 1"]
    assert session.said[8:10] == ["kill 2", "run 3"]
    assert list(session.samples) == ["isolation.fork", "isolation.alone"]


def test_a_neighbour_that_does_nothing_is_none() -> None:
    session = Session(("memory",), cpu=0.0)
    with pytest.raises(InstanceError, match="the memory neighbour did nothing"):
        measure(session)
    assert session.said[-1] == "kill 2"


def test_nobody_could_end_a_neighbour_without_a_cage() -> None:
    session = Session(("cpu",))
    session.group = None
    with pytest.raises(HostError, match="without a cage"):
        measure(session)
    assert session.said == []


@pytest.mark.parametrize("kind", neighbours.KINDS)
def test_each_neighbours_script_is_one_and_ends_by_itself(kind: str) -> None:
    *shell, script = neighbours.start(kind)
    assert "\n" not in script
    assert shell == ["/bin/busybox", "sh", "-c"]
    assert subprocess.run(["sh", "-n", "-c", script], timeout=10, check=True)
    loops = script.count("while ")
    assert script.count("while [ $n -lt ") == loops > 0
