"""Counts of instructions: what the machine is made of, the log they are read from, the requests it is born with."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cpio
from bench.backends import _domain, base, qemu_icount
from bench.channel import Channel
from bench.errors import HostError, InstanceError
from bench.measures import instructions
from bench.session import Sample, Scenario


def log(text: bytes, step: int = 100) -> Iterator[str]:
    """What plugin and trace write, the latter as libvirt has QEMU date it: the transmitter set up, then the bytes."""
    writes = [(1, 0), (3, 0x83), (0, 0x0C), (1, 0), (3, 0x03), *((0, byte) for byte in text)]
    for number, (register, value) in enumerate(writes, start=1):
        yield f"count {number * step}\n"
        if number % 7 == 0:
            yield f"count {number * step + 1}\n"  # a port that is no serial one's
        yield f"20481@1763799625.{number:06}:serial_write write addr 0x0{register} val 0x{value:02x}\n"


BEGIN = b"\r\nLinux\r\n\r\nINIT\r\n\nREADY\n"


def test_marks_are_at_the_last_byte_of_their_line() -> None:
    text = BEGIN + b"\nrequest-00000 0\nhello\n\nrequest-00001 7\n"
    found = qemu_icount.read(log(text), 2)

    def at(line: bytes) -> int:
        place = 5 + text.index(line) + len(line)  # five writes set the port up
        return place * 100 + (place % 7 == 0)

    assert found.kernel == 600  # the divisor's byte is none of the text
    assert (found.init, found.ready) == (at(b"INIT\r\n"), at(b"READY\n"))
    assert list(found.answers) == [at(b"request-00000 0\n"), at(b"request-00001 7\n")]


@pytest.mark.parametrize(
    ("text", "requests", "missing"),
    [(b"\r\nLinux panicked\r\n", 0, "'INIT'"), (BEGIN[:-1], 0, "'READY'"), (BEGIN, 1, "'request-00000'")],
)
def test_a_mark_that_is_not_there_is_an_error(text: bytes, requests: int, missing: str) -> None:
    with pytest.raises(InstanceError, match=f"{missing} in one piece"):
        qemu_icount.read(log(text), requests)


def test_a_log_without_counts_is_an_error() -> None:
    with pytest.raises(InstanceError, match="no count"):
        qemu_icount.read(iter(["nothing\n"]), 0)


def test_requests_are_an_archive_that_cpio_reads(tmp_path: Path) -> None:
    packed = qemu_icount._packed([["/bin/true"], ["/bin/sh", "-c", "exit 7"]])
    assert len(packed) % 4 == 0
    (tmp_path / "archive").write_bytes(packed)
    with (tmp_path / "archive").open("rb") as archive:
        subprocess.run(["cpio", "-i", "--quiet"], stdin=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "requests").read_text() == (
        "run request-00000 1\n/bin/true\nrun request-00001 3\n/bin/sh\n-c\nexit 7\n"
    )
    assert qemu_icount._packed([]) == b""


def test_members_follow_each_other_aligned(tmp_path: Path) -> None:
    """Contents of every length modulo 4; a folder; a link."""
    members = [cpio.Member("d", 0o040755, links=2), cpio.Member("d/l", 0o120777, b"f0")]
    members += [cpio.Member(f"d/f{size}", 0o100644, b"x" * size) for size in range(6)]
    (tmp_path / "archive").write_bytes(cpio.archive(members, 1767225600))
    with (tmp_path / "archive").open("rb") as archive:
        subprocess.run(["cpio", "-im", "--quiet"], stdin=archive, cwd=tmp_path, check=True)
    assert [(tmp_path / f"d/f{size}").stat().st_size for size in range(6)] == list(range(6))
    assert os.readlink(tmp_path / "d/l") == "f0"  # noqa: PTH115
    assert (tmp_path / "d/f1").stat().st_mtime == 1767225600


def test_answers_to_requests_that_the_init_had_beforehand() -> None:
    reader, writer = os.pipe()
    channel = Channel(reader, os.dup(writer))
    os.write(writer, b"\nINIT\n\nREADY\n\nrequest-00000 0\nsome\noutput\n\nrequest-00001 3\n")
    soon = time.monotonic() + 5
    for word in ("INIT", "READY"):
        channel.expect(word, soon)
    replies = [channel.reply(tag, soon) for tag in ("request-00000", "request-00001")]
    assert [(reply.output, reply.status) for reply in replies] == [(b"", 0), (b"some\noutput\n", 3)]


def order(folder: Path, cpus: int) -> base.Order:
    (folder / "initramfs.cpio").write_bytes(b"initramfs")
    rootfs = base.Rootfs("sha256:0", folder, folder / "initramfs.cpio", folder / "root.ext4")
    (folder / "own").mkdir()
    kernel = base.GuestKernel(folder / "vmlinuz")
    return base.Order("tare-x", folder / "own", rootfs, cpus, 128 << 20, kernel, requests=[["/bin/true"]])


class Backend(qemu_icount.Backend):
    """Without libvirt and a compiler."""

    class connection:
        embedded = True

    def __init__(self) -> None:
        self.options = self.Options(kernel_arguments="nopti")
        self._emulator = "/usr/bin/qemu"
        self._plugin = Path("/a,b/plugin.so")
        self.folder = Path("/nowhere")


def test_the_machine_counts(tmp_path: Path) -> None:
    machine = Backend().machine(order(tmp_path, 1))
    assert "nokaslr" in machine.kernel_arguments
    assert machine.kernel_arguments[-1] == "nopti"
    words = list(machine.arguments)
    given = dict(zip(words[::2], words[1::2], strict=True))
    assert given["-icount"] == "shift=0,sleep=off"
    assert given["-plugin"] == "/a,,b/plugin.so"
    assert machine.serial == "pipe"  # a socket waits for its reader, and the guest would feel it
    described = _domain.describe(machine)
    assert f'<serial type="pipe"><source path="{tmp_path}/own/ttyS0"/><target port="0"/>' in described
    assert f"socket,id=tare-channel,path={tmp_path}/own/channel" in described
    assert machine.initramfs is not None
    content = machine.initramfs.read_bytes()
    assert content.startswith(b"initramfs070701")
    assert b"run request-00000 1\n/bin/true\n" in content


def test_several_cpus_have_no_one_order_of_instructions(tmp_path: Path) -> None:
    with pytest.raises(HostError, match="one CPU only, not on 2; set envelope"):
        Backend().machine(order(tmp_path, 2))


class Counted:
    """A session whose instance has been counted already."""

    scenario = Scenario(("instructions",), warmups=1, values=2)
    backend = qemu_icount.Backend

    def __init__(self) -> None:
        self.samples: list[Sample] = []

    def boot(self, requests: list[list[str]]) -> object:
        assert [list(words) for words in requests] == [["/bin/true"]] * 3

        class Instance:
            counts = base.Counts(5, 30, 40, [52, 62, 73])
            replies = []

        return Instance()

    def add(self, metric: str, values: list[float], unit: str, warmups: list[float] | None = None) -> None:
        self.samples.append(Sample(metric, values, unit, warmups or []))


def test_phases_add_up_and_each_run_is_what_lies_between_two_answers() -> None:
    session = Counted()
    instructions.measure(session)  # type: ignore[arg-type]
    found = {sample.metric: sample for sample in session.samples}
    assert found["boot.instructions"].values == [40]
    phases = [found[f"boot.{name}.instructions"].values[0] for name in ("setup", "kernel", "init")]
    assert phases == [5, 25, 10]
    assert (found["spawn.instructions"].warmups, found["spawn.instructions"].values) == ([12], [10, 11])
    assert {sample.unit for sample in session.samples} == {"instruction"}
