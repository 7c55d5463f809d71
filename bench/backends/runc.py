"""Containers by runc."""

from __future__ import annotations

from bench.backends._oci import OciBackend
from bench.process import require


class Backend(OciBackend):
    tools = {"runc": "runc"}

    @property
    def runtime(self) -> str:
        return require("runc", "runc")
