"""The arguments of `./tare test`."""

from __future__ import annotations

import sys

import pytest

from tests.run import Run, main, run_together, split_arguments


@pytest.mark.parametrize(
    ("arguments", "tiers", "rest"),
    [
        ([], ["lint", "unit", "judge", "integration", "lab", "web"], []),
        (["unit"], ["unit"], []),
        (["web", "lint"], ["web", "lint"], []),
        (["unit", "-k", "web"], ["unit"], ["-k", "web"]),
        (["-k", "plan"], ["unit", "judge", "integration", "lab", "web"], ["-k", "plan"]),
    ],
    ids=["none", "one", "two in their order", "a value that is a tier", "only pytest's"],
)
def test_tiers_come_first_and_the_rest_is_for_pytest(arguments: list[str], tiers: list[str], rest: list[str]) -> None:
    assert split_arguments(arguments) == (tiers, rest)


def test_an_unknown_tier_is_named(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["unti"]) == 2
    assert capsys.readouterr().err == "tare test: no tier 'unti'; there are lint, unit, judge, integration, lab, web\n"


def test_what_runs_together_is_printed_whole_and_told_apart(capsys: pytest.CaptureFixture[str]) -> None:
    def work(name: str, run: Run) -> bool:
        code = f"import sys; print('{name}', 1); print('{name}', 2); sys.exit({int(name == 'bad')})"
        return run([sys.executable, "-c", code]) == 0

    summary = run_together(["good", "bad"], work)
    assert sorted((name, passed) for name, passed, _ in summary) == [("bad", False), ("good", True)]
    out = capsys.readouterr().out
    assert all(f"── {name}\n{name} 1\n{name} 2\n" in out for name in ("good", "bad"))
