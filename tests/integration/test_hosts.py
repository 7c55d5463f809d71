"""Campaigns on a host that is reached by SSH, over the loopback: agent, workers and instances are real."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko
import pytest

from bench.results import JOURNAL, read_journal
from tests.unit.bench import sshd
from tests.unit.bench.sshd import Sshd

from .conftest import PROJECT

pytestmark = pytest.mark.usefixtures("nothing_left")

CAMPAIGN = """
name = "test"
blocks = {blocks}
baseline = "process"
hosts = {hosts}
[scenarios]
lifecycle = {{}}
[arms]
process = {{}}
bwrap = {{}}
"""


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Sshd]:
    home = tmp_path / "there"
    home.mkdir(mode=0o700)
    with sshd.running(home) as server:
        yield server


@pytest.fixture
def env(there: Sshd, tmp_path: Path) -> dict[str, str]:
    """Where the server is rack1."""
    return inventory(tmp_path, rack1=there)


def inventory(folder: Path, **servers: Sshd) -> dict[str, str]:
    lines = []
    for name, server in servers.items():
        own = folder / name
        own.mkdir()
        given = sshd.entry(server, own).entry
        assert given
        keys = ("address", "user", "port", "key", "known_hosts")
        lines += [f"[{name}]", 'wait = "30 s"', *(f"{key} = {json.dumps(getattr(given, key))}" for key in keys)]
    file = folder / "hosts.toml"
    file.write_text("\n".join(lines) + "\n")
    kept = {key: value for key, value in os.environ.items() if key != "SSH_AUTH_SOCK"}
    return {**kept, "TARE_HOSTS": str(file), "XDG_CONFIG_HOME": str(folder / "config"), "PYTHONPATH": str(PROJECT)}


def start(env: dict[str, str], *words: object) -> subprocess.Popen[str]:
    argv = [sys.executable, "-m", "bench", *map(str, words)]
    pipe = subprocess.PIPE
    begun = subprocess.Popen(
        argv, cwd=PROJECT, stdout=pipe, stderr=subprocess.STDOUT, text=True, start_new_session=True, env=env
    )
    _started.append(begun)
    return begun


_started: list[subprocess.Popen[str]] = []


@pytest.fixture(autouse=True)
def ended(nothing_left: None) -> Iterator[None]:
    """A test that fails leaves no campaign to the next one."""
    yield
    while _started:
        begun = _started.pop()
        if begun.poll() is None:
            begun.kill()
            sys.stderr.write(begun.communicate()[0])


def run(
    env: dict[str, str], tmp_path: Path, blocks: int = 3, hosts: tuple[str, ...] = ("rack1",)
) -> subprocess.Popen[str]:
    file = tmp_path / "campaign.toml"
    file.write_text(CAMPAIGN.format(blocks=blocks, hosts=json.dumps(hosts)))
    return start(env, "run", file, "--results", tmp_path / "results")


def results(tmp_path: Path) -> Path:
    (found,) = (tmp_path / "results").glob("test-*")
    return found


def assert_whole(folder: Path, blocks: int) -> None:
    told = read_journal(folder / JOURNAL)
    assert Counter(line["slot"] for line in told) == Counter(
        {f"b{block:02}-s{order:02}": 1 for block in range(1, blocks + 1) for order in (1, 2)}
    )
    assert {line["status"] for line in told} == {"ok"}, told
    assert (folder / "report.html").exists()


def begun(tmp_path: Path, lines: int = 1) -> None:
    """Wait until slots have ended."""
    deadline = time.monotonic() + 120
    while not any(
        len(file.read_bytes().splitlines()) >= lines for file in (tmp_path / "results").glob(f"test-*/{JOURNAL}")
    ):
        assert time.monotonic() < deadline, "no slot has ended"
        time.sleep(0.02)


def test_a_campaign_and_what_it_leaves(env: dict[str, str], there: Sshd, tmp_path: Path) -> None:
    out, _ = (ran := run(env, tmp_path)).communicate(timeout=180)
    assert ran.returncode == 0, out
    assert_whole(results(tmp_path), 3)
    assert (there.home / ".tare").is_dir()
    out, _ = (cleaned := start(env, "clean", "--host", "rack1")).communicate(timeout=120)
    assert cleaned.returncode == 0, out
    assert not (there.home / ".tare").exists()


@pytest.mark.parametrize("seed", range(4))
def test_a_cable_that_is_cut_at_any_moment(env: dict[str, str], there: Sshd, tmp_path: Path, seed: int) -> None:
    """Before the campaign has a folder it ends with one line; from then on the host is found again and gone on with."""
    moment = random.Random(seed).uniform(0.2, 8)
    threading.Timer(moment, there.cut).start()
    out, _ = (ran := run(env, tmp_path, blocks=12)).communicate(timeout=300)
    assert "Traceback" not in out
    if ran.returncode:
        assert ran.returncode == 4, out
        assert "not heard of any more" in out or "cannot be reached" in out or "nothing can be started" in out, out
        wait_until_nobody_holds_this_host()
        out, _ = (ran := run(env, tmp_path, blocks=12)).communicate(timeout=300)
    assert ran.returncode == 0, out
    assert_whole(results(tmp_path), 12)


def test_an_interrupt_ends_in_seconds_and_resume_goes_on(env: dict[str, str], there: Sshd, tmp_path: Path) -> None:
    ran = run(env, tmp_path, blocks=40)
    begun(tmp_path)
    ran.send_signal(signal.SIGINT)
    sent = time.monotonic()
    out, _ = ran.communicate(timeout=60)
    assert time.monotonic() - sent < 40
    assert ran.returncode == 130, out
    ran = start(env, "resume", results(tmp_path))
    begun(tmp_path, lines=len(read_journal(results(tmp_path) / JOURNAL)) + 2)
    ran.send_signal(signal.SIGINT)
    assert ran.communicate(timeout=60)
    assert ran.returncode == 130


def test_an_interrupt_ends_in_seconds_where_the_host_has_gone_silent(
    env: dict[str, str], there: Sshd, tmp_path: Path
) -> None:
    """It takes and sends nothing more, and its connection stands."""
    ran = run(env, tmp_path, blocks=40)
    begun(tmp_path)
    for transport in there._transports:
        transport.packetizer.read_message = lambda: time.sleep(600)
        transport.packetizer.send_message = lambda data: time.sleep(600)
    time.sleep(1)
    ran.send_signal(signal.SIGINT)
    sent = time.monotonic()
    out, _ = ran.communicate(timeout=100)
    assert time.monotonic() - sent < 40
    assert ran.returncode == 130, out
    there.cut()  # upon which the agent takes everything down
    wait_until_nobody_holds_this_host()


def wait_until_nobody_holds_this_host() -> None:
    from bench import lock

    deadline = time.monotonic() + 60
    while lock.is_held():
        assert time.monotonic() < deadline, "the agent does not end"
        time.sleep(0.1)


def mangling(server: Sshd, mangle: Callable[[dict[str, object]], object]) -> sshd.Behaviour:
    """A host whose agent's slots are told otherwise than they were."""

    def behave(channel: paramiko.Channel, command: str) -> None:
        if " agent " not in command:
            server.shell(channel, command)
            return
        send, heard = channel.sendall, bytearray()

        def sendall(data: bytes) -> None:
            heard.extend(data)
            *lines, rest = bytes(heard).split(b"\n")
            heard[:] = rest
            for line in lines:
                said = json.loads(line) if line else None
                if said and isinstance(said.get("ok"), dict) and "samples" in said["ok"]:
                    line = json.dumps(said | {"ok": mangle(said["ok"])}).encode()
                send(line + b"\n")

        channel.sendall = sendall
        server.shell(channel, command)

    return behave


