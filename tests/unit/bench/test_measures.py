"""Measures: which back-ends can take them, and the slope of a ramp."""

from __future__ import annotations

import importlib
import os
import random
from collections.abc import Iterator

import pytest

from bench import counters, crew, measures
from bench.backends import base, bwrap
from bench.errors import InputError
from bench.measures import density

GUESTS = {"boot", "density", "inside", "isolation", "spawn", "teardown"}
#: Where the host's processor counts in the cage, if it does.
IN_LINUX = GUESTS | {"instructions"}
BY_DOOR = IN_LINUX | {"exec"}
#: What the arms of a backend can take: a container's, and what is different.
POSSIBLE = dict.fromkeys(base.names(), BY_DOOR) | {
    "uml": IN_LINUX,
    "qemu": GUESTS | {"firmware"},
    "kvm": GUESTS | {"firmware"},
    "xen": GUESTS,
    "qemu-icount": {"instructions"},
}


def test_every_measure_is_possible_somewhere_and_says_what_it_is() -> None:
    assert set.union(*POSSIBLE.values()) == set(measures.names())
    for name in measures.names():
        assert measures.load(name).name == name
        assert "\n" not in measures.load(name).summary
        assert measures.load(name).summary


@pytest.mark.parametrize("backend", POSSIBLE)
def test_what_a_backend_can_take(backend: str) -> None:
    kind = base.load(backend)
    reasons = {name: measures.load(name).impossible(kind) for name in measures.names()}
    assert {name for name, reason in reasons.items() if reason is None} == POSSIBLE[backend]
    assert all(reason for reason in reasons.values() if reason is not None)


def test_why_not() -> None:
    assert "door" in (measures.load("exec").impossible(base.load("uml")) or "")
    assert "qemu-icount" in (measures.load("instructions").impossible(base.load("kvm")) or "")
    assert "seconds" in (measures.load("boot").impossible(base.load("qemu-icount")) or "")
    assert "firmware" in (measures.load("firmware").impossible(base.load("crun")) or "")


@pytest.fixture
def ordinary(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """An ordinary user, on a host that counts nothing, from the backends' import on."""
    with monkeypatch.context() as patched:
        patched.setattr(os, "geteuid", lambda: 1000)
        patched.setattr(counters, "missing", lambda: "this host has no hardware counter")
        importlib.reload(bwrap)
        yield
    importlib.reload(bwrap)


@pytest.mark.parametrize("backend", POSSIBLE)
def test_who_asks_and_where_changes_nothing_of_what_a_backend_can_take(backend: str, ordinary: None) -> None:
    test_what_a_backend_can_take(backend)


def test_what_a_host_lacks_is_asked_there(ordinary: None) -> None:
    names = measures.names()
    lacking = {backend: crew.lacking(base.load(backend), names) for backend in base.names()}
    no_counter = {"instructions": "this host has no hardware counter"}
    assert lacking.pop("qemu-icount") == {}
    assert set(lacking["bwrap"]) == {"exec", "instructions"}
    assert "ordinary user" in lacking.pop("bwrap")["exec"]
    assert all(found == no_counter for found in lacking.values())


def test_a_host_that_lacks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(counters, "missing", lambda: None)
    assert not any(crew.lacking(base.load(backend), measures.names()) for backend in base.names())


def test_an_unknown_measure_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no measure 'boots'.*boot, density"):
        measures.load("boots")


def test_the_slope_of_a_line() -> None:
    assert density.theil_sen([(n, 7 + 3 * n) for n in range(1, 8)]) == pytest.approx(3)


def test_the_first_instance_pays_for_all_and_the_slope_does_not_care() -> None:
    ramp = [(float(n), 50e6 + 4e6 * n) for n in range(1, 11)]
    assert density.theil_sen([(0.0, 0.0), *ramp]) == pytest.approx(4e6)


def test_a_quarter_of_wild_points_does_not_move_the_slope_far() -> None:
    draw = random.Random(5)
    ramp = [(float(n), 4e6 * n + draw.gauss(0, 1e4)) for n in range(1, 21)]
    for at in (3, 8, 12, 17):
        ramp[at] = (ramp[at][0], 9e9)
    assert density.theil_sen(ramp) == pytest.approx(4e6, rel=0.02)


def test_points_at_the_same_n_have_no_slope_between_them() -> None:
    assert density.theil_sen([(1, 0), (1, 100), (2, 10)]) == pytest.approx(-40)


def test_what_the_host_lost_and_no_cage_holds() -> None:
    cage: dict[str, int | None] = {"cage": 100, "cage_anon": 50, "cage_shmem": 10, "cage_kernel": 5, "cage_file": 45}
    # Page cache is not lost: the host takes it back when it wants to.
    assert density._unexplained(80, kernel=12, cage=cage) == 8
    assert density._unexplained(80, kernel=12, cage=dict.fromkeys(cage)) is None
