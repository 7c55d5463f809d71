"""A tenant that behaves, alone and beside a neighbour that takes too much of one resource: how much slower its work is.

After Matthews (2007). Each neighbour is an instance of the same arm in a cage of its own, killed when the tenant's
work is done; the tenant's runs alone come right before. `isolation.KIND` is the ratio of the two medians; a tenant that
does not come to its end beside a neighbour is a result of its own, and no failure.
"""

from __future__ import annotations

import statistics
import time

from bench import neighbours, workloads
from bench.backends.base import Instance
from bench.errors import HostError, InstanceError, InstanceTimeout
from bench.session import Session
from bench.workloads import Workload

#: Seconds in which a neighbour gets going, and for which it must have used some CPU time to be one.
_GOING = 0.5
_LEAST_CPU = 0.005


def measure(session: Session) -> None:
    if session.backend.cageable and session.group is None:
        raise HostError("without a cage, nobody could end a neighbour's processes", hint="run as root for cages")
    (name,) = session.scenario.workloads
    alone: list[float] = []
    for kind in session.scenario.neighbours:
        tenant = session.boot()
        with workloads.ready(session, tenant, workloads.load(name)) as workload:
            for _ in range(session.scenario.warmups):
                _run(session, tenant, workload)
            before = [_run(session, tenant, workload) for _ in range(session.scenario.values)]
            alone += before
            _beside(session, tenant, workload, kind, before)
    session.add("isolation.alone", alone)


def _beside(session: Session, tenant: Instance, workload: Workload, kind: str, before: list[float]) -> None:
    neighbour = session.provision(processes=neighbours.PROCESSES)
    try:
        neighbour.start(session.deadline())
        session.attach(neighbour)
        with workloads.ready(session, neighbour, workload_of(kind)) as hog:
            workloads.check(hog, neighbour.call(hog.argv, session.deadline()))
            used = session.cpu(neighbour)
            time.sleep(_GOING)
            try:
                beside = [_run(session, tenant, workload) for _ in range(session.scenario.values)]
            except InstanceTimeout as error:
                session.unfinished[f"isolation.{kind}"] = str(error)
                session.kill(tenant)  # it may still be at what it was asked for
                return
        now = session.cpu(neighbour)
        if used is not None and now is not None and now - used < _LEAST_CPU:
            raise InstanceError(f"the {kind} neighbour did nothing in {_GOING:g} s and longer")
        session.add(f"isolation.{kind}", [statistics.median(beside) / statistics.median(before)], unit="ratio")
    finally:
        session.kill(neighbour)


def workload_of(kind: str) -> Workload:
    """A neighbour, as something that is run and must not fail."""
    hog = neighbours.KINDS[kind]
    return Workload(
        f"the {kind} neighbour", neighbours.start(kind), lambda output: [], peer=hog.peer, port=neighbours.PORT
    )


def _run(session: Session, instance: Instance, workload: Workload) -> float:
    reply = instance.call(workload.argv, session.deadline())
    workloads.check(workload, reply)
    return reply.seconds
