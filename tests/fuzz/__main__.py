"""``./tare test fuzz [--seconds N] [--seed S] [--only NUMBER]``: broken files for everything that Tare reads.

Each case breaks one file of a sound set (a record, a campaign, a policy, an inventory, results of other tools) and
runs a command on it. It must end with a result, or with one clear line; anything else is kept in ``fuzz-found/``, with
the command to see it again. Exit status: 0 nothing was found, 1 something was, 2 wrong usage.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from tests.fuzz.drive import drive


def _tell(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def main(arguments: list[str]) -> int:
    parser = argparse.ArgumentParser(prog="tare test fuzz", description=(__doc__ or "").partition("\n\n")[2])
    parser.add_argument("--seconds", type=float, default=60.0, help="how long (60)")
    parser.add_argument("--seed", type=int, default=1, help="another seed is other cases (1)")
    parser.add_argument("--only", type=int, metavar="NUMBER", help="this case alone")
    parser.add_argument("--kind", default="", help="only these, like report, compare, plan")
    parser.add_argument("--keep", type=Path, default=Path("fuzz-found"), metavar="DIR", help="where what is found goes")
    given = parser.parse_args(arguments)
    ended, found = drive(given.seed, given.seconds, tell=_tell, only=given.only, kind=given.kind, keep=given.keep)
    codes = ", ".join(f"{count} with {code}" for code, count in ended.most_common())
    _tell(f"{ended.total()} cases of seed {given.seed}, {len(found)} found; exit status: {codes}")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
