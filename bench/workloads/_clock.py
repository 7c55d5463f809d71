"""The instance's clock beside the host's: what a tool inside says of time is worth as much as the clock it looks at."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

#: Seconds below which what starting two `date` costs, and how it scatters, would be most of a difference.
SHORTEST = 0.5
_READINGS = re.compile(r"(\d{10,20})\n(?:(.*)\n)?(\d{10,20})\n", re.DOTALL)


@dataclass(frozen=True)
class Timed:
    """output: what the command printed; seconds: how long it took by the instance's clock."""

    output: str
    seconds: float


def wrapped(argv: Sequence[str]) -> tuple[str, ...]:
    """A command that does the same, and prints the instance's clock before and after, in ns."""
    return ("/bin/sh", "-c", 'date +%s%N; "$@"; s=$?; date +%s%N; exit $s', "sh", *argv)


def split(output: str) -> Timed:
    """What a wrapped command printed. Raises ValueError where it does not begin and end with the clock."""
    found = _READINGS.fullmatch(output)
    if not found:
        raise ValueError(f"{output[-300:]!r} does not begin and end with a clock's nanoseconds")
    text = "" if found[2] is None else found[2] + "\n"
    return Timed(text, (int(found[3]) - int(found[1])) / 1e9)


def ratio(runs: Sequence[tuple[float, float]], nothing: Sequence[tuple[float, float]]) -> float | None:
    """How long a second of the host's was on the instance's clock, over (host's, instance's) seconds of some runs; None
    where they were too short to tell.

    nothing: the same of runs that do nothing, just before and after: what the wrapper itself costs, which is only known
    as well as these agree. Of what the ratio may be, it is what lies nearest to 1.
    All runs together: where a host is late to hear of the end of one, no clock is to blame.
    """
    costs = [host - instance for host, instance in nothing]
    told, whole = sum(instance for _, instance in runs), sum(host for host, _ in runs)
    least, most = whole - max(costs) * len(runs), whole - min(costs) * len(runs)
    return told / min(max(told, least), most) if least >= SHORTEST else None
