"""A campaign on a Slurm cluster: proved by a first job, its blocks then dealt to jobs that have a whole node each.

The jobs need nobody: what they are asked and what they answer are files in the results folder, which the nodes share
with the controller. One that dies leaves them running; to resume is to look for them, to collect what they wrote, and
to submit what none of them does.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterable, Iterator, Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

from bench import continuity, equivalence, files, mounts, plan, prepare, slots, slurm
from bench.answers import Answer, Facts, Form, Hello, InvalidAnswer, Lacking, Probe, Slot, plain
from bench.backends import base
from bench.batch import REQUESTS
from bench.claim import claimed
from bench.config import Campaign, parse
from bench.errors import CommandError, HostError, HostLost, InputError, RecordError, TareError
from bench.jobs import Job, Jobs
from bench.results import (
    CAMPAIGN,
    FACTS,
    JOURNAL,
    LOST,
    NODES,
    PLAN,
    SCHEMA,
    Journal,
    Record,
    now,
    read_journal,
    read_nodes,
    read_plan,
    stamp,
    write,
    write_object,
)
from bench.slots import Watcher

#: In the results folder of a campaign that is under way.
JOBS = "jobs"
#: How often a share may be lost without one more of its blocks being whole.
_LOST_TIMES = 3


def run(campaign: Campaign, top: Path, watcher: Watcher) -> Path:
    """Run a campaign from its start; its results folder, made in `top`.

    Raises HostError where Slurm takes no job or the first node can run no arm, HostLost where jobs end before their
    slots do, RecordError, and KeyboardInterrupt: after Ctrl-C the jobs have ended, after other signals they go on.
    """
    try:  # better now than after kernels were built
        slurm.look(["tare"], os.getuid())
    except CommandError as error:
        raise HostError(f"Slurm does not answer: {error.what}", hint="does squeue work here?") from error
    folder = prepare.folder(prepare.names(top.resolve(), campaign), {CAMPAIGN: campaign.text})
    try:
        with _followed(folder, watcher) as jobs:
            _begin(campaign, folder, jobs, watcher)
            _go_on(folder, jobs, watcher)
    except BaseException:
        if read_plan(folder) is None and not any((folder / JOBS).glob(f"*/{REQUESTS}")):
            mounts.remove_tree(folder)  # there is nothing in it to go on with
        raise
    return folder


def resume(folder: Path, watcher: Watcher, *, anyway: bool = False) -> Path:
    """Go on with a campaign, whose jobs may be running still. anyway: see runner.resume(). Raises as run() does."""
    folder = folder.resolve()
    if read_plan(folder) is not None and not anyway:
        continuity.refuse(folder, *continuity.begun(folder), None)
    with _followed(folder, watcher, anyway=anyway) as jobs:
        if read_plan(folder) is None:
            _end(jobs)  # a proof, of a controller that died while it began
            # The file lies where its scenarios are looked for in the project alone.
            text = files.read_text(folder / CAMPAIGN, limit=files.WRITTEN)
            _begin(parse(text, folder / CAMPAIGN), folder, jobs, watcher)
        _go_on(folder, jobs, watcher, anyway=anyway)
    return folder


@contextlib.contextmanager
def _followed(folder: Path, watcher: Watcher, *, anyway: bool = False) -> Iterator[Jobs]:
    """By one controller at a time. Raises HostError, RecordError."""
    with contextlib.ExitStack() as stack:
        stack.enter_context(claimed(folder, anyway=anyway))
        try:
            files.make_folder(folder / JOBS, within=folder)
            jobs = Jobs(folder / JOBS, watcher)
        except OSError as error:
            raise RecordError(f"cannot use {folder / JOBS}: {error.strerror}") from error
        try:
            yield jobs
        except KeyboardInterrupt as stop:
            if signal.SIGINT in stop.args:
                if read_plan(folder) is None:
                    _end(jobs)
                else:
                    jobs.cancel()
                raise
            raise KeyboardInterrupt(f"jobs go on, which ./tare resume {folder} follows") from stop
        except OSError as error:
            raise RecordError(f"{folder}: {error}", hint=f"./tare resume {folder}") from error
        except TareError:
            if read_plan(folder) is None:
                _end(jobs)
            elif jobs.there:
                watcher.warned(f"jobs may go on; to follow them again: ./tare resume {folder}")
            raise


def _end(jobs: Jobs) -> None:
    """Cancel jobs whose answers nobody will need."""
    if jobs.cancel():
        for job in list(jobs.there):
            jobs.drop(job)


class _Proof:
    """What prepare asks of a crew, answered by a job that was asked all of it beforehand."""

    def __init__(self, jobs: Jobs, job: Job) -> None:
        self.job = job
        self._jobs = jobs
        self._answers: list[tuple[Record, Answer]] = []

    def probe(self, arm: str, guest: base.Guest) -> str | None:
        return self._answer(Probe, do="probe", arm=arm, guest=guest).reason

    def facts(self, arms: Sequence[str]) -> dict[str, Any]:
        return plain(self._answer(Facts, do="facts"))

    def lacking(self, asked: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]:
        return self._answer(Lacking, do="lacking")

    def _answer(self, form: type[Form], /, **wanted: str) -> Form:
        """Raises the TareError that was the answer, HostError where none comes any more, or another one."""
        while True:
            over = self.job.over
            self._answers += self.job.news()
            for request, answer in self._answers:
                if request["do"] in ("enter", "crew", wanted["do"]) and (error := answer.error):
                    raise error
                if wanted.items() <= request.items():
                    return answer.read(form)
            if over:
                raise HostError(self.job.last_words())
            self._jobs.look()


def _begin(campaign: Campaign, folder: Path, jobs: Jobs, watcher: Watcher) -> None:
    """Prove on one node what the cluster can run, and write the plan."""
    given = campaign.slurm
    assert given
    ready = prepare.Ready.make(campaign, watcher)
    draft = plan.make(campaign)
    arms = draft["arms"]
    crew = jobs.crew(arms, draft["envelope"], ready.rootfs, prepare.images(arms, ready.kernels))
    wanted = prepare.wanted(campaign, arms)
    probes = [{"do": "probe", "arm": name, "guest": guest} for _, name, guest in wanted]
    lacking = {"do": "lacking", "arms": prepare.asked(campaign, arms)}
    facts = {"do": "facts", "arms": list(arms)}
    job = jobs.submit(f"{campaign.name}-proof", given.python, given.options, [*crew, lacking, *probes, facts])
    proof = _Proof(jobs, job)
    missing = prepare.lacking(campaign, arms, proof) | prepare.probe(campaign, arms, proof, watcher)
    final = plan.make(campaign, missing)
    if not final["slots"]:
        raise HostError(f"{job} can run no arm of this campaign", hint="the reasons are above")
    files = prepare.record(campaign, final, ready, proof)
    for name in (FACTS, PLAN):  # the plan last: it says that all is there
        write(folder / name, files[name])


def _go_on(folder: Path, jobs: Jobs, watcher: Watcher, *, anyway: bool = False) -> None:
    """Follow the jobs that there are, and submit what none of them does, until the journal has all."""
    final, known = continuity.begun(folder)
    continuity.check(folder, final, known, None, anyway=anyway)
    with Journal(folder / JOURNAL) as journal:
        _Dealer(folder, final, known["rootfs"]["digest"], jobs, journal, watcher).run()
    (folder / LOST).unlink(missing_ok=True)
    mounts.remove_tree(folder / JOBS)


class _Dealer:
    """Deals blocks to jobs, and writes what they answer into the journal."""

    def __init__(
        self, folder: Path, final: Record, digest: str, jobs: Jobs, journal: Journal, watcher: Watcher
    ) -> None:
        self._folder = folder
        self._final = final
        self._jobs = jobs
        self._journal = journal
        self._watcher = watcher
        self._digest = digest
        self._slots = {slot["slot"]: slot for slot in final["slots"]}
        self._nodes: dict[str, Record] = {}
        self._lost: dict[int, int] = {}
        lines = read_journal(folder / JOURNAL)
        #: The slots that each job was heard of, by block.
        self._heard: dict[tuple[int, str], set[str]] = {}
        for line in lines:
            self._heard.setdefault((line["block"], line.get("job", "")), set()).add(line["slot"])
        self._done = {line["slot"] for line in lines}
        self._clock = slots.Clock(final, [slot for slot in final["slots"] if slot["slot"] not in self._done])
        watcher.started(folder, len(self._slots), len(self._done))

    def run(self) -> None:
        """Raises HostLost where blocks could not be run, when all others have been."""
        given_up: list[str] = []
        self._deal(self._left(), self._final["slurm"]["nodes"])
        while self._jobs.there:
            self._jobs.look()
            for job in list(self._jobs.there):
                over = job.over
                try:
                    for request, answer in job.news():
                        self._take(job, request, answer)
                except InvalidAnswer as error:
                    job.refuse(error)
                if over or job.odd:
                    given_up += self._end(job)
        if given_up:
            write_object(self._folder / LOST, {"schema": SCHEMA, "when": now(), "reason": given_up[-1]})
            raise HostLost(given_up[-1])

    def _end(self, job: Job) -> list[str]:
        """Have another job do what an ended one did not; why not, for blocks for which that is in vain."""
        blocks = dict.fromkeys(self._slots[slot]["block"] for slot in _asked(job))
        left = [block for block in blocks if block in self._left(but=job)]
        words = job.last_words()
        if left or job.odd:
            self._jobs.cancel([job])  # that Slurm does not show it is no proof
        self._jobs.drop(job)
        if not left:
            return []
        self._watcher.warned(f"{words}; {len(left)} of its {len(blocks)} blocks are left")
        for block in left:
            self._lost[block] = self._lost.get(block, 0) + 1 if len(left) == len(blocks) else 1
        again = [block for block in left if self._lost[block] <= _LOST_TIMES]
        self._deal(again, 1)
        return [words] if again != left else []

    def _left(self, but: Job | None = None) -> list[int]:
        """The blocks that no job has run whole or is about to."""
        under_way = {self._slots[slot]["block"] for job in self._jobs.there if job is not but for slot in _asked(job)}
        planned: dict[int, set[str]] = {}
        for slot in self._final["slots"]:
            planned.setdefault(slot["block"], set()).add(slot["slot"])
        whole = {block for (block, _), heard in self._heard.items() if heard >= planned[block]}
        return [block for block in planned if block not in whole | under_way]

    @cached_property
    def _crew(self) -> list[Record]:
        ready = prepare.again(self._folder, self._final, self._digest, self._watcher)
        images = prepare.images(self._final["arms"], ready.kernels)
        return self._jobs.crew(self._final["arms"], self._final["envelope"], ready.rootfs, images)

    def _deal(self, blocks: Sequence[int], nodes: int) -> None:
        """A block stays whole on a node: one that was begun and not ended is begun anew."""
        guests = prepare.guests(self._final)
        given = self._final["slurm"]
        for number, share in enumerate(filter(None, (blocks[place::nodes] for place in range(nodes))), start=1):
            asked = []
            for slot in self._final["slots"]:
                if slot["block"] in share:
                    job, limit = slots.task(self._final, slot)
                    asked.append({"do": "slot", "arm": slot["arm"], "job": job, "limit": limit})
            # What the node has not in its page cache would be charged to the first slot.
            arms = dict.fromkeys(request["arm"] for request in asked)
            warm = [{"do": "probe", "arm": arm, "guest": guest} for arm in arms for guest in guests[arm]]
            facts = {"do": "facts", "arms": list(arms)}
            what = f"{self._final['campaign']}-{number}"
            self._jobs.submit(what, given["python"], given["options"], [*self._crew, *warm, facts, *asked])

    def _take(self, job: Job, request: Record, answer: Answer) -> None:
        """Raises InvalidAnswer."""
        what = request["do"]
        if what == "slot":
            self._take_slot(job, self._slots[request["job"]["slot"]], answer)
        elif answer.error:  # the job ends, and says so; a probe's is a reason of its own
            return
        elif what == "enter":
            hello = answer.read(Hello)
            self._watcher.cleaned(hello.cleaned)
            for text in hello.resisting:
                self._watcher.warned(f"{job}: {text}")
        elif what == "facts":
            self._nodes[job.name] = plain(answer.read(Facts))
        elif what == "probe" and (reason := answer.read(Probe).reason):
            self._watcher.warned(f"{job}: {request['arm']} does not run there: {reason}")

    def _take_slot(self, job: Job, slot: Record, answer: Answer) -> None:
        if not answer.at or job.name not in self._nodes:
            raise InvalidAnswer(f"{slot['slot']} without the node's facts, or without its time")
        if slot["slot"] == _asked(job)[0]:
            waited = answer.at - job.submitted
            self._watcher.say(f"slurm   {job}: its first slot began {waited:.1f} s after it was submitted")
        heard = self._heard.setdefault((slot["block"], job.name), set())
        if slot["slot"] not in heard:  # else a controller before us wrote it down
            heard.add(slot["slot"])
            self._write(job, slot, answer)

    def _write(self, job: Job, slot: Record, answer: Answer) -> None:
        known = self._nodes[job.name]
        host = known["host"]
        if host["name"] not in (nodes := read_nodes(self._folder)):
            try:
                write_object(self._folder / NODES, {"schema": SCHEMA, "nodes": nodes | {host["name"]: known}})
            except InputError as error:
                raise InvalidAnswer(f"what {host['name']} tells of itself cannot be kept: {error.what}") from error
        try:
            found = plain(answer.read(Slot))
        except TareError as error:
            found = slots.failed(error)
        expected = equivalence.reference(self._final["envelope"], host, self._digest)
        line = slots.line(self._final, slot, host, expected, found, started=stamp(answer.at or 0.0), job=job.name)
        self._journal.append(line)
        if slot["slot"] not in self._done:  # the slots of a block that is run anew have been counted
            self._done.add(slot["slot"])
            self._clock.note(slot, line["wall_s"])
            self._watcher.slot_begins(slot, self._clock.left() / self._final["slurm"]["nodes"])
            self._watcher.slot_ended(line)


def _asked(job: Job) -> list[str]:
    return [request["job"]["slot"] for request in job.requests if request["do"] == "slot"]
