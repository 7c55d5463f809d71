"""qperf sends a byte to a peer at the other end of the link and hears one back, for a second: the way there by TCP."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import one, positive

rootfs = "debian"
area = "network"
port = 19765
peer = ("/usr/bin/qperf", "--listen_port", f"{port}")
argv = ("/usr/bin/qperf", "--listen_port", f"{port}", "--time", "1", "{peer}", "tcp_lat")
_UNITS = {"ns": 1e-9, "us": 1e-6, "ms": 1e-3, "sec": 1.0}


def parse(output: str) -> list[Reading]:
    """qperf says half of the time that there and back takes."""
    found = one(r"^tcp_lat:\n +latency += +(\d+(?:\.\d+)?) (ns|us|ms|sec)$", output)
    return [Reading("time", positive(found[1]) * _UNITS[found[2]], "second")]
