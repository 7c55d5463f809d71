"""Verdicts: what changed from BASE to NEW, metric by metric, on plain frames.

`verdicts` is the whole of it for two arms of one campaign:

    from analysis.compare import verdicts
    from analysis.load import load
    verdicts(load([Path("results/X")]).samples, "crun", "runc")

`judged` does the same for what `analysis.matching` matched otherwise. The statistics are those of `analysis.judge`.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from typing import Final

import pandas as pd

from analysis.judge import Test, Verdict, judge
from analysis.matching import EXACT, Found, Matched, match_blocks
from analysis.policy import Limits, Policy

COLUMNS: Final = (
    *("arm", "scenario", "metric", "unit", "better", "base", "new", "ratio", "low", "high", "kind", "verdict"),
    *("p", "alpha", "delta", "mde", "count", "needed", "dropped", "paired", "gates", "tolerated", "exact", "per"),
    *("within", "step", "reason", "where"),
)

_TRUTHS: Final = ("paired", "gates", "tolerated", "exact", "within")


def verdicts(samples: pd.DataFrame, base: str, new: str, *, policy: Policy | None = None) -> pd.DataFrame:
    """Every metric that two arms of one campaign share, judged block by block; columns as `judged` says.

    samples is in the layout of `Loaded.samples`. Raises InputError as `match_blocks` does.
    """
    return judged({"": match_blocks(samples, base, new)}, policy or Policy())


def judged(
    found: Mapping[str, Sequence[Found]],
    policy: Policy,
    *,
    informs: Collection[str] = (),
    looks: Mapping[str, tuple[int, ...]] | None = None,
    others: int = 0,
    power: float = 0.8,
) -> pd.DataFrame:
    """A row a metric that can be compared: counts that must be equal first, then what gates, then what informs.

    found: what was matched, by arm ("" where there is but one pair); arms in `informs` gate nothing. All gating rows
    are one family: `policy.alpha` holds for them together (Holm). looks: the block counts at which a scenario of a
    campaign that could stop early was looked at. others: further claims that can fail the gate, each of which has a
    share of alpha like a row's. Columns:

    arm, scenario, metric, unit, better
    base, new          medians of both, in `unit`
    ratio, low, high   NEW ÷ BASE and its 95 % interval; NaN where the data give none
    kind, verdict      regressed, improved, equivalent or inconclusive; the same with its δ or MDE
    within             a change that is proved, and proved to be smaller than δ: it fails no gate
    p, alpha           two-sided p before Holm, and the level that it had to reach
    delta, mde         fractions: the margin of equivalence, and the shift found 80 % of the time (NaN: none can be)
    count, needed      blocks (or slots, or runs, of the smaller side), and how many it takes to reject anything
    dropped            blocks or slots without a good value on both sides
    paired             matched block by block
    gates, tolerated   whether it counts for a gate; a proven regression that the policy tolerates
    exact              judged by identity: every count of a side is the same
    step               between values that differ, as a fraction of their level; 0 where none shows
    per                the arm of the same block that values were divided by, or ""
    reason, where      why it is inconclusive or what else to know; the phases that hold an exact difference
    """
    chosen: list[tuple[str, Matched, Limits]] = []
    for arm, metrics in found.items():
        for each in metrics:
            limits = policy.limits(each.scenario, each.metric)
            if arm in informs:
                limits = Limits(limits.delta, False, limits.tolerate)
            if isinstance(each, Matched):
                chosen.append((arm, each, limits))
    tests = [_test(each, limits, policy.sessions, (looks or {}).get(each.scenario, ())) for _, each, limits in chosen]
    gating = sum(test.gates for test in tests)
    alpha = policy.alpha * gating / (gating + others) if others and gating else policy.alpha
    results = judge(tests, alpha=alpha, power=power)
    rows = [_row(arm, each, limits, got) for (arm, each, limits), got in zip(chosen, results, strict=True)]
    rows.sort(key=lambda row: (not row["exact"], not row["gates"]))
    table = pd.DataFrame(rows, columns=list(COLUMNS)).astype(dict.fromkeys(_TRUTHS, bool))  # also where it is empty
    table["where"] = _holders(table)
    return table


def tests_of(found: Sequence[Matched], policy: Policy, looks: Mapping[str, tuple[int, ...]]) -> list[Test]:
    """What analysis.judge takes, for each; looks: by scenario, where the campaign may stop early."""
    return [
        _test(each, policy.limits(each.scenario, each.metric), policy.sessions, looks.get(each.scenario, ()))
        for each in found
    ]


def _test(each: Matched, limits: Limits, sessions: float, looks: tuple[int, ...]) -> Test:
    return Test(
        base=each.base,
        new=each.new,
        paired=each.paired,
        better=each.better,
        delta=limits.delta,
        gates=limits.gates,
        exact=each.unit == EXACT,
        looks=looks if each.paired else (),
        spread=1.0 if each.paired or each.sessions else sessions,
        step=each.step,
        sessions=each.sessions,
        order=each.order,
        proves=each.proves,
    )


def _row(arm: str, each: Matched, limits: Limits, got: Verdict) -> dict[str, object]:
    return {
        "arm": arm,
        "scenario": each.scenario,
        "metric": each.metric,
        "unit": each.unit,
        "better": each.better,
        "base": each.levels[0],
        "new": each.levels[1],
        "ratio": got.ratio.point,
        "low": got.ratio.low,
        "high": got.ratio.high,
        "kind": got.kind,
        "verdict": str(got),
        "p": got.p,
        "alpha": got.alpha,
        "delta": got.delta,
        "mde": math.nan if got.mde is None else got.mde,
        "count": got.count,
        "needed": got.needed,
        "dropped": each.dropped,
        "paired": each.paired,
        "gates": limits.gates,
        "tolerated": got.kind == "regressed" and _stays_below(got, each.better, limits.tolerate),
        "exact": got.exact,
        "per": each.per,
        "within": got.within,
        "step": each.step,
        "reason": got.reason,
        "where": "",
    }


def _stays_below(got: Verdict, better: str, tolerate: float) -> bool:
    """Whether the whole interval of a regression is a smaller change than `tolerate`."""
    worst = got.ratio.high if better == "lower" else 1 / got.ratio.low
    return worst < 1 + tolerate


def _holders(table: pd.DataFrame) -> list[str]:
    """For each exact total that differs, the phase that holds most of it (a total is the sum of its phases)."""
    exact = table[table["exact"].astype(bool)]
    names = zip(exact["arm"], exact["scenario"], exact["metric"], strict=True)
    differences = dict(zip(names, exact["new"] - exact["base"], strict=True))
    found = []
    for arm, scenario, metric in zip(table["arm"], table["scenario"], table["metric"], strict=True):
        total = differences.get((arm, scenario, metric), 0.0)
        stem, _, kind = metric.rpartition(".")
        parts = {
            name: difference
            for (*where, name), difference in differences.items()
            if where == [arm, scenario] and name.startswith(f"{stem}.") and name.endswith(f".{kind}") and name != metric
        }
        found.append(_held(total, parts) if total and stem and parts else "")
    return found


def _held(total: float, parts: dict[str, float]) -> str:
    """Which of the phases holds most of a total difference, both in counts."""
    most = max(parts, key=lambda name: abs(parts[name]))
    rest = total - sum(parts.values())
    told = f"{most} holds {parts[most] / total:.1%} of it ({parts[most]:+,.0f} of {total:+,.0f})"
    return told if abs(rest) < 1 else f"{told}; {rest:+,.0f} are in no phase that was counted"
