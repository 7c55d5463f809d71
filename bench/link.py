"""Links: from each instance to a far end of its own, point to point, in network namespaces that no route leads out of.

A worker has a near one, its own, in which taps come up and what has no namespace of its own lives; and a far one for
each link, with its other end and the peer that workloads talk to: through one's own link nobody reaches another's. All
are gone when the worker is, and what it had started.
"""

from __future__ import annotations

import contextlib
import ctypes
import fcntl
import ipaddress
import os
import signal
import socket
import struct
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from bench import mounts, process
from bench.errors import CommandError, HostError, InstanceError

MTU = 1500
#: What the far end may leave to the instance's device when it sends, by the request of SIOCETHTOOL that asks: without
#: checksums and segments of TCP's it makes each packet whole itself.
_OFFLOADS = {"tx-checksum": 0x16, "sg": 0x18, "tso": 0x1E}
_SIOCETHTOOL = 0x8946
_CLONE_NEWNET = 0x40000000
_ADDRESSES = ipaddress.ip_network("10.64.0.0/10")
_PEER_LIMIT = 10.0
_NO_ROOT = "links need root; leave `link` out of the envelope"
#: Runs inside a guest: $0 is its interface, $1 its address.
_ATTACH = (
    'i=0; until [ -e "/sys/class/net/$0" ] || [ $i -ge 50 ]; do sleep 0.1; i=$((i+1)); done; '
    f'ip link set lo up; ip addr add "$1" dev "$0" && ip link set "$0" mtu {MTU} up'
)
_libc = ctypes.CDLL(None, use_errno=True)

#: The checkout, or the one file in which this package travels to lab hosts.
_CODE = Path(__file__).resolve().parent.parent

T = TypeVar("T")


@dataclass(frozen=True)
class Link:
    """One of a worker's, counted from 0. near, far: the addresses of its ends; name: what its far end is called, and
    its near end where the instance has no name of its own for it."""

    number: int

    @property
    def name(self) -> str:
        return f"tare{self.number}"

    @property
    def far(self) -> str:
        return str(_ADDRESSES[4 * self.number + 1])

    @property
    def near(self) -> str:
        return str(_ADDRESSES[4 * self.number + 2])


def attach(link: Link, interface: str) -> tuple[str, ...]:
    """The command by which a guest takes up its end."""
    return ("/bin/busybox", "sh", "-c", _ATTACH, interface, f"{link.near}/30")


def check_attached(status: int, output: bytes) -> None:
    """Raises InstanceError where the guest said that it could not."""
    if status:
        said = output.decode(errors="replace").strip()[-300:] or f"status {status}"
        raise InstanceError(f"the guest has no link: {said}")


class Links:
    """A worker's namespaces, and what is in them."""

    def __init__(self, folder: Path, tree: Path) -> None:
        """Moves this process, which has one thread, into the near namespace, and into a mount namespace of its own.

        folder: where peers' root comes to be; tree: what is in it. Raises HostError.
        """
        if os.geteuid() != 0:
            raise HostError("only root can make network namespaces", hint=_NO_ROOT)
        mounts.enter_private_namespace()
        self._ip = process.require("ip", "iproute2")
        self._host = _own_namespace()
        self._near = _new_namespace()
        if _libc.setns(self._near, _CLONE_NEWNET) != 0:
            raise HostError(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}", hint=_NO_ROOT)
        process.run([self._ip, "link", "set", "lo", "up"])
        #: By links' numbers.
        self._fars: dict[int, int] = {}
        self._tree = tree
        self._root = folder / "peer"
        self._count = 0

    def new(self) -> Link:
        """A link that nobody has yet. Raises InstanceError where there are no more addresses, HostError."""
        if 4 * self._count + 4 > _ADDRESSES.num_addresses:
            raise InstanceError("there are no addresses for one more link")
        link = Link(self._count)
        self._fars[link.number] = _new_namespace()
        self._count += 1
        return link

    def join_container(self, link: Link, pids: Iterable[int]) -> str:
        """Give an instance on this host's kernel its end; what the link does, in words. pids: of the instance's.

        Raises InstanceError.
        """
        inside = next(filter(None, map(self._apart, pids)), None) or f"/proc/{os.getpid()}/fd/{self._near}"
        with _failing():
            ends = [link.name, "mtu", str(MTU), "type", "veth", "peer", "name", f"{link.name}n", "mtu", str(MTU)]
            self._batch(self._fars[link.number], [["link", "add", *ends, "netns", inside]])
            entered = os.open(inside, os.O_RDONLY | os.O_CLOEXEC)
            try:
                self._batch(entered, [["link", "set", "lo", "up"], *_up(f"{link.name}n", link.near)])
            finally:
                os.close(entered)
        return self._finish(link)

    def join_guest(self, link: Link, behind: str | None = None) -> str:
        """Bring what is behind the end of a guest that has taken it up to the far side; what the link does, in words.

        behind: a device of the host's; a tap of the link's own name where it is None. Raises InstanceError.
        """
        with _failing():
            to = ["link", "set", behind or link.name, "netns", self._far_end(link)]
            self._batch(self._host if behind else self._near, [to])
            if behind:
                self._batch(self._fars[link.number], [["link", "set", behind, "name", link.name]])
        return self._finish(link)

    def _finish(self, link: Link) -> str:
        with _failing():
            far = self._fars[link.number]
            ours = [["link", "set", "lo", "up"], ["link", "set", link.name, "mtu", str(MTU)]]
            self._batch(far, [*ours, *_up(link.name, link.far)])
            offloads = _in(far, lambda: _offloads(link.name))
        return " ".join([f"MTU {MTU},", *(offloads or ["no offloads"])])

    def remove(self, link: Link) -> None:
        """Take a link away whose instance has ended: many have gone by themselves."""
        far = self._fars.pop(link.number)
        with contextlib.suppress(CommandError):
            self._batch(far, [["link", "del", link.name]])
        os.close(far)

    @contextlib.contextmanager
    def peer(self, link: Link, argv: Sequence[str], port: int) -> Iterator[None]:
        """A server at a link's far end, in the same root file system as instances have, on the harness's CPUs: see
        bench.peer.

        port: of TCP, on which it listens when it is ready. Raises InstanceError where it does not.
        """
        program = [sys.executable, "-P", "-m", "bench.peer", str(os.getpid()), self._far_end(link)]
        with tempfile.TemporaryFile() as said:  # a pipe that nobody reads would stop it one day
            server = subprocess.Popen(
                [*program, str(self._tree), str(self._root), *argv],
                stdin=subprocess.DEVNULL,
                stdout=said,
                stderr=subprocess.STDOUT,
                env={**os.environ, "PYTHONPATH": str(_CODE), "PYTHONDONTWRITEBYTECODE": "1"},
            )
            try:
                deadline = time.monotonic() + _PEER_LIMIT
                while not _listens(server.pid, port):
                    if server.poll() is not None or time.monotonic() > deadline:
                        said.seek(0)
                        words = said.read().decode(errors="replace").strip()[-300:] or "it does not listen"
                        raise InstanceError(f"the link's far end has no {argv[0]}: {words}")
                    time.sleep(0.005)
                yield
            finally:
                _end(server)

    def _far_end(self, link: Link) -> str:
        return f"/proc/{os.getpid()}/fd/{self._fars[link.number]}"

    def _apart(self, pid: int) -> str | None:
        """The network namespace of a process, where it is neither ours nor the host's, in which a daemon's shim is."""
        place = Path(f"/proc/{pid}/ns/net")
        try:
            known = [os.fstat(fd) for fd in (self._near, self._host)]
            return None if any(os.path.samestat(place.stat(), each) for each in known) else str(place)
        except OSError:
            return None

    def _batch(self, namespace: int, commands: Iterable[Sequence[str]]) -> None:
        text = "".join(" ".join(words) + "\n" for words in commands)
        _in(namespace, lambda: process.run([self._ip, "-batch", "-"], stdin=text.encode()))


