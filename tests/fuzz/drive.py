"""Has a child run cases for a while, and replaces one that hangs or dies."""

from __future__ import annotations

import itertools
import json
import os
import select
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent.parent
#: Seconds in which a child answers on the busiest machine: it limits the processor time of a case itself.
_SILENCE = 120.0


@dataclass(frozen=True)
class Finding:
    """A case that did not end as it should. wrong: how it ended."""

    seed: int
    number: int
    kind: str
    broken: str
    argv: list[str]
    wrong: str

    def __str__(self) -> str:
        kind = f" --kind {self.kind}" if self.kind else ""
        again = f"./tare test fuzz --seed {self.seed} --only {self.number}{kind}"
        return f"{again}: a broken {self.broken}, `tare {' '.join(self.argv)}`: {self.wrong}"


class _Child:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.fuzz.child"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": str(TOP), "MPLBACKEND": "agg"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def ask(self, seed: int, number: int, kind: str) -> tuple[str, list[str], str, str | None] | None:
        """What was broken, the command, its exit code, and what is wrong; None where there is no answer."""
        assert self._process.stdin
        assert self._process.stdout
        try:
            self._process.stdin.write(f"{seed} {number} {kind}\n".encode())
            self._process.stdin.flush()
        except BrokenPipeError:
            return None
        if not select.select([self._process.stdout], [], [], _SILENCE)[0]:
            return None
        line = self._process.stdout.readline()
        if not line:
            return None
        answer = json.loads(line)
        return answer["broken"], answer["argv"], answer["ended"], answer["wrong"]

    def end(self) -> None:
        self._process.kill()
        self._process.communicate()


def drive(
    seed: int,
    seconds: float,
    *,
    tell: Callable[[str], object],
    only: int | None = None,
    kind: str = "",
    keep: Path | None = None,
) -> tuple[Counter[str], list[Finding]]:
    """How the cases ended that were run in so many seconds, and what was found. keep: where the folders of these are
    copied.

    only: the case of this number alone; kind: see inputs.case().
    """
    deadline = time.monotonic() + seconds
    found: list[Finding] = []
    ended: Counter[str] = Counter()
    with tempfile.TemporaryDirectory(prefix="tare-fuzz-") as scratch:
        child: _Child | None = None
        for number in itertools.count() if only is None else [only]:
            if time.monotonic() > deadline:
                break
            child = child or _Child(Path(scratch) / f"child-{number}")
            answer = child.ask(seed, number, kind)
            broken, argv, end, wrong = answer or ("file", ["…"], "never", "no answer: it hangs, or has died")
            ended[end] += 1
            if wrong is not None:
                found.append(finding := Finding(seed, number, kind, broken, argv, wrong))
                tell(str(finding))
                if keep is not None and (child.folder / "case").is_dir():
                    target = keep / f"{seed}-{number}"
                    shutil.rmtree(target, ignore_errors=True)
                    shutil.copytree(child.folder / "case", target)
                    (target / "FOUND.txt").write_text(f"{finding}\n")
            if answer is None:
                child.end()
                child = None
        if child:
            child.end()
    return ended, found
