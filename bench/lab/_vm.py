"""A lab host that is up: one QEMU process in the background, and a folder that knows it.

    CACHE/lab/up-NAME/   vm.json, key, known_hosts, console.log, image (a link to the disk's folder)

The overlay over the disk is QEMU's own temporary file, which has no name and ends with it: each start is a fresh one.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import socket
import time
import uuid
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from bench import files, process, state
from bench.errors import CommandError, InputError, InstanceError, InstanceTimeout
from bench.lab import _qemu
from bench.lab._recipe import Recipe
from bench.lab._store import Tell, facts, held, image, is_built, store

ADDRESS = "127.0.0.1"
USER = "root"
_VM = "vm.json"
#: Seconds.
_START_LIMIT = 60.0
_BOOT_LIMIT = 600.0
_READY_LIMIT = 60.0
_TERM_LIMIT = _KILL_LIMIT = 10.0
_WAIT_LIMIT = _START_LIMIT + _BOOT_LIMIT + _READY_LIMIT + _TERM_LIMIT + _KILL_LIMIT
_TELL_EVERY = 1.0
_PORT_TRIES = 3
_TAIL = 25


@dataclass(frozen=True)
class LabHost:
    """One that is up, and how to reach it. key, known_hosts: files for ssh; since: UTC; emulated: no times to go by."""

    name: str
    address: str
    port: int
    user: str
    key: Path
    known_hosts: Path
    pid: int
    since: str
    emulated: bool = True


@dataclass(frozen=True)
class Condition:
    """What there is of a lab host. kernels: releases in it; size: bytes of disk that the cache has for it."""

    name: str
    about: str
    built: bool
    kernels: list[str]
    size: int
    up: bool
    port: int | None
    pid: int | None
    since: str | None

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)


def folder_of(name: str) -> Path:
    return store() / f"up-{name}"


def running_host(name: str) -> LabHost | None:
    """The lab host of this name, if its process lives."""
    folder = folder_of(name)
    known = _read(folder)
    if not known.get("ready") or not _processes(known):
        return None
    return LabHost(
        name, ADDRESS, known["port"], USER, folder / "key", folder / "known_hosts", known["pid"], known["since"]
    )


def condition(recipe: Recipe) -> Condition:
    known = facts(recipe)
    size = sum(file.stat().st_blocks * 512 for file in image(recipe).glob("*"))
    host = running_host(recipe.name)
    up = (host.port, host.pid, host.since) if host else (None, None, None)
    return Condition(
        recipe.name, recipe.about, is_built(recipe), list(known.get("kernels", [])), size, host is not None, *up
    )


def _read(folder: Path) -> dict[str, Any]:
    with contextlib.suppress(InputError):
        known = files.read_json(folder / _VM)
        if isinstance(known, dict):
            return known
    return {}


def _write(folder: Path, known: dict[str, Any]) -> None:
    files.write(folder / _VM, json.dumps(known, indent=1) + "\n")


def _boot_id() -> str:
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def _processes(known: dict[str, Any]) -> list[int]:
    """The living process that vm.json knows by pid and start time, or, where its starter did not live to write these
    down, those that bear its token."""
    if known.get("boot") != _boot_id():
        return []
    if "pid" in known:
        return [known["pid"]] if state.birth(known["pid"]) == known["born"] else []
    return _bearing(known["token"])


def _bearing(token: str) -> list[int]:
    """The processes with this word in their command line."""
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if token.encode() in file.read_bytes().split(b"\0"):
                found.append(int(file.parent.name))
    return [pid for pid in found if state.birth(pid) is not None]


def ssh_argv(host: LabHost) -> list[str]:
    """ssh to a lab host, by its key alone and to the host of that key alone, whatever the user's settings are."""

    def path(file: Path) -> str:
        return '"' + str(file).replace("%", "%%") + '"'

    options = [
        f"IdentityFile={path(host.key)}",
        f"UserKnownHostsFile={path(host.known_hosts)}",
        "GlobalKnownHostsFile=/dev/null",
        "StrictHostKeyChecking=yes",
        "IdentitiesOnly=yes",
        "IdentityAgent=none",
        "BatchMode=yes",
        "ConnectTimeout=20",
        "ServerAliveInterval=20",
        "LogLevel=ERROR",
    ]
    words = [word for option in options for word in ("-o", option)]
    ssh = process.require("ssh", "openssh-client")
    return [ssh, "-F", "none", *words, "-p", str(host.port), f"{host.user}@{host.address}"]


def up(recipe: Recipe, tell: Tell) -> tuple[LabHost, bool]:
    """The host, up, and whether it was so before. It must have been built.

    Raises HostError (a tool is missing), InstanceError with the end of its console.
    """
    process.require("ssh", "openssh-client")
    qemu = process.require("qemu-system-x86_64", "qemu-system-x86")
    with held(f"{recipe.name}.up", f"another tare that starts or ends {recipe.name}", tell, _WAIT_LIMIT):
        if host := running_host(recipe.name):
            return host, True
        _stop(recipe.name)
        try:
            for attempt in range(_PORT_TRIES):
                with contextlib.suppress(_PortTaken):
                    _start(qemu, recipe, last=attempt + 1 == _PORT_TRIES)
                    break
            return _wait(recipe, tell), False
        except BaseException:
            _stop(recipe.name)
            raise


