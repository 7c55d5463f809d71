"""Runs a plan: one slot after another, every ending a line in the journal.

Resuming is running what the journal lacks.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import os
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from bench import clean, equivalence, facts, image, kernels, lock, plan, state
from bench.backends import base
from bench.config import Campaign
from bench.crew import Crew
from bench.errors import HostError, InputError, RecordError, TareError
from bench.measures import load as load_measure
from bench.results import FACTS, JOURNAL, PLAN, SCHEMA, Journal, last_of_each_slot, read_facts, read_journal, read_plan
from bench.stops import Referee, Stops

#: Makes the referee of a plan; None for one that runs all its blocks.
Appoint = Callable[[dict[str, Any]], Referee | None]


class Watcher(Protocol):
    """Who is told of a run's progress."""

    def cleaned(self, removed: list[clean.Removed]) -> None: ...
    def warned(self, text: str) -> None: ...
    def preparing(self, text: str) -> None: ...
    def probed(self, arm: str, guest: str, reason: str | None) -> None: ...
    def started(self, folder: Path, total: int, done: int) -> None: ...
    def slot_begins(self, slot: Mapping[str, Any], left: float) -> None: ...
    def slot_ended(self, line: Mapping[str, Any]) -> None: ...
    def looked(self, text: str) -> None: ...
    def spared(self, slot: Mapping[str, Any]) -> None: ...


def run(campaign: Campaign, top: Path, watcher: Watcher, *, probe: bool = True, appoint: Appoint | None = None) -> Path:
    """Run a campaign from its start; its results folder, made in `top`. Without a probe no arm is left out.

    appoint: makes the referee of a campaign that may stop early, from its plan.

    Raises HostError when this host is held or can run no arm, RecordError when the record cannot be written, and
    KeyboardInterrupt after taking the running slot down.
    """
    with _host(f"campaign {campaign.name}", watcher) as own:
        rootfs = image.build(campaign.envelope.rootfs)
        draft = plan.make(campaign)
        booted = _kernels(campaign, watcher)
        crew = Crew(own, draft["arms"], draft["envelope"], rootfs, booted)
        with _released(crew):
            missing = _probe(campaign, crew, watcher) if probe else {}
            final = plan.make(campaign, missing)
            if not final["slots"]:
                raise HostError("this host can run no arm of this campaign", hint="./tare doctor says why")
            _pin_kernels(final, booted)
            folder = _new_folder(top, campaign, final, _facts(final, rootfs, crew))
            execute(folder, final, crew, rootfs.digest, watcher, [], appoint(final) if appoint else None)
    return folder


def resume(folder: Path, watcher: Watcher, *, appoint: Appoint | None = None) -> Path:
    """Run the slots that a results folder's journal lacks. Raises as run() does, InputError where there is no plan."""
    final = read_plan(folder)
    known = read_facts(folder)
    if final is None or known is None:
        raise InputError(
            f"{folder}: no plan.json and facts.json there", hint="give a results folder, like results/quick-…"
        )
    with _host(f"campaign {final['campaign']} (resumed)", watcher) as own:
        rootfs = image.build(final["envelope"]["rootfs"])
        if rootfs.digest != known["rootfs"]["digest"]:
            raise InputError(
                f"{folder}: was begun with another {final['envelope']['rootfs']} rootfs", hint="start the campaign anew"
            )
        booted = {
            name: kernels.find_again(arm["boots"], watcher.preparing)
            for name, arm in final["arms"].items()
            if "boots" in arm
        }
        crew = Crew(own, final["arms"], final["envelope"], rootfs, booted)
        with _released(crew):
            journal = folder / JOURNAL
            lines = read_journal(journal) if journal.exists() else []
            execute(folder, final, crew, rootfs.digest, watcher, lines, appoint(final) if appoint else None)
    return folder


@contextmanager
def _host(what: str, watcher: Watcher) -> Iterator[state.Run]:
    """This host for ourselves, without anything that dead runs left."""
    with lock.hold(), state.enter(what) as own:
        os.environ["TARE_RUN"] = own.id
        watcher.cleaned(clean.clean())
        try:
            yield own
        finally:
            for what in clean.release(own.id):
                watcher.warned(f"could not be removed: {what}")


