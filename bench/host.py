"""Where slots run: this machine, or another one by SSH. All that knows SSH is here; what is said is in bench.remote.

Nothing is timed across the network: the worker that a lab host is sent is the one that works here, and its own clock
is at both ends of every figure.
"""

from __future__ import annotations

import base64
import contextlib
import hashlib
import io
import logging
import os
import shlex
import signal
import socket
import subprocess
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

from bench import bundle, clean, facts, image, inventory, lock, remote, state
from bench.agent import MARK, SILENCE
from bench.backends import base
from bench.crew import Crew
from bench.errors import HostError, HostLost, InputError, Unreachable
from bench.files import write
from bench.workers import CODE

if TYPE_CHECKING:
    import fabric
    import paramiko

_CONNECT_LIMIT = 20
_COMMAND_LIMIT = 120.0
_UPLOAD_LIMIT = 600.0
_CHUNK = 1 << 20


class Workers(Protocol):
    """The workers of a run, wherever they are: see bench.crew.Crew."""

    def probe(self, arm: str, guest: base.Guest) -> str | None: ...
    def slot(self, arm: str, job: Mapping[str, Any], limit: float) -> dict[str, Any]: ...
    def facts(self, arms: list[str]) -> dict[str, Any]: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class Seat(Protocol):
    """A host that is held for one campaign. host: facts.host() of it; run: the run's id there."""

    run: str
    host: dict[str, Any]
    cleaned: list[tuple[str, str]]

    def crew(
        self,
        arms: Mapping[str, Mapping[str, Any]],
        envelope: Mapping[str, Any],
        rootfs: base.Rootfs,
        kernels: Mapping[str, base.GuestKernel | str],
    ) -> Workers: ...

    def cancel(self) -> None: ...


class _LocalSeat:
    def __init__(self, own: state.Run, removed: list[clean.Removed]) -> None:
        self._own = own
        self.run = own.id
        self.host = facts.host()
        self.cleaned = [(thing.kind, thing.name) for thing in removed]

    def crew(
        self,
        arms: Mapping[str, Mapping[str, Any]],
        envelope: Mapping[str, Any],
        rootfs: base.Rootfs,
        kernels: Mapping[str, base.GuestKernel | str],
    ) -> Crew:
        return Crew(self._own, arms, envelope, rootfs, kernels)

    def cancel(self) -> None:
        """The signal that has a campaign end reaches this process itself."""


@contextlib.contextmanager
def enter(
    host: inventory.Host, what: str, warned: Callable[[str], None], *, replaces: str | None = None, apart: bool = False
) -> Iterator[Seat]:
    """Hold a host, rid of what dead runs left there.

    replaces: our own earlier run there, which lost its way to us; apart: run this machine's workers by a process of
    their own, where this one has several hosts to see to. Raises HostError where it cannot be held, Unreachable or
    HostLost where there is no way to it.
    """
    if host.entry is None and not apart:
        removed: list[clean.Removed] = []
        with lock.occupy(what, removed.extend, warned) as own:
            yield _LocalSeat(own, removed)
    elif host.entry is None:
        files = LocalFiles(state.cache_folder() / "sent")
        with remote.occupy(_PipeDoor(files.folder), files, host.name, what, replaces=replaces) as seat:
            yield seat
    else:
        with Ssh(host) as ssh:
            door = ssh.agent()
            emulated = host.emulated
            with remote.occupy(door, ssh, host.name, what, emulated=emulated, replaces=replaces) as seat:
                yield seat


def reach(host: inventory.Host) -> None:
    """Raises HostLost or Unreachable where there is no way to a host."""
    if host.entry:
        with Ssh(host):
            pass


def clean_up(host: inventory.Host) -> list[tuple[str, str]]:
    """Remove what dead runs left on another host, and all of Tare's files there: (kind, name) of each."""
    with Ssh(host) as ssh:
        return remote.clean(ssh.agent(), host.name)


class _PipeDoor:
    """To an agent that is a process of this machine."""

    def __init__(self, folder: Path) -> None:
        """folder: where files are put for it."""
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-m", "bench.agent", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(CODE)},
            start_new_session=True,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout

    def send(self, data: bytes) -> None:
        self._in.write(data)
        self._in.flush()

    def lines(self) -> Iterator[bytes]:
        yield from self._out

    def last_words(self) -> str:
        return ""

    def hang_up(self) -> None:
        self._in.close()

    def close(self) -> None:
        try:
            self._process.wait(SILENCE)
        except subprocess.TimeoutExpired:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        self._out.close()


class LocalFiles:
    """Files in a folder that this machine has."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes, name: str = "") -> str:
        """name: other than the content's SHA-256."""
        file = self.folder / (name or hashlib.sha256(content).hexdigest())
        if not file.exists():
            write(file, content)
        return file.name

    def put_file(self, file: Path) -> str:
        return self.put(file.read_bytes())

    def put_rootfs(self, rootfs: base.Rootfs) -> str:
        return self.put(image.pack(rootfs))


