"""Made-up nights of a benchmark suite, as public ones are: a night moves a level far more than its own runs scatter.

Benchmarks differ in how far their nights lie apart (most by 0.3 to 5 %), with heavy tails; some have two levels, of
which each night has one; now and then a night is off for one benchmark, or for all; a night moves all a little.
"""

from __future__ import annotations

import math

import numpy as np

from analysis.ranks import Floats


def levels(draw: np.random.Generator, metrics: int = 127, nights: int = 10) -> tuple[Floats, Floats]:
    """The logarithms of levels, a row a benchmark and a column a night; and how far each benchmark's nights lie apart
    (as 1.48 × the median distance tells it over a hundred nights).
    """
    many = nights + 100
    scatter = np.clip(np.exp(draw.normal(math.log(0.012), 0.9, metrics)), 0.002, 0.15)
    values = draw.standard_t(3, (metrics, many)) / math.sqrt(3) * scatter[:, None]
    two = draw.random(metrics) < 0.25
    often, apart = draw.uniform(0.1, 0.9, metrics), draw.uniform(0.02, 0.1, metrics)
    values[two] = 0.4 * values[two] + ((draw.random((metrics, many)) < often[:, None]) * apart[:, None])[two]
    values += (draw.random((metrics, many)) < 0.005) * draw.uniform(0.1, 0.5, (metrics, many))
    together = draw.normal(0, 0.005, many) + (draw.random(many) < 0.01) * draw.uniform(0.05, 0.4, many)
    values += draw.uniform(0.5, 1.5, metrics)[:, None] * together
    known = values[:, nights:]
    spread = 1.4826 * np.median(np.abs(known - np.median(known, axis=1, keepdims=True)), axis=1)
    return values[:, :nights], spread
