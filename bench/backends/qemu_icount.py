"""QEMU without hardware help, on a clock of instructions: counts the guest's work, to the same last digit each time.

With `-icount shift=0,sleep=off` the guest's time advances by 1 ns with each instruction, and jumps where it waits, so
that neither the host's load nor its clock can be seen from inside. What else differs from start to start is taken
away: random numbers of the processor and of QEMU, kernel and user address randomisation, the date, the machine's
UUID. Bytes from outside come at a chance moment; so the guest finds its requests in its initramfs, and nothing is
sent to it until it has answered them. Neither may the harness's own pace be felt: a socket takes less than 300 bytes
that nobody has read yet, one at a time, and then the serial port waits; so the ports end in pipes, which take 64 KiB.

The clock itself is no count of instructions: it includes idle waits. A plugin (_icount.c) counts instructions alone and
writes the count to QEMU's log whenever the guest writes to a port; QEMU's own trace tells in the same log which byte
went to a serial port. Nothing runs in the guest for that.
"""

from __future__ import annotations

import dataclasses
import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from bench import cpio, process
from bench.backends import _domain
from bench.backends._compiled import shared_library
from bench.backends._libvirt import EMBED
from bench.backends._qemu import LibvirtBackend, LibvirtInstance
from bench.backends.base import Counts, Order
from bench.cage import Cage
from bench.channel import Channel
from bench.errors import HostError, InstanceError

_SOURCE = Path(__file__).with_name("_icount.c")
#: Since which of QEMU's versions it knows which version of the plugin API.
_APIS = (((9, 1), 3), ((9, 0), 2), ((0, 0), 1))
_VERSION_LIMIT = 30.0
_REQUESTS = "requests"  # where the init looks, see bench/init.sh
_KERNEL_ARGUMENTS = ("nokaslr", "norandmaps", "random.trust_cpu=on")
_PORTS = {"console": "ttyS0", "channel": "ttyS1"}
_UUID = "7a2e0000-0000-4000-8000-000000000002"
#: A byte written to a serial port's register 0, which is the transmitter unless register 3 has its top bit set.
_WRITE = re.compile(r"(?:^|:)serial_write write addr 0x0([03]) val 0x([0-9a-f]{2})")
_DLAB = 0x80


class Guest(LibvirtInstance):
    """One domain that counts until its requests are answered."""

    def __init__(self, backend: Backend, order: Order, cage: Cage | None) -> None:
        self._pipes: dict[str, int] = {}
        for port in _PORTS.values():
            for end in ("in", "out"):
                pipe = order.folder / f"{port}.{end}"
                os.mkfifo(pipe)
                # Open for both, so that neither end waits for the other.
                self._pipes[pipe.name] = os.open(pipe, os.O_RDWR | os.O_NONBLOCK)
        super().__init__(backend, order, cage)

    def _open_channel(self) -> Channel:
        console, reader, writer = (self._pipes[name] for name in ("ttyS0.out", "ttyS1.out", "ttyS1.in"))
        return Channel(reader, writer, console=console, exited=self._exited)

    def _tidy(self) -> None:
        super()._tidy()
        while self._pipes:
            os.close(self._pipes.popitem()[1])

    def start(self, deadline: float) -> None:
        super().start(deadline)
        tags = [_tag(number) for number in range(len(self.order.requests))]
        self.replies = [self.channel.reply(tag, deadline) for tag in tags]
        # Whatever is sent from now on comes at a chance moment, and its output would fill the disk with log.
        for line in ("trace-event serial_write off", "log none"):
            self._connection.monitor(self.order.name, line)
        with _log(self.order).open() as lines:
            self.counts = read(lines, len(tags))


