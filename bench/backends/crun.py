"""Containers by crun."""

from __future__ import annotations

from bench.backends._oci import OciBackend
from bench.process import require


class Backend(OciBackend):
    tools = {"crun": "crun"}

    @property
    def runtime(self) -> str:
        return require("crun", "crun")
