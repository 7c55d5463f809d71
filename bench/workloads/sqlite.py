"""SQLite inserts 20,000 rows in one transaction into a new file: an application that computes, and syncs a file."""

from __future__ import annotations

import re

from bench.workloads import Reading
from bench.workloads._read import positive

rootfs = "debian"
area = "applications"
_STATEMENTS = (
    ".timer on",
    "create table t(a,b);",
    "begin;",
    "with recursive c(x) as (select 1 union all select x+1 from c where x<20000) "
    "insert into t select x, hex(randomblob(20)) from c;",
    "commit;",
    "select count(*), sum(length(b)) from t;",
)
argv = (
    "/bin/sh",
    "-c",
    "rm -f /tmp/x.db; printf '%s\\n' " + " ".join(f"'{each}'" for each in _STATEMENTS) + " | sqlite3 /tmp/x.db",
)
_RIGHT = "20000|800000"
_TIME = re.compile(r"Run Time: real (\d+\.\d+) user \d+\.\d+ sys \d+\.\d+")


def parse(output: str) -> list[Reading]:
    """A line of time for each of the four statements, the answer, and its own time."""
    lines = output.splitlines()
    times = [_TIME.fullmatch(line) for line in lines]
    if len(lines) != 6 or lines[4] != _RIGHT or None in times[:4] + times[5:]:
        raise ValueError(f"{output[-300:]!r} is not four times, {_RIGHT} and a time")
    return [Reading("insert", positive(sum(float(time[1]) for time in times[:4] if time)), "second")]
