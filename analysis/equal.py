"""Equivalence: what each arm was given and saw, against the envelope and against the baseline."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from analysis.load import Loaded
from analysis.words import listed, plural, show
from bench.text import clean

_NAMES = {
    "rootfs": "rootfs digest",
    "cpus": "CPUs",
    "seccomp": "seccomp mode",
    "apparmor": "AppArmor profile",
    "no_new_privs": "no new privileges",
    "bounding": "capabilities to be had",
    "open_files": "open files (soft:hard)",
    "read_only": "read-only paths",
    "masked": "masked paths",
}


@dataclass(frozen=True)
class Difference:
    """One thing that differs: its name, how in a few words, and, where it is a list, each entry."""

    what: str
    how: str
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class Equivalence:
    """One arm: `equal`, `differs` or `unknown`, how sure, and the differences."""

    badge: str
    keys: list[str]
    envelope: list[Difference]
    baseline: list[Difference]
    remark: str


_NONE_IS_TOLD = frozenset({"memory", "cage"})
# A container sees the host's memory and its cage limits it; only the comparison with the envelope knows that.
_NOT_AGAINST_BASELINE = frozenset({"memory"})
# What root may do in a guest it may do to the guest's kernel alone: nothing to compare with what it may on this host's.
OF_A_KERNEL = frozenset({"apparmor", "bounding", "capabilities", "masked", "no_new_privs", "open_files", "read_only"})
ON_THE_HOSTS = frozenset({"process", "container"})


def equivalences(loaded: Loaded) -> dict[str, Equivalence]:
    """By arm, from every slot that reached READY."""
    by_arm: dict[str, list[dict[str, Any]]] = {name: [] for name in loaded.arms}
    for record in loaded.records:
        if isinstance(record.get("equivalence"), dict) and record["equivalence"].get("badge"):
            by_arm[str(record.get("arm"))].append(record)
    seen: dict[str, dict[str, Any]] = {
        name: next((r["seen"] for r in reversed(rows) if r.get("seen")), {}) for name, rows in by_arm.items()
    }
    base = seen.get(loaded.baseline or "", {})
    both = {key: value for key, value in base.items() if key not in OF_A_KERNEL}
    hosts = {name for name, arm in loaded.arms.items() if arm.family in ON_THE_HOSTS}
    return {
        name: _judge(rows, seen[name], base if {name, loaded.baseline} <= hosts else both, name == loaded.baseline)
        for name, rows in by_arm.items()
    }


def _judge(rows: list[dict[str, Any]], seen: dict[str, Any], base: dict[str, Any], is_base: bool) -> Equivalence:
    badges = Counter(_badge(row["equivalence"]) for row in rows)
    if not badges["equal"] and not badges["differs"]:
        return Equivalence("unknown", [], [], [], "no instance told what it saw")
    badge = "differs" if badges["differs"] else "equal"
    wanted: dict[str, tuple[Any, Any]] = {}
    for row in rows:
        for key, sides in (row["equivalence"].get("differs") or {}).items():
            wanted[clean(key)] = _wanted_and_seen(sides)
    remarks = []
    if badges["unknown"]:
        remarks.append(f"{badges['unknown']} of {plural(len(rows), 'slot')} did not tell what they saw")
    if badge == "differs" and badges["equal"]:
        remarks.append(f"{badges['equal']} of {plural(len(rows), 'slot')} were equal")
    if any(row.get("seen") not in (seen, None, {}) for row in rows):
        remarks.append("what was seen changed between slots; the last is shown")
    envelope = [difference(key, a, b) for key, (a, b) in wanted.items()]
    against = [] if is_base else _against(base, seen, envelope)
    keys = [readable(key) for key, sides in wanted.items() if _is_known(key, *sides)]
    return Equivalence(badge, keys, envelope, against, "; ".join(remarks))


def _badge(told: dict[str, Any]) -> str:
    """A slot's badge. What nobody knows is no difference, also where the slot's record says so."""
    if told["badge"] not in ("equal", "differs"):
        return "unknown"
    differs = {clean(key): _wanted_and_seen(sides) for key, sides in (told.get("differs") or {}).items()}
    known = [key for key, sides in differs.items() if _is_known(key, *sides)]
    return "unknown" if differs and not known else str(told["badge"])


def _is_known(key: str, wanted: Any, seen: Any) -> bool:
    """Whether both sides of a difference were told. That there is no limit, or no cage, is known."""
    return key in _NONE_IS_TOLD or (wanted is not None and seen is not None)


def _wanted_and_seen(sides: Any) -> tuple[Any, Any]:
    return (sides[0], sides[1]) if isinstance(sides, list) and len(sides) == 2 else (None, sides)


def _against(base: dict[str, Any], seen: dict[str, Any], envelope: list[Difference]) -> list[Difference]:
    """What differs from the baseline's instance and is not already said against the envelope."""
    keys = [key for key in seen if differ(base, seen, key) and key not in _NOT_AGAINST_BASELINE]
    found = [difference(clean(key), base[key], seen[key]) for key in keys]
    return [one for one in found if one not in envelope]


def differ(one: dict[str, Any], other: dict[str, Any], key: str) -> bool:
    """Whether two instances told different things of `key`; what one of them did not tell is not known to differ."""
    ours, theirs = one.get(key), other.get(key)
    return ours is not None and theirs is not None and bool(ours != theirs)


def readable(key: str) -> str:
    """A key as people read it."""
    return _NAMES.get(key, key.replace("_", " "))


def difference(key: str, wanted: Any, seen: Any) -> Difference:
    """How `seen` differs from `wanted`; of two lists or objects only what they do not share."""
    what = readable(key)
    if isinstance(wanted, list) and isinstance(seen, list):
        gone = dict.fromkeys(clean(item) for item in wanted if item not in seen)
        new = dict.fromkeys(clean(item) for item in seen if item not in wanted)
        counts = [f"{len(gone)} missing here"] * bool(gone) + [f"{len(new)} only here"] * bool(new)
        return Difference(what, listed(counts), (*(f"− {item}" for item in gone), *(f"+ {item}" for item in new)))
    if isinstance(wanted, dict) and isinstance(seen, dict):
        keys = [name for name in {**wanted, **seen} if wanted.get(name) != seen.get(name)]
        items = (f"{clean(name)}: {_entry(wanted, name)} → {_entry(seen, name)}" for name in keys)
        return Difference(what, f"{len(keys)} differ", tuple(items))
    return Difference(what, f"{_text(key, wanted)} → {_text(key, seen)}")


def _entry(side: dict[str, Any], name: str) -> str:
    return "absent" if side.get(name) is None else clean(side[name])


def _text(key: str, value: Any) -> str:
    if value is None:
        return "not told"
    if key == "memory" and isinstance(value, int | float):
        return show(value, "byte")
    text = clean(value)
    return f"{text[:19]}…" if key == "rootfs" and len(text) > 24 else text
