"""The judge reaches its targets on what was recorded, and no mutant of it does."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from tests.judge import harness, score
from tests.judge.judges import MUTANTS
from tests.judge.score import Target

PLANTED = ("--seed", "1", "--windows", "20", "--copies", "4")
#: Mutants, and pyperf, are so far off that a part of the windows shows it.
FEW = ("--seed", "2", "--windows", "8")
CAUGHT_BY = {
    "always-no": "+5 % found where spread ≤ 8 %",
    "always-yes": "false alarms, interleaved, none",
    "pooled": "false alarms, interleaved, metrics of several values a slot",
    "blocked": "+5 % found where spread ≤ 8 %, under outliers",
    "peeking": "false alarms, adaptive",
    "uncorrected": "false alarms, interleaved, none, family-wise",
    "boasting": "printed MDE found",
}
#: What these recordings do not show: no window of them is calm enough for +2 %, also on a quiet host, and what an
#: early stop saves and costs differs too much between the few windows with a spread of 3 to 8 %.
NOT_SHOWN = frozenset(
    {
        "+2 % found where spread ≤ 3 %",
        "blocks saved at +5 % where spread ≤ 8 %",
        "power lost at +5 % where spread ≤ 8 %",
    }
)

Missed = dict[str, list[Target]]


@pytest.fixture(scope="session")
def missed(tmp_path_factory: pytest.TempPathFactory) -> Missed:
    """The targets that each judge misses."""
    folder = tmp_path_factory.mktemp("judge")
    trial = harness.trial(folder / "all", *PLANTED)
    few = harness.trial(folder / "few", *FEW)
    mutants = [mutant.name for mutant in MUTANTS]
    with ThreadPoolExecutor(2) as pool:
        ours = pool.submit(trial.ask, ["tare"])
        said = few.ask(mutants)
        mde = {"boasting": few.ask_mde("boasting")}
        others = {"tare": few.every.ask(["pyperf"], "single")["pyperf"]}
    said |= ours.result()
    mde["tare"] = trial.ask_mde("tare")
    return {name: _misses(score.targets(rows, mde.get(name), others.get(name))) for name, rows in said.items()}


def _misses(targets: list[Target]) -> list[Target]:
    return [target for target in targets if not target.reached]


def test_the_judge_reaches_every_target_that_the_recordings_show(missed: Missed) -> None:
    assert [str(target) for target in missed["tare"] if target.name not in NOT_SHOWN] == []


@pytest.mark.parametrize("mutant", [mutant.name for mutant in MUTANTS])
def test_a_mutant_misses_the_target_that_is_there_for_it(missed: Missed, mutant: str) -> None:
    assert CAUGHT_BY[mutant] in [target.name for target in missed[mutant]]


def test_the_command_says_the_same(tmp_path: Path) -> None:
    planted = harness.plant(tmp_path, "folders", "--seed", "3", "--windows", "2", "--folders", "4")
    said = planted.ask(["cli", "tare"], "single")
    both = said["cli"].merge(said["tare"], on=["case", "metric"], suffixes=("", "_alone"))
    assert both["case"].nunique() == 4
    assert both["p"].to_numpy() == pytest.approx(both["p_alone"].to_numpy(), rel=1e-6)
    called = both["moved"] != 0
    assert (both["moved"] == both["moved_alone"])[called].all()
    assert (both["blocks"] == both["blocks_alone"]).all()
