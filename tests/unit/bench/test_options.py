"""Options of back-ends, strictly."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import pytest

from bench.backends import base
from bench.errors import InputError


@dataclass(frozen=True)
class _Options:
    path: str
    count: int = 1
    fast: bool = False
    share: float = 0.5
    maybe: str | None = None
    mode: Literal["a", "b"] = "a"


class _Backend(base.Backend):
    family = "process"
    Options = _Options  # type: ignore[assignment,misc]

    def provision(self, order: Any, cage: Any) -> Any:
        raise NotImplementedError


def test_what_is_given_and_what_is_default() -> None:
    assert base.make_options(_Backend, {"path": "/x", "mode": "b", "count": 3}) == _Options("/x", count=3, mode="b")
    assert base.make_options(_Backend, {"path": "", "maybe": "z"}).maybe == "z"


def test_a_whole_number_is_a_number() -> None:
    assert base.make_options(_Backend, {"path": "/x", "share": 2}).share == 2


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"path": 5}, "path: 5 is not a string"),
        ({"path": "/x", "count": "3"}, "count: '3' is not a whole number"),
        ({"path": "/x", "count": True}, "count: True is not a whole number"),
        ({"path": "/x", "count": 1.5}, "count: 1.5 is not a whole number"),
        ({"path": "/x", "fast": 1}, "fast: 1 is not true or false"),
        ({"path": "/x", "share": True}, "share: True is not a number"),
        ({"path": "/x", "share": "1"}, "share: '1' is not a number"),
        ({"path": "/x", "maybe": []}, r"maybe: \[\] is not a string"),
        ({"path": "/x", "mode": "c"}, "mode: 'c' is not one of 'a', 'b'"),
        ({"path": "/x", "mode": ["a"]}, "mode: .* is not one of 'a', 'b'"),
        ({"path": "/x", "pat": "/x"}, r"pat: unknown option. options here: count, fast, maybe, mode, path, share"),
        ({}, "path: missing. this backend needs path = a string"),
    ],
)
def test_what_is_wrong_is_named(given: dict[str, object], message: str) -> None:
    with pytest.raises(InputError, match=message):
        base.make_options(_Backend, given)


@pytest.mark.parametrize("name", base.names())
def test_every_backend_is_found_by_its_file(name: str) -> None:
    kind = base.load(name)
    assert kind.family in ("process", "container", "hypervisor", "uml")
    with pytest.raises(InputError, match="colour: unknown option"):
        base.make_options(kind, {"colour": "red"})


def test_helpers_and_strangers_are_no_backends() -> None:
    assert "base" not in base.names()
    assert not [name for name in base.names() if "_" in name]
    assert "qemu-icount" in base.names()
    for name in ("rkt", "base", "_oci", "../cli", ""):
        with pytest.raises(InputError, match="there is no backend"):
            base.load(name)
