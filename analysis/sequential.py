"""When to stop a campaign: as soon as a metric is decided, or will not be.

The levels that the looks must reach are those of analysis.looks.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

import numpy as np

from analysis.judge import Test, Verdict, judge
from analysis.looks import looks

#: From this many blocks on, a p this large says that the end will not show an effect either.
_HOPELESS_FROM: Final = 16
_HOPELESS_P: Final = 0.8
#: A 90 % interval is this much narrower than one of 95 %.
_NARROWER: Final = 1.645 / 1.96


@dataclass(frozen=True)
class Stop:
    """How a metric that was looked at ended: its verdict, the blocks that it took, and whether it was given up."""

    verdict: Verdict
    blocks: int
    hopeless: bool


def follow(test: Test, blocks: int, *, alpha: float = 0.05) -> Stop:
    """What looking at one metric on its own would have done: block by block to its stop, or to `blocks`.

    test: as many blocks as there are, in the order in which they ran.
    """
    at = looks(min(blocks, test.count))
    for count in at:
        (verdict,) = judge([replace(test, base=test.base[:count], new=test.new[:count], looks=at)], alpha=alpha)
        if verdict.kind != "inconclusive":
            return Stop(verdict, count, hopeless=False)
        if count < at[-1] and hopeless(verdict, count, at[-1]):
            return Stop(verdict, count, hopeless=True)
    return Stop(verdict, at[-1], hopeless=False)


def hopeless(verdict: Verdict, count: int, blocks: int) -> bool:
    """Whether the blocks still to come will show neither an effect nor that there is none.

    There is no trace of an effect, and the interval at the end, which narrows with the root of the blocks, would be
    wider than the margin even around 1.
    """
    if count < _HOPELESS_FROM or verdict.p <= _HOPELESS_P or not verdict.ratio.bounded:
        return False
    width = np.log(verdict.ratio.high / verdict.ratio.low) / 2 * np.sqrt(count / blocks)
    return bool(width * _NARROWER > np.log1p(verdict.delta))
