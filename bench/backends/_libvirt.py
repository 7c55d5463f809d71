"""libvirt, in this process by default: the embedded driver (qemu:///embed) needs no daemon."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench.backends.base import NAME_PREFIX
from bench.errors import HostError, InstanceError

EMBED = "qemu:///embed"
EMULATOR = "qemu-system-x86_64"

#: For the embedded driver. QEMU runs as we do, writes its log itself, stays in the cgroup it was born in, and
#: finds the files it is given without their owners being changed; it writes no core.
_SETTINGS = {
    "stdio_handler": '"file"',
    "namespaces": "[]",
    "security_driver": '"none"',
    "remember_owner": "0",
    "cgroup_controllers": "[]",
    "max_core": "0",  # or it asks for one without a limit, which nobody may have below a worker
}
_ROOT_SETTINGS = {"user": '"root"', "group": '"root"'}
_PR_SET_CHILD_SUBREAPER = 36
_SOCKET_PATH_LIMIT = 107


class Connection:
    """A connection to libvirt, its event loop in a thread of its own, and which domains have stopped.

    libvirt prints nothing: its messages go to a file in the folder.
    """

    def __init__(self, uri: str, folder: Path) -> None:
        """Raises HostError where libvirt cannot be had."""
        self.root = folder / "v"
        self.embedded = uri == EMBED
        os.environ.setdefault("LIBVIRT_LOG_OUTPUTS", f"3:file:{folder / 'libvirt.log'}")
        self._libvirt = libvirt = _import()
        if self.embedded:
            # Or systemd-machined moves every QEMU out of its cage, into a scope of its own.
            os.environ["DBUS_SYSTEM_BUS_ADDRESS"] = "unix:path=/nonexistent"
            self._prepare_root()
            uri = f"{EMBED}?root={self.root}"
        self._stopped: dict[str, threading.Event] = {}
        with contextlib.suppress(libvirt.libvirtError):
            libvirt.virEventRegisterDefaultImpl()
        self.handle = connect(uri)
        lifecycle = libvirt.VIR_DOMAIN_EVENT_ID_LIFECYCLE
        self.handle.domainEventRegisterAny(None, lifecycle, self._on_lifecycle, None)
        threading.Thread(target=self._serve_events, name="libvirt-events", daemon=True).start()

    def _prepare_root(self) -> None:
        longest = self.root / "lib/qemu" / ("domain-99999-" + "x" * 20) / "monitor.sock"
        if len(os.fsencode(longest)) > _SOCKET_PATH_LIMIT:
            raise HostError(f"{self.root} is too long for QEMU's sockets", hint="set XDG_RUNTIME_DIR to a shorter path")
        (self.root / "etc").mkdir(parents=True, exist_ok=True)
        settings = _SETTINGS | (_ROOT_SETTINGS if os.geteuid() == 0 else {})
        lines = [f"{key} = {value}\n" for key, value in settings.items()]
        (self.root / "etc/qemu.conf").write_text("".join(lines))

    def _serve_events(self) -> None:
        while True:
            self._libvirt.virEventRunDefaultImpl()

    def _on_lifecycle(self, _: object, domain: Any, event: int, detail: int, opaque: object) -> None:
        if event == self._libvirt.VIR_DOMAIN_EVENT_STOPPED and (stopped := self._stopped.get(domain.name())):
            stopped.set()

    def probe(self, emulator: str, machine: str, domain_type: str) -> None:
        """Have libvirt look at QEMU now, which takes it a second, so that no instance pays for it.

        Raises HostError where there can be no such machine.
        """
        failures: list[str] = []

        def ask() -> None:
            try:
                self.handle.getDomainCapabilities(emulator, "x86_64", machine, domain_type)
            except self._libvirt.libvirtError as error:
                failures.append(str(error))

        asking = threading.Thread(target=ask, daemon=True)
        asking.start()
        while asking.is_alive():
            reap_orphans()
            asking.join(0.01)
        if failures:
            raise HostError(f"libvirt: {failures[0]}")

    def create(self, name: str, xml: str, *, paused: bool = False) -> Any:
        """A running domain. Blocks until its CPUs run, or could. Raises InstanceError with libvirt's words."""
        self._stopped[name] = threading.Event()
        try:
            return self.handle.createXML(xml, self._libvirt.VIR_DOMAIN_START_PAUSED if paused else 0)
        except self._libvirt.libvirtError as error:
            del self._stopped[name]
            raise InstanceError(f"libvirt cannot create the domain: {error}") from error

    def await_stopped(self, name: str, deadline: float) -> bool:
        """Whether libvirt has finished with a domain by the deadline. True for one that it never had."""
        stopped = self._stopped.get(name)
        if stopped is None:
            return True
        if not stopped.wait(max(0.0, deadline - time.monotonic())):
            return False
        del self._stopped[name]
        return True

    def destroy(self, name: str) -> None:
        """Ask libvirt to end a domain. It may have gone by itself."""
        with contextlib.suppress(self._libvirt.libvirtError):
            self.handle.lookupByName(name).destroy()

    def uses_kvm(self, domain: Any) -> bool:
        """Whether a running domain's QEMU says that KVM is at work. Raises InstanceError."""
        import libvirt_qemu

        try:
            answer = libvirt_qemu.qemuMonitorCommand(domain, '{"execute":"query-kvm"}', 0)
        except self._libvirt.libvirtError as error:
            raise InstanceError(f"QEMU does not say whether it uses KVM: {error}") from error
        return bool(json.loads(answer)["return"]["enabled"])

    def monitor(self, name: str, line: str) -> str:
        """What QEMU's own monitor answers to a line for people. Raises InstanceError."""
        import libvirt_qemu

        try:
            domain = self.handle.lookupByName(name)
            return str(libvirt_qemu.qemuMonitorCommand(domain, line, libvirt_qemu.VIR_DOMAIN_QEMU_MONITOR_COMMAND_HMP))
        except self._libvirt.libvirtError as error:
            raise InstanceError(f"QEMU does not take {line!r}: {error}") from error

    def log(self, name: str) -> Path:
        """Where QEMU's own messages are, with the embedded driver."""
        return self.root / "log/qemu" / f"{name}.log"

    def close(self) -> None:
        with contextlib.suppress(self._libvirt.libvirtError):
            self.handle.close()


