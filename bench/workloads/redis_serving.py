"""Redis keeps answering one client, 2,000 times each time it is asked: a server that works, and stays there."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._redis import table
from bench.workloads._shell import LOOPBACK, until

rootfs = "debian"
area = "applications"
# The server is started by the first that needs it, and left running: what it takes is the tenant's. Processes without a
# network of their own have a port each.
argv = (
    "/bin/sh",
    "-c",
    LOOPBACK
    + "p=$((20000 + ${TARE_INIT:-1} % 40000)); redis-cli -p $p ping >/dev/null 2>&1 || "
    + "redis-server --port $p --bind 127.0.0.1 --save '' --dir /tmp --daemonize yes >/dev/null 2>&1; "
    + until("redis-cli -p $p ping >/dev/null 2>&1")
    + "exec redis-benchmark -p $p -n 2000 -c 1 -t get --csv",
)


def parse(output: str) -> list[Reading]:
    return table(output, ("GET",))
