"""Looking at a running campaign without being fooled: the block counts to look at, and the p to reach at each.

Looking again and again at .05 finds an effect in nothing 18 % of the time. Here each look at the block log-ratios may
spend a share of the error rate (Lan and DeMets 1983) and no more: a sixth of it at the first look, which decides large
effects at once, and the rest along the square of the blocks, which keeps most of the power of a single look at the end.
The p that a look must reach follows from a simulation of this very test: under no effect the signs of the differences
are fair coins whatever their distribution, so that the joint law of the signed-rank tests at all looks is the same for
every symmetric noise, and one simulation serves all data. It is made here, from a fixed seed, in under a second.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import lru_cache
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from analysis import ranks

FIRST: Final = 8
STEP: Final = 2
#: Of the error rate, spent at the first look; and the power of the blocks by which the rest goes: see above.
_SHARE_OF_FIRST: Final = 0.16
_GROWTH: Final = 2.0
_PATHS: Final = 200_000  # a level of 0.05 is known to ±0.001 by so many (two standard errors)
_CHUNK: Final = 20_000
_SEED: Final = 20260101


def looks(blocks: int) -> tuple[int, ...]:
    """The block counts at which a campaign of at most so many blocks is looked at: 8, 10, 12, … and the last.

    Campaigns of more than 40 blocks are looked at twenty times.
    """
    return (*range(FIRST, blocks, max(STEP, blocks // 20)), blocks) if blocks > FIRST else (blocks,)


def looks_of(plan: Mapping[str, Any]) -> dict[str, tuple[int, ...]]:
    """The looks at each scenario of a campaign that may stop early; {} for one that may not."""
    if not plan.get("stop"):
        return {}
    blocks = plan["blocks"]
    return {name: looks(scenario.get("blocks") or blocks) for name, scenario in plan["scenarios"].items()}


def spent(done: float, first: float) -> float:
    """The share of the error rate that may be spent when `done` of the blocks are there; first: at the first look."""
    if done >= 1:
        return 1.0
    share: float = _SHARE_OF_FIRST + (1 - _SHARE_OF_FIRST) * ((done - first) / (1 - first)) ** _GROWTH
    return share


@lru_cache(maxsize=256)
def levels(at: tuple[int, ...], overall: float) -> tuple[float, ...]:
    """The two-sided p that the signed-rank test must reach at each look, for an error rate of `overall` over all looks.

    0 where a look can reject nothing yet. What one look cannot spend, because p-values of few blocks are far apart,
    the next may. at: ascending block counts.
    """
    sums = _null_sums(at)
    alive = np.ones(sums.shape[1], dtype=bool)
    found: list[float] = []
    spent_paths = 0
    for place, (count, low) in enumerate(zip(at, sums, strict=True)):
        share = 1.0 if place == len(at) - 1 else spent(count / at[-1], at[0] / at[-1])
        allowed = share * overall * sums.shape[1] - spent_paths
        reached = np.cumsum(np.bincount(low[alive], minlength=1))
        # The exact distribution says what one look alone may reject; the paths, what earlier looks have left.
        critical = int(np.searchsorted(reached, allowed, side="right")) - 1
        critical = min(critical, _critical(count, overall))
        if critical < 0:
            found.append(0.0)
            continue
        spent_paths += int(reached[min(critical, len(reached) - 1)])
        alive &= low > critical
        found.append(ranks.signed_rank_tail(count, critical))
    return tuple(found)


def _critical(count: int, overall: float) -> int:
    found = ranks.signed_rank_critical(count, overall / 2)
    return -1 if found is None else found


@lru_cache(maxsize=8)
def _null_sums(at: tuple[int, ...]) -> npt.NDArray[np.int32]:
    """The smaller signed-rank sum at each look (rows) on each simulated path (columns) without any effect."""
    draw = np.random.default_rng(_SEED)
    found = np.empty((len(at), _PATHS), dtype=np.int32)
    for start in range(0, _PATHS, _CHUNK):
        sizes = draw.random((at[-1], _CHUNK), dtype=np.float32)
        positive = draw.random((at[-1], _CHUNK), dtype=np.float32) < 0.5
        total = np.zeros(_CHUNK, dtype=np.int32)
        for i in range(at[-1]):
            # A new difference raises the ranks of the larger ones before it, and has a rank itself.
            larger = sizes[:i] > sizes[i]
            total += (larger & positive[:i]).sum(axis=0, dtype=np.int32)
            total += positive[i] * (i + 1 - larger.sum(axis=0, dtype=np.int32))
            if i + 1 in at:
                half = (i + 1) * (i + 2) // 2
                found[at.index(i + 1), start : start + _CHUNK] = np.minimum(total, half - total)
    return found


def level(at: Sequence[int], overall: float, count: int) -> float:
    """The p to reach with `count` blocks: that of the last look that they suffice for."""
    done = [place for place, look in enumerate(at) if look <= count]
    return levels(tuple(at), overall)[done[-1]] if done else 0.0


def first_able(at: Sequence[int], overall: float) -> int:
    """The first look that can reject anything."""
    found = levels(tuple(at), overall)
    return next((look for look, reach in zip(at, found, strict=True) if reach), ranks.least_count(overall))
