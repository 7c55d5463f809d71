"""Whether a campaign can be gone on with: its plan is whole, and the machine and Tare are those that it was begun with.

Slots of two machines, or of two revisions of the code that measures, in one journal would be compared as if they were
alike.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

from bench import facts, image, kernels, measures, neighbours, prepare, workloads
from bench.backends import base
from bench.errors import InputError
from bench.results import (
    ARM_NAME,
    FACTS,
    JOURNAL,
    PLAN,
    Record,
    now,
    read_facts,
    read_journal,
    read_plan,
    write_object,
)
from bench.shape import Needed, Shape, fault

_MEMORY_TOLERANCE: Final = 0.05  # two kernels of one machine leave it some per cent more or less
_MOST: Final = 100_000
_LONGEST: Final = 24 * 3600.0

_SLOT: Shape = {
    **dict.fromkeys(("slot", "scenario", "arm"), Needed(str)),
    **dict.fromkeys(("block", "order"), Needed(int)),
}
_SCENARIO: Shape = {
    "measures": Needed([str]),
    "description": Needed(str),
    **dict.fromkeys(("warmups", "values", "instances", "step", "memory_reserve"), Needed(int)),
    "timeout": Needed(float),
}
_WHOLE: Shape = {
    "campaign": Needed(str),
    "blocks": Needed(int),
    "envelope": Needed({"cpus": Needed(int), "memory": Needed(int), "rootfs": Needed(str)}),
    "arms": Needed({...: {"backend": Needed(str), "family": Needed(str), "options": Needed({...: object})}}),
    "scenarios": Needed({...: _SCENARIO}),
    "measures": Needed({...: {...: [str]}}),
    "slots": Needed([_SLOT]),
    "slurm": {"nodes": Needed(int), "options": Needed([str]), "python": Needed(str)},
}
_BOOTS: Shape = {
    **dict.fromkeys(("kind", "release", "sha256"), Needed(str)),
    **dict.fromkeys(("package", "version"), str),
    "options": [str],
}
_KNOWN: Shape = {
    "host": Needed({"kernel": Needed(str)}),
    "rootfs": Needed({"digest": Needed(str)}),
}


def begun(folder: Path) -> tuple[Record, Record]:
    """Plan and facts of a campaign that can be gone on with. Raises InputError."""
    plan, known = read_plan(folder), read_facts(folder)
    if plan is None or known is None:
        raise prepare.no_results(folder)
    if wrong := fault(known, _KNOWN):
        raise InputError(f"{folder / FACTS}: {wrong}")
    if wrong := fault(plan, _WHOLE) or next(_faults(plan), None):
        raise InputError(f"{folder / PLAN}: {wrong}")
    if (folder / JOURNAL).exists():
        planned = {slot["slot"]: slot for slot in plan["slots"]}
        for line in read_journal(folder / JOURNAL):
            slot = planned.get(line["slot"], {})
            if any(slot.get(key) != line.get(key) for key in _SLOT) or "status" not in line:
                raise InputError(f"{folder / JOURNAL}: the slot {line['slot']!a:.60} is not of this plan")
    return plan, known


def _faults(plan: Record) -> Iterator[str]:
    """What no plan that Tare wrote has."""
    if plan["envelope"]["rootfs"] not in image.names():
        yield f"there is no rootfs {plan['envelope']['rootfs']!a:.60}"
    if not 1 <= plan["envelope"]["cpus"] <= 1024 or plan["envelope"]["memory"] < 1 << 20 or plan["blocks"] < 1:
        yield "its envelope or its blocks are none"
    for name, arm in plan["arms"].items():
        yield from _arm_faults(name, arm)
    for name, scenario in plan["scenarios"].items():
        yield from (f"scenarios.{name!a:.60}: {text}" for text in _scenario_faults(scenario))
    seen: set[str] = set()
    for slot in plan["slots"]:
        taken = plan["measures"].get(slot["scenario"], {}).get(slot["arm"])
        if slot["slot"] in seen or not taken or slot["scenario"] not in plan["scenarios"] or slot["block"] < 1:
            yield f"the slot {slot['slot']!a:.60} is there twice, or of no arm and scenario of the plan"
        elif slot["arm"] not in plan["arms"] or not set(taken) <= set(measures.names()):
            yield f"the slot {slot['slot']!a:.60} is of no arm or measure"
        seen.add(slot["slot"])
    if plan.get("slurm") and not 1 <= plan["slurm"]["nodes"] <= 1024:
        yield "slurm.nodes is out of range"


def _arm_faults(name: str, arm: Record) -> Iterator[str]:
    if not ARM_NAME.match(name):
        yield f"{name!a:.80} is not an arm's name"
    try:
        kind = base.load(arm["backend"])
        base.make_options(kind, arm["options"])
    except InputError as error:
        yield f"arms.{name}: {error}"
        return
    if arm["family"] != kind.family:
        yield f"arms.{name}: {arm['backend']} is not of the family {arm['family']!a:.60}"
    if "boots" in arm and ((wrong := fault(arm["boots"], _BOOTS)) or arm["boots"]["kind"] not in kernels.KINDS):
        yield f"arms.{name}.boots: {wrong or 'is no kernel'}"


def _scenario_faults(scenario: Record) -> Iterator[str]:
    known = (("measures", measures.names()), ("workloads", workloads.names()), ("neighbours", list(neighbours.KINDS)))
    for key, names in known:
        if not set(scenario.get(key) or []) <= set(names):
            yield f"{key} has a name that this Tare does not know"
    if "workload" not in scenario and not scenario.get("workloads"):
        yield "there are no workloads"
    for key in ("warmups", "values", "instances", "step"):
        if not 0 <= scenario[key] <= _MOST:
            yield f"{key} is out of range"
    if not 0 < scenario["timeout"] <= _LONGEST:
        yield "timeout is out of range"


def _changes(plan: Record, known: Record, host: Mapping[str, Any] | None) -> tuple[list[str], list[str]]:
    """What is not as a campaign's facts say: what makes it another campaign, and what should be told."""
    grave: list[str] = list(_of_tare(known))
    told: list[str] = []
    if host is None:
        return grave, told
    was = known["host"]
    grave += _of_machine(was, host)
    if "host_kernels" not in plan:  # such a campaign boots its host all the time
        if was.get("boot_id") != host.get("boot_id"):
            told.append("the host was booted anew")
        for key, what in (("kernel", "kernel"), ("microcode", "microcode"), ("clocksource", "clock source")):
            if was.get(key) != host.get(key):
                told.append(f"{what} {was.get(key)} → {host.get(key)}")
        if was.get("mitigations") != host.get("mitigations"):
            told.append("other mitigations")
    return grave, told


