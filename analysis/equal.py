"""Equivalence: what each arm was given and saw, against the envelope and against the baseline."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import Any

from analysis.load import Loaded, clean
from analysis.words import listed, plural, show

_NAMES = {"rootfs": "rootfs digest", "cpus": "CPUs", "seccomp": "seccomp mode"}


@dataclass(frozen=True)
class Difference:
    """One thing that differs: its name, what was asked for (or the baseline has), what the arm has."""

    what: str
    wanted: str
    seen: str


@dataclass(frozen=True)
class Equivalence:
    """One arm: `equal`, `differs` or `unknown`, how sure, and the differences."""

    badge: str
    keys: list[str]
    envelope: list[Difference]
    baseline: list[Difference]
    remark: str


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
    return {name: _judge(rows, seen[name], base, name == loaded.baseline) for name, rows in by_arm.items()}


def _judge(
    rows: list[dict[str, Any]], seen: dict[str, Any], base: dict[str, Any], is_base: bool
) -> Equivalence:
    badges = Counter(str(row["equivalence"]["badge"]) for row in rows)
    if not rows:
        return Equivalence("unknown", [], [], [], "no instance told what it saw")
    badge = "equal" if set(badges) == {"equal"} else "differs"
    wanted: dict[str, tuple[Any, Any]] = {}
    for row in rows:
        for key, sides in (row["equivalence"].get("differs") or {}).items():
            wanted[clean(key)] = _wanted_and_seen(sides)
    remarks = []
    if len(badges) > 1:
        remarks.append(f"{badges['equal']} of {plural(len(rows), 'slot')} were equal")
    if any(row.get("seen") not in (seen, None, {}) for row in rows):
        remarks.append("what was seen changed between slots; the last is shown")
    envelope = [Difference(readable(key), *both_sides(key, a, b)) for key, (a, b) in wanted.items()]
    against = [] if is_base else _against(base, seen)
    return Equivalence(badge, [readable(key) for key in wanted], envelope, against, "; ".join(remarks))


def _wanted_and_seen(sides: Any) -> tuple[Any, Any]:
    return (sides[0], sides[1]) if isinstance(sides, list) and len(sides) == 2 else (None, sides)


def _against(base: dict[str, Any], seen: dict[str, Any]) -> list[Difference]:
    keys = [key for key in seen if key in base and seen[key] != base[key]]
    return [Difference(readable(clean(key)), *both_sides(key, base[key], seen[key])) for key in keys]


def readable(key: str) -> str:
    """A key as people read it."""
    return _NAMES.get(key, key.replace("_", " "))


def both_sides(key: str, wanted: Any, seen: Any) -> tuple[str, str]:
    """Both sides as short texts; of two lists or objects only what they do not share."""
    if isinstance(wanted, list) and isinstance(seen, list):
        gone = [clean(item) for item in wanted if item not in seen]
        new = [clean(item) for item in seen if item not in wanted]
        return f"only there: {listed(gone)}" if gone else "–", f"only here: {listed(new)}" if new else "–"
    if isinstance(wanted, dict) and isinstance(seen, dict):
        keys = [k for k in {**wanted, **seen} if wanted.get(k) != seen.get(k)]
        sides = [
            listed(f"{clean(k)}: {clean(side.get(k, 'absent'))}" for k in keys) for side in (wanted, seen)
        ]
        return sides[0], sides[1]
    return _text(key, wanted), _text(key, seen)


def _text(key: str, value: Any) -> str:
    if value is None:
        return "not told"
    if key == "memory" and isinstance(value, int | float):
        return show(value, "byte")
    text = clean(value)
    return f"{text[:19]}…" if key == "rootfs" and len(text) > 24 else text
