"""What `qemu` and `kvm` share: QEMU's guests, made by libvirt.

With the embedded driver QEMU is born in the cage of its instance: the thread that asks libvirt for the domain
is inside, and libvirt forks from it. A daemon's QEMU is moved into the cage when it first shows itself. What
is timed: QEMU connects to our sockets (`spawned`); first byte on the first serial port (`kernel`). The
channel is the second serial port.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import re
import select
import signal
import socket
import struct
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar, Literal

from bench import firmware, memory, mounts, oom
from bench.backends import _domain
from bench.backends._command import RUN_VARIABLE
from bench.backends._libvirt import EMBED, EMULATOR, Connection, adopt_orphans, reap_orphans
from bench.backends._visit import Visit
from bench.backends.base import Backend, Instance, Interface, Order, data_device, drives, initramfs, root_argument
from bench.cage import Cage
from bench.channel import Channel
from bench.errors import HostError, InstanceError, InstanceTimeout
from bench.process import require

_LOG_TAIL = 2000
#: As whom a libvirt daemon runs QEMU: in Debian, and elsewhere.
_ACCOUNTS = ("libvirt-qemu", "qemu")
_LISTENING_STEP = 0.25
#: libvirt's own notes in QEMU's log, how it ends a QEMU, and warnings, which are no reasons.
_NOT_QEMUS = re.compile(r" is tainted: |: shutting down, |: terminating on signal |: warning: ")
#: How long to wait for libvirt to notice a QEMU that has ended, before asking it to.
_NOTICE_LIMIT = 5.0
#: Seconds; the kernel waits for an RCU grace period or two.
_ENTER_LIMIT = 30.0
#: How much of the time that is left for its boot a guest's kernel may be silent in any case.
_SILENT_SHARE = 0.2


class _Creation(threading.Thread):
    """Asks libvirt for a domain, from inside the cage, while the main thread watches what comes of it.

    done: a descriptor that turns readable when libvirt has answered; then domain or error is there.
    """

    def __init__(self, create: Callable[[], Any], discard: Callable[[], None], visit: Visit | None) -> None:
        super().__init__(name="libvirt-create", daemon=True)
        self._create = create
        self._discard = discard
        self._visit = visit
        self._inside = threading.Event()
        self._gate = threading.Event()
        self._cancelled = threading.Event()
        self.done = os.eventfd(0)
        self.domain: Any = None
        self.error: Exception | None = None
        self.start()
        if not self._inside.wait(_ENTER_LIMIT):
            self.cancel()  # else it would wait for ever, once it is inside
            raise InstanceError(f"libvirt's thread did not enter the cage within {_ENTER_LIMIT:g} s")
        if self.error:
            raise InstanceError(f"cannot enter the cage: {self.error}") from self.error

    def run(self) -> None:
        try:
            if self._visit:
                self._visit.enter()
            self._inside.set()
            self._gate.wait()
            if not self._cancelled.is_set():
                self.domain = self._create()
                if self._cancelled.is_set():
                    self._discard()
        except (OSError, InstanceError) as error:
            self.error = error
        finally:
            if self._visit:
                self._visit.leave()
            self._inside.set()
            os.eventfd_write(self.done, 1)

    def begin(self) -> int:
        """Let it ask; the host's monotonic clock in ns just before."""
        now = time.monotonic_ns()
        self._gate.set()
        return now

    def cancel(self) -> None:
        """Never ask; or, if libvirt is still at it, have the domain destroyed as soon as it is there."""
        self._cancelled.set()
        self._gate.set()


