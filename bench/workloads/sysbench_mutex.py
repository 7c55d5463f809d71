"""Four threads of sysbench's take one mutex a million times each: futexes, and who waits for them.

(perf's own futex benchmarks pin their threads to processors that an instance may not use.)
"""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import figure
from bench.workloads._sysbench import finished

rootfs = "debian"
area = "scheduler"
argv = (
    *("/usr/bin/sysbench", "mutex", "--threads=4"),
    *("--mutex-num=1", "--mutex-locks=1000000", "--mutex-loops=0", "run"),
)


def parse(output: str) -> list[Reading]:
    return [Reading("total", figure(r"^ +total time: +(\d+\.\d+)s$", finished(output)), "second")]
