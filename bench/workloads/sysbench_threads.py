"""Four threads of sysbench's contend for mutexes and yield for a second: the scheduler's doing."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import figure
from bench.workloads._sysbench import finished

rootfs = "debian"
area = "scheduler"
argv = ("/usr/bin/sysbench", "threads", "--time=1", "--threads=4", "run")


def parse(output: str) -> list[Reading]:
    whole = finished(output)
    events = figure(r"^ +total number of events: +(\d+)$", whole)
    seconds = figure(r"^ +total time: +(\d+\.\d+)s$", whole)
    return [Reading("rate", events / seconds, "operation/s", higher=True)]
