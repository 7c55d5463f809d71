"""What limits the figures: a sentence, and the section of the report that says more."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

#: Sections of a report by their anchor; navigation, headings and cautions use the same names.
SECTIONS: Final = {
    "instructions": "Instructions",
    "matrix": "Matrix",
    "start": "How fast does it start?",
    "use": "How fast is it used, and gone?",
    "density": "How many fit?",
    "inside": "What do system calls, disk and network cost?",
    "isolation": "Who hurts whom?",
    "firmware": "Firmware only",
    "equivalence": "Are these numbers fair?",
    "failures": "Failures",
    "measured": "How each number was measured",
    "facts": "Facts",
}


@dataclass(frozen=True)
class Caution:
    """section: an anchor in SECTIONS, or "" where no section says more."""

    text: str
    section: str = ""

    @property
    def heading(self) -> str:
        return SECTIONS.get(self.section, "")

    def __str__(self) -> str:
        return f"{self.text} See “{self.heading}”." if self.section else self.text
