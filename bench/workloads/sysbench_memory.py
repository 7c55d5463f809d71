"""sysbench writes a block of 1 KiB again and again for a second: the first cache, and the loop around it."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import figure
from bench.workloads._sysbench import finished

rootfs = "debian"
area = "memory"
argv = ("/usr/bin/sysbench", "memory", "--time=1", "--threads=1", "run")


def parse(output: str) -> list[Reading]:
    rate = figure(r"^\d+\.\d+ MiB transferred \((\d+\.\d+) MiB/sec\)$", finished(output))
    return [Reading("rate", rate * (1 << 20), "byte/s", higher=True)]
