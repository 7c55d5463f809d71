"""One conformance suite over every backend that there is."""

from __future__ import annotations

import re
from collections.abc import Callable
from typing import Any

import pytest

from bench import confine, disk, equivalence, oom
from bench.backends import base

from .conftest import ARMS

Drive = Callable[..., dict[str, Any]]
Require = Callable[[str, str], None]

pytestmark = pytest.mark.usefixtures("nothing_left")
each = pytest.mark.parametrize("arm", sorted(ARMS))

#: What guests have their link by.
DEVICES = {"uml": "UML's vector", "qemu": "virtio-net", "qemu-icount": "virtio-net", "kvm": "virtio-net"}


@each
def test_lives_and_obeys(arm: str, drive: Drive, require_guest: Require) -> None:
    """Boots, runs commands, tells their exit status, survives 1 MiB of output, ends in good order."""
    require_guest(ARMS[arm][0], "linux")
    words = ["a b", "$HOME", "it's", '"', "", "*"]
    found = drive(
        arm,
        ["call", ["/bin/echo", "hello"]],
        ["call", ["/bin/sh", "-c", "exit 7"]],
        ["call", ["/bin/sh", "-c", "head -c 1048576 /dev/zero | tr '\\0' x"]],
        ["call", ["printf", "%s|", *words]],
        ["call", ["no-such-command"]],
        ["call", ["/bin/true"]],
        ["stop"],
    )
    hello, seven, big, quoted, missing, true, stopped = found["steps"]
    assert (hello["status"], hello["output"]) == (0, "hello\n")
    assert seven["status"] == 7
    assert (big["status"], big["size"], big["distinct"]) == (0, 1 << 20, 1)
    assert quoted["output"] == "".join(f"{word}|" for word in words)
    assert missing["status"] == 127
    assert true["status"] == 0
    assert stopped
    marks = found["marks"]
    order = ["requested", "spawned", "init", "ready", "stopping", "gone"]
    assert [marks[name] for name in order] == sorted(marks[name] for name in order)
    assert marks["spawned"] <= marks["kernel"] <= marks["init"]
    assert found["seen"]["cpus"] == 1
    assert found["seen"]["rootfs"].startswith("sha256:")
    assert found["seen"]["seccomp"] == 0


held = pytest.mark.parametrize(
    "arm", [arm for arm in sorted(ARMS) if base.load(ARMS[arm][0]).family in ("process", "container")]
)
#: Opens each of its arguments for writing, writes nothing, and names those that could be opened.
OPEN = 'for file; do (: 3>>"$file") 2>/dev/null && echo "$file"; done; true'
#: Through which root would reach the host, and one that it may write.
DANGEROUS = [
    "/proc/sys/kernel/core_pattern",
    "/proc/sys/kernel/modprobe",
    "/proc/sys/vm/drop_caches",
    "/proc/sysrq-trigger",
    "/proc/irq/default_smp_affinity",
    "/sys/kernel/mm/ksm/run",
    "/sys/kernel/uevent_helper",
]


@held
def test_is_held_as_all_that_share_the_hosts_kernel(arm: str, drive: Drive, require_guest: Require) -> None:
    """By capabilities, limits and what of /proc and /sys can be written: by the init, and by the runtime's door."""
    require_guest(ARMS[arm][0], "linux")
    asked = ["/bin/sh", "-c", OPEN, "open", *DANGEROUS, "/tmp/x"]
    limits = ["/bin/grep", "-h", "-E", "^[0-9]+$|core file|NoNewPrivs|Cap(Eff|Bnd)", "/proc/self/oom_score_adj"]
    limits += ["/proc/self/limits", "/proc/self/status"]
    doors = ["call", "exec"] if base.load(ARMS[arm][0]).door else ["call"]
    found = drive(arm, *([door, argv] for argv in (asked, limits) for door in doors))
    seen = found["seen"]
    expected = equivalence.CONFINED | {"seccomp": 0, "read_only": sorted(["/sys", *confine.read_only()])}
    assert {key: seen[key] for key in expected} == expected
    steps = found["steps"]
    assert [each["output"] for each in steps[: len(doors)]] == ["/tmp/x\n"] * len(doors)
    assert int(steps[len(doors)]["output"].split()[0]) == oom.INSTANCE
    for each in steps[len(doors) :]:
        _, core, *status = each["output"].splitlines()
        assert core.split()[4:6] == ["0", "0"]
        told = {name: int(value, 16) for name, value in (line.split(":") for line in status)}
        assert told["NoNewPrivs"] == 1
        assert confine.named(told["CapEff"]) == confine.named(told["CapBnd"]) == confine.CAPABILITIES


