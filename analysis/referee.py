"""Decides, while a campaign runs, which of its arms need no further block (see analysis.looks, analysis.sequential)."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from analysis.compare import tests_of
from analysis.judge import Test, Verdict, judge
from analysis.load import Loaded, load
from analysis.looks import looks_of
from analysis.matching import Matched, match_blocks
from analysis.policy import Policy
from analysis.sequential import hopeless
from bench.results import SCHEMA, Record, read_decisions

#: Counts that repeat need no more than a repetition.
_EXACT_LOOK = 2


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

        What an earlier look decided stays decided. Raises InputError where the folder's journal is garbage.
        """
        loaded = load([folder])
        earlier = {_key(each): each for each in (read_decisions(folder) or {}).get("metrics", []) if each["over"]}
        found = [each for pair in self._pairs for each in self._decide(loaded, pair, block)]
        found = [earlier.get(_key(each), each) for each in found]
        return {
            "schema": SCHEMA,
            "block": block,
            "text": _told(block, found, [each for each in found if each["over"] and _key(each) not in earlier]),
            "stopped": [{"scenario": s, "arm": a, "blocks": block} for s, a in self._needless(found)],
            "metrics": found,
        }

    def _decide(self, loaded: Loaded, pair: tuple[str, str], block: int) -> list[Record]:
        """Each gating metric of a pair: its verdict so far, and whether it is over."""
        samples = loaded.samples[loaded.samples["block"] <= block]
        if not set(pair) <= set(samples["arm"].unique()):
            return []
        slots = loaded.slots
        bad = slots[(slots["status"] != "ok") & slots["arm"].isin(pair) & (slots["block"] <= block)]
        failed = list(zip(bad["scenario"], bad["run"], bad["block"], strict=True))
        matched = [each for each in match_blocks(samples, *pair, failed) if isinstance(each, Matched)]
        kept = [each for each in matched if self._policy.limits(each.scenario, each.metric).gates]
        tests = tests_of(kept, self._policy, self._looks)
        verdicts = judge(tests, alpha=self._policy.alpha)
        return [
            {
                "base": pair[0],
                "new": pair[1],
                "scenario": each.scenario,
                "metric": each.metric,
                "verdict": str(verdict),
                "ratio": verdict.ratio.point,
                "blocks": verdict.count,
                "over": _over(test, verdict, block),
            }
            for each, test, verdict in zip(kept, tests, verdicts, strict=True)
        ]

    def _needless(self, found: Sequence[Record]) -> list[tuple[str, str]]:
        """Scenarios' arms of which every pair is decided in every metric. Arms of no pair stop with the last pair."""
        needless = []
        for scenario, taken in self._plan["measures"].items():
            here = [each for each in found if each["scenario"] == scenario]
            seen = {(each["base"], each["new"]) for each in here}
            decided = seen - {(each["base"], each["new"]) for each in here if not each["over"]}
            pairs = [pair for pair in self._pairs if set(pair) <= set(taken)]
            still = {arm for pair in pairs if pair not in decided for arm in pair}
            compared = {arm for pair in pairs for arm in pair}
            for arm in taken:
                if arm not in still if arm in compared else pairs and not still:
                    needless.append((scenario, arm))
        return needless


def _key(each: Record) -> tuple[str, ...]:
    return each["base"], each["new"], each["scenario"], each["metric"]


def _over(test: Test, verdict: Verdict, block: int) -> bool:
    """Whether further blocks would be of no use."""
    if verdict.exact:
        return True
    if not any(look <= block for look in test.looks):
        return False
    return verdict.kind != "inconclusive" or hopeless(verdict, block, test.looks[-1])


def _told(block: int, found: Sequence[Record], new: Sequence[Record]) -> str:
    """A look in a sentence, for the screen: how many metrics are decided, and those that this look decided."""
    over = [each for each in found if each["over"]]
    names = ", ".join(f"{each['metric']} of {each['new']} {each['verdict']}" for each in new[:3])
    more = f" and {len(new) - 3} more" if len(new) > 3 else ""
    return f"after {block} blocks {len(over)} of {len(found)} are decided" + (f", now {names}{more}" if new else "")
