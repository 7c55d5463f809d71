"""What loading keeps, forgives and refuses."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from analysis.load import load
from bench.errors import InputError
from tests.synthetic import ARMS, campaign


def test_frames_have_a_row_a_slot_a_value_and_a_step(tmp_path: Path) -> None:
    loaded = load([campaign(tmp_path / "a", blocks=2, values=3, ramp=4)])
    assert len(loaded.slots) == len(loaded.records) == 2 * len(ARMS) + len(ARMS) + 2
    assert len(loaded.ramps) == 4 * len(ARMS)
    spawns = loaded.samples[(loaded.samples["metric"] == "spawn") & (loaded.samples["arm"] == "crun")]
    assert spawns["index"].tolist() == [0, 1, 2, 0, 1, 2]


def test_families_stand_in_their_order(tmp_path: Path) -> None:
    arms = {name: ARMS[name] for name in ("uml", "crun", "process", "qemu@6.1.0-56", "bwrap")}
    order = list(load([campaign(tmp_path / "a", arms=arms)]).arms)
    assert [name for name in order if name in arms] == ["process", "crun", "bwrap", "qemu@6.1.0-56", "uml"]


def test_a_journal_alone_is_enough(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=2)
    (folder / "plan.json").unlink()
    (folder / "facts.json").unlink()
    loaded = load([folder])
    assert loaded.baseline == "process"
    assert set(loaded.arms) >= set(ARMS)


def test_the_last_line_of_a_slot_counts(tmp_path: Path) -> None:
    folder = campaign(tmp_path / "a", blocks=1)
    first = json.loads((folder / "journal.jsonl").read_text().splitlines()[0])
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write(json.dumps(first | {"status": "failed"}) + "\n")
    slots = load([folder]).slots
    assert slots.loc[slots["slot"] == first["slot"], "status"].tolist() == ["failed"]


def test_unknown_keys_are_no_error(tmp_path: Path) -> None:
    load([campaign(tmp_path / "a", blocks=1, change=lambda record: record.update(weather={"rain": True}))])


def test_several_campaigns_keep_their_blocks_apart(tmp_path: Path) -> None:
    loaded = load([campaign(tmp_path / "a", blocks=2), campaign(tmp_path / "b", blocks=3, seed=2)])
    assert loaded.slots.groupby("run")["block"].max().tolist() == [2, 3]


def test_different_baselines_are_refused(tmp_path: Path) -> None:
    others = dict(reversed(ARMS.items()))
    with pytest.raises(InputError, match="different baselines"):
        load([campaign(tmp_path / "a"), campaign(tmp_path / "b", arms=others)])


def test_no_folder_and_no_journal_are_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no results folder given"):
        load([])
    with pytest.raises(InputError, match="no results folder at"):
        load([tmp_path / "none"])
    with pytest.raises(InputError, match="no journal at"):
        load([tmp_path])


@pytest.mark.parametrize("content", [b"", b"\n\n", b'{"slot": "torn'])
def test_an_empty_journal_is_refused(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "journal.jsonl").write_bytes(content)
    with pytest.raises(InputError, match="is empty"):
        load([tmp_path])


@pytest.mark.parametrize(
    "change",
    [
        {"samples": [{"metric": "boot", "values": ["fast"]}]},
        {"samples": [{"metric": "boot", "values": [None]}]},
        {"samples": [{"metric": "boot", "values": [True]}]},
        {"samples": [{"metric": "boot", "values": [float("nan")]}]},
        {"samples": [{"metric": ["boot"], "values": [1.0]}]},
        {"samples": [{"values": [1.0]}]},
        {"samples": ["boot"]},
        {"samples": "boot"},
        {"block": "first"},
        {"marks": {"ready": "now"}},
        {"marks": ["ready"]},
        {"ramp": [{"n": "many"}]},
        {"equivalence": "equal"},
        {"samples": [{"metric": "boot", "values": [1e308]}]},
        {"samples": [{"metric": "boot", "values": [10**25]}]},
        {"samples": [{"metric": "boot", "values": [1.0], "better": "sideways"}]},
        {"cpu_s": 10**25},
        {"memory": {"cage": 1e300}},
        {"arm": None},
    ],
)
def test_a_wrong_type_names_file_and_line_or_slot(tmp_path: Path, change: dict[str, Any]) -> None:
    folder = campaign(tmp_path / "a", blocks=1, change=lambda record: record.update(change))
    with pytest.raises(InputError, match=r"journal\.jsonl(:1: |: slot 'b01-s01' is not a journal record)") as caught:
        load([folder])
    assert "\n" not in str(caught.value)


def test_what_nothing_resolves_is_zero(tmp_path: Path) -> None:
    """The rounding of a difference, for one; a ratio of it would be no number."""
    values = [5e-324, -1e-17, 1e-9, 0.0]
    change = {"samples": [{"metric": "boot", "values": values, "unit": "second"}]}
    folder = campaign(tmp_path / "a", blocks=1, change=lambda record: record.update(change))
    assert load([folder]).samples["value"].tolist()[:4] == [0.0, 0.0, 1e-9, 0.0]


@pytest.mark.parametrize("name", ["../../etc/passwd", "a/b", "..", "", "tab\there"])
def test_an_arm_that_cannot_be_a_file_is_refused(tmp_path: Path, name: str) -> None:
    folder = campaign(tmp_path / "a", blocks=1, change=lambda record: record.update(arm=name))
    with pytest.raises(InputError, match="cannot be a file name"):
        load([folder])


@pytest.mark.parametrize("text", ["not json", "[]", '{"arms": ["crun"]}'])
def test_a_plan_that_is_none_is_refused(tmp_path: Path, text: str) -> None:
    folder = campaign(tmp_path / "a", blocks=1)
    (folder / "plan.json").write_text(text)
    with pytest.raises(InputError, match=r"plan\.json"):
        load([folder])
