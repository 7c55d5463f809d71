"""The replay: gives a judge the cases and writes down what it says. It is given no key.

    python -m tests.judge.replay CASES ANSWERS [--judges tare,pyperf] [--how single,family,adaptive]

ANSWERS is a folder; in it JUDGE.json is a list of case, metric, how and the answer. `single`: each metric as if it were
the only one; `family`: all metrics of a case together; `adaptive`: each metric of an interleaved case, stopping early.
Judges that are programs have one way of their own: `pyperf` and `otava` (the latter by --otava PYTHON, an interpreter
that has it) are `single`; `cli`, `tare compare --json` on each case that has a results folder, says also what gates.
"""

from __future__ import annotations

import argparse
import json
import re
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any, Final

import numpy as np

from tests.judge import cases
from tests.judge.cases import Case
from tests.judge.judges import JUDGES, Answer, Judge

HOWS: Final = ("single", "family", "adaptive")
PROGRAMS: Final = ("cli", "pyperf", "otava")


def replay(found: list[Case], judge: Judge, hows: tuple[str, ...]) -> list[dict[str, Any]]:
    """What this judge says of every metric of every case, in each of these ways."""
    said = []
    for case in found:
        for how in hows:
            if how == "adaptive" and not all(pair.paired for pair in case.pairs):
                continue
            if how == "family":
                answers = judge.family(case.pairs)
            elif how == "single":
                answers = [judge.family([pair])[0] for pair in case.pairs]
            else:
                answers = [judge.adaptive(pair) for pair in case.pairs]
            said += [_said(case, pair.metric, how, answer) for pair, answer in zip(case.pairs, answers, strict=True)]
    return said


def _said(case: Case, metric: str, how: str, answer: Answer) -> dict[str, Any]:
    return {"case": case.id, "metric": metric, "how": how, **answer.as_dict()}


def cli(found: list[Case], folder: Path) -> list[dict[str, Any]]:
    """What `tare compare` prints of the cases that there are results folders of."""
    said = []
    for case in found:
        inside = folder / case.id
        if not inside.is_dir():
            continue
        command = [sys.executable, "-m", "bench", "compare", case.base, case.new, "--in", str(inside), "--json"]
        done = subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)
        if done.returncode:
            sys.exit(f"{' '.join(command)} ended with {done.returncode}: {done.stderr[-2000:]}")
        for row in json.loads(done.stdout)["metrics"]:
            called = row["kind"] in ("regressed", "improved")
            moved = (1 if row["ratio"] > 1 else -1) if called else 0
            answer = Answer(moved, row["kind"] == "equivalent", row["p"], row["mde"], row["count"])
            said.append(_said(case, row["metric"], "cli", answer) | {"gates": row["gates"]})
    return said


def pyperf(found: list[Case]) -> list[dict[str, Any]]:
    """What `pyperf compare_to` prints of all cases, as two suites: by its groups of slower and faster benchmarks."""
    with tempfile.TemporaryDirectory(prefix="tare-replay-") as folder:
        base, new = Path(folder) / "base.json", Path(folder) / "new.json"
        cases.pyperf_suites(found, base, new)
        command = [sys.executable, "-m", "pyperf", "compare_to", "-G", "-q", str(base), str(new)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=600, check=True)
    moved: dict[str, int] = {}
    direction = 0
    for line in done.stdout.splitlines():
        if match := re.match(r"(Slower|Faster|Same speed) \(\d+\):$", line):
            direction = {"Slower": 1, "Faster": -1, "Same speed": 0}[match[1]]
        elif match := re.match(r"- (\S+): ", line):
            moved[match[1]] = direction
    known = {f"{case.id}:{pair.metric}" for case in found for pair in case.pairs}
    assert moved.keys() <= known, f"pyperf printed something else: {sorted(moved.keys() - known)[:3]}"
    return [
        _said(case, pair.metric, "single", Answer(moved.get(f"{case.id}:{pair.metric}", 0), blocks=len(pair.base)))
        for case in found
        for pair in case.pairs
    ]


_OTAVA: Final = """
import json, sys
from otava.series import AnalysisOptions, Metric, Series
found = []
for values in json.load(sys.stdin):
    series = Series("t", None, list(range(len(values))), {"m": Metric()}, {"m": values}, {})
    points = series.analyze(AnalysisOptions()).change_points["m"]
    found.append([[int(p.index), bool(p.mean_after() > p.mean_before())] for p in points])
json.dump(found, sys.stdout)
"""


def otava(found: list[Case], python: str) -> list[dict[str, Any]]:
    """Otava with its defaults on the series of all of BASE's slots and then NEW's; any change point is a call.

    Its direction is that of the point nearest to where NEW begins.
    """
    pairs = [(case, pair) for case in found for pair in case.pairs]
    series = [[float(np.median(slot)) for slot in pair.base + pair.new] for _, pair in pairs]
    done = subprocess.run(
        [python, "-c", _OTAVA], input=json.dumps(series), capture_output=True, text=True, timeout=3600, check=True
    )
    said = []
    for (case, pair), points in zip(pairs, json.loads(done.stdout), strict=True):
        nearest = min(points, key=lambda point: abs(point[0] - len(pair.base)), default=None)
        moved = 0 if nearest is None else 1 if nearest[1] else -1
        said.append(_said(case, pair.metric, "single", Answer(moved, blocks=len(pair.base))))
    return said


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cases", type=Path)
    parser.add_argument("answers", type=Path)
    parser.add_argument("--judges", default="tare", help=f"of {', '.join([*JUDGES, *PROGRAMS])}")
    parser.add_argument("--how", default=",".join(HOWS))
    parser.add_argument("--otava", help="an interpreter that can import otava")
    arguments = parser.parse_args()
    found = cases.read(arguments.cases)
    arguments.answers.mkdir(exist_ok=True)
    for name in arguments.judges.split(","):
        if name == "cli":
            said = cli(found, arguments.cases)
        elif name == "pyperf":
            said = pyperf(found)
        elif name == "otava":
            said = otava(found, arguments.otava)
        else:
            said = replay(found, JUDGES[name], tuple(arguments.how.split(",")))
        (arguments.answers / f"{name}.json").write_text(json.dumps(said))


if __name__ == "__main__":
    main()
