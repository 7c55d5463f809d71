"""iperf3 sends to itself for a second over the loopback: the network's stack, without any network."""

from __future__ import annotations

from bench.workloads._iperf3 import received as parse
from bench.workloads._shell import LOOPBACK, until

__all__ = ["parse"]

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
