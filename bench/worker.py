"""The slot worker: reads jobs, one JSON line each, and answers each with one. One per arm, alive for a campaign.

It runs on the machine under test with the standard library alone (libvirt only inside the libvirt backends); that is
why nothing here imports the configuration, pandas or rich. First line in: the set-up. Every further line: a slot.
"""

from __future__ import annotations

import contextlib
import ctypes
import dataclasses
import gc
import json
import os
import resource
import signal
import sys
import time
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar, TextIO

from bench import cage, ksm, limits, link, measures, mounts, oom, stalls
from bench.backends import base
from bench.backends._command import RUN_VARIABLE
from bench.errors import HostError, InstanceError, InstanceTimeout, TareError
from bench.session import Place, Sample, Scenario, Session

_PR_SET_PDEATHSIG = 1
_CONSOLE_TAIL = 2000


class Interrupted(BaseException):
    """SIGTERM: finish by taking the slot's instances down. Held back while that is what we are doing."""

    held: ClassVar[bool] = False
    came: ClassVar[bool] = False

    @classmethod
    def release(cls) -> None:
        cls.held = False
        if cls.came:
            raise cls


class Worker:
    """One arm on one host."""

    def __init__(self, setup: Mapping[str, Any]) -> None:
        """setup: see bench.host.setup."""
        self.run = str(setup["run"])
        os.environ[RUN_VARIABLE] = self.run
        self.folder = Path(setup["folder"])
        self.folder.mkdir(parents=True, exist_ok=True)
        self.cpus = cage.Cpus(frozenset(setup["caged_cpus"]), frozenset(setup["harness_cpus"]))
        self.uncaged: str | None = None
        self.hierarchy: cage.Hierarchy | None
        try:
            self.hierarchy = cage.detect()
            cage.Group(self.hierarchy, self.run)
        except (HostError, OSError) as error:
            self.hierarchy, self.uncaged = None, str(error)
            # Without a cage nothing would hold an instance to other CPUs than those it inherits from us.
            everywhere = self.cpus.caged | self.cpus.harness
            self.cpus = cage.Cpus(everywhere, everywhere)
        # Before the backend may hide mounts from this process.
        paths = setup["rootfs"]
        places = {name: Path(paths[name]) for name in ("tree", "initramfs", "ext4")}
        self.rootfs = base.Rootfs(paths["digest"], **places, on_disk=paths["on_disk"])
        self.memory = int(setup["memory"])
        self.disk = setup["disk"]
        # Before the backend may start what is to be in the same namespace, or threads.
        self.links = link.Links(self.folder, self.rootfs.tree) if setup["link"] else None
        boots = setup["kernel"]
        drivers = Path(boots["drivers"]) if boots and boots["drivers"] else None
        self.kernel = base.GuestKernel(Path(boots["image"]), drivers) if boots else None
        kind = base.load(setup["backend"])
        own = self.folder / "backend"
        own.mkdir(exist_ok=True)
        self.backend = kind(own, base.make_options(kind, setup["options"]))
        os.sched_setaffinity(0, self.cpus.harness)

    def hello(self) -> dict[str, Any]:
        """The first answer: how instances will be held."""
        return {
            "uncaged": self.uncaged,
            "cgroup": self.hierarchy.describe() if self.hierarchy else None,
            "cpus": cage.cpu_list(self.cpus.caged),
            "harness_cpus": cage.cpu_list(self.cpus.harness),
        }

    def session(self, scenario: Scenario, place: Place) -> Session:
        given = (self.rootfs, self.memory, self.kernel, self.disk, self.links)
        return Session(self.backend, scenario, place, *given)

    def slot(self, job: Mapping[str, Any]) -> dict[str, Any]:
        """Run one slot; the result is the measured part of its journal line."""
        given: dict[str, Any] = {
            key: tuple(found) if isinstance(found, list) else found for key, found in job["scenario"].items()
        }
        scenario = Scenario(**given)
        place = Place(self.run, job["slot"], self.folder, self.hierarchy, self.cpus)
        start, continued = time.monotonic(), stalls.Continued.times
        result: dict[str, Any] = {"status": "failed", "reason": "interrupted"}
        session: Session | None = None
        try:
            try:
                session = self.session(scenario, place)
                with ksm.switched(scenario.ksm, self.folder.parent):
                    session.prepare()
                    for name in scenario.measures:
                        measures.load(name).run(session)
                result = {"status": "ok", "reason": None}
            except InstanceTimeout as error:
                result = {"status": "timeout", "reason": str(error)}
            except TareError as error:
                result = {"status": "failed", "reason": _reason(error)}
            except Exception as error:  # a defect in a measure or backend is a failed slot, not the end of the campaign
                traceback.print_exc()
                result = {"status": "failed", "reason": f"{type(error).__name__}: {error}"}
            # From here on SIGTERM waits; one that came before has raised, and holds back any further one.
            Interrupted.held = True
        finally:
            if session:
                if result["status"] != "ok":
                    result["console"] = session.console()[-_CONSOLE_TAIL:]
                try:
                    result["cpu_s"] = session.release(by_force=result["status"] != "ok")
                except InstanceError as error:
                    result = {**result, "status": "failed", "reason": _join(result["reason"], str(error))}
        Interrupted.release()
        result["wall_s"] = round(time.monotonic() - start, 6)
        if stalls.Continued.times > continued:
            result["stopped"] = True
        if session:
            result.update(_findings(session))
        return result

    def close(self) -> None:
        self.backend.close()


