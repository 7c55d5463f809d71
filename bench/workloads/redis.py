"""Redis answers ten clients over the loopback, 20,000 times each kind: an application of many small requests."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._redis import SERVER, table
from bench.workloads._shell import LOOPBACK

rootfs = "debian"
area = "applications"
argv = (
    "/bin/sh",
    "-c",
    LOOPBACK + SERVER + "redis-benchmark -p $p -n 20000 -c 10 -t get,set --csv; s=$?; kill $d; wait $d; exit $s",
)


def parse(output: str) -> list[Reading]:
    return table(output, ("SET", "GET"))
