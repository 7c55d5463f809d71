"""Plants work into every guest's way to READY, in a copy of the project. It knows nothing of what will look for it.

python tests/integration/plant.py COPY TURNS

So many turns of a loop of the shell, or none: the init is as long as with any other number, so that nothing but the
loop differs, such as the size of the initramfs that a kernel has to unpack.
"""

from __future__ import annotations

import shutil
import sys
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
BEFORE = "printf '\\nREADY\\n'\n"
WORK = """i=0
while [ $i -lt {turns:06} ]; do i=$((i + 1)); done
"""


def main(copy: Path, turns: int) -> None:
    for part in ("bench", "analysis", "scenarios"):
        shutil.copytree(PROJECT / part, copy / part, ignore=shutil.ignore_patterns("__pycache__"))
    init = copy / "bench/init.sh"
    text = init.read_text()
    if text.count(BEFORE) != 1:
        sys.exit(f"{init}: where is READY?")
    init.write_text(text.replace(BEFORE, WORK.format(turns=turns) + BEFORE))


if __name__ == "__main__":
    main(Path(sys.argv[1]), int(sys.argv[2]))
