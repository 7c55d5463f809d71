"""Two processes of perf's hand a word to and fro through pipes: what a switch between them costs."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import figure

rootfs = "debian"
area = "scheduler"
argv = ("/usr/bin/perf", "bench", "sched", "pipe", "--loop", "10000")


def parse(output: str) -> list[Reading]:
    return [Reading("op", figure(r"^ +(\d+\.\d+) usecs/op$", output) / 1e6, "second")]
