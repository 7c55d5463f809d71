"""What a guest talks to at the far end of its link, on this host: nobody, with nothing, by its own link alone."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from bench import confine, image

from .conftest import PROJECT

pytestmark = [
    pytest.mark.usefixtures("nothing_left"),
    pytest.mark.skipif(os.geteuid() != 0, reason="network namespaces take root"),
]

#: A worker's links, each with a peer and with a namespace for who would talk to it; says who they are and waits.
WORKER = """
import contextlib, json, os, subprocess, sys
from pathlib import Path
from bench import link, process

links = link.Links(Path(sys.argv[1]), Path(sys.argv[2]))
serve = ["/bin/busybox", "nc", "-ll", "-p", "5009", "-e", "/bin/busybox", "echo"]
told = []
with contextlib.ExitStack() as stack:
    for number in range(2):
        near = stack.enter_context(subprocess.Popen(["unshare", "--net", "sleep", "60"]))
        stack.callback(near.kill)
        while os.readlink(f"/proc/{near.pid}/ns/net") == os.readlink("/proc/self/ns/net"):
            pass
        own = links.new()
        links.join_container(own, [near.pid])
        before = set(process.tree(os.getpid()))
        stack.enter_context(links.peer(own, [*serve, f"peer {number}"], 5009))
        (peer,) = set(process.tree(os.getpid())) - before
        told.append({"near": near.pid, "peer": peer, "far": own.far, "device": f"{own.name}n"})
    print(json.dumps(told), flush=True)
    sys.stdin.readline()
"""


@pytest.fixture
def worker(tmp_path: Path) -> Any:
    with subprocess.Popen(
        [sys.executable, "-c", WORKER, tmp_path, image.build("tiny").tree],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=PROJECT,
    ) as process:
        assert process.stdout is not None
        told = json.loads(process.stdout.readline())
        yield process, told
        process.terminate() if process.poll() is None else None
        for each in told:
            try:
                os.kill(each["near"], signal.SIGKILL)
            except ProcessLookupError:
                continue


def lives(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def hears(side: dict[str, Any], far: str) -> str:
    """What somebody hears from an address by his own link, once he has made it a way there."""
    inside = ["nsenter", f"--net=/proc/{side['near']}/ns/net"]
    subprocess.run([*inside, "ip", "route", "replace", f"{far}/32", "dev", side["device"]], check=True)
    done = subprocess.run(
        [*inside, "busybox", "nc", "-w", "2", far, "5009"], stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    return done.stdout.strip()


def test_a_peer_is_nobody_and_has_nothing_of_this_host(worker: Any) -> None:
    _, told = worker
    for each in told:
        place = Path(f"/proc/{each['peer']}")
        status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
        assert status["Uid"].split() == status["Gid"].split() == ["65534"] * 4
        assert status["Groups"].split() == []
        assert status["NoNewPrivs"].strip() == "1"
        for which in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"):
            assert confine.named(int(status[which], 16)) == [], which
        root = place / "root"
        assert sorted(path.name for path in (root / "dev").iterdir()) == ["null", "urandom", "zero"]
        assert sorted(path.name for path in (root / "proc").iterdir()) == ["cpuinfo", "stat"]
        assert list((root / "sys").iterdir()) == []
        mounted = [line.split() for line in (place / "mounts").read_text().splitlines()]
        for _, folder, kind, options, *_ in mounted:
            if folder in ("/", "/tmp") and kind != "rootfs":
                assert ("ro" in options.split(",")) == (folder == "/"), folder
        # What the harness is told by, and its own rights, are not for it.
        assert set((place / "environ").read_bytes().decode().split("\0")) - {""} <= {
            "PATH=/usr/sbin:/usr/bin:/sbin:/bin",
            f"TARE_RUN={os.environ.get('TARE_RUN')}",
        }
        assert re.search(r"^Max file size +4194304 +4194304 ", (place / "limits").read_text(), re.MULTILINE)
        assert (place / "oom_score_adj").read_text().strip() == "500"


def test_nobody_reaches_another_links_peer(worker: Any) -> None:
    _, (one, other) = worker
    assert hears(one, one["far"]) == "peer 0"
    assert hears(other, other["far"]) == "peer 1"
    assert hears(one, other["far"]) == ""
    assert hears(other, one["far"]) == ""


def test_peers_die_with_their_worker(worker: Any) -> None:
    process, told = worker
    assert all(lives(each["peer"]) for each in told)
    process.kill()
    process.wait()
    deadline = time.monotonic() + 5
    while any(lives(each["peer"]) for each in told) and time.monotonic() < deadline:
        time.sleep(0.01)
    assert not any(lives(each["peer"]) for each in told)
