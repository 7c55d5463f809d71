"""Redis answers ten clients over the loopback, 20,000 times each kind: an application of many small requests."""

from __future__ import annotations

import csv

from bench.workloads import Reading
from bench.workloads._read import positive
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
_LATENCIES = [f"{name}_latency_ms" for name in ("avg", "min", "p50", "p95", "p99", "max")]


def parse(output: str) -> list[Reading]:
    try:
        head, *rows = [*csv.reader(output.splitlines(), strict=True)] or [[]]
    except csv.Error as error:
        raise ValueError(f"{output[-300:]!r} is not a table: {error}") from error
    if head != ["test", "rps", *_LATENCIES] or [row[:1] for row in rows] != [["SET"], ["GET"]]:
        raise ValueError(f"{output[-300:]!r} is not a table of SET and GET")
    readings = []
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"the row {row!r} is not whole")
        name, found = row[0].lower(), dict(zip(head, row, strict=True))
        readings.append(Reading(name, positive(found["rps"]), "operation/s", higher=True))
        readings.append(Reading(f"{name}_p99", positive(found["p99_latency_ms"]) / 1e3, "second"))
    return readings
