"""What differs between two arms beside their metrics: what their instances saw, and which kernels they boot."""

from __future__ import annotations

from typing import Any, Final

from analysis.equal import OF_A_KERNEL, differ, difference
from analysis.load import Arm, Loaded
from analysis.words import listed
from bench.results import Record
from bench.text import clean

#: What instances tell of themselves that matters between two arms; the mounts are the runtime's own business.
_MATTERS: Final = ("kernel", "cpus", "rootfs", "clocksource", "mitigations", "seccomp")
_BOOTS_KERNEL: Final = frozenset({"hypervisor", "uml"})
_EMULATOR: Final = "qemu-icount"
EMULATION: Final = "emulation: what is counted is a guest's instructions, and instructions are not seconds"
LAYOUT: Final = "layout-confounded: one build of each kernel, and where code lies in memory alone moves times"


def between(old: Loaded, late: Loaded, base: str, new: str) -> list[str]:
    """The badges of a pair of arms, each as `name: what differs`; from the slots that ended well.

    kernel, cpus, rootfs, clocksource, mitigations and seccomp differ between what the instances saw, and, where both
    share their host's kernel, what root may do there; memory and cage
    between what the envelope gave; layout-confounded where both boot a kernel and each side is one build of it;
    emulation where an arm counts instructions; emulated where a guest's processor is.
    """
    left, right = _records(old, base), _records(late, new)
    ours, theirs = _seen(left), _seen(right)
    found = []
    guests = {old.arms[base].family, late.arms[new].family} & _BOOTS_KERNEL
    for key in _MATTERS if guests else (*_MATTERS, *sorted(OF_A_KERNEL)):
        if differ(ours, theirs, key):
            how = difference(key, ours[key], theirs[key])
            found.append(": ".join((how.what, "; ".join([how.how, *how.items[:2]]))))
    for key in ("memory", "cage"):
        a, b = (_given(side, key) for side in (left, right))
        if a != b:
            how = difference(key, a, b)
            found.append(f"{how.what}: {how.how}")
    builds = [_builds(loaded, arm, side) for loaded, arm, side in ((old, base, left), (late, new, right))]
    if all(len(each) == 1 for each in builds) and builds[0] != builds[1]:
        if ours.get("kernel") == theirs.get("kernel"):
            found.append(f"kernel: two builds of {clean(ours.get('kernel'))}")
        found.append(LAYOUT)
    if said := _emulated(old.arms[base], late.arms[new]):
        found.append(said)
    if _EMULATOR in (old.arms[base].backend, late.arms[new].backend):
        found.append(EMULATION)
    return found


def _emulated(base: Arm, new: Arm) -> str:
    """That seconds are those of an emulated processor, where no counting arm says so already."""
    if _EMULATOR in (base.backend, new.backend) or not (base.emulated or new.emulated):
        return ""
    sides = listed(dict.fromkeys(arm.label for arm in (base, new) if arm.emulated))
    return f"emulated: {sides} without hardware help (TCG), whose seconds are not those of a virtual machine"


def _records(loaded: Loaded, arm: str) -> list[Record]:
    return [record for record in loaded.records if record.get("arm") == arm and record.get("status") == "ok"]


def _seen(records: list[Record]) -> dict[str, Any]:
    return next((record["seen"] for record in reversed(records) if record.get("seen")), {})


def _given(records: list[Record], key: str) -> Any:
    """What an instance had of `key` where the envelope wanted something else; "as planned" where it had that."""
    for record in reversed(records):
        sides = ((record.get("equivalence") or {}).get("differs") or {}).get(key)
        if sides is not None:
            return sides[1] if isinstance(sides, list) and len(sides) == 2 else sides
    return "as planned"


def _builds(loaded: Loaded, arm: str, records: list[Record]) -> set[tuple[str, str]]:
    """The kernels that an arm's instances booted: (digest or name, release); none for arms that share the host's."""
    if loaded.arms[arm].family not in _BOOTS_KERNEL:
        return set()
    planned = (loaded.campaigns[0].plan.get("arms") or {}).get(arm) or {}
    build = clean((planned.get("boots") or {}).get("sha256") or planned.get("kernel"))
    return {(build, clean(record["seen"].get("kernel"))) for record in records if record.get("seen")}
