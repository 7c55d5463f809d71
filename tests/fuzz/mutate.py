"""Ways to break a file: by its structure (JSON, JSON lines, TOML) or by its bytes."""

from __future__ import annotations

import copy
import gzip
import json
import math
import random
from collections.abc import Callable
from typing import Any

Draw = random.Random

_TEXTS = (
    "",
    " ",
    "x" * 300,
    "x" * 20_000,
    "../evil",
    "../../../../etc/passwd",
    "/etc/passwd",
    "..",
    ".",
    "a/b",
    "a\0b",
    "\x1b]0;title\x07\x1b[2J",
    "line\nbreak\r\n",
    "\u202egnp.exe",
    "\ud800",
    "ÄÖÜ 測試 \N{PILE OF POO}",
    "<img src=x onerror=alert(1)>",
    "](http://x) | `a` **b**",
    "{{ 7 * 7 }}",
    "%s %d {0}",
    "'; rm -rf /",
    "--help",
    "-",
    "NaN",
    "2026-13-45T99:99:99Z",
    "9999-12-31T23:59:59+14:00",
    "0001-01-01T00:00:00-14:00",
    "6.1.0-" + "9" * 5000,
    "9" * 5000 + " MiB",
    "1e999 s",
    "٣",
    "process",
    "boot",
    "ok",
)
_NUMBERS: tuple[int | float, ...] = (
    0,
    -1,
    1,
    -0.0,
    0.5,
    1e-320,
    1e-15,
    1e15,
    1e18,
    1e300,
    1.7976931348623157e308,
    -1e308,
    math.nan,
    math.inf,
    -math.inf,
    2**31,
    2**53,
    2**62,
    2**63 - 1,
    -(2**63),
    2**63,
    10**25,
    10**5000,
    True,
    False,
)


def _weird(draw: Draw) -> Any:
    """A value that nobody expects."""
    kind = draw.randrange(8)
    if kind < 3:
        return draw.choice(_TEXTS)
    if kind < 6:
        return draw.choice(_NUMBERS)
    simple: tuple[Any, ...] = (None, [], {}, [[]], [None], {"": None}, [{}], {"a": [1, "b"]})
    if kind == 6:
        return copy.deepcopy(draw.choice(simple))
    return _nested(draw.choice((5, 40, 60, 900, 3000)), as_list=draw.random() < 0.5)


class _Deep:
    """So deep that json.dumps would fail on it: written by _dump()."""

    def __init__(self, depth: int, as_list: bool) -> None:
        self.text = "[" * depth + "]" * depth if as_list else '{"a":' * depth + "1" + "}" * depth


def _nested(depth: int, *, as_list: bool) -> _Deep:
    return _Deep(depth, as_list)


def _places(tree: Any) -> list[tuple[Any, Any]]:
    """Every (container, key) inside."""
    found: list[tuple[Any, Any]] = []
    waiting = [tree]
    while waiting:
        each = waiting.pop()
        if isinstance(each, dict | list):
            keys = list(each) if isinstance(each, dict) else range(len(each))
            found += [(each, key) for key in keys]
            waiting += [each[key] for key in keys]
    return found


def structure(draw: Draw, tree: Any) -> Any:
    """The tree with one thing in it changed."""
    places = _places(tree)
    if not places or draw.random() < 0.02:
        return _weird(draw)
    # A level at a time, so that one list of a thousand numbers does not take all the changes.
    container, key = draw.choice(places)
    if draw.random() < 0.7:
        container, key = tree, draw.choice(_keys(tree))
        while isinstance(container[key], dict | list) and container[key] and draw.random() < 0.75:
            container = container[key]
            key = draw.choice(_keys(container))
    value = container[key]
    what = draw.randrange(16)
    if what < 2:
        container[key] = _weird(draw)
    elif what < 7:
        container[key] = _alike(draw, value)
    elif what < 9:
        del container[key]
    elif what == 9 and isinstance(container, list):
        container.insert(draw.randrange(len(container) + 1), copy.deepcopy(value))
    elif what == 10 and isinstance(container, dict):
        container[draw.choice(_TEXTS)] = container.pop(key)
    elif what == 11:
        container[key] = [value] if draw.random() < 0.5 else {"a": value}
    else:
        other, place = draw.choice(places)
        container[key] = copy.deepcopy(other[place] if _has(other, place) else None)
    return tree


def _alike(draw: Draw, value: Any) -> Any:
    """Another value of the same type, as far as a reader can tell: what gets past it."""
    if isinstance(value, bool):
        return not value
    if isinstance(value, int):
        return draw.choice((0, 1, -1, 2, value + 1, -value, value * 1000, 2**31, 2**53, 2**63 - 1, -(2**63) + 1))
    if isinstance(value, float):
        factors = (-1.0, 0.0, 1e-12, 1e-3, 1e3, 1e12)
        return draw.choice([value * factor for factor in factors] + [5e-324, 1e-300, 1e-30, 1e18, -1e18, 0.0])
    if isinstance(value, str):
        return draw.choice([*_TEXTS, value * 200, value[:-1], value.upper(), f"{value}\n", f" {value}"])
    if isinstance(value, list):
        return draw.choice(([], value * 2, value[:1], value[::-1], value * 300 if len(value) < 50 else value))
    if isinstance(value, dict):
        return draw.choice(({}, dict(list(value.items())[:1]), {f"{key}2": each for key, each in value.items()}))
    return _weird(draw)


