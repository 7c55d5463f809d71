"""iperf3 receives from a peer at the other end of the link for a second: TCP into the instance."""

from __future__ import annotations

from bench.workloads import link_send
from bench.workloads._iperf3 import received as parse

__all__ = ["parse"]

rootfs, area, port, peer = "debian", "network", link_send.port, link_send.peer
argv = (*link_send.argv, "-R")
