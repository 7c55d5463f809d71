"""perf copies 8 MiB again and again with the C library's memcpy: memory bandwidth, and the page tables under it."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import one, positive

rootfs = "debian"
area = "memory"
argv = ("/usr/bin/perf", "bench", "mem", "memcpy", "-f", "default", "-s", "8MB", "-l", "50")

#: perf's K is 1024.
_SCALES = {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30}


def parse(output: str) -> list[Reading]:
    # perf's source has "%14lfd KB/sec": kilobytes come with a d behind the figure.
    found = one(r"^ +(\d+\.\d+)d? ([KMG])B/sec$", output)
    return [Reading("rate", positive(found[1]) * _SCALES[found[2]], "byte/s", higher=True)]