@pytest.mark.parametrize(
    "mangle",
    [
        lambda found: found | {"slot": "b01-s01", "schema": 99},
        lambda found: [found],
        lambda found: found | {"seen": [1]},
    ],
    ids=["the plan's keys", "a list", "seen is a list"],
)
def test_slots_that_are_told_otherwise_fail_and_the_report_is_written(
    env: dict[str, str], there: Sshd, tmp_path: Path, mangle: Callable[[dict[str, object]], object]
) -> None:
    """Its probes too, so that every arm would be left out: they are answered by the agent, and are not mangled."""
    there.behaviour = mangling(there, mangle)
    out, _ = (ran := run(env, tmp_path, blocks=2)).communicate(timeout=180)
    assert ran.returncode == 5, out
    assert "Traceback" not in out
    told = read_journal(results(tmp_path) / JOURNAL)
    assert [line["status"] for line in told] == ["failed"] * 4
    assert all("another form" in line["reason"] for line in told)
    assert len({line["slot"] for line in told}) == 4
    assert (results(tmp_path) / "report.html").exists()


def silent_agent(server: Sshd) -> sshd.Behaviour:
    def behave(channel: paramiko.Channel, command: str) -> None:
        if " agent " not in command:
            server.shell(channel, command)
        else:
            channel.sendall(b"[" * 100_000 + b"\n")
            time.sleep(600)

    return behave


def test_a_host_that_speaks_nonsense_ends_no_other(there: Sshd, tmp_path: Path) -> None:
    home = tmp_path / "elsewhere"
    home.mkdir(mode=0o700)
    with sshd.running(home) as bad:
        bad.behaviour = silent_agent(bad)
        env = inventory(tmp_path, rack1=there, rack2=bad)
        out, _ = (ran := run(env, tmp_path, hosts=("rack1", "rack2"))).communicate(timeout=240)
    assert ran.returncode == 5, out
    assert "rack2 takes no further part" in out
    assert "not ours" in out
    assert "Traceback" not in out
    told = read_journal(results(tmp_path) / "rack1" / JOURNAL)
    assert [line["status"] for line in told] == ["ok"] * 6
    assert (results(tmp_path) / "rack1" / "report.html").exists()
