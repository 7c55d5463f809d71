"""Who is judged: Tare's judge, mutants of it that must not pass, and what people use instead."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any, Final, Protocol

import numpy as np
from scipy import stats

from analysis import sequential
from analysis.judge import BETWEEN_SESSIONS, Test, Verdict, judge
from tests.judge.cases import Pair

OVERALL: Final = 0.05


@dataclass(frozen=True)
class Answer:
    """moved: the direction in which NEW ÷ BASE is said to have changed, or 0; blocks: how many were looked at."""

    moved: int
    equivalent: bool = False
    p: float | None = None
    mde: float | None = None
    blocks: int = 0

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


class Judge(Protocol):
    """What the replay asks of anyone who is judged."""

    name: str

    def family(self, pairs: Sequence[Pair]) -> list[Answer]:
        """All metrics of a case at once, each at what a correction for their number leaves."""

    def adaptive(self, pair: Pair) -> Answer:
        """One metric, stopping as early as may be."""


class Tare:
    """The judge that Tare has, by its public functions."""

    name = "tare"

    def test(self, pair: Pair) -> Test:
        return Test(*pair.medians, pair.paired, pair.better, spread=1.0 if pair.paired else BETWEEN_SESSIONS)

    def answer(self, verdict: Verdict, blocks: int) -> Answer:
        called = verdict.kind in ("regressed", "improved")
        moved = int(np.sign(np.log(verdict.ratio.point))) if called else 0
        p = float(verdict.p) if np.isfinite(verdict.p) else None
        return Answer(moved, verdict.kind == "equivalent", p, verdict.mde, blocks)

    def family(self, pairs: Sequence[Pair]) -> list[Answer]:
        found = judge([self.test(pair) for pair in pairs], alpha=OVERALL)
        return [self.answer(verdict, pair.blocks) for pair, verdict in zip(pairs, found, strict=True)]

    def adaptive(self, pair: Pair) -> Answer:
        stop = sequential.follow(self.test(pair), pair.blocks, alpha=OVERALL)
        return self.answer(stop.verdict, stop.blocks)


class AlwaysNo(Tare):
    """Nothing ever changes."""

    name = "always-no"

    def family(self, pairs: Sequence[Pair]) -> list[Answer]:
        return [self.adaptive(pair) for pair in pairs]

    def adaptive(self, pair: Pair) -> Answer:
        return Answer(0, True, 1.0, 0.05, pair.blocks)


class AlwaysYes(AlwaysNo):
    """Whatever differs has changed."""

    name = "always-yes"

    def adaptive(self, pair: Pair) -> Answer:
        base, new = map(np.median, pair.medians)
        return Answer(int(np.sign(new - base)), False, 0.0, 0.001, pair.blocks)


class Pooled(Tare):
    """Takes every value for a unit of its own."""

    name = "pooled"

    def test(self, pair: Pair) -> Test:
        return Test(np.concatenate(pair.base), np.concatenate(pair.new), False, pair.better)

    def adaptive(self, pair: Pair) -> Answer:
        return self.family([pair])[0]


class Blocked(Pooled):
    """Forgets which slots stood in one block."""

    name = "blocked"

    def test(self, pair: Pair) -> Test:
        return Test(*pair.medians, False, pair.better)


class Peeking(Tare):
    """Looks again and again at the full level."""

    name = "peeking"

    def adaptive(self, pair: Pair) -> Answer:
        answer = Answer(0)
        for look in sequential.looks(pair.blocks):
            answer = self.family([pair.first(look)])[0]
            if answer.moved or answer.equivalent:
                break
        return answer


class Uncorrected(Tare):
    """Judges each metric as if it were the only one."""

    name = "uncorrected"

    def family(self, pairs: Sequence[Pair]) -> list[Answer]:
        return [answer for pair in pairs for answer in super(Uncorrected, self).family([pair])]


class Boasting(Tare):
    """Prints half the shift that it can find."""

    name = "boasting"

    def answer(self, verdict: Verdict, blocks: int) -> Answer:
        found = super().answer(verdict, blocks)
        return replace(found, mde=found.mde and found.mde / 2)


class MannWhitney:
    """scipy's test on all values of an arm together."""

    name = "mann-whitney"

    def family(self, pairs: Sequence[Pair]) -> list[Answer]:
        return [self.adaptive(pair) for pair in pairs]

    def adaptive(self, pair: Pair) -> Answer:
        base, new = np.concatenate(pair.base), np.concatenate(pair.new)
        p = float(stats.mannwhitneyu(base, new).pvalue)
        moved = int(np.sign(np.median(new) - np.median(base))) if p < OVERALL else 0
        return Answer(moved, p=p, blocks=pair.blocks)


MUTANTS: Final = (AlwaysNo, AlwaysYes, Pooled, Blocked, Peeking, Uncorrected, Boasting)
JUDGES: Final[dict[str, Judge]] = {kind.name: kind() for kind in (Tare, *MUTANTS, MannWhitney)}
