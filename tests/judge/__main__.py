"""The whole report: the judge, its mutants and what people use instead, on the recordings.

    .venv/bin/python -m tests.judge [--windows 20] [--copies 4] [--otava PYTHON]

Writes tests/judge/REPORT.md and REPORT.json. Takes some minutes. Otava is run where an interpreter is named that has it
(`python3 -m venv DIR; DIR/bin/pip install apache-otava`).
"""

from __future__ import annotations

import argparse
import os
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from tests.judge import harness, report
from tests.judge.judges import MUTANTS

SEED = "20261122"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--copies", default="4", help="cases of each kind and window, with labels drawn anew")
    parser.add_argument("--windows", default="20", help="so many windows, drawn at random")
    parser.add_argument("--folders", default="60", help="cases that `tare compare` is run on")
    parser.add_argument("--otava", help="an interpreter that can import otava")
    parser.add_argument("--out", type=Path, default=Path(__file__).resolve().parent, help="where the report goes")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="tare-judge-") as made, ThreadPoolExecutor(os.cpu_count()) as pool:
        given = ("--seed", SEED, "--windows", arguments.windows)
        trial = harness.trial(Path(made) / "all", *given, "--copies", arguments.copies)
        folders = harness.plant(Path(made), "folders", "--seed", "3", "--windows", "20", "--folders", arguments.folders)
        few = harness.trial(Path(made) / "few", *given)
        mutants = [kind.name for kind in MUTANTS]
        asked = [pool.submit(trial.ask, ["tare"]), pool.submit(few.ask, mutants)]
        asked.append(pool.submit(few.every.ask, ["pyperf", "mann-whitney"], "single"))
        asked.append(pool.submit(folders.ask, ["cli"], "single"))
        if arguments.otava:
            asked.append(pool.submit(few.every.ask, ["otava"], "single", "--otava", arguments.otava))
        said = {name: rows for future in asked for name, rows in future.result().items()}
        later = {"tare mde": pool.submit(trial.ask_mde, "tare"), "boasting mde": pool.submit(few.ask_mde, "boasting")}
        said |= {name: future.result() for name, future in later.items()}
    report.write(
        said, f"python -m tests.judge --windows {arguments.windows} --copies {arguments.copies}", arguments.out
    )
    print(arguments.out / "REPORT.md")


if __name__ == "__main__":
    main()
