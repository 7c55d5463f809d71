"""A campaign that ends where it has learnt enough: what the referee decided between blocks, kept beside the journal.

Who decides is none of bench's business: `Referee` is all that it knows of the analysis.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, Protocol

from bench.results import DECISIONS, Record, read_decisions, write_object


class Referee(Protocol):
    """Looks at a campaign between its blocks."""

    def due(self, block: int) -> bool:
        """Whether to look after this block."""

    def look(self, folder: Path, block: int) -> Record:
        """The content of decisions.json after this block."""


class Stops:
    """The slots of one campaign that are not needed any more. Without a referee all are."""

    def __init__(self, folder: Path, referee: Referee | None) -> None:
        self._folder = folder
        self._referee = referee
        self._looked = 0
        self._after: dict[tuple[str, str], int] = {}
        if referee and (known := read_decisions(folder)):
            self._note(known)

    def look(self, block: int) -> str | None:
        """Look after a block, if it is time to; what came of it, in words. Raises RecordError."""
        if self._referee is None or block <= self._looked or not self._referee.due(block):
            return None
        found = self._referee.look(self._folder, block)
        before = [
            {"scenario": scenario, "arm": arm, "blocks": blocks} for (scenario, arm), blocks in self._after.items()
        ]
        # What has stopped stays so: its later blocks are missing beside those that went on.
        found["stopped"] = before + [
            each for each in found["stopped"] if (each["scenario"], each["arm"]) not in self._after
        ]
        write_object(self._folder / DECISIONS, found)
        self._note(found)
        return str(found["text"])

    def spares(self, slot: Mapping[str, Any]) -> bool:
        """Whether a slot is not needed any more."""
        after = self._after.get((slot["scenario"], slot["arm"]))
        return after is not None and int(slot["block"]) > after

    def _note(self, decisions: Record) -> None:
        self._looked = decisions["block"]
        self._after = {(each["scenario"], each["arm"]): each["blocks"] for each in decisions["stopped"]}
