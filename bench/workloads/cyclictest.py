"""A thread wants to be woken each millisecond: how late it is on average, and at worst.

An ordinary one; yet cyclictest starts only where it could have a real-time one (CAP_SYS_NICE): it runs in guests, and
fails in containers and in the bare process, which are given no such right.
"""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import one, positive

rootfs = "debian"
area = "scheduler"
argv = ("/usr/bin/cyclictest", "-q", "-t1", "--policy=other", "-i", "1000", "-l", "1000")


def parse(output: str) -> list[Reading]:
    """It counts whole microseconds."""
    found = one(r"^T: 0 .* Avg: +(\d+) Max: +(\d+)$", output)
    mean, worst = positive(found[1]) / 1e6, positive(found[2]) / 1e6
    return [Reading("mean", mean, "second"), Reading("worst", worst, "second")]
