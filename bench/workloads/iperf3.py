"""iperf3 sends to itself for a second over the loopback: the network's stack, without any network."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import document, inside, positive
from bench.workloads._shell import LOOPBACK, until

rootfs = "debian"
area = "network"
# Port 5999 is 176F. Asking the server itself whether it listens would be the one connection that it serves.
argv = (
    "/bin/sh",
    "-c",
    LOOPBACK
    + "iperf3 -s -1 -p 5999 >/dev/null 2>&1 & "
    + until("grep -q ':176F 0*:0000 0A' /proc/net/tcp /proc/net/tcp6 2>/dev/null")
    + "iperf3 -c 127.0.0.1 -p 5999 -t 1 -J; s=$?; "
    "[ $s = 0 ] || kill $!; wait; exit $s",
)


def parse(output: str) -> list[Reading]:
    bits = positive(inside(document(output), "end", "sum_received", "bits_per_second"))
    return [Reading("rate", bits / 8, "byte/s", higher=True)]
