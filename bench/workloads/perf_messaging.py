"""80 processes of perf's send each other messages: the scheduler under many that wake each other."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import figure

rootfs = "debian"
area = "scheduler"
argv = ("/usr/bin/perf", "bench", "sched", "messaging", "-g", "2", "-l", "50")


def parse(output: str) -> list[Reading]:
    return [Reading("total", figure(r"^ +Total time: (\d+\.\d+) \[sec\]$", output), "second")]