@each
def test_has_a_disk_at_data(arm: str, drive: Drive, require_guest: Require) -> None:
    """ext4, mounted alike, that takes what is flushed; as large as was asked, less what ext4 takes of it."""
    require_guest(ARMS[arm][0], "linux")
    found = drive(
        arm,
        ["call", ["dd", "if=/dev/zero", "of=/data/x", "bs=4k", "count=64", "conv=fsync"]],
        ["call", ["stat", "-f", "-c", "%S %b", "/data"]],
        ["stop"],
        disk=64 << 20,
    )
    assert found["seen"]["disk"] == equivalence.DISK
    wrote, size, _ = found["steps"]
    assert wrote["status"] == 0, wrote
    block, blocks = map(int, size["output"].split())
    assert 0.8 * (64 << 20) < block * blocks < 64 << 20
    assert list(disk.FOLDERS.parent.glob(f"{disk.FOLDERS.name}*")) == []


@each
def test_has_a_link_to_its_peer_and_to_nobody_else(arm: str, drive: Drive, require_guest: Require) -> None:
    require_guest(ARMS[arm][0], "linux")
    found = drive(
        arm,
        ["talk"],
        ["call", ["/bin/busybox", "ip", "route"]],
        ["call", ["/bin/busybox", "ip", "-o", "link"]],
        ["stop"],
        link=True,
    )
    said, routes, devices, _ = found["steps"]
    assert said == "the far end\n"
    assert re.fullmatch(r"10\.64\.0\.0/30 dev (\w+) .*\n", routes["output"]), routes
    names = re.findall(r"^\d+: (\w+)[@:]", devices["output"], re.MULTILINE)
    assert len(set(names) - {"lo", "sit0", "tunl0"}) == 1, devices
    assert found["seen"]["link"] == equivalence.LINK
    assert found["seen"]["link_device"] == DEVICES.get(ARMS[arm][0], "veth")


@each
def test_own_door(arm: str, drive: Drive, require_guest: Require) -> None:
    """A runtime's own door runs commands and tells their exit status; a backend without one says so."""
    if base.load(ARMS[arm][0]).door is None:
        assert base.load(ARMS[arm][0]).family in ("uml", "hypervisor")
        return
    require_guest(ARMS[arm][0], "linux")
    found = drive(arm, ["exec", ["/bin/sh", "-c", "exit 7"]], ["exec", ["/bin/echo", "hello"]])
    assert found["steps"][0]["status"] == 7
    assert (found["steps"][1]["status"], found["steps"][1]["output"]) == (0, "hello\n")


@each
def test_hanging_command_is_given_up(arm: str, drive: Drive, require_guest: Require) -> None:
    require_guest(ARMS[arm][0], "linux")
    _gives_up(drive(arm, ["hang", 1.0]))


@each
def test_frozen_instance_is_killed(arm: str, drive: Drive, require_guest: Require) -> None:
    """Every process of the instance is stopped, its runtime's too."""
    require_guest(ARMS[arm][0], "linux")
    _gives_up(drive(arm, ["freeze", 1.0]))


def _gives_up(found: dict[str, Any]) -> None:
    assert 1.0 <= found["steps"][0]["timeout_after"] < 2.0
    assert found["released_s"] < 10


with_firmware = [
    pytest.param(arm, id=f"{arm}-firmware") for arm in sorted(ARMS) if "firmware" in base.load(ARMS[arm][0]).guests
]


@pytest.mark.parametrize("arm", with_firmware)
def test_firmware_guest(arm: str, drive: Drive, require_guest: Require) -> None:
    """A machine with firmware starts the boot sector, shows its phases, and goes away."""
    require_guest(ARMS[arm][0], "firmware")
    marks = drive(arm, ["firmware"])["marks"]
    order = ["requested", "spawned", "kernel", "ready", "stopping", "gone"]
    assert [marks[name] for name in order] == sorted(marks[name] for name in order)
