"""What sysbench's tests have in common."""

from __future__ import annotations

from bench.workloads._read import one


def finished(output: str) -> str:
    """An output that goes on to its last line. Raises ValueError where it is cut, whatever it has said by then."""
    one(r"^ +execution time \(avg/stddev\): +\d+\.\d+/\d+\.\d+$", output)
    return output
