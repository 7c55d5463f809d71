"""Plants work into every guest's way to READY, in a copy of the project. It knows nothing of what will look for it.

python tests/integration/plant.py COPY ITERATIONS
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
BEFORE = "printf '\\nREADY\\n'\n"
WORK = """i=0
while [ $i -lt {iterations} ]; do i=$((i + 1)); done
"""


def main(copy: Path, iterations: int) -> None:
    for part in ("bench", "analysis", "scenarios"):
        shutil.copytree(PROJECT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    init = copy / "bench/init.sh"
    text = init.read_text()
    if text.count(BEFORE) != 1:
        sys.exit(f"{init}: where is READY?")
    init.write_text(text.replace(BEFORE, WORK.format(iterations=iterations) + BEFORE))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
