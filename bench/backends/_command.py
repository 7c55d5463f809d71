"""Backends whose instance is a command on this host with the init on its standard input and output."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import time
from abc import abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path

from bench import confine, mounts, process
from bench.backends.base import Backend, Instance, Order
from bench.cage import Cage
from bench.channel import OUTPUT_LIMIT, Channel, Reply
from bench.errors import CommandError, InstanceError, InstanceTimeout
from bench.launch import Launched, readable

#: Marks the processes of a run for `tare clean`, where there is no cgroup to find them by.
RUN_VARIABLE = "TARE_RUN"


#: nsenter's options and what they are called in /proc/PID/ns.
_NAMESPACES = {
    "--user": "user",
    "--mount": "mnt",
    "--pid": "pid",
    "--net": "net",
    "--ipc": "ipc",
    "--uts": "uts",
    "--cgroup": "cgroup",
}

#: Capabilities that instances have not.
_TO_ENTER = ("sys_admin", "sys_ptrace")

#: A runtime whose own processes hang cannot end them; SIGKILL can.
_KILL_COMMAND_LIMIT = 2.0


def bare_environment(extra: Mapping[str, str]) -> dict[str, str]:
    return {
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        RUN_VARIABLE: os.environ.get(RUN_VARIABLE, ""),
        **extra,
    }


class CommandInstance(Instance):
    """See Instance. The launched process is the runtime in the foreground, or the UML kernel itself."""

    def __init__(self, backend: CommandBackend, order: Order, cage: Cage | None) -> None:
        super().__init__(order, cage)
        self._asked = False
        self._backend = backend
        argv = backend.command(order)
        doors = cage.doors(everywhere=backend.nests) if cage else ()
        self._process = Launched(
            argv, doors=doors, env=bare_environment(backend.env), folder=order.folder, by=backend.launcher()
        )
        self.channel = Channel(
            self._process.output, self._process.input, console=self._process.errors, exited=self._process.exited
        )

    @property
    def leader(self) -> int:
        """Pid of the launched process."""
        return self._process.pid

    def start(self, deadline: float) -> None:
        self.marks["requested"] = self._process.go()
        if not readable(self._process.spawned, deadline - time.monotonic()):
            raise InstanceTimeout("the command did not start within the time limit")
        self.marks["spawned"] = time.monotonic_ns()
        try:
            self.marks["init"] = self.channel.expect("INIT", deadline)
            self.marks["ready"] = self.channel.expect("READY", deadline)
            self.cpu_at_ready = self.cage.settled_cpu_seconds() if self.cage else None
        except InstanceTimeout:
            raise
        except InstanceError as error:
            raise InstanceError(f"{error}{self._ending()}") from error
        self.marks["kernel"] = self._backend.kernel_mark(self)

    def _ending(self) -> str:
        if not self._process.wait(time.monotonic() + 1):
            return ""
        return f" (status {self._process.status})"

    def exec(self, argv: Sequence[str], deadline: float) -> Reply:
        # The door's client works for the instance, so it lives in the cage like everything else of it.
        client = Launched(
            self._backend.exec_command(self, argv),
            doors=self.cage.doors("clients") if self.cage else (),
            env=bare_environment(self._backend.env),
            errors_to_output=True,
            folder=self.order.folder,
            by=self._backend.client_launcher(),
        )
        try:
            start = client.go()
            output, now = self._hear(client, argv[0], deadline)
        finally:
            client.kill()
            client.close()
        return Reply(bytes(output), client.status or 0, (now - start) / 1e9)

    def _hear(self, client: Launched, name: str, deadline: float) -> tuple[bytearray, int]:
        """What a client prints until it ends, and when that was (monotonic ns)."""
        output, more = bytearray(), True
        poller = select.poll()
        poller.register(client.output, select.POLLIN)
        poller.register(client.exited, select.POLLIN)
        while True:
            events = dict(poller.poll(max(0.0, deadline - time.monotonic()) * 1000))
            if not events:
                raise InstanceTimeout(f"{name} through {self._backend.door} did not end within the time limit")
            ended = client.wait(0)
            now = time.monotonic_ns()
            # To its end once the client has: what is still there may be more than a read takes.
            while more and (client.output in events or ended):
                try:
                    chunk = os.read(client.output, 1 << 18)
                except BlockingIOError:
                    break
                output += chunk
                if len(output) > OUTPUT_LIMIT:
                    raise InstanceError(f"more than {OUTPUT_LIMIT >> 20} MiB of output before the end of {name}")
                if not chunk:
                    # It has closed its output before it ends: a poll would say so again and again.
                    poller.unregister(client.output)
                    more = False
            if ended:
                return output, now

    def pids(self) -> list[int]:
        return self.cage.pids() if self.cage else process.tree(self.leader)

    def stop(self, deadline: float) -> None:
        self.marks["stopping"] = time.monotonic_ns()
        if not self._asked:
            self.channel.halt(deadline)
        if not self._process.wait(deadline):
            raise InstanceTimeout("the instance did not end within the time limit")
        self._await_empty(deadline)
        self.marks["gone"] = time.monotonic_ns()
        self._process.close()
        self._tidy()

    def _await_empty(self, deadline: float) -> None:
        while self.cage and self.cage.pids():
            if time.monotonic() > deadline:
                raise InstanceTimeout(f"processes {self.cage.pids()} of the instance did not end")
            time.sleep(0.0002)

    def ask_to_end(self) -> None:
        if self._asked:
            return
        with contextlib.suppress(InstanceError):
            self.channel.halt(time.monotonic() + 1)
            self._asked = True

    def dismiss(self, deadline: float) -> None:
        """What its init leaves behind, where no namespace ends with that, is not waited for."""
        self.ask_to_end()
        self._process.wait(deadline)
        self.kill(deadline)

    def kill(self, deadline: float) -> None:
        if self._process.exited < 0:
            return
        self.marks.setdefault("stopping", time.monotonic_ns())
        if self._process.status is None and (argv := self._backend.kill_command(self)):
            with contextlib.suppress(CommandError):
                process.run(argv, timeout=_KILL_COMMAND_LIMIT, env=bare_environment(self._backend.env), check=False)
            self._process.wait(time.monotonic() + 1)
        if self._process.status is None:
            family = [] if self.cage else process.tree(self.leader)
            self._process.kill()
            kill_all(family)
        if self.cage:
            self.cage.kill(deadline)
        self.marks["gone"] = time.monotonic_ns()
        self._process.close()
        self._tidy()

    def _tidy(self) -> None:
        self._backend.forget(self)
        mounts.remove_tree(self.order.folder)


class CommandBackend(Backend):
    """Derive from it, set the class attributes of Backend, and say what to run."""

    #: Variables that its programs get beside the bare ones.
    env: Mapping[str, str] = {}

    @abstractmethod
    def command(self, order: Order) -> Sequence[str]:
        """What starts an instance in the foreground, an absolute program first.

        Write its files into order.folder before.
        """

    def launcher(self) -> Sequence[str]:
        """What starts the shell in which an instance waits: nothing of it is timed."""
        return ()

    def client_launcher(self) -> Sequence[str]:
        """The same for a client of the door."""
        return self.launcher()

    def exec_command(self, instance: CommandInstance, argv: Sequence[str]) -> Sequence[str]:
        """What runs argv inside through the runtime's own door, printing its output and ending with its status."""
        raise NotImplementedError

    def kill_command(self, instance: CommandInstance) -> Sequence[str]:
        """What the runtime offers to end an instance by force; SIGKILL follows in any case."""
        return ()

    def kernel_mark(self, instance: CommandInstance) -> int:
        """When the guest's kernel first spoke; for containers, when their init did.

        They have no kernel of their own.
        """
        return instance.marks["init"]

    def forget(self, instance: CommandInstance) -> None:
        """Remove what the runtime keeps of an ended instance outside its folder."""

    def provision(self, order: Order, cage: Cage | None) -> Instance:
        return CommandInstance(self, order, cage)


