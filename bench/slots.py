"""The slots of a plan on one host: one after another, every ending a line in the journal."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Mapping
from itertools import groupby
from pathlib import Path
from typing import Any

from bench import answers, equivalence, kernels, plan
from bench.answers import InvalidAnswer
from bench.backends import base
from bench.errors import HostError, HostLost, RecordError, TareError
from bench.host import Workers
from bench.results import JOURNAL, SCHEMA, Journal, encoded, last_of_each_slot, now
from bench.stops import Referee, Stops


class Watcher:
    """Who is told of a run's progress; this one does not look."""

    def on(self, host: str) -> Watcher:
        """A watcher for one of several hosts, which tells it from the others."""
        return self

    def say(self, text: str) -> None: ...
    def cleaned(self, removed: list[tuple[str, str]]) -> None: ...
    def warned(self, text: str) -> None: ...
    def preparing(self, text: str) -> None: ...
    def probed(self, arm: str, guest: str, reason: str | None) -> None: ...
    def started(self, folder: Path, total: int, done: int) -> None: ...
    def slot_begins(self, slot: Mapping[str, Any], left: float) -> None: ...
    def slot_ended(self, line: Mapping[str, Any]) -> None: ...
    def looked(self, text: str) -> None: ...
    def spared(self, slot: Mapping[str, Any]) -> None: ...


def execute(
    folder: Path,
    final: Mapping[str, Any],
    host: Mapping[str, Any],
    crew: Workers,
    digest: str,
    watcher: Watcher,
    lines: list[dict[str, Any]],
    referee: Referee | None = None,
    unbootable: Mapping[str, str] | None = None,
) -> str | None:
    """Run the slots of a plan that the lines of its journal lack, but for those that its referee finds needless.

    Ends early where a slot needs the host to run another kernel: that kernel's release; None when all is done.

    host: facts.host() of where they run; digest: of the rootfs; unbootable: why a host kernel does not come up, whose
    slots then fail.
    """
    unbootable = unbootable or {}
    done = {line["slot"] for line in last_of_each_slot(lines)}
    left = [slot for slot in final["slots"] if slot["slot"] not in done]
    expected = equivalence.reference(final["envelope"], host, digest)
    clock = Clock(final, left)
    stops = Stops(folder, referee)
    watcher.started(folder, len(final["slots"]), len(final["slots"]) - len(left))
    with Journal(folder / JOURNAL) as journal:
        for slot in left:
            if text := stops.look(slot["block"] - 1):
                watcher.looked(text)
            if stops.spares(slot):
                clock.spare(slot)
                watcher.spared(slot)
                continue
            needed = plan.host_kernel(final, slot)
            if needed and needed not in unbootable and needed != host["kernel"]:
                return needed
            watcher.slot_begins(slot, clock.left())
            record = _slot(final, slot, crew, host, expected, unbootable.get(needed or ""))
            journal.append(record)
            clock.note(slot, record["wall_s"])
            watcher.slot_ended(record)
        if text := stops.look(final["blocks"]):
            watcher.looked(text)
    return None


def _slot(
    final: Mapping[str, Any],
    slot: Mapping[str, Any],
    crew: Workers,
    host: Mapping[str, Any],
    expected: Mapping[str, Any],
    hopeless: str | None = None,
) -> dict[str, Any]:
    """Run one slot; its journal line. hopeless: why it cannot be run at all."""
    started = now()
    begin = time.monotonic()
    job, limit = task(final, slot)
    try:
        if hopeless:
            raise HostError(hopeless)
        found = crew.slot(slot["arm"], job, limit)
    except HostLost:
        raise
    except TareError as error:
        found = failed(error)
    return line(final, slot, host, expected, found, started=started, wall_s=_since(begin))


def _since(begin: float) -> float:
    return round(time.monotonic() - begin, 6)


def failed(error: TareError) -> dict[str, Any]:
    """What a slot found that no worker could be had for."""
    return {"status": "failed", "reason": str(error)}


def task(final: Mapping[str, Any], slot: Mapping[str, Any]) -> tuple[dict[str, Any], float]:
    """What a worker is asked for a slot of a plan, and the seconds after which it hangs."""
    scenario = dict(final["scenarios"][slot["scenario"]])
    scenario["measures"] = final["measures"][slot["scenario"]][slot["arm"]]
    for key in ("description", "blocks"):
        scenario.pop(key)
    if "workload" in scenario:  # a plan from before there could be several
        scenario["workloads"] = [scenario.pop("workload")]
    # Every step has its own limit in the worker; this one is for a worker that hangs itself.
    runs = len(scenario["workloads"]) * (scenario["warmups"] + scenario["values"])
    beside = len(scenario.get("neighbours", ()))
    steps = 20 + 3 * runs + scenario["instances"] + (10 + 2 * runs) * beside
    return {"slot": slot["slot"], "scenario": scenario}, 60 + steps * scenario["timeout"]


