"""The referee on folders as a campaign leaves them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from analysis.referee import Referee

ARMS = ("a", "b", "c", "d")


def folder(path: Path, values: dict[str, list[float]], unit: str = "second") -> tuple[Path, dict[str, Any]]:
    """A campaign of one metric: values by arm and block. NaN is a slot that failed."""
    blocks = len(values["a"])
    lines = []
    for arm, column in values.items():
        for block, value in enumerate(column, start=1):
            good = not np.isnan(value)
            line: dict[str, Any] = {
                "schema": 1,
                "slot": f"{arm}{block}",
                "block": block,
                "scenario": "boot",
                "arm": arm,
            }
            line |= {"status": "ok" if good else "failed", "samples": []}
            if good:
                metric = "boot" if unit == "second" else "boot.instructions"
                line["samples"] = [{"metric": metric, "values": [value], "unit": unit, "better": "lower"}]
            lines.append(line)
    plan = {
        "schema": 1,
        "blocks": 40,
        "scenarios": {"boot": {"measures": ["boot"], "blocks": None}},
        "measures": {"boot": {arm: ["boot"] for arm in values}},
        "stop": {"pairs": [["a", "b"], ["a", "c"]], "delta": 0.03},
        "slots": [{key: line[key] for key in ("slot", "block", "scenario", "arm")} for line in lines],
    }
    (path / "plan.json").write_text(json.dumps(plan))
    (path / "journal.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert blocks <= 40
    return path, plan


def noisy(shift: float, spread: float, blocks: int, seed: int) -> list[float]:
    return list(np.exp(np.random.default_rng(seed).standard_normal(blocks) * spread) * shift)


def test_looks_are_due_at_set_blocks(tmp_path: Path) -> None:
    _, plan = folder(tmp_path, {"a": [1.0], "b": [1.0]})
    assert [block for block in range(1, 15) if Referee(plan).due(block)] == [2, 8, 10, 12, 14]


def test_a_pair_stops_when_it_is_decided_and_its_base_when_all_are(tmp_path: Path) -> None:
    values = {"a": noisy(1, 0.01, 10, 1), "b": noisy(1.2, 0.01, 10, 2), "c": noisy(1.01, 0.3, 10, 3)}
    path, plan = folder(tmp_path, values)
    found = Referee(plan).look(path, 10)
    first, second = found["metrics"]
    assert (first["new"], first["verdict"], first["over"], second["over"]) == ("b", "regressed", True, False)
    assert found["stopped"] == [{"scenario": "boot", "arm": "b", "blocks": 10}]
    assert "1 of 2" in found["text"]
    values["c"] = noisy(1.5, 0.01, 10, 3)
    path, plan = folder(tmp_path, values | {"d": noisy(1, 0.5, 10, 4)})
    found = Referee(plan).look(path, 10)
    assert {each["arm"] for each in found["stopped"]} == set(ARMS)  # d is compared with nothing and stops with them


def test_later_blocks_are_not_looked_at(tmp_path: Path) -> None:
    """A resumed campaign decides as the interrupted one would have."""
    values = {"a": noisy(1, 0.05, 40, 1), "b": noisy(1.02, 0.05, 40, 2), "c": noisy(1, 0.05, 40, 3)}
    path, plan = folder(tmp_path, values)
    whole = Referee(plan).look(path, 12)
    path, plan = folder(tmp_path, {arm: column[:12] for arm, column in values.items()})
    assert Referee(plan).look(path, 12) == whole


def test_counts_that_repeat_are_decided_by_their_repetition(tmp_path: Path) -> None:
    path, plan = folder(tmp_path, {"a": [1e9, 1e9], "b": [1e9, 1e9], "c": [1.001e9, 1.001e9]}, "instruction")
    found = Referee(plan).look(path, 2)
    assert [each["verdict"] for each in found["metrics"]] == ["equivalent(exactly)", "regressed"]
    assert {each["arm"] for each in found["stopped"]} == {"a", "b", "c"}


def test_times_are_not_decided_before_the_first_look(tmp_path: Path) -> None:
    path, plan = folder(tmp_path, {"a": [1.0, 1.0], "b": [2.0, 2.0], "c": [1.0, 1.0]})
    assert Referee(plan).look(path, 2)["stopped"] == []


@pytest.mark.parametrize("bad", [[float("nan")] * 10, [float("nan")] * 5 + [1.0] * 5])
def test_failed_slots_decide_nothing(tmp_path: Path, bad: list[float]) -> None:
    path, plan = folder(tmp_path, {"a": noisy(1, 0.01, 10, 1), "b": bad, "c": noisy(1.2, 0.01, 10, 3)})
    found = Referee(plan).look(path, 10)
    assert "b" not in {each["arm"] for each in found["stopped"]}


def test_what_a_look_decided_stays_decided(tmp_path: Path) -> None:
    """Later noise takes no verdict back, or the looks' levels would mean nothing."""
    values = {"a": noisy(1, 0.01, 20, 1), "b": noisy(1.2, 0.01, 10, 2) + noisy(0.4, 0.5, 10, 5), "c": [1.0] * 20}
    path, plan = folder(tmp_path, values)
    early = Referee(plan).look(path, 10)
    (path / "decisions.json").write_text(json.dumps(early))
    late = Referee(plan).look(path, 20)
    assert early["metrics"][0] == late["metrics"][0]
    assert early["metrics"][0]["verdict"] == "regressed"
