"""Copies 64 MiB from /dev/zero to /dev/null: system calls and memory bandwidth."""

from __future__ import annotations

import re

from bench.workloads import Reading

argv = ("/bin/dd", "if=/dev/zero", "of=/dev/null", "bs=1M", "count=64")


def parse(output: str) -> list[Reading]:
    """busybox: "67108864 bytes (64.0MB) copied, 0.010412 seconds, 6.0GB/s"."""
    match = re.search(r"^(\d+) bytes \(.*\) copied, ([0-9.]+) seconds", output, re.MULTILINE)
    if match is None:
        raise ValueError(f"no line with bytes and seconds in {output!r}")
    return [Reading("inside", float(match[2]), "second")]