def line(
    final: Mapping[str, Any],
    slot: Mapping[str, Any],
    host: Mapping[str, Any],
    expected: Mapping[str, Any],
    answer: Mapping[str, Any],
    *,
    started: str,
    wall_s: float = 0.0,
    job: str | None = None,
) -> dict[str, Any]:
    """A slot's journal line.

    host: facts.host(); expected: see equivalence.reference(); answer: the worker's, of which only what bench.answers
    knows is taken, and nothing of one that no journal holds; wall_s: where the worker did not say that itself; job:
    which ran it, on a cluster.
    """
    try:
        found = answers.slot(answer)
        record = _record(final, slot, host, expected, found, started=started, wall_s=wall_s, job=job)
        encoded(record)
    except (InvalidAnswer, RecordError) as error:
        return _record(final, slot, host, expected, failed(error), started=started, wall_s=wall_s, job=job)
    return record


def _record(
    final: Mapping[str, Any],
    slot: Mapping[str, Any],
    host: Mapping[str, Any],
    expected: Mapping[str, Any],
    found: dict[str, Any],
    *,
    started: str,
    wall_s: float,
    job: str | None,
) -> dict[str, Any]:
    """As line(), of an answer that is known to be one."""
    arm = final["arms"][slot["arm"]]
    seen = found.get("seen") or {}
    caged, limit = bool(found.pop("caged", False)), found.pop("memory_limit", None)
    record: dict[str, Any] = {
        "schema": SCHEMA,
        **slot,
        "family": arm["family"],
        "host": host["name"],
        **({"emulated": True} if host.get("emulated") else {}),
        **({"job": job} if job else {}),
        "boot_id": host["boot_id"],
        "kernel": seen.get("kernel") or host["kernel"],
        "started": started,
        "wall_s": wall_s,
        "marks": {},
        "samples": [],
        "cpu_s": None,
        "memory": {},
        "seen": {},
        **found,
    }
    boots = arm.get("boots", {"kind": "host"})
    release = (arm["of"] if "boots" in arm and "of" in arm else slot["arm"]).partition("@")[2]
    if seen and release and not kernels.fits(release, str(seen.get("kernel"))):
        record["status"] = "failed"
        record["reason"] = f"the arm's name says kernel {release}, and it runs {seen.get('kernel')}"
    by_cage = base.load(arm["backend"]).memory_by_cage
    record["equivalence"] = (
        equivalence.compare(
            expected,
            seen,
            memory_by_cage=by_cage,
            caged=caged,
            memory_limit=limit,
            own_kernel=arm["family"] not in ("process", "container"),
        )
        if seen
        else {"badge": "unknown", "caged": caged, "differs": {}}
    )
    record["equivalence"]["kernel"] = {
        "release": record["kernel"],
        **{key: boots[key] for key in ("kind", "package", "version", "config") if key in boots},
    }
    return record


class Clock:
    """Time left, from what slots like those to come took so far, or else what is typical.

    It is that of one host; where several share the slots, they do so in as many times less.
    """

    def __init__(self, final: Mapping[str, Any], slots: list[dict[str, Any]]) -> None:
        """slots: those still to come, on a host that runs the kernel which the first of them needs."""
        self._final = final
        self._left = Counter((slot["scenario"], slot["arm"]) for slot in slots)
        self._took: dict[tuple[str, str], list[float]] = {}
        turns = groupby(slots, key=lambda slot: plan.host_kernel(final, slot))
        self._turn_of = {slot["slot"]: turn for turn, (_, some) in enumerate(turns) for slot in some}
        self._in_turn = Counter(self._turn_of.values())
        self._turn = 0

    def note(self, slot: Mapping[str, Any], seconds: float) -> None:
        """One of them is over."""
        self._took.setdefault((slot["scenario"], slot["arm"]), []).append(seconds)
        self._turn = self._turn_of[slot["slot"]]
        self.spare(slot)

    def spare(self, slot: Mapping[str, Any]) -> None:
        """One of them is not to come any more."""
        self._left[slot["scenario"], slot["arm"]] -= 1
        self._in_turn[self._turn_of[slot["slot"]]] -= 1

    def left(self) -> float:
        """Seconds."""
        reboots = sum(1 for turn, count in self._in_turn.items() if count > 0 and turn != self._turn)
        seconds = plan.REBOOT_SECONDS * reboots
        for (scenario, arm), count in self._left.items():
            if took := self._took.get((scenario, arm)):
                seconds += count * sum(took) / len(took)
            else:
                seconds += count * plan.slot_seconds(self._final, {"scenario": scenario, "arm": arm})
        return seconds