@contextmanager
def _released(crew: Crew) -> Iterator[None]:
    try:
        yield
    except BaseException:
        crew.interrupt()
        raise
    crew.close()


def _probe(campaign: Campaign, crew: Crew, watcher: Watcher) -> dict[tuple[str, str], str]:
    """Start each arm once per kind of guest that the campaign asks of it; why those fail that do.

    Also warms caches, alike.
    """
    missing = {}
    for arm in campaign.arms.values():
        wanted = {load_measure(name).guest for scenario in campaign.scenarios.values() for name in scenario.measures}
        for guest in sorted(wanted & arm.kind.guests):
            reason = crew.probe(arm.name, guest)
            if reason is not None:
                missing[arm.name, str(guest)] = reason
            watcher.probed(arm.name, guest, reason)
    return missing


def _kernels(campaign: Campaign, watcher: Watcher) -> dict[str, kernels.Kernel | str]:
    """What each arm boots that boots a kernel, fetched or built where it must be.

    Of arms that name none, why there is none. Raises as kernels.prepare() for those that do.
    """
    found: dict[str, kernels.Kernel | str] = {}
    for arm in campaign.arms.values():
        if arm.kernel is None or arm.kind.kernel is None:
            continue
        try:
            found[arm.name] = kernels.prepare(arm.kernel, arm.kind.kernel, watcher.preparing)
        except TareError as error:
            if arm.kernel.name:
                raise
            found[arm.name] = str(error)
    return found


def _pin_kernels(final: dict[str, Any], booted: Mapping[str, kernels.Kernel | str]) -> None:
    """Says what each arm boots, so that a resumed run boots the same."""
    for name, kernel in booted.items():
        if isinstance(kernel, kernels.Kernel):
            final["arms"][name] |= {"kernel": kernel.release, "boots": kernel.facts()}


def _facts(final: Mapping[str, Any], rootfs: base.Rootfs, crew: Crew) -> dict[str, Any]:
    tools: list[str] = []
    notes = [
        "page cache: warm (every arm was started once before the first block)",
        "KSM and huge pages: left as found",
    ]
    for name, arm in final["arms"].items():
        kind = base.load(arm["backend"])
        options = base.make_options(kind, arm["options"])
        tools += kind.required(options)
        notes += [f"{name}: {note}" for note in kind.notes(options)]
    host = os.uname().release
    return facts.gather(
        final,
        tools,
        cgroup=crew.cgroup or f"none: {crew.uncaged}",
        cage={"cpus": crew.cpus, "harness_cpus": crew.harness_cpus},
        rootfs={"name": final["envelope"]["rootfs"], "digest": rootfs.digest},
        kernels={name: arm.get("boots", {"kind": "host", "release": host}) for name, arm in final["arms"].items()},
        notes=notes,
    )


def _new_folder(top: Path, campaign: Campaign, final: Mapping[str, Any], known: Mapping[str, Any]) -> Path:
    folder = first = top / f"{campaign.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    try:
        top.mkdir(parents=True, exist_ok=True)
        for number in itertools.count(2):
            with contextlib.suppress(FileExistsError):
                folder.mkdir()
                break
            folder = top / f"{first.name}-{number}"
        (folder / "campaign.toml").write_text(campaign.text)
        (folder / PLAN).write_text(json.dumps(final, indent=1) + "\n")
        (folder / FACTS).write_text(json.dumps(known, indent=1) + "\n")
    except OSError as error:
        raise RecordError(
            f"cannot write {folder}: {error.strerror}", hint="make room, or choose another --results"
        ) from error
    return folder