def _of_tare(known: Mapping[str, Any]) -> Iterator[str]:
    was, now_is = known.get("git") or {}, facts.revision()
    if was.get("revision") != now_is["revision"]:
        yield f"Tare {_short(was.get('revision'))} → {_short(now_is['revision'])}"
    elif known.get("code") is not None and known["code"] != facts.code():
        yield "Tare's code was changed since"


def _of_machine(was: Mapping[str, Any], host: Mapping[str, Any]) -> Iterator[str]:
    ids = [(was.get(key), host.get(key)) for key in ("machine", "board")]
    known = [(one, other) for one, other in ids if one and other]
    same_boot = was.get("boot_id") is not None and was.get("boot_id") == host.get("boot_id")
    if any(one != other for one, other in known) or not (known or same_boot):
        yield "another machine" if known else "a machine that nothing proves to be the same"
    for key, what in (("cpu", "CPU"), ("cores", "cores")):
        if was.get(key) != host.get(key):
            yield f"{what} {was.get(key)} → {host.get(key)}"
    sizes = was.get("memory") or 0, host.get("memory") or 0
    if abs(sizes[0] - sizes[1]) > _MEMORY_TOLERANCE * max(sizes):
        yield f"memory {sizes[0]} → {sizes[1]} bytes"


def _short(revision: object) -> str:
    return str(revision)[:12] if revision else "of no known revision"


def refuse(folder: Path, plan: Record, known: Record, host: Mapping[str, Any] | None) -> None:
    """Raises InputError where going on would make it another campaign. host: see check()."""
    if grave := _changes(plan, known, host)[0]:
        raise InputError(
            f"{folder} was begun with something else: {'; '.join(grave)}",
            hint="start the campaign anew, or say --anyway, and its report tells of it",
        )


def check(folder: Path, plan: Record, known: Record, host: Mapping[str, Any] | None, *, anyway: bool) -> None:
    """Whether a folder may be gone on with here; what has changed is written into its facts.

    host: facts.host() of where it is to go on; None for a campaign whose hosts are a cluster's. anyway: also where
    that makes it another campaign. Raises InputError, RecordError.
    """
    if not anyway:
        refuse(folder, plan, known, host)
    grave, told = _changes(plan, known, host)
    changed = [*grave, *told]
    before = [text for each in known.get("resumed") or [] for text in each["changed"]]
    if fresh := [text for text in changed if text not in before]:
        known["resumed"] = [*(known.get("resumed") or []), {"when": now(), "changed": fresh, "anyway": bool(grave)}]
        write_object(folder / FACTS, known)
