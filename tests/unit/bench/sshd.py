"""An SSH server in this process, on a port of the loopback, that runs commands or misbehaves as a test wants it to."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import paramiko

from bench import inventory

#: What is done about a command that a client has run: its channel, and the command.
Behaviour = Callable[[paramiko.Channel, str], None]


class Sshd:
    """keys: of the host; behaviour may be changed at any time. home: where commands are run, and whose HOME is that."""

    def __init__(self, home: Path, keys: list[paramiko.PKey]) -> None:
        self.home = home
        self.keys = keys
        self.behaviour: Behaviour = self.shell
        self.commands: list[str] = []
        self.jumps: list[tuple[str, int]] = []
        self.sockets: list[socket.socket] = []
        self._transports: list[paramiko.Transport] = []
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.port: int = self._listening.getsockname()[1]
        self._thread = threading.Thread(target=self._accept, daemon=True)
        self._thread.start()

    def _accept(self) -> None:
        with contextlib.suppress(OSError):
            while True:
                client, _ = self._listening.accept()
                self.sockets.append(client)
                threading.Thread(target=self._serve, args=[client], daemon=True).start()

    def _serve(self, client: socket.socket) -> None:
        with contextlib.suppress(OSError, EOFError, paramiko.SSHException):
            transport = paramiko.Transport(client)
            self._transports.append(transport)
            for key in self.keys:
                transport.add_server_key(key)
            transport.start_server(server=_Interface(self, transport))

    def cut(self) -> None:
        """As if the cable were cut, and both ends had noticed."""
        for transport in self._transports:
            transport.close()

    def close(self) -> None:
        self._listening.close()
        self.cut()

    def shell(self, channel: paramiko.Channel, command: str) -> None:
        """Run it."""
        process = subprocess.Popen(
            ["sh", "-c", command],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            cwd=self.home,
            env={"HOME": str(self.home), "PATH": os.environ["PATH"]},
            start_new_session=True,
            bufsize=0,
        )
        assert process.stdin
        assert process.stdout
        assert process.stderr

        def feed() -> None:
            with contextlib.suppress(OSError, EOFError), process.stdin as to:  # type: ignore[union-attr]
                while data := channel.recv(1 << 15):
                    to.write(data)

        threading.Thread(target=feed, daemon=True).start()
        errors = threading.Thread(target=_pump, args=[process.stderr, channel.sendall_stderr], daemon=True)
        errors.start()
        _pump(process.stdout, channel.sendall)
        errors.join()
        end(channel, process.wait())


def _pump(source: object, send: Callable[[bytes], object]) -> None:
    with contextlib.suppress(OSError, EOFError), source:  # type: ignore[attr-defined]
        while data := source.read(1 << 15):  # type: ignore[attr-defined]
            send(data)


def _copy(receive: Callable[[int], bytes], send: Callable[[bytes], object]) -> None:
    with contextlib.suppress(OSError, EOFError):
        while data := receive(1 << 15):
            send(data)


def end(channel: paramiko.Channel, status: int) -> None:
    with contextlib.suppress(OSError, EOFError):
        channel.send_exit_status(status)
        channel.close()


class _Interface(paramiko.ServerInterface):  # type: ignore[misc]
    def __init__(self, server: Sshd, transport: paramiko.Transport) -> None:
        self._server = server
        self._transport = transport

    def get_allowed_auths(self, username: str) -> str:
        return "publickey"

    def check_auth_publickey(self, username: str, key: paramiko.PKey) -> int:
        return int(paramiko.AUTH_SUCCESSFUL)

    def check_channel_request(self, kind: str, chanid: int) -> int:
        return int(paramiko.OPEN_SUCCEEDED)

    def check_channel_direct_tcpip_request(
        self, chanid: int, origin: tuple[str, int], destination: tuple[str, int]
    ) -> int:
        """As a jump host."""
        self._server.jumps.append(destination)
        threading.Thread(target=self._lead, args=[chanid, destination], daemon=True).start()
        return int(paramiko.OPEN_SUCCEEDED)

    def _lead(self, chanid: int, destination: tuple[str, int]) -> None:
        with socket.create_connection(destination) as further:
            channels = self._transport._channels
            while (channel := next((each for each in channels.values() if each.chanid == chanid), None)) is None:
                time.sleep(0.01)
            back = threading.Thread(target=_copy, args=[further.recv, channel.sendall], daemon=True)
            back.start()
            _copy(channel.recv, further.sendall)
            further.shutdown(socket.SHUT_RDWR)
            back.join()

    def check_channel_exec_request(self, channel: paramiko.Channel, command: bytes) -> bool:
        text = command.decode()
        self._server.commands.append(text)

        def run() -> None:
            with contextlib.suppress(OSError, EOFError):
                self._server.behaviour(channel, text)

        # The client must hear first that it may.
        later = threading.Timer(0.02, run)
        later.daemon = True
        later.start()
        return True


def key(bits: int = 256) -> paramiko.PKey:
    return paramiko.ECDSAKey.generate(bits=bits)


@contextlib.contextmanager
def running(home: Path, *keys: paramiko.PKey) -> Iterator[Sshd]:
    server = Sshd(home, list(keys) or [key()])
    try:
        yield server
    finally:
        server.close()


def entry(server: Sshd, own: Path, known: str | None = None, /, **more: object) -> inventory.Host:
    """The server as the inventory has it. own: for the client's files; known: what its known_hosts has."""
    login, known_hosts = own / "login", own / "known_hosts"
    if not login.exists():
        key().write_private_key_file(str(login))
    if known is None:
        known = "".join(line(server, each) for each in server.keys)
    known_hosts.write_text(known)
    given = inventory.Entry("127.0.0.1", "somebody", server.port, str(login), str(known_hosts), **more)  # type: ignore[arg-type]
    return inventory.Host("rack1", given)


def line(server: Sshd, host_key: paramiko.PKey, names: str = "") -> str:
    return f"{names or f'[127.0.0.1]:{server.port}'} {host_key.get_name()} {host_key.get_base64()}\n"