def namespace_init(leader: int) -> int:
    """The host pid of the first process in the pid namespace below leader. Raises InstanceError."""
    for pid in process.tree(leader):
        try:
            status = Path(f"/proc/{pid}/status").read_text()
        except OSError:
            continue
        inner = status.partition("NSpid:")[2].splitlines()[0].split()
        if len(inner) > 1 and inner[-1] == "1":
            return pid
    raise InstanceError("the instance has no pid namespace")


def kill_all(pids: Sequence[int]) -> None:
    """SIGKILL to each; those already gone are fine."""
    for pid in pids:
        with contextlib.suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)


def nsenter_launcher() -> list[str]:
    """What nsenter's client is launched by: with instances' capabilities, and what it needs to enter."""
    return confine.held_and(process.require("setpriv", "util-linux"), _TO_ENTER)


def nsenter(leader: int, argv: Sequence[str]) -> list[str]:
    """util-linux's door into the namespaces that an instance does not share with us, for root.

    Inside, the rootfs's busybox drops what it took to enter (see nsenter_launcher).
    """
    init = namespace_init(leader)
    apart = [
        option
        for option, name in _NAMESPACES.items()
        if Path(f"/proc/{init}/ns/{name}").readlink() != Path(f"/proc/self/ns/{name}").readlink()
    ]
    inside = ["/bin/busybox", "setpriv", f"--inh-caps={','.join(f'-{name}' for name in _TO_ENTER)}", *argv]
    return [process.require("nsenter", "util-linux"), "--target", str(init), *apart, *inside]
