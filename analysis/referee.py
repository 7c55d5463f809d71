"""Decides, while a campaign runs, which of its arms need no further block (see analysis.looks, analysis.sequential)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from analysis.compare import tests_of
from analysis.judge import Test, Verdict, judge
from analysis.load import Loaded, load
from analysis.looks import looks_of
from analysis.matching import Matched, match_blocks
from analysis.policy import Policy
from analysis.sequential import hopeless
from bench.results import SCHEMA, Record

#: Counts that repeat need no more than a repetition.
_EXACT_LOOK = 2


@dataclass(frozen=True)
class Decision:
    """One gating metric of a pair: its verdict so far, and whether further blocks would be of use."""

    pair: tuple[str, str]
    scenario: str
    metric: str
    verdict: Verdict
    over: bool

    def record(self) -> Record:
        return {
            "base": self.pair[0],
            "new": self.pair[1],
            "scenario": self.scenario,
            "metric": self.metric,
            "verdict": str(self.verdict),
            "ratio": self.verdict.ratio.point,
            "blocks": self.verdict.count,
            "over": self.over,
        }


class Referee:
    """Looks at one campaign's folder between its blocks. plan: as plan.json has it."""

    def __init__(self, plan: Record) -> None:
        self._plan = plan
        self._looks = looks_of(plan)
        self._pairs = [(base, new) for base, new in plan["stop"]["pairs"]]
        self._policy = Policy(delta=plan["stop"]["delta"])

    def due(self, block: int) -> bool:
        """Whether the campaign is to be looked at after this block."""
        return block == _EXACT_LOOK or any(block in at for at in self._looks.values())

    def look(self, folder: Path, block: int) -> Record:
        """What the first `block` blocks decide: the content of decisions.json (see bench.results).

        Raises InputError where the folder's journal is garbage.
        """
        loaded = load([folder])
        found = [each for pair in self._pairs for each in self._decide(loaded, pair, block)]
        return {
            "schema": SCHEMA,
            "block": block,
            "text": _told(block, found),
            "stopped": [{"scenario": s, "arm": a, "blocks": block} for s, a in self._needless(found)],
            "metrics": [decision.record() for decision in found],
        }

    def _decide(self, loaded: Loaded, pair: tuple[str, str], block: int) -> list[Decision]:
        samples = loaded.samples[loaded.samples["block"] <= block]
        ran = set(samples["arm"].unique())
        if not set(pair) <= ran:
            return []
        slots = loaded.slots
        bad = slots[(slots["status"] != "ok") & slots["arm"].isin(pair) & (slots["block"] <= block)]
        failed = list(zip(bad["scenario"], bad["run"], bad["block"], strict=True))
        matched = [each for each in match_blocks(samples, *pair, failed) if isinstance(each, Matched)]
        kept = [each for each in matched if self._policy.limits(each.scenario, each.metric).gates]
        tests = tests_of(kept, self._policy, self._looks)
        verdicts = judge(tests, alpha=self._policy.alpha)
        return [
            Decision(pair, each.scenario, each.metric, verdict, self._over(test, verdict, block))
            for each, test, verdict in zip(kept, tests, verdicts, strict=True)
        ]

    def _over(self, test: Test, verdict: Verdict, block: int) -> bool:
        if verdict.exact:
            return True
        if not any(look <= block for look in test.looks):
            return False
        return verdict.kind != "inconclusive" or hopeless(verdict, block, test.looks[-1])

    def _needless(self, found: Sequence[Decision]) -> list[tuple[str, str]]:
        """Scenarios' arms of which every pair is decided in every metric. Arms of no pair stop with the last pair."""
        needless = []
        for scenario, taken in self._plan["measures"].items():
            here = [decision for decision in found if decision.scenario == scenario]
            decided = {decision.pair for decision in here} - {decision.pair for decision in here if not decision.over}
            pairs = [pair for pair in self._pairs if set(pair) <= set(taken)]
            still = {arm for pair in pairs if pair not in decided for arm in pair}
            compared = {arm for pair in pairs for arm in pair}
            for arm in taken:
                if arm not in still if arm in compared else pairs and not still:
                    needless.append((scenario, arm))
        return needless


def _told(block: int, found: Sequence[Decision]) -> str:
    """A look in a sentence, for the screen."""
    over = [each for each in found if each.over]
    names = ", ".join(f"{each.metric} of {each.pair[1]} {each.verdict}" for each in over[:3])
    more = f" and {len(over) - 3} more" if len(over) > 3 else ""
    return f"after {block} blocks {len(over)} of {len(found)} are decided" + (f": {names}{more}" if over else "")
