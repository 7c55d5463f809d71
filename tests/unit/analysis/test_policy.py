"""Policy files: what they say, which rule counts, and what is refused."""

from __future__ import annotations

from pathlib import Path

import pytest

from analysis.policy import DELTA, Limits, Policy, Rule, read_policy
from bench.errors import InputError

SHIPPED = Path(__file__).resolve().parents[3] / "scenarios/policy.toml"


def _policy(folder: Path, text: str) -> Policy:
    (folder / "policy.toml").write_text(text)
    return read_policy(folder / "policy.toml")


def test_the_example_that_ships_is_the_default() -> None:
    assert read_policy(SHIPPED) == Policy()


def test_every_key_of_the_example_that_ships_is_one(tmp_path: Path) -> None:
    text = "\n".join(
        line.removeprefix("# ") if line.startswith(("# [", "# d", "# g", "# t", "# at_")) else line
        for line in SHIPPED.read_text().splitlines()
        if " = " in line or "[metrics" in line
    )
    found = _policy(tmp_path, text)
    assert found.tolerate == 0.02
    assert found.limits("lifecycle", "boot.cpu").delta == 0.03
    assert not found.limits("lifecycle", "exec.cpu").gates
    assert found.limits("any", "boot.instructions").tolerate == 0.001
    assert [str(each) for each in found.limits("any", "boot").bounds] == ["at most 125 ms"]
    assert [each.value for each in found.limits("any", "nginx.rate").bounds] == [20000]


@pytest.mark.parametrize(
    ("metric", "gates"),
    [
        ("boot", True),
        ("boot.cpu", True),
        ("boot.instructions", True),
        ("boot.kernel", False),
        ("boot.kernel.instructions", False),
        ("spawn.instructions", True),
        ("exec.cpu", True),
        ("teardown", True),
        ("teardown.exit", False),
        ("firmware.setup", False),
        ("density.cage", True),
        ("density.pss", False),
        ("channel", False),
        ("json_loads", True),
    ],
)
def test_totals_gate_and_their_parts_inform(metric: str, gates: bool) -> None:
    assert Policy().limits("lifecycle", metric) == Limits(DELTA, gates, 0.0)


def test_the_later_of_two_rules_counts_key_by_key() -> None:
    rules = {"boot*": Rule(delta=0.1, gates=True), "lifecycle:boot.kernel": Rule(delta=0.2), "exec": Rule(gates=False)}
    policy = Policy(delta=0.04, tolerate=0.01, rules=rules)
    assert policy.limits("lifecycle", "boot.kernel") == Limits(0.2, True, 0.01)
    assert policy.limits("other", "boot.kernel") == Limits(0.1, True, 0.01)
    assert policy.limits("other", "exec") == Limits(0.04, False, 0.01)


@pytest.mark.parametrize(("text", "size"), [('"5 %"', 0.05), ('"0.5%"', 0.005), ("0.07", 0.07)])
def test_sizes(tmp_path: Path, text: str, size: float) -> None:
    assert _policy(tmp_path, f"delta = {text}").delta == pytest.approx(size)


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("speed = 1", 'unknown key "speed": one of alpha, delta, '),
        ("[metrics.boot]\nmargin = 1", r'metrics\."boot": unknown key "margin": one of delta, gates, tolerate'),
        ('["a\\nb"]', "unknown key"),
        ("delta = 5", "delta: 5.0 is not a share"),
        ('delta = "5"', "delta: '5' is not a share"),
        ('delta = "-1 %"', "is not a share"),
        ("delta = 0", "delta: no two measurements are equal"),
        ("alpha = 5e-324", "is not a level between 0 and 0.5"),
        ("delta = nan", "delta: expected a whole number or a fraction"),
        ("delta = true", "delta: expected a share"),
        ("alpha = 0.7", "alpha: 0.7 is not a level"),
        ('alpha = "x"', "alpha: expected a number"),
        ('[metrics."boot*"]\ngates = 1', r'metrics\."boot\*"\.gates: expected true or false'),
        ("metrics = 1", "metrics: expected a table"),
        ("[metrics]\nboot = 1", r'metrics\."boot": expected a table'),
        ("delta", "not valid TOML"),
    ],
)
def test_mistakes_are_one_line(tmp_path: Path, text: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        _policy(tmp_path, text)
    assert str(caught.value).startswith(str(tmp_path / "policy.toml"))
    assert "\n" not in str(caught.value)


def test_no_file(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="no such file"):
        read_policy(tmp_path / "policy.toml")
    (tmp_path / "policy.toml").write_bytes(b"\xff")
    with pytest.raises(InputError, match="UTF-8"):
        read_policy(tmp_path / "policy.toml")
