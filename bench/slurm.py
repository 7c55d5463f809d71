"""Slurm by its own commands: sbatch, squeue, scancel. All that knows Slurm is here and in bench.jobs."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from bench import process
from bench.errors import CommandError, HostError

#: What a campaign may say to sbatch, by the option's whole name.
OPTIONS = (
    *("account", "begin", "comment", "constraint", "exclude", "gres", "licenses", "nice", "nodelist", "partition"),
    *("qos", "reservation", "time"),
)
_LIMIT = 60.0
_PACKAGE = "slurm-client"
#: What a job is in that does not run and never will; whatever else Slurm says, it may yet.
_OVER = {
    *("BOOT_FAIL", "CANCELLED", "COMPLETED", "DEADLINE", "FAILED", "NODE_FAIL", "OUT_OF_MEMORY", "PREEMPTED"),
    *("REVOKED", "TIMEOUT"),
}
# A job must not depend on the variables of whoever submitted it.
_SCRIPT = """\
#!/bin/sh
PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin
export PATH
exec "$@"
"""
#: A whole node, once, with neither the variables nor the limits of the shell that submits; time to end in order before
#: the partition's time is over.
_ALONE = (
    *("--parsable", "--nodes=1", "--ntasks=1", "--exclusive", "--mem=0", "--no-requeue"),
    *("--export=NIL", "--propagate=NONE", "--signal=B:TERM@60"),
)


@dataclass(frozen=True)
class Status:
    """A job as squeue has it. node: "" before it has one; reason: why it waits, or how it ended; alone: whether no
    other job may be put beside it."""

    id: str
    state: str
    node: str
    reason: str
    alone: bool

    @property
    def over(self) -> bool:
        return self.state in _OVER


def submit(name: str, folder: Path, output: Path, argv: Sequence[str], options: Sequence[str]) -> None:
    """Have a command run as a job that has a whole node to itself. options: for sbatch, see OPTIONS.

    Raises HostError where there is no sbatch, or it fails: the job may be there nevertheless, where Slurm was slow.
    """
    own = [f"--job-name={name}", f"--chdir={folder}", f"--output={output}"]
    try:
        _run("sbatch", *options, *_ALONE, *own, "/dev/stdin", *argv, stdin=_SCRIPT.encode())
    except CommandError as error:
        words = error.detail.strip().splitlines() or [error.what]
        raise HostError(f"Slurm does not take a job: {words[-1].removeprefix('sbatch: error: ')}") from error


def look(names: Sequence[str], user: int) -> dict[str, Status]:
    """A user's jobs by name, as far as Slurm still knows them. Raises CommandError where it does not answer."""
    if not names:
        return {}
    form = "--format=%j|%i|%T|%N|%h|%r"
    ran = _run("squeue", "--all", f"--user={user}", "--noheader", "--states=all", f"--name={','.join(names)}", form)
    found = {}
    for line in ran.stdout.decode().splitlines():
        words = line.split("|", 5)
        if len(words) != 6:
            raise CommandError(f"squeue answers {line!r}")
        name, number, state, node, shared, reason = words
        found[name] = Status(number, state, node, reason, shared == "NO")
    return found


def cancel(ids: Sequence[str]) -> None:
    """End jobs: SIGTERM, and SIGKILL some time after. Raises CommandError where Slurm does not answer."""
    if ids:
        _run("scancel", *ids)


def _run(tool: str, *words: str, stdin: bytes = b"") -> subprocess.CompletedProcess[bytes]:
    """Without the variables by which a user changes what these commands do when they are called by hand."""
    env = {key: value for key, value in os.environ.items() if not key.startswith(("SBATCH_", "SQUEUE_", "SCANCEL_"))}
    return process.run([process.require(tool, _PACKAGE), *words], stdin=stdin, timeout=_LIMIT, env=env)
