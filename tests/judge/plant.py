"""The planter: makes cases out of recordings, some with an effect in them, and keeps the key to itself.

    python -m tests.judge.plant OUT KEY --set test --seed 1 [--copies 2] [--folders 10] [--menu all]
    python -m tests.judge.plant OUT KEY --set test --seed 2 --mde ANSWERS --of KEY1

OUT is what the judge is given (see cases.py); KEY says of each case what was planted. Arm names, the case ids' order
and which twin is the base are drawn anew for each case. With --mde each case of an
earlier key in which nothing was planted is planted with what the judge printed for its metrics as the
smallest shift that it would find.
"""

from __future__ import annotations

import argparse
import json
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.judge import cases
from tests.judge.recordings import BLOCKS, Floats, Metric, Window, windows

DRIFT: Final = 0.10
STEP: Final = 0.10
EFFECTS: Final = (0.02, 0.05, 0.10)
MENUS: Final = ("all", "stopping")
NUISANCES: Final = ("none", "drift", "step", "variance", "outliers")


@dataclass(frozen=True)
class Plan:
    """What is to be planted. effect: per metric, as a signed fraction; metrics that are not in it are left alone."""

    window: Window
    schedule: str
    nuisance: str = "none"
    effect: dict[str, float] = field(default_factory=dict)
    what: str = "shift"

    @property
    def size(self) -> float:
        return max((abs(value) for value in self.effect.values()), default=0.0)


@dataclass(frozen=True)
class Side:
    """A slot that stands for an arm: when it ran, as a fraction of the window, and its values."""

    time: float
    values: dict[str, Floats]


def arms(plan: Plan, draw: np.random.Generator) -> tuple[list[Side], list[Side]]:
    """The slots of base and new before planting. Blocked: the window's first half is the base, whoever ran it."""
    count = len(plan.window.slots)
    sides = []
    for place, pair in enumerate(plan.window.slots):
        first = int(pair[0].order > pair[1].order)
        times = (place + 0.5 * first) / count, (place + 0.5 * (1 - first)) / count
        sides.append([Side(time, dict(slot.values)) for time, slot in zip(times, pair, strict=True)])
    if plan.schedule == "blocked":
        middle = count // 2
        halves = sides[:middle], sides[middle:]
        base, new = ([side for pair in half for side in sorted(pair, key=lambda s: s.time)] for half in halves)
        return base, new
    swaps = draw.integers(0, 2, count)
    return (
        [pair[swap] for pair, swap in zip(sides, swaps, strict=True)],
        [pair[1 - swap] for pair, swap in zip(sides, swaps, strict=True)],
    )


def weather(plan: Plan, draw: np.random.Generator) -> Callable[[float, bool], float]:
    """What multiplies a slot of (time, is it new): both arms alike in time, or one arm's spread."""
    sign = draw.choice([-1, 1])
    if plan.nuisance == "drift":
        return lambda time, new: (1 + DRIFT * time) ** sign
    if plan.nuisance == "step":
        at = draw.uniform(0.2, 0.8)
        return lambda time, new: (1 + STEP) ** sign if time >= at else 1.0
    if plan.nuisance == "outliers":
        length, height = draw.uniform(0.1, 0.4), draw.uniform(2, 3)
        at = draw.uniform(0, 1 - length)
        return lambda time, new: float(height) if at <= time < at + length else 1.0
    if plan.nuisance == "variance":
        sigma = draw.uniform(0.05, 0.2)
        return lambda time, new: float(np.exp(draw.normal(0, sigma))) if new else 1.0
    return lambda time, new: 1.0


def planted(plan: Plan, draw: np.random.Generator) -> tuple[list[Side], list[Side]]:
    base, new = arms(plan, draw)
    factor = weather(plan, draw)
    base = [
        replace(side, values={name: values * factor(side.time, False) for name, values in side.values.items()})
        for side in base
    ]
    new = [
        replace(
            side,
            values={
                name: values * factor(side.time, True) * (1 + plan.effect.get(name, 0.0))
                for name, values in side.values.items()
            },
        )
        for side in new
    ]
    return base, new


def spread(window: Window, metric: Metric) -> float:
    """1.48 × MAD of the block log-ratios between the twins, as recorded."""
    logs = np.array(
        [np.log(np.median(a.values[metric.name]) / np.median(b.values[metric.name])) for a, b in window.slots]
    )
    return float(1.4826 * np.median(np.abs(logs - np.median(logs))))


def plans(menu: str, window: Window, copies: int, draw: np.random.Generator) -> list[Plan]:
    """A window's cases; of each kind whose labels can be drawn anew `copies`, three times as many without an effect."""
    names = [metric.name for metric in window.metrics]

    def shifts(size: float) -> dict[str, float]:
        return {name: float(size * draw.choice([-1, 1])) for name in names}

    def interleaved(nuisance: str, size: float) -> list[Plan]:
        # False alarms are rare: it takes more cases to count them.
        count = copies if size else 3 * copies
        return [Plan(window, "interleaved", nuisance, shifts(size) if size else {}) for _ in range(count)]

    made = [plan for size in (0, *EFFECTS) for plan in interleaved("none", size)]
    if menu == "all":
        made += [plan for nuisance in NUISANCES[1:] for plan in interleaved(nuisance, 0)]
        made += [plan for nuisance in ("drift", "step", "outliers") for plan in interleaved(nuisance, 0.05)]
        made += [Plan(window, "blocked", nuisance) for nuisance in NUISANCES]
        made += [Plan(window, "blocked", effect=shifts(size)) for size in EFFECTS]
        lone = {str(draw.choice(names)): float(0.10 * draw.choice([-1, 1]))}
        made.append(Plan(window, "interleaved", effect=lone, what="lone"))
    return made


