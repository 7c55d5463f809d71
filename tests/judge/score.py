"""Answers against the key: rates with their intervals, and the targets that a judge must reach."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pandas as pd
from scipy import stats

CLASSES: Final = ((0.0, 0.03, "≤ 3 %"), (0.03, 0.08, "3–8 %"), (0.08, np.inf, "> 8 %"))


@dataclass(frozen=True)
class Rate:
    """hits of count, over that many disjoint windows; low and high: Wilson's 95 % interval, as if all were apart."""

    hits: int
    count: int
    windows: int

    @property
    def value(self) -> float:
        return self.hits / self.count if self.count else float("nan")

    @property
    def interval(self) -> tuple[float, float]:
        if not self.count:
            return float("nan"), float("nan")
        found = stats.binomtest(self.hits, self.count).proportion_ci(method="wilson")
        return float(found.low), float(found.high)

    def as_dict(self) -> dict[str, Any]:
        low, high = self.interval
        return asdict(self) | {"rate": self.value, "low": low, "high": high}

    def __str__(self) -> str:
        if not self.count:
            return "–"
        low, high = self.interval
        return (
            f"{100 * self.value:.1f} % ({100 * low:.1f}–{100 * high:.1f}; {self.hits}/{self.count}, {self.windows} w)"
        )


@dataclass(frozen=True)
class Target:
    """What is asked of a rate or figure, and what it is."""

    name: str
    figure: float
    low: float
    high: float

    @property
    def reached(self) -> bool:
        """A figure that the recordings cannot give is not reached."""
        return bool(self.low <= self.figure <= self.high)

    @property
    def asked(self) -> str:
        if np.isinf(self.high):
            return f"at least {self.low:g}"
        return f"at most {self.high:g}" if self.low <= 0 else f"{self.low:g} to {self.high:g}"

    @property
    def short(self) -> str:
        return f"{self.name} ({self.figure:.2f})"

    def as_dict(self) -> dict[str, Any]:
        return {"name": self.name, "figure": self.figure, "asked": self.asked, "reached": self.reached}

    def __str__(self) -> str:
        return f"{self.name}: {self.figure:.3g} (asked: {self.asked})"


def join(answers: Path, key: Path) -> pd.DataFrame:
    """A row an answer: what was said (moved, mde, blocks …) beside what was planted (effect, spread, window …)."""
    said = pd.DataFrame(json.loads(answers.read_text()))
    planted = []
    for case, about in json.loads(key.read_text()).items():
        common = {name: about[name] for name in ("window", "campaign", "arm", "schedule", "nuisance", "what", "size")}
        planted += [
            {"case": case, "metric": metric, **common, "effect": about["effect"].get(metric, 0.0), "spread": spread}
            | {"several": metric in about["several"]}
            for metric, spread in about["spread"].items()
        ]
    joined = said.merge(pd.DataFrame(planted), on=["case", "metric"], validate="many_to_one")
    joined["found"] = joined["moved"] == np.sign(joined["effect"])
    joined["alarm"] = (joined["effect"] == 0) & (joined["moved"] != 0)
    joined["wrong"] = (joined["effect"] != 0) & (joined["moved"] == -np.sign(joined["effect"]))
    return joined


def rate(rows: pd.DataFrame, column: str) -> Rate:
    return Rate(int(rows[column].sum()), len(rows), rows["window"].nunique())


def alarms(rows: pd.DataFrame, how: str, schedule: str, nuisance: str) -> Rate:
    """A/A: how often a metric was called changed."""
    return rate(_null(rows, how, schedule, nuisance), "alarm")


def family_alarms(rows: pd.DataFrame, nuisance: str) -> Rate:
    """A/A: how often a case had any metric that was called changed, of all its metrics together."""
    null = _null(rows, "family", "interleaved", nuisance)
    return rate(null.groupby("case").agg(alarm=("alarm", "any"), window=("window", "first")), "alarm")


def _null(rows: pd.DataFrame, how: str, schedule: str, nuisance: str) -> pd.DataFrame:
    kept = (rows["how"] == how) & (rows["schedule"] == schedule) & (rows["nuisance"] == nuisance)
    return rows[kept & (rows["size"] == 0)]


