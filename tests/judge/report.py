"""The report of a replay: Markdown to read, JSON to compute with."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pandas as pd

from tests.judge import score
from tests.judge.judges import MUTANTS
from tests.judge.plant import EFFECTS, NUISANCES
from tests.judge.recordings import BLOCKS, sessions, windows
from tests.judge.score import CLASSES, Rate

_OTHERS = ("pyperf", "mann-whitney", "otava")
_KINDS = {
    "none": "as recorded",
    "drift": "drift of 10 %, both arms",
    "step": "step of 10 %, both arms",
    "variance": "one arm's spread grown by 5–20 %",
    "outliers": "10–40 % of the time 2–3 × slower, both arms",
}
Said = dict[str, pd.DataFrame]


def write(said: Said, command: str, folder: Path) -> None:
    """said: answers by judge, `NAME mde` being those to shifts of the size that NAME printed."""
    ours, mde = said["tare"], said["tare mde"]
    targets = score.targets(ours, mde, said["pyperf"])
    mutants = {kind.name: score.targets(said[kind.name], said.get(f"{kind.name} mde"), None) for kind in MUTANTS}
    others = [name for name in _OTHERS if name in said]
    text = "\n\n".join(
        [
            "# The judge is judged",
            f"Made by `{command}` on {datetime.now(UTC):%Y-%m-%d}. Each rate stands with Wilson's 95 % interval, "
            f"hits and cases, and the number of disjoint windows (w) of {BLOCKS} blocks that the cases come of. "
            "Cases of one window share its weather, so that the interval is the narrowest that can be claimed.",
            "## Recordings",
            _recordings(),
            "## Targets",
            _table(
                ["target", "figure", "asked", "reached"],
                [[t.name, f"{t.figure:.3f}", t.asked, "yes" if t.reached else "**no**"] for t in targets],
            ),
            "## False alarms: nothing differs between the arms (nominal 5 %)",
            _alarms(said, others),
            "Family-wise: any of a case's metrics called changed, Holm over all of them.",
            "## Found: every metric shifted",
            _power(said, others),
            "## Stopping early",
            _adaptive(ours),
            "## The printed MDE: a shift of just that size",
            _mde(mde),
            "## The command: `tare compare --json` on results folders",
            _command(said["cli"]),
            "## Sets of recordings apart",
            _sets(ours),
            "## Mutants",
            "Each must miss a target.",
            _table(
                ["mutant", "misses"],
                [[name, "; ".join(t.short for t in found if not t.reached)] for name, found in mutants.items()],
            ),
        ]
    )
    (folder / "REPORT.md").write_text(text + "\n")
    (folder / "REPORT.json").write_text(json.dumps(_json(said, others, targets, mutants), indent=1) + "\n")


def _table(head: list[str], rows: list[list[str]]) -> str:
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(line) + " |" for line in lines)


def _recordings() -> str:
    count = pd.Series([(window.session, window.campaign) for window in windows()]).value_counts()
    rows = []
    for session, about in sessions().items():
        blocks: Any = about["blocks"]
        cut = [f"{name}: {blocks[name]} blocks, {count.get((session, name), 0)} windows" for name in blocks]
        rows.append([session, str(about["set"]), str(about["conditions"]), "; ".join(cut)])
    return _table(["session", "set", "the host meanwhile", "recorded"], rows)


def _alarms(said: Said, others: list[str]) -> str:
    ours, rows = said["tare"], []
    for nuisance in NUISANCES:
        for schedule in ("interleaved", "blocked"):
            inter = schedule == "interleaved"
            cells = [score.alarms(ours, "single", schedule, nuisance)]
            cells.append(score.alarms(ours, "adaptive", schedule, nuisance))
            cells.append(score.family_alarms(ours, nuisance) if inter else Rate(0, 0, 0))
            cells += [score.alarms(said[name], "single", schedule, nuisance) for name in others]
            rows.append([_KINDS[nuisance], schedule, *map(str, cells)])
    cells = [score.alarms(ours[ours["several"]], "single", "interleaved", "none"), Rate(0, 0, 0), Rate(0, 0, 0)]
    cells += [score.alarms(said[name][said[name]["several"]], "single", "interleaved", "none") for name in others]
    rows.append(["as recorded, metrics of several values a slot", "interleaved", *map(str, cells)])
    return _table(["planted", "schedule", "tare", "tare, adaptive", "tare, family-wise", *others], rows)


def _power(said: Said, others: list[str]) -> str:
    rows = []
    kinds = [(size, "none", "interleaved") for size in EFFECTS]
    kinds += [(0.05, nuisance, "interleaved") for nuisance in ("drift", "step", "outliers")]
    kinds += [(size, "none", "blocked") for size in EFFECTS]
    for size, nuisance, schedule in kinds:
        for low, high, label in CLASSES:
            of = {name: score.shifted(said[name], size, low, high, nuisance, schedule) for name in ["tare", *others]}
            cells = [score.power(of["tare"], "single"), score.power(of["tare"], "adaptive")]
            cells += [score.power(of[name], "single") for name in others]
            if cells[0].count:
                rows.append([f"±{100 * size:.0f} %", _KINDS[nuisance], schedule, label, *map(str, cells)])
    head = ["shift", "planted beside it", "schedule", "spread of block ratios", "tare", "tare, adaptive", *others]
    return _table(head, rows)


def _adaptive(ours: pd.DataFrame) -> str:
    rows = []
    for size in EFFECTS:
        for low, high, label in [*CLASSES, (0.0, float("inf"), "all")]:
            of = score.shifted(ours, size, low, high)
            if len(of):
                found = [score.power(of, "single"), score.power(of, "adaptive")]
                cost = [f"{100 * score.saved(of):.0f} %", f"{100 * score.lost(of):.1f}"]
                rows.append([f"±{100 * size:.0f} %", label, *map(str, found), *cost])
    head = ["shift", "spread", f"found in {BLOCKS} blocks", "found adaptively", "blocks saved", "points of power lost"]
    return _table(head, rows)


def _mde(mde: pd.DataFrame) -> str:
    rows = []
    for what, label in (("mde", "the same window, labels drawn anew"), ("mde next", "the window after it")):
        for low, high, spread in [*CLASSES, (0.0, float("inf"), "all")]:
            of = mde[(mde["what"] == what) & (mde["spread"] > low) & (mde["spread"] <= high)]
            rows.append([label, spread, str(score.power(of, "single"))])
    return _table(["planted in", "spread", "found"], rows)


def _command(rows: pd.DataFrame) -> str:
    null, five = rows[rows["size"] == 0], rows[(rows["size"] == 0.05) & (rows["spread"] <= 0.08)]
    cells = []
    for label, of in (("what gates", rows["gates"]), ("everything printed", rows["gates"].notna())):
        quiet, shifted = null[of[null.index]], five[of[five.index]]
        by_case = quiet.groupby("case").agg(alarm=("alarm", "any"), window=("window", "first"))
        cells.append([label, str(score.rate(by_case, "alarm")), str(score.rate(shifted, "found"))])
    head = [
        "of",
        "cases with any false alarm (nominal 5 %, every nuisance)",
        "±5 % found where spread ≤ 8 %, after Holm",
    ]
    return _table(head, cells)


def _sets(ours: pd.DataFrame) -> str:
    rows = []
    for name in ("train", "test"):
        of = ours[ours["window"].str.startswith(f"{name}/")]
        if len(of):
            cells = [score.alarms(of, "single", "interleaved", "none"), score.family_alarms(of, "none")]
            cells += [score.power(score.shifted(of, 0.05, 0, 0.08), "single")]
            rows.append([name, *map(str, cells)])
    return _table(["set", "false alarms", "family-wise", "±5 % found where spread ≤ 8 %"], rows)


def _json(
    said: Said, others: list[str], targets: list[score.Target], mutants: dict[str, list[score.Target]]
) -> dict[str, Any]:
    def all_of(name: str) -> list[dict[str, Any]]:
        rows = said[name]
        found = []
        keys = ["how", "schedule", "nuisance", "what", "size"]
        for place, group in rows.groupby(keys, sort=True):
            for low, high, label in CLASSES:
                of = group[(group["spread"] > low) & (group["spread"] <= high)]
                if len(of):
                    head = dict(zip(keys, place, strict=True)) | {"spread": label, "blocks": float(of["blocks"].mean())}
                    null = of[of["effect"] == 0]
                    real = of[of["effect"] != 0]
                    found.append(
                        head
                        | {"alarms": score.rate(null, "alarm").as_dict() if len(null) else None}
                        | {"found": score.rate(real, "found").as_dict() if len(real) else None}
                        | {"wrong": int(of["wrong"].sum())}
                    )
        return found

    return {
        "sessions": sessions(),
        "targets": [target.as_dict() for target in targets],
        "mutants": {name: [t.as_dict() for t in found if not t.reached] for name, found in mutants.items()},
        "judges": {name: all_of(name) for name in ["tare", "tare mde", *others]},
    }
