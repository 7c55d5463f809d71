"""Host kernels that take turns: one that fails is left out, with the reason, and the host's part goes on."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

import msgspec
import pytest

from bench import answers, facts, inventory, kexec, parcel, reboot, slots
from bench.agent import failure
from bench.answers import Loaded
from bench.errors import HostError, HostLost, InputError
from bench.host import Workers
from bench.remote import Conversation, Files, RemoteSeat
from bench.results import JOURNAL, read_journal
from bench.slots import Watcher
from bench.turns import Turns

OWN, SENT = "6.1.0-own", "6.1.0-sent"


class Talk:
    """Stands for a host: has one kernel of its own, and takes any that is sent but for one release."""

    def __init__(self, bad: str = "") -> None:
        self.bad = bad
        self.lost = False
        self.asked: list[dict[str, Any]] = []

    def ask(self, within: float, shape: type, **request: Any) -> Any:
        self.asked.append(request)
        if self.lost:
            raise HostLost("gone")
        if request["do"] == "kernels":
            return [release for release in request["releases"] if release == OWN]
        if request["release"] == self.bad:
            raise HostError("kexec takes no such kernel")
        return Loaded(runs=False, version="#1")


class Sent:
    def __init__(self) -> None:
        self.files: list[Path] = []

    def put_file(self, file: Path) -> str:
        self.files.append(file)
        return file.name


class Heard(Watcher):
    def __init__(self) -> None:
        self.texts: list[str] = []

    def warned(self, text: str) -> None:
        self.texts.append(text)


@pytest.fixture(autouse=True)
def debian(monkeypatch: pytest.MonkeyPatch) -> None:
    def fetch(release: str, tell: object) -> parcel.Parcel:
        if release != SENT:
            raise InputError(f"Debian has no kernel {release}")
        return parcel.Parcel(release, Path("/cache/abc"), {"package": "p", "version": "1"})

    monkeypatch.setattr(parcel, "fetch", fetch)


def make(talk: Talk, files: Sent | None = None) -> tuple[Turns, RemoteSeat, Heard]:
    heard = Heard()
    host = msgspec.convert(facts.host() | {"name": "rack", "kernel": OWN}, answers.Host)
    hello = answers.Hello(host, [], "r")
    seat = RemoteSeat(cast(Conversation, talk), cast(Files, files or Sent()), hello)
    return Turns(inventory.Host("rack", inventory.Entry()), heard, lambda: False), seat, heard


def test_what_the_host_has_not_is_sent_and_what_nobody_has_is_left_out() -> None:
    files = Sent()
    turns, seat, heard = make(talk := Talk(), files)
    sent = turns.settle(seat, [OWN, SENT, "6.1.0-none"], {})
    assert sent == {SENT: {"release": SENT, "sha256": "abc", "package": "p", "version": "1"}}
    assert files.files == [Path("/cache/abc")]
    loads = [request for request in talk.asked if request["do"] == "load"]
    assert [(request["release"], request["packed"], request["keep"]) for request in loads] == [
        (OWN, None, False),
        (SENT, "abc", False),
    ]
    assert turns.unbootable == {"6.1.0-none": "Debian has no kernel 6.1.0-none"}
    assert "6.1.0-none is left out" in heard.texts[0]


def test_a_host_that_can_boot_none_of_them_says_so_and_a_lost_one_is_lost() -> None:
    turns, seat, _ = make(Talk(bad=OWN))
    with pytest.raises(HostError, match="can boot no kernel of this campaign: kexec takes no such kernel"):
        turns.settle(seat, [OWN], {})
    turns, seat, _ = make(talk := Talk())
    talk.lost = True
    with pytest.raises(HostLost):
        turns.settle(seat, [OWN], {})
    assert not turns.unbootable


def test_a_kernel_that_does_not_come_up_is_not_tried_again(monkeypatch: pytest.MonkeyPatch) -> None:
    turns, seat, _ = make(Talk())
    loaded = turns.load(seat, OWN, None)
    assert loaded
    for error in (reboot.WrongKernel("came back with another"), reboot.Gone("did not come back")):

        def boot(*_: object, error: HostError = error) -> None:
            raise error

        turns.unbootable.clear()
        monkeypatch.setattr(reboot, "boot", boot)
        if isinstance(error, HostLost):
            with pytest.raises(HostLost):
                turns.boot(OWN, loaded)
        else:
            turns.boot(OWN, loaded)
        assert turns.unbootable == {OWN: str(error)}
        assert not turns.runs(seat, OWN)
    turns.unbootable.clear()

    def cut(*_: object) -> None:
        raise HostLost("no way to it")

    monkeypatch.setattr(reboot, "boot", cut)
    with pytest.raises(HostLost):
        turns.boot(OWN, loaded)
    assert not turns.unbootable
    monkeypatch.setattr(reboot, "boot", lambda *_: None)
    turns.boot(OWN, loaded)
    assert turns.runs(seat, OWN)


def test_slots_of_a_kernel_that_does_not_come_up_are_told_with_the_reason(tmp_path: Path) -> None:
    """And those of others are left for when the host runs them."""
    scenario = {
        "description": "",
        "blocks": None,
        "timeout": 1,
        "workloads": ["true"],
        "warmups": 0,
        "values": 1,
        "instances": 1,
    }
    arm = {"backend": "process", "family": "process", "options": {}}
    final = {
        "blocks": 1,
        "envelope": {"cpus": 1, "memory": 1 << 27, "rootfs": "tiny"},
        "arms": {f"process@{release}": arm | {"of": "process", "host_kernel": release} for release in (OWN, SENT)},
        "scenarios": {"exec": scenario},
        "measures": {"exec": {f"process@{release}": ["exec"] for release in (OWN, SENT)}},
        "slots": [
            {"slot": f"b01-s0{order}", "block": 1, "order": order, "scenario": "exec", "arm": f"process@{release}"}
            for order, release in enumerate((SENT, SENT, OWN), start=1)
        ],
    }
    host = {"name": "rack", "kernel": "6.1.0-home", "boot_id": "b", "clocksource": "tsc", "mitigations": {}}
    left = slots.execute(tmp_path, final, host, cast(Workers, None), "d", Watcher(), [], None, {SENT: "it hangs"})
    assert left == OWN
    lines = read_journal(tmp_path / JOURNAL)
    assert [(line["slot"], line["status"], line["reason"]) for line in lines] == [
        ("b01-s01", "failed", "it hangs"),
        ("b01-s02", "failed", "it hangs"),
    ]


def test_what_the_agent_says_of_a_kernel_is_what_is_raised_here() -> None:
    with pytest.raises(HostError) as error:
        kexec.load("6.0-none", None, keep=True)
    assert failure(error.value)["error"]["kind"] == "HostError"
