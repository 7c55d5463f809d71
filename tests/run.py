"""``./tare test [TIER...] [PYTEST ARGUMENT...]``: the project's own tests, tier by tier.
``./tare test fuzz [--seconds N] [--seed S]``: broken files for everything that Tare reads, for longer than in the tier
unit, which has some seconds of it.

Without a tier all of them run. Arguments after the tiers go to pytest: ``./tare test unit -k plan``.
Tiers that need no host for themselves run at the same time, and each is printed when it has ended.
Exit status: 0 all passed, 1 a tier failed, 2 wrong usage, 130 interrupted.
"""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor, as_completed
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
#: They leave the host, and each other, alone.
TOGETHER = ("lint", "unit", "judge", "web")
#: What a tier would wait for, which can be had while those run.
AHEAD = {"lab": [sys.executable, "-m", "bench", "lab", "build"]}

#: Runs a command in the checkout; its exit status.
Run = Callable[[list[str]], int]


def split_arguments(arguments: list[str]) -> tuple[list[str], list[str]]:
    """The tiers that lead ``arguments`` (all of them if there are none), and the rest, which is pytest's."""
    count = next((i for i, argument in enumerate(arguments) if argument not in TIERS), len(arguments))
    rest = arguments[count:]
    tiers = arguments[:count] or list(PYTEST_TIERS if rest else TIERS)
    return tiers, rest


def shown(command: list[str]) -> int:
    """With this terminal."""
    return subprocess.run(command, cwd=TOP, check=False).returncode


class Kept:
    """Runs commands silently and keeps what they print."""

    def __init__(self) -> None:
        self.text = ""

    def __call__(self, command: list[str]) -> int:
        done = subprocess.run(
            command, cwd=TOP, check=False, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        )
        self.text += done.stdout
        return done.returncode


def run_tier(tier: str, pytest_arguments: list[str], run: Run) -> bool:
    """Whether everything in ``tier`` passed. A tier in which ``pytest_arguments`` select nothing passes."""
    if tier == "lint":
        statuses = [run(command) for command in LINT]
        return not any(statuses)
    status = run([sys.executable, "-m", "pytest", "--durations=15", f"tests/{tier}", *pytest_arguments])
    return status == 0 or (status == NO_TEST_SELECTED and bool(pytest_arguments))


def run_together(names: list[str], work: Callable[[str, Run], bool]) -> list[tuple[str, bool, float]]:
    """Each one's work at the same time; name, whether it went well, and its seconds."""
    summary = []
    began = time.monotonic()
    kept = {name: Kept() for name in names}
    print(f"── {', '.join(names)}", flush=True)
    with ThreadPoolExecutor(len(names)) as pool:
        running = {pool.submit(work, name, kept[name]): name for name in names}
        for done in as_completed(running):
            name = running[done]
            print(f"── {name}\n{kept[name].text}", end="", flush=True)
            summary.append((name, done.result(), time.monotonic() - began))
    return summary


def run_all(tiers: list[str], pytest_arguments: list[str]) -> list[tuple[str, bool, float]]:
    """Those that can together, and what the others need ahead; then the others one by one."""
    summary = []
    together = [tier for tier in tiers if tier in TOGETHER]
    if len(together) > 1:
        ahead = {f"{tier}, ahead": AHEAD[tier] for tier in tiers if tier in AHEAD and not pytest_arguments}

        def work(name: str, run: Run) -> bool:
            return run(ahead[name]) == 0 if name in ahead else run_tier(name, pytest_arguments, run)

        summary = run_together([*together, *ahead], work)
    done = [name for name, _, _ in summary]
    for tier in tiers:
        if tier not in done:
            print(f"── {tier}", flush=True)
            began = time.monotonic()
            summary.append((tier, run_tier(tier, pytest_arguments, shown), time.monotonic() - began))
    return summary


def main(arguments: list[str]) -> int:
    if arguments[:1] in (["-h"], ["--help"]):
        print(f"{__doc__}\nTiers: {', '.join(TIERS)}")
        return 0
    if arguments[:1] == ["fuzz"]:
        return shown([sys.executable, "-m", "tests.fuzz", *arguments[1:]])
    tiers, pytest_arguments = split_arguments(arguments)
    if pytest_arguments and not pytest_arguments[0].startswith("-"):
        print(f"tare test: no tier {pytest_arguments[0]!r}; there are {', '.join(TIERS)}", file=sys.stderr)
        return 2
    summary = run_all(tiers, pytest_arguments)
    print("──")
    for tier, passed, seconds in summary:
        print(f"{tier:<12} {'passed' if passed else 'FAILED'}  {seconds:6.1f} s")
    return 0 if all(passed for _, passed, _ in summary) else 1


if __name__ == "__main__":
    try:
        sys.exit(main(sys.argv[1:]))
    except KeyboardInterrupt:
        sys.exit(130)
