"""fio writes blocks of 4 KiB at random places of a file for a second, each followed by fsync, on the data disk."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import document, inside, positive

rootfs = "debian"
area = "disk"
disk = True
argv = (
    "/usr/bin/fio",
    "--name=x",
    "--filename=/data/fio",
    "--size=32M",
    "--rw=randwrite",
    "--bs=4k",
    "--fsync=1",
    "--runtime=1",
    "--time_based",
    "--ioengine=psync",
    "--output-format=json",
)


def parse(output: str) -> list[Reading]:
    """p99 is that of the writes: what a fsync takes shows in the rate."""
    found = document(output)
    if (failed := inside(found, "jobs", 0, "error")) != 0:
        raise ValueError(f"its job ended with error {failed!r}")
    write = inside(found, "jobs", 0, "write")
    p99 = positive(inside(write, "clat_ns", "percentile", "99.000000")) / 1e9
    return [
        Reading("rate", positive(inside(write, "iops")), "operation/s", higher=True),
        Reading("p99", p99, "second"),
    ]