def _up(name: str, address: str) -> list[list[str]]:
    return [["addr", "add", f"{address}/30", "dev", name], ["link", "set", name, "up"]]


def _new_namespace() -> int:
    """A network namespace, which is there for as long as this descriptor. Raises HostError."""

    def make() -> int:
        if _libc.unshare(_CLONE_NEWNET) != 0:
            raise HostError(f"no network namespace: {os.strerror(ctypes.get_errno())}", hint=_NO_ROOT)
        # It may have it from the host's first one: links would lead to each other.
        Path("/proc/sys/net/ipv4/ip_forward").write_text("0")
        return _own_namespace()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(make).result()


def _own_namespace() -> int:
    return os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)


@contextlib.contextmanager
def _failing() -> Iterator[None]:
    try:
        yield
    except (CommandError, OSError) as error:
        raise InstanceError(f"there is no link to the instance: {error}") from error


def _in(namespace: int, work: Callable[[], T]) -> T:
    """What comes of work done in a network namespace, by a thread that lives no longer: namespaces are threads'."""

    def there() -> T:
        if _libc.setns(namespace, _CLONE_NEWNET) != 0:
            raise InstanceError(f"cannot enter a network namespace: {os.strerror(ctypes.get_errno())}")
        return work()

    with ThreadPoolExecutor(1) as pool:
        return pool.submit(there).result()


def _offloads(name: str) -> list[str]:
    """Which of them a device of this namespace has on."""
    found = []
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as any_socket:
        for offload, request in _OFFLOADS.items():
            asked = ctypes.create_string_buffer(struct.pack("II", request, 0))
            with contextlib.suppress(OSError):
                fcntl.ioctl(any_socket, _SIOCETHTOOL, struct.pack("16sP", name.encode(), ctypes.addressof(asked)))
                if struct.unpack("II", asked.raw[:8])[1]:
                    found.append(offload)
    return found


def _listens(pid: int, port: int) -> bool:
    """Whether somebody listens on a TCP port, in the network namespace of a process."""
    for file in ("tcp", "tcp6"):
        with contextlib.suppress(OSError):
            for line in Path(f"/proc/{pid}/net/{file}").read_text().splitlines()[1:]:
                words = line.split()
                if words[3] == "0A" and int(words[1].rpartition(":")[2], 16) == port:
                    return True
    return False


def _end(server: subprocess.Popen[bytes]) -> None:
    """A server, with all that it has started."""
    family = process.tree(server.pid) if server.poll() is None else []
    for pid in family:  # first who would start more
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
    server.wait(_PEER_LIMIT)
    deadline = time.monotonic() + _PEER_LIMIT
    while any(map(_lives, family)) and time.monotonic() < deadline:
        time.sleep(0.001)


def _lives(pid: int) -> bool:
    """Whether a process is there, and is more than what its parent has yet to hear of."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False
