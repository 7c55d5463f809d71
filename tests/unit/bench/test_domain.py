"""What a guest is made of, as libvirt gets it."""

from __future__ import annotations

import dataclasses
import xml.etree.ElementTree as tree
from pathlib import Path

import pytest

from bench.backends import _domain

LINUX = _domain.Machine(
    name="tare-0a1b2c3d-b01-s01-1",
    domain_type="kvm",
    emulator="/usr/bin/qemu",
    machine="pc",
    cpus=2,
    memory=128 << 20,
    console=Path("/x/console"),
    channel=Path("/x/channel"),
    kernel=Path("/k/vmlinuz"),
    initramfs=Path("/k/initramfs.cpio"),
    environment={"TARE_RUN": "0a1b2c3d"},
)


def _parse(machine: _domain.Machine) -> tree.Element:
    return tree.fromstring(_domain.describe(machine))


def test_envelope_is_passed_on_exactly() -> None:
    domain = _parse(LINUX)
    memory = domain.find("memory")
    assert memory is not None
    assert (memory.text, memory.get("unit")) == (str(128 << 20), "b")
    assert domain.findtext("vcpu") == "2"
    assert domain.get("type") == "kvm"


def test_accelerator_is_all_that_differs_between_arms() -> None:
    tcg = _domain.describe(dataclasses.replace(LINUX, domain_type="qemu"))
    assert tcg.replace('type="qemu"', 'type="kvm"', 1) == _domain.describe(LINUX)


def test_console_is_the_first_port_and_channel_the_second() -> None:
    serials = _parse(LINUX).findall("devices/serial")
    found = [(end.tag, end.attrib) for serial in serials for end in serial]
    assert found == [
        ("source", {"mode": "connect", "path": "/x/console"}),
        ("target", {"port": "0"}),
        ("source", {"mode": "connect", "path": "/x/channel"}),
        ("target", {"port": "1"}),
    ]


def test_every_end_of_the_guest_ends_qemu() -> None:
    domain = _parse(LINUX)
    assert {domain.findtext(f"on_{end}") for end in ("poweroff", "reboot", "crash")} == {"destroy"}


def test_kernel_arguments_end_with_the_arms_own() -> None:
    domain = _parse(dataclasses.replace(LINUX, kernel_arguments=("nopti",)))
    words = (domain.findtext("os/cmdline") or "").split()
    assert words[-1] == "nopti"
    assert set(_domain.KERNEL_ARGUMENTS) < set(words)


def test_boot_sector_guest_has_a_disk_and_no_kernel() -> None:
    domain = _parse(dataclasses.replace(LINUX, image=Path("/x/firmware.img")))
    assert domain.find("os/kernel") is None
    source = domain.find("devices/disk/source")
    assert source is not None
    assert source.get("file") == "/x/firmware.img"
    driver = domain.find("devices/disk/driver")
    assert driver is not None
    assert driver.get("cache") == "writethrough"  # libvirt's own choice needs O_DIRECT, which a tmpfs may not have


@pytest.mark.parametrize(
    ("cpu", "mode", "model"),
    [(None, None, None), ("host-passthrough", "host-passthrough", None), ("qemu64", "custom", "qemu64")],
)
def test_cpu(cpu: str | None, mode: str | None, model: str | None) -> None:
    found = _parse(dataclasses.replace(LINUX, cpu=cpu)).find("cpu")
    assert (None if found is None else found.get("mode")) == mode
    assert (None if found is None else found.findtext("model")) == model


def test_names_and_paths_are_quoted() -> None:
    odd = dataclasses.replace(LINUX, name="a&b<c", kernel=Path('/k/"&<'), channel=Path('/x/"&<'))
    domain = _parse(odd)
    assert domain.findtext("name") == "a&b<c"
    assert domain.findtext("os/kernel") == '/k/"&<'


def test_only_a_daemons_qemu_is_made_root() -> None:
    assert _parse(LINUX).find("seclabel") is None
    assert _parse(dataclasses.replace(LINUX, as_root=True)).findtext("seclabel/label") == "+0:+0"
