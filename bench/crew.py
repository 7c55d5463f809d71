"""The workers of a run, one per arm, and what each arm was proved to be able to do here."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from bench import facts, measures, oom, pressure, process, stalls, state
from bench.backends import base
from bench.cage import Group, detect, divide_cpus
from bench.errors import InstanceError, TareError
from bench.workers import WorkerProcess, setup

#: Seconds by which a clock is set between two slots, if it is not just being kept right.
_JUMP = 1.0
#: Bytes of memory with which Debian's kernels come up, with some to spare.
_ENOUGH = 128 << 20
_HOLDING = ("uncaged", "cgroup", "cpus", "harness_cpus")


class Crew:
    """Workers, started on first use and started again after a death."""

    def __init__(
        self,
        run: state.Run,
        arms: Mapping[str, Mapping[str, Any]],
        envelope: Mapping[str, Any],
        rootfs: base.Rootfs,
        kernels: Mapping[str, base.GuestKernel | str],
        patience: float = 1.0,
    ) -> None:
        """arms, envelope: as in plan.json; kernels: what an arm boots, or why there is none.

        patience: how many times as long as usual a probe may take.
        """
        oom.spare_harness()
        self._patience = patience
        self._run = run
        self._arms = arms
        self._envelope = envelope
        self._rootfs = rootfs
        self._kernels = kernels
        self._usable = os.sched_getaffinity(0)
        self._cpus = divide_cpus(envelope["cpus"])
        self._workers: dict[str, WorkerProcess] = {}
        self._clock = _wall_clock()
        self.uncaged: str | None = None
        self.cgroup: str | None = None
        self.cpus: str | None = None
        self.harness_cpus: str | None = None

    def slot(self, arm: str, job: Mapping[str, Any], limit: float) -> dict[str, Any]:
        """Run one slot of an arm; a worker's death is a failed slot. Raises HostError when no worker can be had."""
        worker = self._worker(arm)
        before_it = pressure.now()
        try:
            found = worker.slot(job, limit)
        except InstanceError as error:
            worker.kill()
            del self._workers[arm]
            self._end_instances()
            found = {"status": "failed", "reason": str(error)}
        found = found | {"load": pressure.between(before_it, pressure.now())}
        before, self._clock = self._clock, _wall_clock()
        jump = self._clock - before
        found = found if abs(jump) < _JUMP else found | {"clock_jump_s": round(jump, 1)}
        return fail_if_stalled(found)

    def _end_instances(self) -> None:
        """What a dead worker left running must not run beside the next slot."""
        if self.cgroup:
            Group(detect(), self._run.id).kill(time.monotonic() + 10)

    def _worker(self, arm: str) -> WorkerProcess:
        if arm not in self._workers:
            spec = self._arms[arm]
            kernel = self._kernels.get(arm)
            boots = None if isinstance(kernel, str) else kernel
            # Not the arm's name, which may be long: QEMU's sockets lie in there, whose paths may not.
            folder = self._run.folder / str(list(self._arms).index(arm))
            first = setup(self._run.id, folder, arm, spec, self._rootfs, self._envelope, self._cpus, boots)
            worker = WorkerProcess(first, stalls.LATE * self._patience)
            self._workers[arm] = worker
            for name in _HOLDING:
                setattr(self, name, worker.hello[name])
            if self.cgroup:
                os.sched_setaffinity(0, self._cpus.harness)
        return self._workers[arm]

    def probe(self, arm: str, guest: base.Guest) -> str | None:
        """Start an instance under the backend's own time limit: None when it came up, otherwise why not."""
        spec = self._arms[arm]
        kind = base.load(spec["backend"])
        if guest not in kind.guests:
            return f"has no {guest} guest"
        if reason := static_reason(kind, spec["options"]):
            return reason
        kernel = self._kernels.get(arm)
        if isinstance(kernel, str):
            return kernel
        measure = "firmware" if guest == "firmware" else "boot"
        limit = kind.probe_limit * self._patience
        job = {"slot": f"probe-{guest}", "scenario": {"measures": [measure], "timeout": limit}}
        try:
            answer = self.slot(arm, job, limit + 60)
            if answer.get("stalled_s") or answer.get("stopped"):  # which says nothing of the arm
                answer = self.slot(arm, job, limit + 60)
        except TareError as error:
            return str(error)
        return (
            None
            if answer["status"] == "ok"
            else _explain(answer, _remedy(spec, kind, self._envelope["memory"]), guest, limit)
        )

    def lacking(self, asked: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
        """Why arms cannot take measures on this host: by arm and measure, of those that are asked."""
        return {arm: lacking(base.load(self._arms[arm]["backend"]), names) for arm, names in asked.items()}

    def facts(self, arms: Iterable[str]) -> dict[str, Any]:
        """What must be known of this machine to read what these arms did here.

        facts.here(), `cgroup`, `cage`, and `notes`: what each arm's backend says of how it is run.
        """
        tools: list[str] = []
        notes: list[str] = []
        for name in arms:
            kind = base.load(self._arms[name]["backend"])
            options = base.make_options(kind, self._arms[name]["options"])
            tools += kind.required(options)
            notes += [f"{name}: {note}" for note in kind.notes(options)]
        return facts.here(tools) | {
            "cgroup": self.cgroup or f"none: {self.uncaged}",
            "cage": {"cpus": self.cpus, "harness_cpus": self.harness_cpus},
            "notes": notes,
        }

    def peak_memory(self, arm: str) -> int:
        """The most memory that an arm's worker ever held, bytes."""
        return self._workers[arm].peak_memory()

    def interrupt(self) -> None:
        for worker in self._workers.values():
            worker.interrupt()
        self._leave()

    def close(self) -> None:
        for worker in self._workers.values():
            worker.close()
        self._leave()

    def _leave(self) -> None:
        """What this process does next may have all its CPUs again, the next crew among it."""
        self._workers.clear()
        os.sched_setaffinity(0, self._usable)


def fail_if_stalled(found: Mapping[str, Any]) -> dict[str, Any]:
    """What a slot found; as failed, if the harness stood still meanwhile, as its figures are then of that."""
    stalled = found.get("stalled_s")
    if not stalled and not found.get("stopped"):
        return dict(found)
    how_long = f"stood still for {stalled:g} s" if stalled else "was stopped and continued"
    reason = f"the harness {how_long} while this slot ran (stopped, suspended, or the host was paused)"
    if found["status"] != "ok":
        reason = f"{found['reason']}; {reason}"
    return {**found, "status": "failed", "reason": reason}


def lacking(kind: type[base.Backend], names: Iterable[str]) -> dict[str, str]:
    """Why arms of a backend cannot take measures on this host, by the measure's name."""
    reasons = {name: measures.load(name).lacking(kind) for name in names}
    return {name: reason for name, reason in reasons.items() if reason}


def _wall_clock() -> float:
    """Against the clock that measures, which nobody can set; seconds."""
    return time.time() - time.monotonic()


def static_reason(kind: type[base.Backend], options: Mapping[str, Any]) -> str | None:
    """Why this user on this host cannot even try: a missing right or tool."""
    if kind.needs_root and os.geteuid() != 0:
        return "needs root: run as root or with sudo"
    for tool, package in kind.required(base.make_options(kind, options)).items():
        if process.which(tool) is None:
            return _why_not(Path(tool)) or f"{tool} is not installed: apt-get install {package}"
    return None


def _why_not(program: Path) -> str | None:
    """Why a program that a campaign names by its path cannot be run; None of a name that is looked up."""
    if not program.is_absolute():
        return None
    if program.is_dir():
        return f"{program} is a folder: name the program itself"
    if program.exists():
        return f"{program} is not executable: chmod +x {program}"
    return f"there is no {program}: the campaign names it"


def _remedy(spec: Mapping[str, Any], kind: type[base.Backend], memory: int) -> str:
    """What to do about an arm that does not come up: look first at what the campaign itself names."""
    if runtime := spec["options"].get("runtime"):
        return f"the campaign names this runtime ({runtime}): try it by hand"
    if spec.get("kernel") and kind.kernel:
        return f"the campaign names this kernel ({spec['kernel']}): see whether it boots elsewhere"
    if kind.kernel == "machine" and memory < _ENOUGH:
        needed = f"a distribution's kernel may need {_ENOUGH >> 20} MiB"
        return f"it has {memory >> 20} MiB of memory (envelope.memory), and {needed}"
    return kind.remedy


def _explain(answer: Mapping[str, Any], remedy: str, guest: base.Guest, limit: float) -> str:
    reason = " ".join(str(answer["reason"]).split())
    if answer["status"] == "timeout":
        reason = f"a {guest} guest was started and gave no sign of READY in {limit:g} s"
    words = [" ".join(line.split())[-160:] for line in (answer.get("console") or "").splitlines() if line.strip()]
    if words and words[-1] not in reason:
        reason += f' (last words: "{words[-1]}")'
    # An error that says what to do needs no general advice.
    return reason if remedy == base.Backend.remedy and "; " in reason else f"{reason}; {remedy}"
