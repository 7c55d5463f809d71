"""The shape of what was read from a file: whether its keys hold the texts, numbers and lists that they should.

A shape is a type (int, float for any number, str, bool, list, or object for anything), [shape] for a list of them,
{...: shape} for a table by any name, or {key: shape} for a table of these keys. Keys may be missing or null unless
their shape is Needed(…); keys that a shape does not know are let through.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

Shape = Any

_WORDS = {
    str: "a text",
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    list: "a list",
    dict: "a table",
}


@dataclass(frozen=True)
class Needed:
    """The shape of a key that must be there."""

    shape: Shape


def fault(value: object, shape: Shape, where: str = "") -> str | None:
    """What is wrong with a value, in words, for the first fault that is found; None where it has the shape.

    where: what the words call it.
    """
    if shape is object:
        return None
    kind = dict if isinstance(shape, dict) else list if isinstance(shape, list) else shape
    if not _is(value, kind):
        return f"{_name(where)} is {_told(value)}, not {_WORDS[kind]}"
    if isinstance(shape, list) and isinstance(value, list):
        return _first(fault(each, shape[0], f"{where}[{place}]") for place, each in enumerate(value))
    if isinstance(shape, dict) and isinstance(value, dict):
        if ... in shape:
            return _first(fault(each, shape[...], _inner(where, name)) for name, each in value.items())
        return _first(_of_key(value, key, inner, where) for key, inner in shape.items())
    return None


def _of_key(value: dict[str, Any], key: str, shape: Shape, where: str) -> str | None:
    found = value.get(key)
    if isinstance(shape, Needed):
        if key not in value:
            return f"{_name(where)} has no `{key}`" if where else f"there is no `{key}`"
        return fault(found, shape.shape, _inner(where, key))
    return None if found is None else fault(found, shape, _inner(where, key))


def _is(value: object, kind: type) -> bool:
    if kind is float:
        return isinstance(value, int | float) and not isinstance(value, bool)
    return isinstance(value, kind) and (kind is bool or not isinstance(value, bool))


def _first(faults: Iterable[str | None]) -> str | None:
    return next((each for each in faults if each), None)


def _inner(where: str, key: str) -> str:
    key = key if len(key) <= 40 else f"{key[:40]}…"
    return f"{where}.{key}" if where else key


def _name(where: str) -> str:
    return "".join(c if c.isprintable() else "·" for c in f"`{where}`") if where else "it"


def _told(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, list | dict):
        return _WORDS[type(value)]
    if isinstance(value, str):
        return f"the text {value!a}" if len(value) <= 20 else f"the text {value[:20]!a}…"
    return str(value).lower() if isinstance(value, bool) else f"the number {value}"