def _keys(container: Any) -> list[Any]:
    return list(container) if isinstance(container, dict) else list(range(len(container)))


def _has(container: Any, key: Any) -> bool:
    return key in container if isinstance(container, dict) else key < len(container)


def content(draw: Draw, data: bytes) -> bytes:
    """Bytes, with some of them changed."""
    what = draw.randrange(10)
    at = draw.randrange(len(data) + 1)
    if what == 0:
        return data[:at]
    if what == 1:
        return b""
    if what == 2:
        return data[:at] + bytes(draw.randrange(256) for _ in range(draw.randrange(1, 9))) + data[at:]
    if what == 3:
        end = min(at + draw.randrange(1, 60), len(data))
        return data[:at] + data[end:]
    if what == 4:
        end = min(at + draw.randrange(1, 400), len(data))
        return data[:end] + data[at:end] * draw.choice((1, 2, 50)) + data[end:]
    if what == 5:
        return draw.choice((b"\xef\xbb\xbf", b"\0" * 100, b"\n" * 50, b"\xff\xfe")) + data
    if what == 6:
        return data + draw.choice((b"\0" * 100, b"\n\n", b"{", b"]", data[: len(data) // 2]))
    if what == 7:
        return draw.choice((gzip.compress(data), b"\x1f\x8b\x08", gzip.compress(data)[:-9], b"\x1f\x8b" + data))
    flipped = bytearray(data)
    for _ in range(draw.choice((1, 1, 2, 10))):
        if flipped:
            flipped[draw.randrange(len(flipped))] ^= 1 << draw.randrange(8)
    return bytes(flipped)


def _dump(tree: Any) -> bytes:
    """JSON, also of what is none: NaN, numbers of thousands of digits, thousands of levels."""
    holes: dict[str, str] = {}

    def plain(value: Any) -> Any:
        if isinstance(value, dict):
            return {str(key): plain(each) for key, each in value.items()}
        if isinstance(value, list):
            return [plain(each) for each in value]
        if isinstance(value, _Deep) or (isinstance(value, int) and abs(value) > 2**70):
            name = f"@hole-{len(holes)}@"
            holes[f'"{name}"'] = value.text if isinstance(value, _Deep) else "1" + "0" * 5000
            return name
        return value

    text = json.dumps(plain(tree))
    for name, real in holes.items():
        text = text.replace(name, real)
    return text.encode("utf-8", "surrogatepass")


def _dump_toml(table: Any) -> bytes:
    def value(given: Any) -> str:
        if isinstance(given, dict):
            return (
                "{" + ", ".join(f"{json.dumps(str(k))} = {value(v)}" for k, v in given.items() if v is not None) + "}"
            )
        if isinstance(given, list):
            return "[" + ", ".join(value(each) for each in given if each is not None) + "]"
        if isinstance(given, _Deep):
            return given.text.replace('"a":', "a = ")
        if isinstance(given, int) and not isinstance(given, bool) and abs(given) > 2**70:
            return "1" + "0" * 5000
        return json.dumps(given).replace("NaN", "nan").replace("Infinity", "inf")

    if not isinstance(table, dict):
        return value(table).encode()
    lines = [f"{json.dumps(str(key))} = {value(each)}" for key, each in table.items() if each is not None]
    return "\n".join([*lines, ""]).encode("utf-8", "surrogatepass")


def mutated(draw: Draw, data: bytes, name: str, tree: Any = None) -> bytes:
    """A file's content, broken in one to three ways. tree: of TOML, what it says."""
    count = draw.choice((1, 1, 1, 2, 3))
    if draw.random() < 0.15:
        for _ in range(count):
            data = content(draw, data)
        return data
    dump: Callable[[Any], bytes] = _dump
    if name.endswith(".toml"):
        tree, dump = copy.deepcopy(tree), _dump_toml
    elif name.endswith(".jsonl"):
        lines = data.splitlines()
        places = range(len(lines))
        chosen = draw.sample(places, min(count, len(lines))) if draw.random() < 0.5 else places
        # The same change to every line, or changes to some.
        seed = draw.random()
        for place in chosen:
            own = random.Random(seed) if isinstance(chosen, range) else draw
            lines[place] = _dump(structure(own, json.loads(lines[place])))
        if draw.random() < 0.1:
            draw.shuffle(lines)
        return b"\n".join([*lines, b""])
    else:
        tree = json.loads(data)
    for _ in range(count):
        tree = structure(draw, tree) if isinstance(tree, dict | list) else _weird(draw)
    data = dump(tree)
    return gzip.compress(data) if name.endswith(".gz") else data
