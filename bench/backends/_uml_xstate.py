"""Lets today's UML kernels run on CPUs with AMX: see _uml_xstate.c."""

from __future__ import annotations

from pathlib import Path

from bench.backends._compiled import shared_library

NOTE = (
    "this CPU has AMX: its extended register set is larger than UML kernels before 6.14 can hold, so UML runs with "
    "Tare's ptrace wrapper preloaded (bench/backends/_uml_xstate.c), which copies about 11 kB at each switch"
)
_SOURCE = Path(__file__).with_suffix(".c")


def needed() -> bool:
    """Whether this CPU's register set is larger than a UML kernel's buffer."""
    return "amx_tile" in Path("/proc/cpuinfo").read_text().split()


def library() -> Path:
    """The compiled wrapper. Raises CommandError or HostError (no compiler)."""
    return shared_library(_SOURCE)