class _PortTaken(Exception):
    """By somebody else, between our asking for a free one and QEMU's taking it."""


def _start(qemu: str, recipe: Recipe, *, last: bool) -> None:
    folder = folder_of(recipe.name)
    folder.mkdir(mode=0o700, exist_ok=True)
    made = image(recipe)
    (folder / "image").unlink(missing_ok=True)
    (folder / "image").symlink_to(made)
    shutil.copyfile(made / "key", folder / "key")
    (folder / "key").chmod(0o600)
    port = _free_port()
    algorithm, key = (made / "host_key.pub").read_text().split()[:2]
    (folder / "known_hosts").write_text(f"[{ADDRESS}]:{port} {algorithm} {key}\n")
    known: dict[str, Any] = {"token": str(uuid.uuid4()), "port": port, "boot": _boot_id()}
    _write(folder, known)
    # It outlives the run that it is started in; its overlay is to lie where there is room.
    env = {name: value for name, value in os.environ.items() if name != "TARE_RUN"} | {"TMPDIR": str(folder)}
    board = str(uuid.uuid5(uuid.NAMESPACE_OID, key))  # the image's, however often it starts
    argv = _qemu.argv(qemu, recipe, port, known["token"], board)
    try:
        process.run(argv, cwd=folder, env=env, timeout=_START_LIMIT)
    except CommandError as error:
        if "host forwarding" in error.detail and not last:
            raise _PortTaken from error
        raise InstanceError(f"QEMU does not start {recipe.name}: {error}", detail=error.detail) from error
    for pid in _bearing(known["token"]):
        known |= {"pid": pid, "born": state.birth(pid)}
    _write(folder, known)


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind((ADDRESS, 0))
        return int(probe.getsockname()[1])


def _wait(recipe: Recipe, tell: Tell) -> LabHost:
    """Until SSH answers and what the recipe calls ready is so."""
    folder = folder_of(recipe.name)
    begun = told = time.monotonic()
    known = _read(folder)
    known["since"] = time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime())
    host = LabHost(
        recipe.name, ADDRESS, known["port"], USER, folder / "key", folder / "known_hosts", known.get("pid", 0), ""
    )
    step = "waiting for SSH"
    while (now := time.monotonic()) - begun < _BOOT_LIMIT:
        if not _processes(known):
            raise InstanceError(
                f"{recipe.name} ended while it booted", detail=console_tail(folder), hint="its console said last:"
            )
        if now - told >= _TELL_EVERY or told == begun:
            told = now
            tell(f"{recipe.name} {step}: {now - begun:.0f} s")
        if _greets(host.port):
            step = "waiting for its services"
            with contextlib.suppress(CommandError):
                if process.run([*ssh_argv(host), recipe.ready], timeout=_READY_LIMIT, check=False).returncode == 0:
                    known["ready"] = True
                    _write(folder, known)
                    found = running_host(recipe.name)
                    assert found
                    tell(f"{recipe.name} up: {time.monotonic() - begun:.0f} s")
                    return found
        time.sleep(0.5)
    raise InstanceTimeout(
        f"{recipe.name} was not up within {_BOOT_LIMIT:g} s ({step})",
        detail=console_tail(folder),
        hint="try again when this machine is less busy, or build it again; its console said last:",
    )


def _greets(port: int) -> bool:
    """Whether an SSH server speaks on the port: QEMU itself accepts connections long before the guest does."""
    with contextlib.suppress(OSError), socket.create_connection((ADDRESS, port), timeout=3) as line:
        return line.recv(4) == b"SSH-"
    return False


def console_tail(folder: Path) -> str:
    """The last lines of the serial console."""
    with contextlib.suppress(OSError):
        text = (folder / _qemu.CONSOLE).read_bytes()[-8192:].decode(errors="replace")
        return "\n".join("  | " + line.rstrip() for line in text.splitlines()[-_TAIL:])
    return ""


def down(recipe: Recipe, tell: Tell) -> bool:
    """Pull a host's plug; nothing of it stays, as nothing of it would: its disk is new each time. False where it was
    not up.

    Raises InstanceError where it cannot be ended.
    """
    with held(f"{recipe.name}.up", f"another tare that starts or ends {recipe.name}", tell, _WAIT_LIMIT):
        host = running_host(recipe.name)
        _stop(recipe.name)
        return host is not None


def _stop(name: str) -> None:
    """End what still runs of a host, and remove its folder."""
    folder = folder_of(name)
    known = _read(folder)
    for number, limit in ((signal.SIGTERM, _TERM_LIMIT), (signal.SIGKILL, _KILL_LIMIT)):
        for pid in _processes(known) if known else []:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, number)
        if not known or _until(lambda: not _processes(known), limit):
            break
    else:
        raise InstanceError(f"the QEMU of {name} cannot be ended: pid {_processes(known)}", hint="kill it by hand")
    shutil.rmtree(folder, ignore_errors=True)


def _until(done: Callable[[], bool], limit: float) -> bool:
    deadline = time.monotonic() + limit
    while not done():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
