"""iperf3 sends to itself for a second over the loopback: the network's stack, without any network."""

from __future__ import annotations

from bench.workloads._iperf3 import received as parse
from bench.workloads._shell import LOOPBACK, OWN, serve

__all__ = ["parse"]

rootfs = "debian"
area = "network"
_LOG = f"/tmp/iperf3-{OWN}.log"
# Asking the server itself whether it listens would be the one connection that it serves.
argv = (
    "/bin/sh",
    "-c",
    LOOPBACK
    + serve(
        f"iperf3 -s -1 -B 127.0.0.1 -p $p --forceflush >{_LOG} 2>&1 & d=$!",
        f"grep -qs 'Server listening' {_LOG}",
        _LOG,
    )
    + "iperf3 -c 127.0.0.1 -p $p -t 1 -J; s=$?; [ $s = 0 ] || kill $d; wait; exit $s",
)
