"""A ramp's limits, on instances that only say how long their work took."""

from __future__ import annotations

import errno
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench import limits, memory
from bench.channel import Reply
from bench.errors import HostError, InstanceTimeout
from bench.measures import density
from bench.session import Scenario
from bench.session import Session as Real

TABLE = '"test","rps","avg_latency_ms","min_latency_ms","p50_latency_ms","p95_latency_ms","p99_latency_ms",'
TABLE += '"max_latency_ms"\n"GET","900.0","0.1","0.1","0.1","0.1","{p99}","9.0"\n'


class Session:
    """Each tenant's p99 is as many milliseconds as there are tenants.

    hangs: from how many on they do not end; room: how many there is memory for; guests: whether they have a view of
    their own; refused: from which on the host has no more files for them; blind: from how many on nobody can look at
    their memory.
    """

    def __init__(
        self,
        *,
        hangs: int = 10**6,
        room: int = 10**6,
        guests: bool = False,
        refused: int = 10**6,
        blind: int = 10**6,
        **given: Any,
    ) -> None:
        self.scenario = Scenario(("density",), **given)
        self.backend = SimpleNamespace(memory_by_cage=not guests)
        self.room = room
        self.memory_size = 0
        self.hangs = hangs
        self.refused = refused
        self.blind = blind
        self.alive: list[object] = []
        self.ramp: list[dict[str, Any]] = []
        self.stop_reason: str | None = None
        self.marks: dict[str, int] = {}
        self.added: dict[str, list[float]] = {}

    def provision(self) -> object:
        if len(self.alive) + 1 >= self.refused:
            raise OSError(errno.EMFILE, "Too many open files")
        instance = SimpleNamespace(
            marks={"requested": 0, "ready": 1},
            start=lambda deadline: self.alive.append(instance),
            call=lambda argv, deadline: self.work(argv[0]),
            pids=list,
            ram=lambda: None,
        )
        return instance

    def work(self, program: str) -> Reply:
        if len(self.alive) >= self.hangs:
            raise InstanceTimeout("it hangs")
        if program == "cat":
            return Reply(b"MemTotal: 9 kB\nMemAvailable: 4 kB\n", 0, 0.1)
        return Reply(TABLE.format(p99=f"{len(self.alive)}.0").encode(), 0, 0.1)

    def attach(self, instance: object) -> None: ...

    def interrogate(self, instance: object) -> None: ...

    def deadline(self) -> float:
        return 0.0

    def group_memory(self) -> dict[str, int]:
        if len(self.alive) >= self.blind:
            raise OSError(errno.EMFILE, "Too many open files")
        return {"cage": 3, "cage_anon": 1, "cage_file": 1, "cage_kernel": 1, "cage_shmem": 1}

    def add(self, metric: str, values: list[float], **how: Any) -> None:
        self.added[metric] = values


def ramp(monkeypatch: pytest.MonkeyPatch, **given: Any) -> Session:
    monkeypatch.setattr(memory, "settle", lambda limit: None)
    monkeypatch.setattr(memory, "spare", lambda: 0)
    session = Session(**given)
    monkeypatch.setattr(memory, "available", lambda: 1 if len(session.alive) >= session.room else 1 << 40)
    density.measure(cast(Real, session))
    return session


def test_as_many_fit_as_keep_their_p99(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ramp(monkeypatch, tenant="redis_serving", p99_limit=0.0035, instances=9)
    assert found.added["density.n"] == [3]
    assert [point["p99"] for point in found.ramp] == pytest.approx([0.001, 0.002, 0.003, 0.004])
    assert found.stop_reason == "p99 0.004 s > 0.0035 s"


def test_what_was_not_looked_at_is_not_said_to_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ramp(monkeypatch, tenant="redis_serving", p99_limit=0.0065, instances=12, step=3)
    assert [point["n"] for point in found.ramp] == [3, 6, 9]
    assert found.added["density.n"] == [6]


@pytest.mark.parametrize("guests", [False, True])
def test_a_tenant_that_hangs_is_the_end_of_the_ramp(guests: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    found = ramp(monkeypatch, tenant="redis_serving", instances=9, hangs=5, guests=guests)
    assert found.added["density.n"] == [4]
    assert found.stop_reason == "a tenant of 5: it hangs"
    assert found.ramp[-1]["p99"] is None


def test_a_first_tenant_that_hangs_is_a_failed_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(InstanceTimeout, match="it hangs"):
        ramp(monkeypatch, tenant="redis_serving", instances=9, hangs=1)


def test_a_tenant_must_tell_its_p99(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(HostError, match="true tells no p99"):
        ramp(monkeypatch, tenant="true", instances=2)


def test_those_that_run_when_memory_is_out_are_looked_at(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ramp(monkeypatch, tenant="redis_serving", instances=9, step=3, room=5)
    assert [point["n"] for point in found.ramp] == [3, 5]
    assert found.added["density.n"] == [5]
    assert found.stop_reason == "memory reserve"


def test_one_that_starts_too_slowly_does_not_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ramp(monkeypatch, instances=9, boot_limit=0.0)
    assert found.added["density.n"] == [0]
    assert found.ramp[-1]["n"] == 1


def test_a_host_that_has_no_more_files_ends_the_ramp_and_loses_none_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ramp(monkeypatch, instances=9, step=2, refused=6)
    assert [point["n"] for point in found.ramp] == [2, 4, 5]
    assert found.added["density.n"] == [5]
    assert found.stop_reason == "instance 6: [Errno 24] Too many open files"


def test_so_does_one_that_cannot_be_looked_at_any_more(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ramp(monkeypatch, instances=9, blind=4)
    assert [point["n"] for point in found.ramp] == [1, 2, 3]
    assert found.stop_reason == "at 4 instances: [Errno 24] Too many open files"


def test_a_ramp_ends_before_this_process_has_no_file_left(monkeypatch: pytest.MonkeyPatch) -> None:
    left = iter([100, 50, limits.PER_INSTANCE - 1])
    monkeypatch.setattr(limits, "files_left", lambda: next(left))
    found = ramp(monkeypatch, instances=9)
    assert [point["n"] for point in found.ramp] == [1, 2]
    assert (found.stop_reason or "").startswith("open files: this host lets a process have")


def test_a_first_instance_that_cannot_be_had_is_a_failed_slot(monkeypatch: pytest.MonkeyPatch) -> None:
    with pytest.raises(OSError, match="Too many open files"):
        ramp(monkeypatch, instances=9, refused=1)


def test_idle_instances_all_fit(monkeypatch: pytest.MonkeyPatch) -> None:
    found = ramp(monkeypatch, instances=5, step=2)
    assert found.added["density.n"] == [5]
    assert [point["n"] for point in found.ramp] == [2, 4, 5]
    assert {point["p99"] for point in found.ramp} == {None}
