"""``./tare test [TIER...] [PYTEST ARGUMENT...]``: the project's own tests, tier by tier.

Without a tier all of them run. Arguments after the tiers go to pytest: ``./tare test unit -k plan``.
Exit status: 0 all passed, 1 a tier failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

TOP = Path(__file__).resolve().parent.parent
SCRIPTS = Path(sys.executable).parent
NO_TEST_SELECTED = 5

LINT = [
    [str(SCRIPTS / "ruff"), "check", "."],
    [str(SCRIPTS / "ruff"), "format", "--check", "."],
    [sys.executable, "-m", "mypy"],
    [str(SCRIPTS / "lint-imports")],
]
PYTEST_TIERS = ("unit", "judge", "integration", "lab", "web")
TIERS = ("lint", *PYTEST_TIERS)


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The tiers that lead ``arguments`` (all of them if there are none), and the rest, which is pytest's."""
    count = next((i for i, argument in enumerate(arguments) if argument not in TIERS), len(arguments))
    rest = arguments[count:]
    tiers = arguments[:count] or list(PYTEST_TIERS if rest else TIERS)
    return tiers, rest


def run(command: list[str]) -> int:
    """Runs ``command`` in the checkout with this terminal, and returns its exit status."""
    return subprocess.run(command, cwd=TOP, check=False).returncode


def run_tier(tier: str, pytest_arguments: list[str]) -> bool:
    """Whether everything in ``tier`` passed. A tier in which ``pytest_arguments`` select nothing passes."""
    if tier == "lint":
        statuses = [run(command) for command in LINT]
        return not any(statuses)
    status = run([sys.executable, "-m", "pytest", f"tests/{tier}", *pytest_arguments])
    return status == 0 or (status == NO_TEST_SELECTED and bool(pytest_arguments))


def main(arguments: list[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"]):
        print(f"{__doc__}\nTiers: {', '.join(TIERS)}")
        return 0
    tiers, pytest_arguments = split_arguments(arguments)
    if pytest_arguments and not pytest_arguments[0].startswith("-"):
        print(f"tare test: no tier {pytest_arguments[0]!r}; there are {', '.join(TIERS)}", file=sys.stderr)
        return 2
    summary = []
    for tier in tiers:
        print(f"── {tier}", flush=True)
        began = time.monotonic()
        passed = run_tier(tier, pytest_arguments)
        summary.append((tier, passed, time.monotonic() - began))
    print("──")
    for tier, passed, seconds in summary:
        print(f"{tier:<12} {'passed' if passed else 'FAILED'}  {seconds:6.1f} s")
    return 0 if all(passed for _, passed, _ in summary) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
