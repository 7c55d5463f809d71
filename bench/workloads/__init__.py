"""Workloads: one file each, found by its name.

`argv` is what runs inside; `parse(output)`, where there is one, reads it; `rootfs`, where a module says it, is the one
that has its tools, `disk = True` says that it works on the data disk, at /data, `peer` is the server at the far end of
the link that it talks to ("{peer}" in argv is its address) and `port` where that listens, and `area` of what kind its
work is, under which a report shows it. Modules whose name begins with _ are none.
"""

from __future__ import annotations

import contextlib
import dataclasses
import importlib
import pkgutil
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from bench.backends.base import Instance
from bench.channel import Reply
from bench.errors import InputError, InstanceError
from bench.session import Session, Unit

#: Runs a command inside, by a deadline (time.monotonic() seconds).
Run = Callable[[Sequence[str], float], Reply]


@dataclass(frozen=True)
class Reading:
    """A value that a workload printed about itself."""

    metric: str
    value: float
    unit: Unit
    higher: bool = False


@dataclass(frozen=True)
class Workload:
    """name: the file's; argv: a command in the rootfs; parse: its output → readings, raising ValueError on anything
    else; rootfs: the one that has its tools, None where any has; disk: whether it needs the data disk; peer: a server
    at the other end of the link, a command in the rootfs too, and port: where it listens; area: its kind; summary: what
    it is, in a sentence."""

    name: str
    argv: Sequence[str]
    parse: Callable[[str], list[Reading]]
    rootfs: str | None = None
    disk: bool = False
    area: str = "other"
    summary: str = ""
    peer: Sequence[str] = ()
    port: int = 0


def names() -> list[str]:
    return sorted(module.name for module in pkgutil.iter_modules(__path__) if not module.name.startswith("_"))


def load(name: str) -> Workload:
    """The workload in bench/workloads/<name>.py. Raises InputError with the names there are."""
    if name not in names():
        raise InputError(f"there is no workload {name!r}", hint=f"one of: {', '.join(names())}")
    module = importlib.import_module(f"bench.workloads.{name}")
    return Workload(
        name,
        module.argv,
        getattr(module, "parse", _nothing),
        getattr(module, "rootfs", None),
        getattr(module, "disk", False),
        getattr(module, "area", "other"),
        (module.__doc__ or "").strip().split("\n\n")[0].replace("\n", " "),
        getattr(module, "peer", ()),
        getattr(module, "port", 0),
    )


@contextlib.contextmanager
def ready(session: Session, instance: Instance, workload: Workload) -> Iterator[Workload]:
    """A workload whose peer, if it has one, is there and known to it by its address. Raises InstanceError."""
    if not workload.peer:
        yield workload
        return
    if session.links is None or instance.order.link is None:
        raise InstanceError(f"{workload.name} needs a link")
    known = [word.replace("{peer}", instance.order.link.far) for word in workload.argv]
    with session.links.peer(instance.order.link, workload.peer, workload.port):
        yield dataclasses.replace(workload, argv=known)


def _nothing(output: str) -> list[Reading]:
    """What a workload says of itself that has no parse()."""
    return []


def metric(door: str, workload: Workload) -> str:
    """What running it by a door is called: `spawn`, or `spawn.sha256`."""
    return door if workload.name == "true" else f"{door}.{workload.name}"


def check(workload: Workload, reply: Reply) -> list[Reading]:
    """What a run printed about itself. Raises InstanceError where it did not do what it should."""
    text = reply.output.decode(errors="replace")
    if reply.status != 0:
        raise InstanceError(f"{workload.name} ended with status {reply.status}: {text.strip()[-500:] or 'no output'}")
    try:
        return workload.parse(text)
    except ValueError as error:
        raise InstanceError(f"{workload.name} printed something unexpected: {error}") from error


def repeat(session: Session, instance: Instance, door: str, workload: Workload, run: Run) -> None:
    """Warm-ups, then values: the seconds each run took, its CPU cost, and what it printed about itself."""
    name = metric(door, workload)
    values: list[float] = []
    readings: dict[str, list[Reading]] = {}
    with ready(session, instance, workload) as at_hand:
        warmups = [_once(session, at_hand, run)[0] for _ in range(session.scenario.warmups)]
        with session.counting_cpu(f"{name}.cpu", session.scenario.values):
            for _ in range(session.scenario.values):
                seconds, found = _once(session, at_hand, run)
                values.append(seconds)
                for reading in found:
                    readings.setdefault(reading.metric, []).append(reading)
    session.add(name, values, warmups=warmups)
    for reading_name, found in readings.items():
        session.add(f"{name}.{reading_name}", [r.value for r in found], unit=found[0].unit, higher=found[0].higher)


def _once(session: Session, workload: Workload, run: Run) -> tuple[float, list[Reading]]:
    reply = run(workload.argv, session.deadline())
    return reply.seconds, check(workload, reply)
