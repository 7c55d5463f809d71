"""What iperf3 prints of a test in one direction."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._read import document, inside, positive


def received(output: str) -> list[Reading]:
    """How much arrived, whoever sent it."""
    bits = positive(inside(document(output), "end", "sum_received", "bits_per_second"))
    return [Reading("rate", bits / 8, "byte/s", higher=True)]