def execute(
    folder: Path,
    final: Mapping[str, Any],
    crew: Crew,
    digest: str,
    watcher: Watcher,
    lines: list[dict[str, Any]],
    referee: Referee | None = None,
) -> None:
    """Run the slots of a plan that the lines of its journal lack, but for those that its referee finds needless."""
    done = {line["slot"] for line in last_of_each_slot(lines)}
    left = [slot for slot in final["slots"] if slot["slot"] not in done]
    host = facts.host()
    expected = equivalence.reference(final["envelope"], host, digest)
    clock = _Clock(final, left)
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
            watcher.slot_begins(slot, clock.left())
            line = _slot(final, slot, crew, host, expected)
            journal.append(line)
            clock.note(slot, line["wall_s"])
            watcher.slot_ended(line)
        if text := stops.look(final["blocks"]):
            watcher.looked(text)


def _slot(
    final: Mapping[str, Any], slot: Mapping[str, Any], crew: Crew, host: Mapping[str, Any], expected: Mapping[str, Any]
) -> dict[str, Any]:
    """Run one slot; its journal line."""
    scenario = dict(final["scenarios"][slot["scenario"]])
    scenario["measures"] = final["measures"][slot["scenario"]][slot["arm"]]
    for key in ("description", "blocks"):
        scenario.pop(key)
    arm = final["arms"][slot["arm"]]
    started = datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
    begin = time.monotonic()
    # Every step has its own limit in the worker; this one is for a worker that hangs itself.
    steps = 10 + 3 * (scenario["warmups"] + scenario["values"]) + scenario["instances"]
    try:
        found = crew.slot(slot["arm"], {"slot": slot["slot"], "scenario": scenario}, 60 + steps * scenario["timeout"])
    except HostError as error:
        found = {"status": "failed", "reason": str(error)}
    seen = found.get("seen") or {}
    line = {
        "schema": SCHEMA,
        **slot,
        "family": arm["family"],
        "host": host["name"],
        "boot_id": host["boot_id"],
        "kernel": seen.get("kernel") or host["kernel"],
        "started": started,
        "wall_s": round(time.monotonic() - begin, 6),
        "marks": {},
        "samples": [],
        "cpu_s": None,
        "memory": {},
        "seen": {},
        **found,
    }
    caged, limit = bool(line.pop("caged", False)), line.pop("memory_limit", None)
    boots = arm.get("boots", {"kind": "host"})
    release = slot["arm"].partition("@")[2]
    if seen and not str(seen.get("kernel")).startswith(release):
        line["status"] = "failed"
        line["reason"] = f"the arm's name says kernel {release}, and it runs {seen.get('kernel')}"
    by_cage = base.load(arm["backend"]).memory_by_cage
    line["equivalence"] = (
        equivalence.compare(expected, seen, memory_by_cage=by_cage, caged=caged, memory_limit=limit)
        if seen
        else {"badge": "unknown", "caged": caged, "differs": {}}
    )
    line["equivalence"]["kernel"] = {
        "release": line["kernel"],
        **{key: boots[key] for key in ("kind", "package", "version", "config") if key in boots},
    }
    return line


class _Clock:
    """Time left, from what slots like those to come took so far, or else what is typical."""

    def __init__(self, final: Mapping[str, Any], slots: list[dict[str, Any]]) -> None:
        """slots: those still to come."""
        self._final = final
        self._left = Counter((slot["scenario"], slot["arm"]) for slot in slots)
        self._took: dict[tuple[str, str], list[float]] = {}

    def note(self, slot: Mapping[str, Any], seconds: float) -> None:
        """One of them is over."""
        kind = slot["scenario"], slot["arm"]
        self._left[kind] -= 1
        self._took.setdefault(kind, []).append(seconds)

    def spare(self, slot: Mapping[str, Any]) -> None:
        """One of them is not needed any more."""
        self._left[slot["scenario"], slot["arm"]] -= 1

    def left(self) -> float:
        """Seconds."""
        seconds = 0.0
        for kind, count in self._left.items():
            took = self._took.get(kind)
            once = sum(took) / len(took) if took else self._typical(*kind)
            seconds += count * once
        return seconds

    def _typical(self, scenario: str, arm: str) -> float:
        return plan.estimate({**self._final, "slots": [{"scenario": scenario, "arm": arm}]}).seconds