def _findings(session: Session) -> dict[str, Any]:
    found: dict[str, Any] = {
        "marks": session.marks,
        "samples": [_told(sample) for sample in session.samples],
        "memory": session.memory,
        "seen": session.seen,
        "caged": session.group is not None,
        "memory_limit": session.memory_limit,
    }
    if session.unfinished:
        found["unfinished"] = session.unfinished
    if session.ramp or session.stop_reason:
        found |= {"ramp": session.ramp, "stop": session.stop_reason}
    return found


def _told(sample: Sample) -> dict[str, Any]:
    found = dataclasses.asdict(sample)
    if sample.clock is None:
        del found["clock"]
    return found


def _reason(error: TareError) -> str:
    return str(error) + (f": {error.detail.strip()[-500:]}" if error.detail else "")


def _join(first: str | None, second: str) -> str:
    return f"{first}; {second}" if first else second


def _interrupt(signum: int, frame: object) -> None:
    if Interrupted.held:
        Interrupted.came = True
    else:
        Interrupted.held = True
        raise Interrupted


def main(lines: TextIO, answers: TextIO) -> None:
    """Serve until the input ends. A worker never outlives the process that started it."""
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    for entry in list(Path("/proc/self/fd").iterdir()):
        # What our own parents left open is none of an instance's business.
        with contextlib.suppress(OSError):
            os.set_inheritable(int(entry.name), int(entry.name) <= 2)
    # What no launcher of ours starts, as libvirt's QEMU, has it from here: its core would lie anywhere.
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    oom.spare_harness()
    for number in (signal.SIGINT, signal.SIGHUP):  # the runner is who decides
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, _interrupt)
    stalls.Continued.listen()
    limits.raise_open_files()
    worker: Worker | None = None

    def answer(message: Mapping[str, Any]) -> None:
        answers.write(json.dumps(message, separators=(",", ":")) + "\n")
        answers.flush()

    with contextlib.suppress(Interrupted):
        try:
            mounts.leave_chroot()
            worker = Worker(json.loads(lines.readline()))
        except TareError as error:
            answer({"error": str(error)})
            return
        except OSError as error:
            answer({"error": f"{type(error).__name__}: {error}"})
            return
        answer(worker.hello())
        # A collection in the middle of a timed window would be charged to an instance.
        gc.freeze()
        gc.disable()
        for line in lines:
            answer(worker.slot(json.loads(line)))
            gc.collect()
    if worker:
        worker.close()


if __name__ == "__main__":
    main(sys.stdin, sys.stdout)