class Backend(LibvirtBackend):
    accelerator = "tcg"
    kind = Guest
    guests = frozenset({"linux"})
    counts = True
    tools = LibvirtBackend.tools | {"gcc": "gcc"}
    # Some five times slower than plain emulation, and shared machines are slower still.
    probe_limit = 300.0
    silence_limit = 300.0

    @dataclass(frozen=True)
    class Options:
        """uri: a libvirt on this machine; cpu: as for QEMU's -cpu; kernel_arguments: more, like "nopti"."""

        uri: str = EMBED
        machine: Literal["pc", "q35"] = "pc"
        cpu: str = "qemu64,-rdrand"
        kernel_arguments: str = ""

    @classmethod
    def notes(cls, options: Any) -> list[str]:
        return [
            "an emulation that counts the guest's instructions (QEMU, TCG, icount). Instructions are not seconds: "
            "caches, TLBs, memory latency, devices, idle waits and the host's own share are left out; a string "
            "instruction counts once a repetition"
        ]

    def __init__(self, folder: Path, options: Any) -> None:
        super().__init__(folder, options)
        self._plugin = shared_library(_SOURCE, API=_api(self._emulator))

    def machine(self, order: Order) -> _domain.Machine:
        """Raises HostError for an envelope of several CPUs: one CPU alone has an order of instructions."""
        if order.cpus != 1:
            raise HostError(f"counts on one CPU only, not on {order.cpus}", hint="set envelope.cpus = 1")
        plain = super().machine(order)
        assert plain.initramfs is not None
        initramfs = order.folder / "initramfs"
        initramfs.write_bytes(plain.initramfs.read_bytes() + _packed(order.requests))
        arguments = [
            ("-cpu", self.options.cpu),
            ("-icount", "shift=0,sleep=off"),
            ("-rtc", "clock=vm,base=2026-01-01"),
            ("-seed", "1"),
            ("-uuid", _UUID),
            ("-plugin", _quoted(self._plugin)),
            ("-trace", "serial_write"),
            ("-d", "plugin"),
            ("-D", str(_log(order))),
            # No device's: by them QEMU shows itself.
            *(("-chardev", f"socket,id=tare-{name},path={_quoted(order.folder / name)}") for name in _PORTS),
        ]
        return dataclasses.replace(
            plain,
            initramfs=initramfs,
            kernel_arguments=[*_KERNEL_ARGUMENTS, *plain.kernel_arguments],
            cpu=None,
            console=order.folder / _PORTS["console"],
            channel=order.folder / _PORTS["channel"],
            serial="pipe",
            arguments=[word for pair in arguments for word in pair],
        )


def _api(qemu: str) -> int:
    """The version of the plugin API that a QEMU knows."""
    said = process.run([qemu, "--version"], timeout=_VERSION_LIMIT).stdout.decode(errors="replace")
    found = re.search(r"version (\d+)\.(\d+)", said)
    if not found:
        raise HostError(f"{qemu} does not say which version it is: {said[:80]!r}")
    return next(api for since, api in _APIS if (int(found[1]), int(found[2])) >= since)


def _quoted(path: Path) -> str:
    """A file's name in an option of QEMU's."""
    return str(path).replace(",", ",,")


def _log(order: Order) -> Path:
    return order.folder / "counts.log"


def _tag(number: int) -> str:
    return f"request-{number:05}"


def _packed(requests: Sequence[Sequence[str]]) -> bytes:
    """The requests, as the channel would carry them, in an archive to follow the initramfs. b"" without any."""
    if not requests:
        return b""
    lines = [line for number, words in enumerate(requests) for line in (f"run {_tag(number)} {len(words)}", *words)]
    content = "".join(f"{line}\n" for line in lines).encode()
    return cpio.archive([cpio.Member(_REQUESTS, 0o100644, content)], mtime=0)


def read(lines: Iterable[str], requests: int) -> Counts:
    """The counts in a log of the plugin and of QEMU's trace. Raises InstanceError where a mark is not there."""
    said = bytearray()
    counts: list[int] = []
    count = 0
    divisor = False
    for line in lines:
        if line.startswith("count "):
            count = int(line[6:])
        elif match := _WRITE.search(line):
            register, value = match[1], int(match[2], 16)
            if register == "3":
                divisor = bool(value & _DLAB)
            elif not divisor:
                said.append(value)
                counts.append(count)
    if not counts:
        raise InstanceError("QEMU's log has no count", detail="Does this QEMU trace serial_write?")
    place = 0

    def at(mark: bytes) -> int:
        nonlocal place
        begin = said.find(mark, place)
        end = said.find(b"\n", begin + len(mark))
        if begin < 0 or end < 0:
            raise InstanceError(
                f"the guest did not write {mark.decode().strip()!r} in one piece, so nothing is counted"
            )
        place = end
        return counts[end]

    # Until the init has told its terminal otherwise, a line ends with \r\n.
    init, ready = at(b"\nINIT"), at(b"\nREADY")
    return Counts(counts[0], init, ready, [at(f"\n{_tag(number)} ".encode()) for number in range(requests)])
