"""Slot workers as processes of this machine, each spoken to by a line of JSON and answering with one."""

from __future__ import annotations

import contextlib
import json
import os
import select
import signal
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from bench import stalls
from bench.backends.base import GuestKernel, Rootfs
from bench.cage import Cpus
from bench.errors import HostError, InstanceError

_START_LIMIT, _KILL_LIMIT = 60.0, 10.0
#: Bytes. A ramp of a thousand points takes half a megabyte.
_LONGEST_ANSWER = 64 << 20
#: The checkout, or the one file in which this package travels to lab hosts (see bench.bundle).
CODE = Path(__file__).resolve().parent.parent


def setup(
    run: str,
    folder: Path,
    arm: str,
    spec: Mapping[str, Any],
    rootfs: Rootfs,
    envelope: Mapping[str, Any],
    cpus: Cpus,
    kernel: GuestKernel | None,
) -> dict[str, Any]:
    """The first line for an arm's worker. spec, envelope: as in plan.json; folder: the worker's own."""
    return {
        "run": run,
        "folder": str(folder),
        "arm": arm,
        "backend": spec["backend"],
        "options": spec["options"],
        "rootfs": {key: each if isinstance(each, bool) else str(each) for key, each in vars(rootfs).items()},
        "caged_cpus": sorted(cpus.caged),
        "harness_cpus": sorted(cpus.harness),
        "memory": envelope["memory"],
        "disk": envelope.get("disk"),
        "link": envelope.get("link", False),
        "kernel": None if kernel is None else {key: each and str(each) for key, each in vars(kernel).items()},
    }


class WorkerProcess:
    """One arm's worker on this machine. It dies with us (see bench.worker)."""

    def __init__(self, first: Mapping[str, Any], late: float = stalls.LATE) -> None:
        """late: seconds by which this process may be late on a busy host (see bench.stalls).

        Raises HostError with the worker's reason where it cannot work.
        """
        self._first = first
        self._late = late
        log = Path(first["folder"])
        log.mkdir(parents=True, exist_ok=True)
        self._log = log / "worker.log"
        with self._log.open("ab") as errors:
            self._process = subprocess.Popen(
                [sys.executable, "-X", "utf8", "-P", "-m", "bench.worker"],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=errors,
                env={
                    **os.environ,
                    "TARE_RUN": str(first["run"]),
                    "PYTHONPATH": str(CODE),
                    "PYTHONDONTWRITEBYTECODE": "1",
                },
                start_new_session=True,
            )
        self._heard = bytearray()
        try:
            self.hello = self._ask(first, _START_LIMIT)
        except InstanceError as error:
            raise HostError(f"{first['arm']}: {error}") from error
        if "error" in self.hello:
            self.close()
            raise HostError(f"{first['arm']}: {self.hello['error']}")

    def slot(self, job: Mapping[str, Any], limit: float) -> dict[str, Any]:
        """Run one slot; the answer within limit seconds, with `stalled_s` where the harness stood still meanwhile.

        Raises InstanceError when the worker died or hangs; it is then gone.
        """
        watch = stalls.Watch(self._late)
        answer = self._ask(job, limit, watch)
        stalled = watch.stalled()
        return answer | {"stalled_s": round(stalled, 1)} if stalled else answer

    def _ask(self, message: Mapping[str, Any], limit: float, watch: stalls.Watch | None = None) -> dict[str, Any]:
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        deadline = time.monotonic() + limit
        try:
            self._process.stdin.write(json.dumps(message).encode() + b"\n")
            self._process.stdin.flush()
        except BrokenPipeError as error:
            raise InstanceError(self._post_mortem()) from error
        out = self._process.stdout.fileno()
        poller = select.poll()
        poller.register(out, select.POLLIN)
        while b"\n" not in self._heard:
            if time.monotonic() > deadline:
                self.kill()
                raise InstanceError(f"the slot worker gave no answer within {limit:.0f} s")
            ready = poller.poll(stalls.TICK * 1000)
            if watch:
                watch.look()
            if not ready:
                continue
            data = os.read(out, 1 << 20)
            if not data:
                raise InstanceError(self._post_mortem())
            self._heard += data
            if len(self._heard) > _LONGEST_ANSWER:
                self.kill()
                raise InstanceError(f"the slot worker's answer is longer than {_LONGEST_ANSWER >> 20} MiB")
        line, _, rest = bytes(self._heard).partition(b"\n")
        self._heard = bytearray(rest)
        answer: dict[str, Any] = json.loads(line)
        return answer

    def _post_mortem(self) -> str:
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(5)
        tail = self._log.read_text(errors="replace").strip()[-1000:]
        return f"the slot worker ended with status {self._process.poll()}" + (f": {tail}" if tail else "")

    def peak_memory(self) -> int:
        """The most resident memory the worker ever had, bytes."""
        status = Path(f"/proc/{self._process.pid}/status").read_text()
        return int(status.partition("VmHWM:")[2].split()[0]) * 1024

    def kill(self) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, signal.SIGKILL)
        # Only a process that the kernel itself cannot end is still there after that.
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(_KILL_LIMIT)
        self._close_pipes()

    def interrupt(self) -> None:
        """Have it take the running slot down and end; returns when it has, or after 30 s by force."""
        self._process.terminate()
        self._await_end()

    def close(self) -> None:
        """End it in good order."""
        self._close_pipes()
        self._await_end()

    def _await_end(self) -> None:
        try:
            self._process.wait(30)
        except subprocess.TimeoutExpired:
            self.kill()
        self._close_pipes()

    def _close_pipes(self) -> None:
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with contextlib.suppress(BrokenPipeError):
                    pipe.close()
