"""perf's getppid() in a loop: what entering and leaving the kernel costs."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import figure

rootfs = "debian"
area = "system calls"
argv = ("/usr/bin/perf", "bench", "syscall", "basic", "--loop", "200000")


def parse(output: str) -> list[Reading]:
    return [Reading("call", figure(r"^ +(\d+\.\d+) usecs/op$", output) / 1e6, "second")]
