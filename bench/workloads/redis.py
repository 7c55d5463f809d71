"""Redis answers ten clients over the loopback, 20,000 times each kind: an application of many small requests."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._redis import table
from bench.workloads._shell import LOOPBACK, until

rootfs = "debian"
area = "applications"
argv = (
    "/bin/sh",
    "-c",
    LOOPBACK
    + "redis-server --port 6399 --bind 127.0.0.1 --save '' --dir /tmp --daemonize yes >/dev/null; "
    + until("redis-cli -p 6399 ping >/dev/null 2>&1")
    + "redis-benchmark -p 6399 -n 20000 -c 10 -t get,set --csv; s=$?; "
    "redis-cli -p 6399 shutdown nosave >/dev/null 2>&1; exit $s",
)


def parse(output: str) -> list[Reading]:
    return table(output, ("SET", "GET"))
