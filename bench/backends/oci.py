"""Containers by an OCI runtime that the campaign names: youki = { backend = "oci", runtime = "/usr/bin/youki" }."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from bench.backends._oci import OciBackend
from bench.process import require


class Backend(OciBackend):
    @dataclass(frozen=True)
    class Options:
        """runtime: the program, a name or an absolute path."""

        runtime: str

    @classmethod
    def required(cls, options: Any) -> Mapping[str, str]:
        return {options.runtime: "the package that has it"}

    @property
    def runtime(self) -> str:
        return require(self.options.runtime, "the package that has it")