def _import() -> Any:
    """libvirt, silenced. Raises HostError without it."""
    try:
        import libvirt
    except ImportError as error:
        raise HostError(f"libvirt's Python module is not there: {error}", hint="./tare setup") from error
    libvirt.registerErrorHandler(lambda context, error: None, None)
    return libvirt


def connect(uri: str) -> Any:
    """A connection of libvirt's own kind. Raises HostError with libvirt's words."""
    libvirt = _import()
    try:
        return libvirt.open(uri)
    except libvirt.libvirtError as error:
        raise HostError(f"libvirt cannot open {uri}: {error}") from error


def destroy_leftovers(uri: str, run: str) -> list[str]:
    """End the domains of a dead run that a daemon still has; their names. Raises HostError without one."""
    libvirt = _import()
    removed = []
    connection = connect(uri)
    try:
        for domain in connection.listAllDomains(0):
            if domain.name().startswith(f"{NAME_PREFIX}{run}-"):
                removed.append(domain.name())
                with contextlib.suppress(libvirt.libvirtError):
                    domain.destroy()
        connection.close()
    except libvirt.libvirtError as error:
        raise HostError(f"libvirt cannot remove domains at {uri}: {error}") from error
    return removed


def adopt_orphans() -> None:
    """Become the parent of every QEMU that libvirt detaches, so that it can be reaped at once.

    libvirt takes a zombie for a living process: where the machine's first process reaps late or never, it
    waits up to 80 seconds for a QEMU that has long ended.
    """
    ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def reap_orphans() -> None:
    """Reap QEMUs that nobody knows yet: libvirt's probes, and those that ended before they connected.

    libvirt waits for its own children; what it has detached is in another session than ours.
    """
    own = str(os.getsid(0))
    for pid in _children():
        with contextlib.suppress(OSError):
            head, _, tail = Path(f"/proc/{pid}/stat").read_text().rpartition(") ")
            state, _, _, session, *_ = tail.split()
            if state == "Z" and session != own and EMULATOR.startswith(head.partition("(")[2]):
                os.waitpid(pid, os.WNOHANG)


def _children() -> Iterator[int]:
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            yield from map(int, (task / "children").read_text().split())
