"""Reading what tools print, strictly: a figure that is missing, zero or no number is an error, never a value."""

from __future__ import annotations

import json
import math
import re
from typing import Any


def positive(found: object) -> float:
    """A finite number above zero, given as one or as text. Raises ValueError."""
    if isinstance(found, bool) or not isinstance(found, int | float | str):
        raise ValueError(f"{found!r} is not a figure")
    value = float(str(found))  # of an endless integer this is infinity, and no OverflowError
    if not math.isfinite(value) or value <= 0:
        raise ValueError(f"{found!r} is not a figure above zero")
    return value


def one(pattern: str, output: str) -> re.Match[str]:
    """The one place that a pattern matches; ^ and $ are ends of lines. Raises ValueError where it is not just one."""
    found = list(re.finditer(pattern, output, re.MULTILINE))
    if len(found) != 1:
        raise ValueError(f"{len(found)} matches of {pattern!r} in {output.strip()[-300:] or 'no output'!r}")
    return found[0]


def figure(pattern: str, output: str) -> float:
    """The figure in the pattern's one group."""
    return positive(one(pattern, output)[1])


def document(output: str) -> dict[str, Any]:
    """The JSON object that an output ends with; tools may warn of something before it."""
    start = one(r"^\{$", output).start()
    found: dict[str, Any] = json.loads(output[start:])
    return found


def inside(found: Any, *keys: str | int) -> Any:
    """What a document holds at these keys. Raises ValueError where it is not there."""
    for key in keys:
        try:
            found = found[key]
        except (KeyError, IndexError, TypeError) as error:
            raise ValueError(f"there is no {'.'.join(map(str, keys))}") from error
    return found