class Ssh:
    """An SSH connection to a host of the inventory, by fabric: ~/.ssh/config, agents and jump hosts are honoured.

    Raises Unreachable where trying again will not help (a key, a name, no Python), HostLost where it may.
    """

    def __init__(self, host: inventory.Host) -> None:
        assert host.entry
        self._host = host
        self._entry = host.entry
        self._folder = self._entry.folder.removeprefix("~/")
        self._become = ["sudo", "-n"] if self._entry.sudo else []
        self._there: set[str] = set()
        self._connection = _connect(host)
        try:
            self._transport: paramiko.Transport = self._connection.transport
            self._look()
        except BaseException:
            self.close()
            raise

    def __enter__(self) -> Ssh:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        connection: fabric.Connection | str | None = self._connection
        while connection and not isinstance(connection, str):
            connection.client.close()
            connection = connection.gateway

    def _look(self) -> None:
        """Whether there is a Python, and which files there are."""
        python = shlex.quote(self._entry.python)
        status, out, err = self.run(f"{python} -c 'import sys; print(*sys.version_info[:2])'")
        version = out.split()
        if status or len(version) != 2:
            hint = "apt-get install python3 there, or name one in the inventory: python = …"
            raise Unreachable(f"{self._host.name} has no {self._entry.python}: {_last_line(err)}", hint=hint)
        if tuple(map(int, version)) < bundle.OLDEST:
            oldest = ".".join(map(str, bundle.OLDEST))
            raise Unreachable(
                f"{self._host.name}'s {self._entry.python} is {b'.'.join(version).decode()}, too old",
                hint=f"name one of {oldest} or newer in the inventory: python = …",
            )
        _, out, _ = self.run(f"ls {shlex.quote(self._folder)}")
        self._there = set(out.decode(errors="replace").split())

    def run_as_root(self, *words: str, limit: float = _COMMAND_LIMIT) -> tuple[int, bytes, bytes]:
        """As run(), of an argument vector, and as whom the agent runs."""
        return self.run(shlex.join([*self._become, *words]), limit=limit)

    def run(
        self, command: str, stdin: BinaryIO | None = None, limit: float = _COMMAND_LIMIT
    ) -> tuple[int, bytes, bytes]:
        """A command's status, output and errors. Raises HostLost."""
        deadline = time.monotonic() + limit
        try:
            channel = self._transport.open_session(timeout=limit)
            channel.settimeout(limit)
            channel.exec_command(command)
            with contextlib.suppress(OSError):  # it may end without having read all; its status tells why
                while stdin and (data := stdin.read(_CHUNK)):
                    channel.sendall(data)
            channel.shutdown_write()
            out, err = channel.makefile("rb").read(), channel.makefile_stderr("rb").read()
            while not channel.exit_status_ready():
                if time.monotonic() > deadline:
                    raise TimeoutError(f"no end within {limit:g} s")
                time.sleep(0.02)
            return channel.recv_exit_status(), out, err
        except (OSError, EOFError, _ssh_error()) as error:
            raise HostLost(f"{self._host.name} is not heard of any more: {_words(error)}") from error

    def put(self, content: bytes) -> str:
        """Have a file there, under the SHA-256 of its content, which is its name."""
        return self._put(hashlib.sha256(content).hexdigest(), io.BytesIO(content), len(content))

    def put_file(self, file: Path) -> str:
        with file.open("rb") as content:
            return self._put(file.name, content, file.stat().st_size)

    def _put(self, name: str, content: BinaryIO, size: int) -> str:
        if name not in self._there:
            folder, file = shlex.quote(self._folder), shlex.quote(f"{self._folder}/{name}")
            status, _, err = self.run(
                f"umask 077; mkdir -p {folder} && : >{folder}/{MARK} && cat >{file}.part && mv {file}.part {file}"
                f" || {{ rm -f {file}.part; exit 1; }}",
                content,
                _UPLOAD_LIMIT,
            )
            if status:
                raise HostError(
                    f"{self._host.name} does not take a file of {size >> 10} KiB: {_last_line(err)}",
                    hint=f"make room there, or choose another folder in {inventory.file()}",
                )
            self._there.add(name)
        return name

    def put_rootfs(self, rootfs: base.Rootfs) -> str:
        return self.put(image.pack(rootfs))

    def agent(self) -> remote.Door:
        """Tare's own program there."""
        worker = f"{self._folder}/{self.put(bundle.make())}"
        words = [*self._become, self._entry.python, worker, "agent", self._folder]
        return _SshDoor(self._transport, f"exec {shlex.join(words)}")


class _SshDoor:
    def __init__(self, transport: paramiko.Transport, command: str) -> None:
        try:
            self._channel = transport.open_session(timeout=_COMMAND_LIMIT)
            self._channel.exec_command(command)
        except (OSError, EOFError, _ssh_error()) as error:
            raise HostLost(f"nothing can be started: {_words(error)}") from error
        self._said: deque[bytes] = deque(maxlen=20)

    def send(self, data: bytes) -> None:
        self._channel.sendall(data)

    def lines(self) -> Iterator[bytes]:
        heard = b""
        while data := self._channel.recv(1 << 16):
            *lines, heard = (heard + data).split(b"\n")
            while self._channel.recv_stderr_ready():
                self._said.append(self._channel.recv_stderr(1 << 14))
            yield from lines

    def last_words(self) -> str:
        while self._channel.recv_stderr_ready():
            self._said.append(self._channel.recv_stderr(1 << 14))
        return b"".join(self._said).decode(errors="replace")

    def hang_up(self) -> None:
        self._channel.shutdown_write()

    def close(self) -> None:
        self._channel.close()


