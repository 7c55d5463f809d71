"""Where slots run: this machine, or another one by SSH. All that knows SSH is here; what is said is in bench.remote.

Nothing is timed across the network: the worker that a lab host is sent is the one that works here, and its own clock
is at both ends of every figure.
"""

from __future__ import annotations

import base64
import contextlib
import functools
import hashlib
import io
import logging
import os
import re
import secrets
import shlex
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, Protocol

from bench import bundle, clean, debian, facts, inventory, lock, remote, state
from bench.agent import MARK, MARKED, SILENCE
from bench.answers import LONGEST, Cleaned
from bench.backends import base
from bench.crew import Crew
from bench.errors import HostError, HostLost, InputError, Unreachable
from bench.files import writing
from bench.known_hosts import KnownHosts
from bench.lines import split
from bench.workers import CODE

if TYPE_CHECKING:
    import fabric
    import paramiko

#: Seconds to get through to a port, and to be let in by all hosts on the way.
_CONNECT_LIMIT, _CONNECT_WHOLE_LIMIT = 20, 180.0
_COMMAND_LIMIT = 120.0
_UPLOAD_LIMIT = 600.0
#: Seconds by which what paramiko itself waits for may end later than what we wait for.
_GRACE = 3.0
_STEP = 0.01
_CHUNK, _PART = 1 << 20, 1 << 15
#: Bytes of each output of a command of ours, and how many parts of what an agent says beside its answers are kept.
_OUTPUT_LIMIT = 4 << 20
_LAST_PARTS = 20
#: In the order of preference.
_RSA = ("rsa-sha2-512", "rsa-sha2-256")


class Workers(Protocol):
    """The workers of a run, wherever they are: see bench.crew.Crew."""

    def probe(self, arm: str, guest: base.Guest) -> str | None: ...
    def lacking(self, asked: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]: ...
    def slot(self, arm: str, job: Mapping[str, Any], limit: float) -> dict[str, Any]: ...
    def facts(self, arms: list[str]) -> dict[str, Any]: ...
    def interrupt(self) -> None: ...
    def close(self) -> None: ...


class Seat(Protocol):
    """A host that is held for one campaign. host: facts.host() of it; run: the run's id there; cleaned, resisting: what
    of dead runs was removed, and what could not be."""

    run: str
    host: dict[str, Any]
    cleaned: list[tuple[str, str]]
    resisting: list[str]

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
        self.resisting: list[str] = []  # is told while the host is entered

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


def clean_up(host: inventory.Host) -> Cleaned:
    """Remove what dead runs left on another host, and all of Tare's files there."""
    with Ssh(host) as ssh:
        return remote.clean(ssh.agent(), host.name)


