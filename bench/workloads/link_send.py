"""iperf3 sends to a peer at the other end of the link for a second: TCP out of the instance."""

from __future__ import annotations

from bench.workloads._iperf3 import received as parse

__all__ = ["parse"]

rootfs = "debian"
area = "network"
port = 5201
peer = ("/usr/bin/iperf3", "-s", "-p", f"{port}")
argv = ("/usr/bin/iperf3", "-c", "{peer}", "-p", f"{port}", "-t", "1", "-J")
