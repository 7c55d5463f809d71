"""Links: their addresses, what a guest is told, peers that do not listen. Real ends are joined in tests/integration."""

from __future__ import annotations

import ipaddress
import os
import resource
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from bench import link
from bench.errors import HostError, InstanceError


def test_every_link_has_a_net_of_its_own() -> None:
    links = [link.Link(number) for number in (0, 1, 2, 1000, 2**20 - 1)]
    nets = {ipaddress.ip_interface(f"{each.near}/30").network for each in links}
    assert len(nets) == len(links)
    for each in links:
        net = ipaddress.ip_interface(f"{each.far}/30").network
        assert list(net.hosts()) == [ipaddress.ip_address(each.far), ipaddress.ip_address(each.near)]
        assert net.is_private
        assert len(f"{each.name}n") < 16  # IFNAMSIZ, with its end


def test_a_guest_is_told_its_interface_and_address() -> None:
    assert link.attach(link.Link(1), "eth0")[-2:] == ("eth0", "10.64.0.6/30")


def test_a_guest_without_one_says_so() -> None:
    link.check_attached(0, b"")
    with pytest.raises(InstanceError, match=r"the guest has no link: ip: SIOCGIFINDEX: No such device"):
        link.check_attached(1, b"ip: SIOCGIFINDEX: No such device\n")
    with pytest.raises(InstanceError, match="status 2"):
        link.check_attached(2, b"")


def test_who_is_not_root_is_told_before_anything_is_done(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    with pytest.raises(HostError, match="only root can make network namespaces") as told:
        link.Links(tmp_path, tmp_path)  # type: ignore[arg-type]
    assert "link" in (told.value.hint or "")


@pytest.mark.parametrize("family", [socket.AF_INET, socket.AF_INET6])
def test_a_port_that_somebody_listens_on(family: socket.AddressFamily) -> None:
    with socket.create_server(("", 0), family=family) as server:
        port = server.getsockname()[1]
        assert link._listens(os.getpid(), port)
    assert not link._listens(os.getpid(), port)
    assert not link._listens(2**22 + 1, port)


def test_devices_that_are_not_there_have_no_offloads() -> None:
    assert link._offloads("tare-none") == []


def test_a_peer_that_talks_without_an_end_fills_no_disk(tmp_path: Path) -> None:
    """It goes on, and what it says beyond some MiB is lost."""
    start = "from bench import peer; import os, sys; peer._bound_files(); os.execvp(sys.argv[1], sys.argv[1:])"
    talk = "head -c 100M /dev/zero; head -c 100M /dev/zero >&2; true"
    with (tmp_path / "said").open("wb") as said:
        done = subprocess.run(
            [sys.executable, "-c", start, "sh", "-c", talk], stdout=said, stderr=subprocess.STDOUT, check=False
        )
    assert done.returncode == 0
    assert (tmp_path / "said").stat().st_size == 4 << 20


def test_a_peer_keeps_a_lower_bound_that_it_was_given() -> None:
    def lower() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 20, 1 << 20))

    code = "from bench import peer; from resource import *; peer._bound_files(); print(*getrlimit(RLIMIT_FSIZE))"
    done = subprocess.run([sys.executable, "-c", code], preexec_fn=lower, capture_output=True, text=True, check=True)
    assert done.stdout.split() == [str(1 << 20)] * 2
