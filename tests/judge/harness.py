"""Runs planter and replay as the programs of their own that they are, and puts answers and key together."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from tests.judge import score
from tests.judge.plant import MENUS

TOP = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Planted:
    """A planting: the folder that judges are given, and the key that they are not."""

    cases: Path
    key: Path

    def ask(self, judges: Sequence[str], how: str, *arguments: str) -> dict[str, pd.DataFrame]:
        """What judges say of it, beside what was planted. arguments: the replay's further ones."""
        _program("replay", str(self.cases), str(self.answers), "--judges", ",".join(judges), "--how", how, *arguments)
        return {judge: score.join(self.answers / f"{judge}.json", self.key) for judge in judges}

    @property
    def answers(self) -> Path:
        return self.cases.parent / "answers"


@dataclass(frozen=True)
class Trial:
    """Two plantings of the same windows: every kind of case, and what stopping early is judged by."""

    folder: Path
    arguments: tuple[str, ...]
    every: Planted
    stopping: Planted

    def ask(self, judges: Sequence[str]) -> dict[str, pd.DataFrame]:
        """Judges' answers in all ways."""
        fixed = self.every.ask(judges, "single,family")
        stopping = self.stopping.ask(judges, "single,adaptive")
        return {
            judge: pd.concat(
                [fixed[judge].assign(planting="all"), stopping[judge].assign(planting="stopping")], ignore_index=True
            )
            for judge in judges
        }

    def ask_mde(self, judge: str) -> pd.DataFrame:
        """Answers to shifts of just the size that the judge printed in `ask`, in the same windows and the next ones."""
        given = ("--mde", str(self.every.answers / f"{judge}.json"), "--of", str(self.every.key))
        rows = plant(self.folder, f"mde-{judge}", *given, *self.arguments).ask([judge], "single")[judge]
        return rows[rows["effect"] != 0]


def plant(folder: Path, name: str, *arguments: str) -> Planted:
    """Plants cases of the recordings in folder/name, with the planter's further arguments."""
    made = Planted(folder / name / "cases", folder / "keys" / f"{name}.json")
    _program("plant", str(made.cases), str(made.key), *arguments)
    return made


def trial(folder: Path, *arguments: str) -> Trial:
    """arguments: the planter's, such as seed and copies."""
    every, stopping = (plant(folder, menu, "--menu", menu, *arguments) for menu in MENUS)
    return Trial(folder, arguments, every, stopping)


def _program(name: str, *arguments: str) -> None:
    command = [sys.executable, "-m", f"tests.judge.{name}", *arguments]
    done = subprocess.run(command, cwd=TOP, capture_output=True, text=True, check=False)
    if done.returncode:
        raise RuntimeError(f"{' '.join(command)} ended with {done.returncode}:\n{done.stderr[-3000:]}")