class _PipeDoor:
    """To an agent that is a process of this machine."""

    def __init__(self, folder: Path) -> None:
        """folder: where files are put for it."""
        self._process = subprocess.Popen(
            [sys.executable, "-X", "utf8", "-P", "-m", "bench.agent", str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PYTHONPATH": str(CODE)},
            start_new_session=True,
            bufsize=0,
        )
        assert self._process.stdin
        assert self._process.stdout
        self._in, self._out = self._process.stdin, self._process.stdout

    def send(self, data: bytes) -> None:
        while data:
            data = data[os.write(self._in.fileno(), data) :]

    def lines(self) -> Iterator[bytes]:
        yield from split(iter(lambda: os.read(self._out.fileno(), _PART), b""), LONGEST)

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
    """Files in a folder that this machine has, by the SHA-256 of their content."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.folder.mkdir(parents=True, exist_ok=True)

    def put(self, content: bytes) -> str:
        name = hashlib.sha256(content).hexdigest()
        self._put(name, io.BytesIO(content))
        return name

    def put_file(self, file: Path) -> str:
        name = digest(file)
        with file.open("rb") as content:
            self._put(name, content)
        return name

    def _put(self, name: str, content: IO[bytes]) -> None:
        """Raises HostError where there is no room."""
        file = self.folder / name
        try:
            if file.is_file() and digest(file) == name:
                return
            with writing(file) as made:
                shutil.copyfileobj(content, made, _CHUNK)
        except OSError as error:
            raise HostError(f"{file} cannot be written: {error.strerror}", hint="make room there") from error


def digest(file: Path) -> str:
    """SHA-256 of a file, in hex, which is read once for as long as it is not touched."""
    found = file.stat()
    return _digest(file, found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns)


@functools.lru_cache(maxsize=1024)
def _digest(file: Path, *_: int) -> str:
    return debian.digest(file)


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
        _close(self._connection)

    def _look(self) -> None:
        """Whether there is a Python, and which files there are, in a folder that nobody else can have filled."""
        python, name = self._entry.python, self._host.name
        status, out, err = self.run(shlex.join([python, "-", self._folder, MARK, MARKED]), io.BytesIO(_LOOK.encode()))
        version, _, told = out.decode(errors="replace").partition("\n")
        if not re.fullmatch(r"\d{1,3} \d{1,3}", version):
            hint = "apt-get install python3 there, or name one in the inventory: python = …"
            raise Unreachable(f"{name} has no {python}: {_last_line(err)}", hint=hint)
        if tuple(map(int, version.split())) < bundle.OLDEST:
            oldest = ".".join(map(str, bundle.OLDEST))
            raise Unreachable(
                f"{name}'s {python} is {version.replace(' ', '.')}, too old",
                hint=f"name one of {oldest} or newer in the inventory: python = …",
            )
        if status:
            raise Unreachable(
                f"{name}: {told.strip()[-300:] or _last_line(err)}",
                hint=f"choose one that is not there yet, or this user's alone, in {inventory.file()}: folder = …",
            )
        self._there = set(told.split())

    def run_as_root(self, *words: str, limit: float = _COMMAND_LIMIT) -> tuple[int, bytes, bytes]:
        """As run(), of an argument vector, and as whom the agent runs."""
        return self.run(shlex.join([*self._become, *words]), limit=limit)

    def run(
        self, command: str, stdin: IO[bytes] | None = None, limit: float = _COMMAND_LIMIT
    ) -> tuple[int, bytes, bytes]:
        """A command's status, output and errors.

        Raises HostLost, also where it takes longer than its limit, or says more than a command of ours would. The
        connection is of no further use then.
        """
        try:
            with _cut_after(self._transport, limit + _GRACE):
                return _exchange(self._transport, command, stdin, limit)
        except (OSError, EOFError, _ssh_error()) as error:
            self.close()
            raise HostLost(f"{self._host.name} is not heard of any more: {_words(error)}") from error

    def put(self, content: bytes) -> str:
        """Have a file there, under the SHA-256 of its content, which is its name."""
        return self._put(hashlib.sha256(content).hexdigest(), io.BytesIO(content), len(content))

    def put_file(self, file: Path) -> str:
        with file.open("rb") as content:
            return self._put(digest(file), content, file.stat().st_size)

    def _put(self, name: str, content: IO[bytes], size: int) -> str:
        if name not in self._there:
            file = f"{self._folder}/{name}"
            status, _, err = self.run(
                shlex.join(["sh", "-c", _TAKE, "sh", file, f"{file}.{secrets.token_hex(4)}{_PART_SUFFIX}", name]),
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

    def agent(self) -> remote.Door:
        """Tare's own program there, which is what it was when it was sent."""
        program = bundle.make()
        name = hashlib.sha256(program).hexdigest()
        file = f"{self._folder}/{name}"
        if name in self._there and self.run(_run_checked(file, name, ["true"]))[0]:
            self._there.remove(name)
        self.put(program)
        words = [*self._become, self._entry.python, file, "agent", self._folder]
        return _SshDoor(self._transport, _run_checked(file, name, words))


def _run_checked(file: str, digest: str, words: Sequence[str]) -> str:
    """A command that runs these words if a file has this SHA-256."""
    return shlex.join(["sh", "-c", _CHECKED, "sh", file, digest, *words])


_CHECKED = """\
[ "$(sha256sum <"$1")" = "$2  -" ] || { echo "$1 is not what was sent" >&2; exit 1; }
shift 2
exec "$@"
"""
#: Has its name when it is there whole, whatever cut the way to it short.
_TAKE = """\
umask 077
cat >"$2" || { rm -f "$2"; exit 1; }
[ "$(sha256sum <"$2")" = "$3  -" ] && mv "$2" "$1" && exit
rm -f "$2"
echo "it did not come whole" >&2
exit 1
"""
_PART_SUFFIX = ".part"
#: Which Python there is; then the names of files in a folder, which is made where it is missing, with the mark that it
#: was. Ends with 1 and the reason where others can have put something there, or where it lacks the mark: then it is
#: somebody's, and is left as it is. Old Pythons must be able to read this.
_LOOK = """\
import os, re, stat, sys, time
print("%d %d" % sys.version_info[:2])
if sys.version_info < (3,):
    sys.exit()
folder, name, text = os.path.normpath(os.path.join(os.getcwd(), sys.argv[1])), sys.argv[2], sys.argv[3]
mark = os.path.join(folder, name)
def refuse(why):
    print(why)
    sys.exit(1)
def check(path):
    found = os.lstat(path)
    mine = found.st_uid == os.geteuid()
    if not mine and (found.st_uid or path in (folder, os.path.realpath(folder))):
        refuse("%s belongs to uid %d: what is in it cannot be trusted" % (path, found.st_uid))
    if not stat.S_ISLNK(found.st_mode) and found.st_mode & 0o022:
        if path == os.path.realpath(folder) or not found.st_mode & stat.S_ISVTX:
            refuse("%s can be written by others: what is in it cannot be trusted" % path)
def is_marked():
    try:
        with open(mark) as file:
            return stat.S_ISREG(os.lstat(mark).st_mode) and file.read(1000) == text
    except (OSError, ValueError):
        return False
def set_mark():
    with open(mark, "x") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
    above = os.open(folder, os.O_RDONLY)
    os.fsync(above)
    os.close(above)
def check_all(path):
    parts = path.split("/")
    for end in range(1, len(parts) + 1):
        check("/".join(parts[:end]) or "/")
try:
    os.umask(0o077)
    if not os.path.lexists(folder):
        above = os.path.dirname(folder)
        if not os.path.isdir(above):
            os.makedirs(above)
        check_all(above)
        check_all(os.path.realpath(above))
        try:
            os.mkdir(folder)
            set_mark()
        except FileExistsError:
            pass
    check_all(folder)
    check_all(os.path.realpath(folder))
    tries = 0
    while not is_marked() and not set(os.listdir(folder)) - {name} and tries < 20:
        time.sleep(0.05)  # another one may just be making it
        tries += 1
    if not is_marked():
        refuse("%s is there already, and is none that Tare made for its files" % folder)
    for name in os.listdir(folder):
        path = os.path.join(folder, name)
        sent = re.match(r"[0-9a-f]{64}\\.[0-9a-f]+\\.part\\Z", name)
        if sent and time.time() - os.lstat(path).st_mtime > 3600:
            os.unlink(path)  # of a host that went down while it was sent
        else:
            print(name)
except OSError as error:
    refuse("%s cannot be used: %s" % (folder, error.strerror))
"""


def _exchange(
    transport: paramiko.Transport, command: str, stdin: IO[bytes] | None, limit: float
) -> tuple[int, bytes, bytes]:
    """Run a command: what it reads is sent and both its outputs are taken as they come. Raises TimeoutError."""
    deadline = time.monotonic() + limit
    channel = transport.open_session(timeout=limit)
    channel.exec_command(command)
    out, err = bytearray(), bytearray()
    outputs = ((channel.recv_ready, channel.recv, out), (channel.recv_stderr_ready, channel.recv_stderr, err))
    left = b""
    while True:
        moved = False
        for ready, receive, taken in outputs:
            if ready():
                taken += receive(_PART)
                moved = True
                if len(taken) > _OUTPUT_LIMIT:
                    raise OSError(f"a command says more than {_OUTPUT_LIMIT >> 20} MiB")
        ended = channel.exit_status_ready() and (channel.eof_received or channel.closed)
        if ended and not any(ready() for ready, _, _ in outputs):
            break
        if not channel.eof_sent and not channel.closed and channel.send_ready():
            left = left or (stdin.read(_CHUNK) if stdin else b"")
            moved = True
            if left:
                with contextlib.suppress(OSError):  # it may end without having read all; its status tells why
                    left = left[channel.send(left[:_PART]) :]
            else:
                channel.shutdown_write()
        if time.monotonic() > deadline:
            raise TimeoutError(f"no end within {limit:g} s")
        if not moved:
            time.sleep(_STEP)
    status = channel.recv_exit_status()
    if status < 0 and not transport.is_active():
        raise EOFError("the connection was cut")
    return status, bytes(out), bytes(err)


@contextlib.contextmanager
def _cut_after(transport: paramiko.Transport, seconds: float) -> Iterator[None]:
    """Cut a connection whose other end keeps us longer than that, wherever in paramiko we are waiting for it."""
    timer = threading.Timer(seconds, transport.close)
    timer.daemon = True
    timer.start()
    try:
        yield
    finally:
        timer.cancel()


class _SshDoor:
    def __init__(self, transport: paramiko.Transport, command: str) -> None:
        self._transport = transport
        try:
            with _cut_after(transport, _COMMAND_LIMIT):
                self._channel = transport.open_session(timeout=_COMMAND_LIMIT)
                self._channel.exec_command(command)
        except (OSError, EOFError, _ssh_error()) as error:
            raise HostLost(f"nothing can be started: {_words(error)}") from error
        self._said: deque[bytes] = deque(maxlen=_LAST_PARTS)

    def send(self, data: bytes) -> None:
        self._channel.sendall(data)

    def lines(self) -> Iterator[bytes]:
        yield from split(self._parts(), LONGEST)

    def _parts(self) -> Iterator[bytes]:
        while data := self._channel.recv(_PART):
            self._take_errors()
            yield data

    def _take_errors(self) -> None:
        for _ in range(_LAST_PARTS):
            if not self._channel.recv_stderr_ready():
                break
            self._said.append(self._channel.recv_stderr(_PART))

    def last_words(self) -> str:
        self._take_errors()
        return b"".join(self._said).decode(errors="replace")

    def hang_up(self) -> None:
        self._channel.shutdown_write()

    def close(self) -> None:
        with _cut_after(self._transport, _GRACE):
            self._channel.close()


def _ssh_error() -> type[Exception]:
    import paramiko

    error: type[Exception] = paramiko.SSHException
    return error


def _close(connection: fabric.Connection | str | None) -> None:
    """A connection, and those that lead to it."""
    while connection and not isinstance(connection, str):
        connection.client.close()
        connection = connection.gateway


def _connect(host: inventory.Host, unknown: Callable[[str, paramiko.PKey], None] | None = None) -> fabric.Connection:
    """unknown: told of a host key that nobody has vouched for, which is else refused."""
    import fabric
    import paramiko

    logging.getLogger("paramiko").setLevel(logging.CRITICAL)  # its errors reach us as exceptions
    assert host.entry
    more: dict[str, Any] = {"banner_timeout": 60, "auth_timeout": 60}
    if host.entry.key:
        more["key_filename"] = [os.path.expanduser(host.entry.key)]  # noqa: PTH111 # with no home it raises nothing
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
            _make_strict(each, host, unknown)
            each = each.gateway
        timer = threading.Timer(_CONNECT_WHOLE_LIMIT, _close, [connection])
        timer.daemon = True
        timer.start()
        try:
            connection.open()
        except BaseException:
            _close(connection)
            raise
        finally:
            timer.cancel()
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


def _make_strict(
    connection: fabric.Connection, host: inventory.Host, unknown: Callable[[str, paramiko.PKey], None] | None
) -> None:
    """fabric would take any key of any host, and paramiko stumbles over lines that it does not know."""
    import paramiko

    assert host.entry
    files = ["~/.ssh/known_hosts", *filter(None, [host.entry.known_hosts])]
    files += [*connection.ssh_config.get("userknownhostsfile", "").split(), "/etc/ssh/ssh_known_hosts"]
    known = KnownHosts([*(Path(os.path.expanduser(file)) for file in files), inventory.known_hosts()])  # noqa: PTH111 # with no home it raises nothing
    port = int(connection.port)
    name = connection.host if port == 22 else f"[{connection.host}]:{port}"

    def transport(*arguments: Any, **more: Any) -> paramiko.Transport:
        """One that asks for a key of a kind that is known, where there are several."""
        made = paramiko.Transport(*arguments, **more)
        options = made.get_security_options()
        wanted = [each for kind in known.kinds(name) for each in ((*_RSA, kind) if kind == "ssh-rsa" else (kind,))]
        first = [kind for kind in wanted if kind in options.key_types]
        options.key_types = [*first, *(kind for kind in options.key_types if kind not in first)]
        return made

    connection.connect_kwargs = dict(connection.connect_kwargs, transport_factory=transport)
    connection.client.set_missing_host_key_policy(_HostKeys(host.name, known, unknown))


class _HostKeys:
    """What paramiko asks about each host's key, as it knows none itself."""

    def __init__(
        self, name: str, known: KnownHosts, unknown: Callable[[str, paramiko.PKey], None] | None = None
    ) -> None:
        self._name = name
        self._known = known
        self._unknown = unknown

    def missing_host_key(self, client: object, hostname: str, key: paramiko.PKey) -> None:
        """Raises Unreachable."""
        verdict = self._known.judge(hostname, key.asbytes())
        shown = f"{key.get_name()} {_fingerprint(key)}"
        if verdict == "known":
            return
        if verdict == "revoked":
            raise Unreachable(
                f"{self._name}: the host key of {hostname} is revoked, {shown}",
                hint="whoever has it may be somebody else: give the host a new key",
            )
        if verdict == "another":
            raise Unreachable(
                f"{self._name}: {hostname} has another host key than the one that is known: {shown}",
                hint="if it was made anew, remove its line from known_hosts; if not, somebody is in between",
            )
        if self._unknown:
            self._unknown(hostname, key)
        why = f"nobody has vouched for the host key of {hostname}"
        if verdict == "authority":
            why = f"only a certificate (@cert-authority) vouches for {hostname}, and Tare checks host keys alone"
        raise Unreachable(
            f"{self._name}: {why}, {shown}",
            hint=f"compare it with the host's own (ssh-keygen -lf /etc/ssh/ssh_host_ed25519_key.pub), then: "
            f"./tare host trust {self._name}",
        )


class _Shown(Exception):
    """A key that nobody has vouched for, to be shown to the user."""


def _show(hostname: str, key: paramiko.PKey) -> None:
    raise _Shown(hostname, key)


def trust(host: inventory.Host, approve: Callable[[str, str], bool]) -> str | None:
    """Remember an unknown host key if `approve` says so of the host's name and the key's fingerprint.

    The fingerprint that is now trusted; None where the host's key is known already. Raises InputError if not approved.
    """
    if host.entry is None:
        raise InputError("this machine has no host key")
    try:
        _close(_connect(host, _show))
    except _Shown as shown:
        hostname, key = shown.args
        told = f"{key.get_name()} {_fingerprint(key)}"
        if not approve(hostname, told):
            raise InputError(f"{hostname}'s key is not trusted", hint="nothing was changed") from None
        file = inventory.known_hosts()
        file.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with file.open("a+b") as there:
            there.seek(max(0, there.seek(0, os.SEEK_END) - 1))
            torn = there.read(1) not in (b"", b"\n")
            there.write(b"\n" * torn + f"{hostname} {key.get_name()} {key.get_base64()}\n".encode())
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