class LibvirtInstance(Instance):
    """One domain. Its QEMU connects to two sockets of ours, and the kernel says who it is that does."""

    def __init__(self, backend: LibvirtBackend, order: Order, cage: Cage | None) -> None:
        super().__init__(order, cage)
        self._backend = backend
        self._connection = backend.connection
        self._pid = 0
        self._exited = -1
        self._reaped = False
        self._ended = False
        self._streams: dict[str, socket.socket] = {}
        self._listeners = {name: _listen(order.folder / name) for name in ("console", "channel")}
        xml = _domain.describe(backend.machine(order))
        visit = Visit(cage) if cage and self._connection.embedded else None
        name, connection = order.name, self._connection
        self._creation = _Creation(lambda: connection.create(name, xml), lambda: connection.destroy(name), visit)

    def start(self, deadline: float) -> None:
        self.marks["requested"] = self._creation.begin()
        try:
            self._await_qemu(deadline)
            self.channel = self._open_channel()
            if self.order.guest == "linux":
                self.marks["init"] = self._await_init(deadline)
            self.marks["ready"] = self.channel.expect("READY", deadline)
            self.cpu_at_ready = self.cage.settled_cpu_seconds() if self.cage else None
            self._await_creation(deadline)
        except InstanceTimeout:
            raise
        except InstanceError as error:
            raise InstanceError(str(error), detail=self._reason(error)) from error
        if self.channel.first_console is not None:
            self.marks["kernel"] = self.channel.first_console
        if self.order.link and self._uses_vhost():
            self.interface = Interface("eth0", "virtio-net by vhost")
        self._backend.prove_accelerator(self._creation.domain)

    def _uses_vhost(self) -> bool:
        """Whether the host's kernel moves the packets of its link."""
        with contextlib.suppress(OSError):
            return any(fd.readlink() == Path("/dev/vhost-net") for fd in Path(f"/proc/{self._pid}/fd").iterdir())
        return False

    def _open_channel(self) -> Channel:
        """To the init, once QEMU has connected."""
        console, channel = (self._streams[name].fileno() for name in ("console", "channel"))
        return Channel(channel, channel, console=console, exited=self._exited)

    def _await_qemu(self, deadline: float) -> None:
        """Both connections, and with them QEMU's pid."""
        poller = select.poll()
        names = {listener.fileno(): name for name, listener in self._listeners.items()}
        for fd in (*names, self._creation.done):
            poller.register(fd, select.POLLIN)
        while len(self._streams) < len(names):
            events = poller.poll(50)
            for fd, _ in events:
                if fd in names:
                    self.marks.setdefault("spawned", time.monotonic_ns())
                    self._accept(names[fd])
            if self._creation.error:
                raise self._creation.error
            if not events:
                reap_orphans()
                if time.monotonic() > deadline:
                    raise InstanceTimeout("QEMU did not connect within the time limit")

    def _accept(self, name: str) -> None:
        stream, _ = self._listeners[name].accept()
        self._streams[name] = stream
        if not self._pid:
            packed = stream.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
            self._pid = struct.unpack("3i", packed)[0]
            self._exited = os.pidfd_open(self._pid)
            oom.offer(self._pid)
            if self.cage and not self._connection.embedded:
                self.cage.take(self._pid)

    def _await_init(self, deadline: float) -> int:
        """Raises InstanceError for a kernel that has begun and is then silent for longer than its backend believes."""
        said, since = "", time.monotonic()
        # Who gives a slow host more time to boot gives it more time to say nothing.
        limit = max(self._backend.silence_limit, (deadline - since) * _SILENT_SHARE)
        while True:
            try:
                return self.channel.expect("INIT", min(deadline, time.monotonic() + _LISTENING_STEP))
            except InstanceTimeout:
                now = time.monotonic()
                if now >= deadline:
                    raise
            if (text := self.channel.console()) != said:
                said, since = text, now
            elif said and now - since > limit:
                under = self._backend.accelerator
                raise InstanceError(f"the guest's kernel began and then said nothing for {limit:g} s under {under}")

    def _await_creation(self, deadline: float) -> None:
        """libvirt has told the guest to run before it says so itself."""
        self._creation.join(max(0.0, deadline - time.monotonic()))
        if self._creation.is_alive():
            raise InstanceTimeout("libvirt did not finish creating the domain within the time limit")
        if self._creation.error:
            raise self._creation.error

    def _qemu_log(self) -> str:
        with contextlib.suppress(OSError):
            return last_words(self._connection.log(self.order.name).read_text(errors="replace"))
        return ""

    def _reason(self, error: InstanceError) -> str:
        """What libvirt and QEMU say of a failure; libvirt says it once QEMU is reaped."""
        if self._exited >= 0:
            self._reap(time.monotonic())
        self._creation.join(1.0)
        more = self._creation.error
        return "\n".join(filter(None, [str(more) if more and more is not error else "", self._qemu_log()]))

    def pids(self) -> list[int]:
        return self.cage.pids() if self.cage else [self._pid]

    def ram(self) -> int | None:
        """QEMU has the guest's memory in one mapping of just that size."""
        return memory.resident([self._pid], lambda size, path: size == self.order.memory and not path)

    def console(self) -> str:
        return super().console() or self._qemu_log()

    def stop(self, deadline: float) -> None:
        if self.order.guest == "firmware":
            self.kill(deadline)  # there is no init to ask
            return
        self.marks["stopping"] = time.monotonic_ns()
        self.channel.halt(deadline)
        if not self._reap(deadline):
            raise InstanceTimeout("QEMU did not end within the time limit")
        self.marks["exited"] = time.monotonic_ns()
        if not self._connection.await_stopped(self.order.name, deadline):
            raise InstanceTimeout("libvirt did not notice within the time limit that QEMU has ended")
        self.marks["gone"] = time.monotonic_ns()
        self._tidy()

    def kill(self, deadline: float) -> None:
        if self._ended:
            return
        self.marks.setdefault("stopping", time.monotonic_ns())
        self._creation.cancel()
        # QEMU first: a libvirt that still waits for it then gives up.
        while True:
            self._kill_qemu(deadline)
            self._creation.join(0.02)
            if not self._creation.is_alive():
                break
            reap_orphans()
            if time.monotonic() > deadline:
                raise InstanceError("libvirt neither finished creating the domain nor gave up")
        self._kill_qemu(deadline)
        if not self._connection.await_stopped(self.order.name, time.monotonic() + _NOTICE_LIMIT):
            self._connection.destroy(self.order.name)
            if not self._connection.await_stopped(self.order.name, deadline):
                raise InstanceError("libvirt does not let go of the domain")
        self.marks["gone"] = time.monotonic_ns()
        self._tidy()

    def _kill_qemu(self, deadline: float) -> None:
        if not self._pid:
            self._pid = find_qemu(self.order.name) or 0
            if not self._pid:
                return
            with contextlib.suppress(ProcessLookupError):
                self._exited = os.pidfd_open(self._pid)
        if self._exited >= 0 and not self._reaped:
            with contextlib.suppress(ProcessLookupError):
                signal.pidfd_send_signal(self._exited, signal.SIGKILL)
            if not self._reap(deadline):
                raise InstanceError(f"QEMU (process {self._pid}) cannot be killed")

    def _reap(self, deadline: float) -> bool:
        """Wait for QEMU's end and reap it; a daemon's QEMU is the daemon's to reap. False at the deadline."""
        poller = select.poll()
        poller.register(self._exited, select.POLLIN)
        if not poller.poll(max(0.0, deadline - time.monotonic()) * 1000):
            return False
        with contextlib.suppress(ChildProcessError):
            os.waitpid(self._pid, 0)
        self._reaped = True
        return True

    def _tidy(self) -> None:
        self._ended = True
        for end in (*self._streams.values(), *self._listeners.values()):
            end.close()
        for fd in (self._exited, self._creation.done):
            if fd >= 0:
                os.close(fd)
        if self._connection.embedded:
            self._connection.log(self.order.name).unlink(missing_ok=True)
        mounts.remove_tree(self.order.folder)