def _ssh_error() -> type[Exception]:
    import paramiko

    error: type[Exception] = paramiko.SSHException
    return error


def _connect(host: inventory.Host, policy: Any = None) -> fabric.Connection:
    """policy: what to do about a host key that nobody has vouched for; None: refuse."""
    import fabric
    import paramiko

    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its errors reach us as exceptions
    assert host.entry
    more: dict[str, Any] = {"banner_timeout": 60, "auth_timeout": 60}
    if host.entry.key:
        more["key_filename"] = [str(Path(host.entry.key).expanduser())]
    try:
        connection = fabric.Connection(
            host.address,
            user=host.entry.user,
            port=host.entry.port,
            connect_timeout=_CONNECT_LIMIT,
            connect_kwargs=more,
        )
        each: fabric.Connection | str | None = connection
        while each and not isinstance(each, str):
            _make_strict(each, host, policy)
            each = each.gateway
        connection.open()
    except paramiko.BadHostKeyException as error:
        raise Unreachable(
            f"{host.name} has another host key than the one that is known: {_fingerprint(error.key)}",
            hint="if it was made anew, remove its line from known_hosts; if not, somebody is in between",
        ) from error
    except (paramiko.AuthenticationException, paramiko.PasswordRequiredException) as error:
        raise Unreachable(
            f"{host.name} does not let {connection.user} in: {_words(error)}",
            hint=f"ssh {connection.user}@{host.address} must work without a password",
        ) from error
    except socket.gaierror as error:
        raise Unreachable(f"{host.name}: nobody knows the address {host.address!r}: {error.strerror}") from error
    except (OSError, EOFError, paramiko.SSHException) as error:
        where = f"{connection.host} port {connection.port}"
        raise HostLost(
            f"{host.name} ({where}) cannot be reached: {_words(error)}", hint="is it on, and does ssh to it work?"
        ) from error
    _give_up_early(connection)
    return connection


def _make_strict(connection: fabric.Connection, host: inventory.Host, policy: Any) -> None:
    """fabric would take any key of any host."""
    assert host.entry
    client = connection.client
    client.load_system_host_keys()
    files = [host.entry.known_hosts, *connection.ssh_config.get("userknownhostsfile", "").split()]
    for file in [*files, "/etc/ssh/ssh_known_hosts", inventory.known_hosts()]:
        with contextlib.suppress(OSError):
            if file:
                client.load_system_host_keys(str(Path(file).expanduser()))
    client.set_missing_host_key_policy(policy or _Refusal(host.name))


class _Refusal:
    """What paramiko asks about a key that nobody has vouched for."""

    def __init__(self, name: str) -> None:
        self._name = name

    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
        raise Unreachable(
            f"{self._name}: nobody has vouched for the host key of {hostname}, {key.get_name()} {_fingerprint(key)}",
            hint=f"compare it with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then: "
            f"./tare host trust {self._name}",
        )


class _Shown(Exception):
    """A key that nobody has vouched for, to be shown to the user."""


class _Show:
    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
        raise _Shown(hostname, key)


def trust(host: inventory.Host, approve: Callable[[str, str], bool]) -> str | None:
    """Remember an unknown host key if `approve` says so of the host's name and the key's fingerprint.

    The fingerprint that is now trusted; None where the host's key is known already. Raises InputError if not approved.
    """
    if host.entry is None:
        raise InputError("this machine has no host key")
    try:
        _connect(host, _Show()).client.close()
    except _Shown as shown:
        hostname, key = shown.args
        told = f"{key.get_name()} {_fingerprint(key)}"
        if not approve(hostname, told):
            raise InputError(f"{hostname}'s key is not trusted", hint="nothing was changed") from None
        file = inventory.known_hosts()
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with file.open("a") as lines:
            lines.write(f"{hostname} {key.get_name()} {key.get_base64()}\n")
        return told
    return None


def _fingerprint(key: paramiko.PKey) -> str:
    """As ssh-keygen -l shows it."""
    return "SHA256:" + base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")


def _give_up_early(connection: fabric.Connection) -> None:
    """The kernel else goes on for a quarter of an hour with a network that is gone."""
    each: fabric.Connection | str | None = connection
    while each and not isinstance(each, str):
        with contextlib.suppress(OSError, AttributeError):
            each.transport.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, int(SILENCE * 1000))
        each = each.gateway


def _words(error: BaseException) -> str:
    return str(error) or type(error).__name__


def _last_line(text: bytes) -> str:
    lines = text.decode(errors="replace").strip().splitlines()
    return lines[-1][-200:] if lines else "it does not say why"
