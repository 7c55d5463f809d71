"""Which phases a start has, by the marks that there are."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from bench.measures import boot


@pytest.mark.parametrize(
    ("marks", "phases"),
    [
        ({"kernel": 30, "init": 30, "ready": 40}, {"launch", "setup", "init"}),
        ({"kernel": 30, "init": 35, "ready": 35}, {"launch", "setup", "kernel", "init"}),
        ({"kernel": 30, "ready": 40}, {"launch", "setup"}),
        ({"ready": 40}, {"launch"}),
    ],
    ids=["container", "guest whose init and READY came at once", "firmware", "firmware with a silent console"],
)
def test_phases(marks: dict[str, int], phases: set[str]) -> None:
    added: list[str] = []
    session: Any = SimpleNamespace(
        boot=lambda guest: None,
        marks={"requested": 10, "spawned": 20, **marks},
        boot_cpu=None,
        add=lambda metric, values: added.append(metric),
    )
    boot.record(session, "x", "linux")
    assert set(added) == {"x", *(f"x.{phase}" for phase in phases)}