def _listen(path: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(path))
    listener.listen(1)
    return listener


def last_words(log: str) -> str:
    """What QEMU itself said in the log that libvirt keeps of it: behind the command line, without libvirt's notes."""
    lines = log.splitlines()
    begin = max((number + 2 for number, line in enumerate(lines) if line.endswith("\\")), default=0)
    said = (line for line in lines[begin:] if not _NOT_QEMUS.search(line))
    return "\n".join(said)[-_LOG_TAIL:]


def find_qemu(name: str) -> int | None:
    """The pid of the QEMU that runs a domain of this name: ours, or that of the user whom a daemon takes for it."""
    mark = f"guest={name},".encode()
    users = {os.geteuid()}
    for account in _ACCOUNTS:
        with contextlib.suppress(KeyError):
            users.add(pwd.getpwnam(account).pw_uid)
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with contextlib.suppress(OSError):
                if entry.stat().st_uid not in users:  # anybody may say anything in a command line
                    continue
                words = (entry / "cmdline").read_bytes().split(b"\0")
                if len(words) > 2 and any(word.startswith(mark) for word in words[1:3]):
                    return int(entry.name)
    return None


class LibvirtBackend(Backend):
    """Derive from it and name the accelerator."""

    family = "hypervisor"
    guests = frozenset({"linux", "firmware"})
    needs_root = False
    memory_by_cage = False
    kernel = "machine"
    tools = {EMULATOR: "qemu-system-x86"}
    accelerator: ClassVar[Literal["tcg", "kvm"]]
    #: Seconds for which a guest's kernel, once it has begun, may say nothing on its way to the init.
    silence_limit: ClassVar[float] = 30.0
    #: What its instances are.
    kind: ClassVar[type[LibvirtInstance]] = LibvirtInstance

    @dataclass(frozen=True)
    class Options:
        """uri: a libvirt on this machine; cpu: CPU model or mode; kernel_arguments: more, like "nopti"; balloon: a
        virtio balloon that gives the host back what the guest has free (free page reporting)."""

        uri: str = EMBED
        machine: Literal["pc", "q35"] = "pc"
        cpu: str | None = None
        kernel_arguments: str = ""
        balloon: bool = False

    @classmethod
    def notes(cls, options: Any) -> list[str]:
        found = ["teardown includes libvirt's own: it looks every 200 ms whether a QEMU that ends has ended"]
        if isinstance(options, LibvirtBackend.Options) and options.balloon:
            found.append(
                "a guest reports free memory 2 s after its start, in blocks of 2 MiB, where 64 MiB more are free"
            )
        if options.uri != EMBED:
            found.append(f"QEMU is started by {options.uri} and put into its cage when it first shows itself")
        return found

    def __init__(self, folder: Path, options: Any) -> None:
        super().__init__(folder, options)
        adopt_orphans()
        self._emulator = require(EMULATOR, "qemu-system-x86")
        self._image = folder / "firmware.img"
        self._image.write_bytes(firmware.image())
        if options.uri != EMBED:
            (folder / "uri").write_text(options.uri)
        self.connection = Connection(options.uri, folder)
        self.connection.probe(self._emulator, options.machine, self._domain_type)

    @property
    def _domain_type(self) -> str:
        """libvirt's word for the accelerator."""
        return "qemu" if self.accelerator == "tcg" else self.accelerator

    @property
    def _balloon(self) -> bool:
        return isinstance(self.options, LibvirtBackend.Options) and self.options.balloon

    def machine(self, order: Order) -> _domain.Machine:
        if order.guest == "linux" and order.kernel is None:
            raise HostError("no kernel for guests", hint="./tare kernel fetch")
        linux = order.guest == "linux"
        disks = drives(order, "vd")
        return _domain.Machine(
            name=order.name,
            domain_type=self._domain_type,
            emulator=self._emulator,
            machine=self.options.machine,
            cpus=order.cpus,
            memory=order.memory,
            console=order.folder / "console",
            channel=order.folder / "channel",
            kernel=order.kernel.image if linux and order.kernel else None,
            initramfs=initramfs(order, self.folder, more=self._balloon) if linux else None,
            disks=disks,
            kernel_arguments=[*root_argument(disks), *self.options.kernel_arguments.split()],
            image=None if linux else self._image,
            tap=order.link.name if order.link else None,
            balloon=self._balloon,
            cpu=self.options.cpu,
            environment={RUN_VARIABLE: os.environ.get(RUN_VARIABLE, "")},
            as_root=os.geteuid() == 0 and not self.connection.embedded,
        )

    def provision(self, order: Order, cage: Cage | None) -> Instance:
        if order.link and not self.connection.embedded:
            raise HostError(f"{self.options.uri} makes taps where they are nobody's", hint="leave uri out, or `link`")
        _keep_threads_with_us()
        instance = self.kind(self, order, cage)
        instance.loads = bool(order.link or order.disk or self._balloon) and not order.rootfs.on_disk
        instance.disk = data_device(drives(order, "vd"))
        instance.interface = Interface("eth0", "virtio-net")
        return instance

    def prove_accelerator(self, domain: Any) -> None:
        """Raises InstanceError where QEMU itself says that it runs the guest by another means."""
        if self.connection.uses_kvm(domain) != (self.accelerator == "kvm"):
            raise InstanceError(f"this guest does not run under {self.accelerator}")

    def close(self) -> None:
        self.connection.close()


def _keep_threads_with_us() -> None:
    """libvirt's threads stay off the instances' CPUs, as the harness does."""
    own = os.sched_getaffinity(0)
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            os.sched_setaffinity(int(task.name), own)
