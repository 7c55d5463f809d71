"""sysbench looks for primes for a second: user-mode computation alone."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import figure
from bench.workloads._sysbench import finished

rootfs = "debian"
area = "processor"
argv = ("/usr/bin/sysbench", "cpu", "--time=1", "--threads=1", "run")


def parse(output: str) -> list[Reading]:
    rate = figure(r"^ +events per second: +(\d+\.\d+)$", finished(output))
    return [Reading("rate", rate, "operation/s", higher=True)]