def shifted(
    rows: pd.DataFrame, size: float, low: float, high: float, nuisance: str = "none", schedule: str = "interleaved"
) -> pd.DataFrame:
    """Answers, of all ways, where every metric was shifted by ± size and the spread is in (low, high]."""
    kept = (rows["schedule"] == schedule) & (rows["what"] == "shift") & (rows["size"] == size)
    return rows[kept & (rows["nuisance"] == nuisance) & (rows["spread"] > low) & (rows["spread"] <= high)]


def power(rows: pd.DataFrame, how: str) -> Rate:
    return rate(rows[rows["how"] == how], "found")


def saved(rows: pd.DataFrame) -> float:
    """The share of a fixed number of blocks that stopping early did not need."""
    same = rows[rows["planting"] == "stopping"]
    early, fixed = (same[same["how"] == how]["blocks"] for how in ("adaptive", "single"))
    return float(1 - early.mean() / fixed.mean()) if len(early) else float("nan")


def lost(rows: pd.DataFrame) -> float:
    """Points of power that stopping early cost on the same cases."""
    same = rows[rows["planting"] == "stopping"]
    return power(same, "single").value - power(same, "adaptive").value


def targets(rows: pd.DataFrame, mde: pd.DataFrame | None, others: pd.DataFrame | None) -> list[Target]:
    """What is asked of a judge. mde: answers to shifts of what it printed; others: pyperf's answers to the cases."""

    def at_most(name: str, figure: float, high: float) -> Target:
        return Target(name, figure, 0.0, high)

    def at_least(name: str, figure: float, low: float) -> Target:
        return Target(name, figure, low, np.inf)

    found = []
    for nuisance in ("none", "drift", "step", "variance", "outliers"):
        name = f"false alarms, interleaved, {nuisance}"
        found.append(at_most(name, alarms(rows, "single", "interleaved", nuisance).value, 0.06))
        found.append(at_most(f"{name}, family-wise", family_alarms(rows, nuisance).value, 0.08))
    several = alarms(rows[rows["several"]], "single", "interleaved", "none")
    found.append(at_most("false alarms, interleaved, metrics of several values a slot", several.value, 0.06))
    found.append(at_most("false alarms, adaptive", alarms(rows, "adaptive", "interleaved", "none").value, 0.06))
    found.append(at_least("+5 % found where spread ≤ 8 %", power(shifted(rows, 0.05, 0, 0.08), "single").value, 0.75))
    found.append(at_least("+2 % found where spread ≤ 3 %", power(shifted(rows, 0.02, 0, 0.03), "single").value, 0.75))
    for nuisance in ("drift", "step", "outliers"):
        name = f"+5 % found where spread ≤ 8 %, under {nuisance}"
        found.append(at_least(name, power(shifted(rows, 0.05, 0, 0.08, nuisance), "single").value, 0.75))
    five = shifted(rows, 0.05, 0, 0.08)
    found.append(at_least("blocks saved at +5 % where spread ≤ 8 %", saved(five), 0.45))
    found.append(Target("power lost at +5 % where spread ≤ 8 %", lost(five), -np.inf, 0.03))
    if mde is not None:
        for what, where in (("mde", "printed MDE found"), ("mde next", "printed MDE found in the next window")):
            found.append(Target(where, power(mde[mde["what"] == what], "single").value, 0.75, 0.85))
    if others is not None:
        found.append(at_least("pyperf's false alarms ÷ these", times_fewer(rows, others), 5))
    return found


def times_fewer(rows: pd.DataFrame, others: pd.DataFrame) -> float:
    """False alarms of one who runs arm after arm and asks `others`, ÷ those of the interleaved campaign.

    Over quiet cases, drift and step together.
    """

    def all_alarms(rows: pd.DataFrame, schedule: str) -> float:
        null = pd.concat(_null(rows, "single", schedule, nuisance) for nuisance in ("none", "drift", "step"))
        return rate(null, "alarm").value

    ours = all_alarms(rows, "interleaved")
    return all_alarms(others, "blocked") / ours if ours else np.inf
