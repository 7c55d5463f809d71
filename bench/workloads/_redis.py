"""A Redis server of an instance's own, and what redis-benchmark prints."""

from __future__ import annotations

import csv
from collections.abc import Sequence

from bench.workloads import Reading
from bench.workloads._read import positive
from bench.workloads._shell import OWN, serve

_LATENCIES = [f"{name}_latency_ms" for name in ("avg", "min", "p50", "p95", "p99", "max")]
_LOG = f"/tmp/redis-{OWN}.log"
#: Whoever reaches it, which may be any user of the host, may read and write keys, and nothing else.
_RIGHTS = "--user default reset on nopass '~*' +get +set +ping '+config|get'"
#: Starts it, as process $d on port $p.
SERVER = serve(
    f"redis-server --port $p --bind 127.0.0.1 --save '' --dir /tmp {_RIGHTS} >{_LOG} 2>&1 & d=$!",
    f"grep -qs 'Ready to accept connections' {_LOG}",
    _LOG,
)


def table(output: str, tests: Sequence[str]) -> list[Reading]:
    """Of the tests that were asked for, in their order: how many were answered, and how fast 99 in a hundred."""
    try:
        head, *rows = [*csv.reader(output.splitlines(), strict=True)] or [[]]
    except csv.Error as error:
        raise ValueError(f"{output[-300:]!r} is not a table: {error}") from error
    if head != ["test", "rps", *_LATENCIES] or [row[:1] for row in rows] != [[test] for test in tests]:
        raise ValueError(f"{output[-300:]!r} is not a table of {' and '.join(tests)}")
    readings = []
    for row in rows:
        if len(row) != len(head):
            raise ValueError(f"the row {row!r} is not whole")
        name, found = row[0].lower(), dict(zip(head, row, strict=True))
        readings.append(Reading(name, positive(found["rps"]), "operation/s", higher=True))
        readings.append(Reading(f"{name}_p99", positive(found["p99_latency_ms"]) / 1e3, "second"))
    return readings
