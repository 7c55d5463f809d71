"""80 processes send each other messages through sockets: the scheduler under many that wake each other."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import figure

rootfs = "debian"
area = "scheduler"
argv = ("/usr/bin/hackbench", "-g", "2", "-l", "50")


def parse(output: str) -> list[Reading]:
    return [Reading("total", figure(r"^Time: (\d+\.\d+)$", output), "second")]
