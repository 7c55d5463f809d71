"""A share of a campaign on a node of a cluster: does what a file asks, one request after another, and then ends.

It runs as a batch job, `python3 FILE batch JOB`, and nobody need listen: JOB is a folder that the node shares with the
controller, with the requests in it, which are those of bench.agent, and where each answer is written down as it comes.
"""

from __future__ import annotations

import contextlib
import json
import os
import pwd
import shutil
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import agent, facts, limits, lock, stalls, state
from bench.agent import Agent, Interrupted
from bench.clean import JOB_FOLDERS, Removed
from bench.errors import HostError, TareError
from bench.results import Journal

#: One JSON object a line; the first is {"do": "enter", "files": [names in FILES], "program": the SHA-256 of this one}.
REQUESTS = "requests.jsonl"
#: {"to": the request's number, "at": when it was begun, seconds since 1970, "ok" or "error": as bench.agent answers}.
ANSWERS = "answers.jsonl"
#: The folder of what all jobs need, by the SHA-256 of its content, beside the jobs' own.
FILES = "files"
#: How long a node's own campaigns, or another job's, are waited for.
_HELD_LIMIT = 3600.0

Say = Callable[[int, Mapping[str, Any]], None]


def main() -> None:
    """Answer all requests. What cannot be answered is for the controller to ask again, of another job."""
    for number in (signal.SIGHUP, signal.SIGINT):
        signal.signal(number, signal.SIG_IGN)
    signal.signal(signal.SIGTERM, agent.interrupt)
    stalls.Continued.listen()
    limits.raise_open_files()
    os.environ.setdefault("HOME", pwd.getpwuid(os.geteuid()).pw_dir)
    job = Path(sys.argv[1])
    if (job / ANSWERS).stat().st_size:
        sys.exit("this job has run before")  # requeued by hand: a block must not have two nodes
    requests = [json.loads(line) for line in (job / REQUESTS).read_text().splitlines()]
    with Journal(job / ANSWERS, of_slots=False) as answers, contextlib.suppress(Interrupted):

        def say(number: int, answer: Mapping[str, Any]) -> None:
            answers.append({"to": number, **answer})

        try:
            _serve(job, requests, say)
        except TareError as error:
            if (job / ANSWERS).stat().st_size:
                sys.exit(str(error))  # all that was asked has been answered, or is for another job
            say(0, agent.failure(error))


def _serve(job: Path, requests: Sequence[Mapping[str, Any]], say: Say) -> None:
    first = requests[0]
    name = os.environ.get("SLURMD_NODENAME") or os.uname().nodename
    removed: list[Removed] = []
    resisting: list[str] = []
    left: list[str] = []
    with contextlib.ExitStack() as stack:
        own = _occupy(stack, f"Slurm job {job.name}", removed, left, resisting)
        # Not in /run, where nothing may be executed, nor in what the nodes share, where rootfs would be slow.
        folder = JOB_FOLDERS.with_name(JOB_FOLDERS.name + own.id)
        folder.mkdir(mode=0o700)
        stack.callback(shutil.rmtree, folder, ignore_errors=True)
        os.environ["XDG_CACHE_HOME"] = str(folder)
        for file in first["files"]:
            shutil.copyfile(job.parent / FILES / file, folder / file)
        held = Agent(own, folder, name, emulated=False)
        stack.callback(held.interrupt)
        stack.callback(agent.hold)
        here = facts.host() | {"name": name}
        cleaned = [[thing.kind, thing.name] for thing in removed]
        say(0, {"ok": {"host": here, "cleaned": cleaned, "resisting": resisting}})
        for number, request in enumerate(requests[1:], start=1):
            begun = time.time()
            try:
                answer = {"ok": held.do(request)}
            except TareError as error:
                answer = agent.failure(error)
            say(number, {"at": begun, **answer})
            if request["do"] in ("crew", "facts") and "error" in answer:
                break
        held.close()
    if left:
        sys.stderr.write(f"{'; '.join(left)}\n")


def _occupy(
    stack: contextlib.ExitStack, what: str, removed: list[Removed], left: list[str], resisting: list[str]
) -> state.Run:
    """A cluster gives a node to one job, but cannot keep a person at it from measuring. Raises HostError."""
    deadline = time.monotonic() + _HELD_LIMIT
    while True:
        try:
            return stack.enter_context(lock.occupy(what, removed.extend, left.append, resisting.append))
        except HostError:
            if not lock.is_held() or time.monotonic() > deadline:
                raise
            time.sleep(1)


if __name__ == "__main__":
    main()