def mde_plans(found: list[Window], answers: Path, key: Path, draw: np.random.Generator) -> list[Plan]:
    """What was printed for a window, planted in that window with new labels and in the next one of that arm."""
    by_name = {window.name: window for window in found}
    printed: dict[str, dict[str, float]] = {}
    for answer in json.loads(answers.read_text()):
        if answer["how"] == "single" and answer["mde"] is not None:
            printed.setdefault(answer["case"], {})[answer["metric"]] = answer["mde"]
    made = []
    for case, about in json.loads(key.read_text()).items():
        if about["schedule"] != "interleaved" or about["nuisance"] != "none" or about["effect"]:
            continue
        window = by_name[about["window"]]
        for what, where in (("mde", window), ("mde next", by_name.get(_next(window)))):
            if where is not None:
                effect = {
                    name: float((1 + size) ** draw.choice([-1, 1]) - 1) for name, size in printed.get(case, {}).items()
                }
                made.append(Plan(where, "interleaved", effect=effect, what=what))
    return made


def _next(window: Window) -> str:
    return replace(window, number=window.number + 1).name


def rows(case: str, plan: Plan, names: tuple[str, str], draw: np.random.Generator) -> list[dict[str, Any]]:
    """The case's table."""
    found = []
    base, new = planted(plan, draw)
    apart = len(base) if plan.schedule == "blocked" else 0
    for arm, sides, later in ((names[0], base, 0), (names[1], new, apart)):
        others = new if arm == names[0] else base
        for place, side in enumerate(sides):
            order = 1 if apart else 1 + int(others[place].time < side.time)
            for metric in plan.window.metrics:
                found.append(
                    {"case": case, "arm": arm, "block": later + place + 1, "order": order, "metric": metric.name}
                    | {"unit": metric.unit, "better": metric.better, "values": side.values[metric.name]}
                )
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("key", type=Path)
    parser.add_argument("--set", choices=["train", "test"])
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--copies", type=int, default=1, help="cases of each kind and window, with labels drawn anew")
    parser.add_argument("--windows", type=int, help="this many windows, drawn at random")
    parser.add_argument("--folders", type=int, default=0, help="this many interleaved cases as results folders too")
    parser.add_argument(
        "--menu",
        choices=MENUS,
        default="all",
        help="or only what stopping early is judged by",
    )
    parser.add_argument("--mde", type=Path, help="the judge's answers to an earlier planting")
    parser.add_argument("--of", type=Path, help="the key of that earlier planting")
    arguments = parser.parse_args()
    draw = np.random.default_rng(arguments.seed)
    found = [window for window in windows() if arguments.set in (None, window.set)]
    if arguments.windows and arguments.windows < len(found):
        chosen = sorted(draw.choice(len(found), arguments.windows, replace=False))
        found = [found[place] for place in chosen]
    if arguments.mde:
        made = mde_plans(windows(), arguments.mde, arguments.of, draw)
    else:
        made = [plan for window in found for plan in plans(arguments.menu, window, arguments.copies, draw)]
    table: list[dict[str, Any]] = []
    named: dict[str, dict[str, str]] = {}
    key = {}
    spreads = {
        (w.name, m.name): spread(w, m)
        for w in {plan.window.name: plan.window for plan in made}.values()
        for m in w.metrics
    }
    folders = 0
    for number, place in enumerate(draw.permutation(len(made))):
        plan, case = made[place], f"c{number:05}"
        names = tuple(bytes(draw.integers(0, 256, 3, dtype=np.uint8)).hex() + str(side) for side in draw.permutation(2))
        of_case = rows(case, plan, (names[0], names[1]), draw)
        table += of_case
        named[case] = {"base": names[0], "new": names[1]}
        if folders < arguments.folders and plan.schedule == "interleaved":
            cases.results_folder(arguments.out / case, of_case, names[0], names[1])
            folders += 1
        key[case] = {
            "window": plan.window.name,
            "session": plan.window.session,
            "campaign": plan.window.campaign,
            "arm": plan.window.arm,
            "schedule": plan.schedule,
            "nuisance": plan.nuisance,
            "what": plan.what,
            "size": plan.size,
            "effect": plan.effect,
            "several": [
                metric.name for metric in plan.window.metrics if len(plan.window.slots[0][0].values[metric.name]) > 1
            ],
            "spread": {metric.name: spreads[plan.window.name, metric.name] for metric in plan.window.metrics},
        }
    cases.write(arguments.out, table, named)
    arguments.key.parent.mkdir(parents=True, exist_ok=True)
    arguments.key.write_text(json.dumps(key))
    print(f"{len(made)} cases of {len(found)} windows of {BLOCKS} blocks")


if __name__ == "__main__":
    main()
