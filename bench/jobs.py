"""Batch jobs that answer requests: submitted, looked for again, read, and ended. What they share with us is files."""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import stat
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from bench import batch, bundle, mounts, slurm
from bench.answers import LONGEST, Answer, InvalidAnswer, parse
from bench.backends import base
from bench.errors import CommandError, HostError, HostLost
from bench.host import LocalFiles
from bench.remote import crew_request
from bench.results import Record, write
from bench.slots import Watcher

#: Seconds between two looks at answers, and between two at Slurm, whose administrators do not like to be asked often.
_STEP = 1.0
_LONGEST_STEP = 20.0
#: Seconds for which Slurm and all jobs may be silent, and an ended job's last answers be on their way to us.
_SILENCE = 900.0
_LATE = 5.0
_END_LIMIT = 120.0
_LAST_BYTES = 4096


class Job:
    """One job, by the folder that it shares with us. What it writes there is believed as far as it has the right form:
    else the job is `odd`, which says why, and is heard no more."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.name = f"tare-{folder.name}"
        self.requests: list[Record] = [json.loads(line) for line in (folder / batch.REQUESTS).read_text().splitlines()]
        self.submitted = (folder / batch.REQUESTS).stat().st_mtime  # seconds since 1970
        self.status: slurm.Status | None = None
        self.over = False
        self.odd = ""
        self._answered = 0
        self.heard = 0  # bytes of answers
        self._refused = ""

    def __str__(self) -> str:
        node = self.status.node if self.status else ""
        return (f"job {self.status.id}" if self.status else self.name) + (f" on {node}" if node else "")

    def news(self) -> Iterator[tuple[Record, Answer]]:
        """Each request that was answered since the last call, and its answer.

        They come in the requests' order: one that comes again or at another's place is none. Raises InvalidAnswer.
        """
        for line in self._lines():
            answer = parse(line)
            if answer.to != self._answered or answer.to >= len(self.requests):
                raise InvalidAnswer(f"an answer to request {answer.to} where {self._answered} is next")
            request = self.requests[answer.to]
            self._answered += 1
            if request["do"] in ("enter", "crew", "facts") and (error := answer.error):
                self._refused = error.what
            yield request, answer

    def _lines(self) -> Iterator[bytes]:
        """The whole lines that were written since, as far as there are now. Raises InvalidAnswer."""
        try:
            fd = os.open(self.folder / batch.ANSWERS, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.ELOOP, errno.ENXIO, errno.EISDIR):
                raise InvalidAnswer(f"its file of answers is gone: {error.strerror}") from error
            raise  # of the file system that is shared: for all jobs alike
        found = os.fstat(fd)
        if not stat.S_ISREG(found.st_mode):
            os.close(fd)
            raise InvalidAnswer("its file of answers is none")
        with open(fd, "rb") as answers:  # noqa: PTH123 # of a descriptor
            while self.heard < found.st_size and not self.odd:
                answers.seek(self.heard)
                line = answers.readline(LONGEST)
                if not line.endswith(b"\n"):
                    if len(line) >= LONGEST:
                        raise InvalidAnswer(f"an answer of more than {LONGEST >> 20} MiB")
                    return
                self.heard += len(line)
                if line.strip():
                    yield line

    def refuse(self, error: InvalidAnswer) -> None:
        """Hear it no more."""
        self.odd = self.odd or str(error)

    @property
    def finished(self) -> bool:
        """Whether it has answered all that it was asked."""
        return self._answered == len(self.requests)

    def last_words(self) -> str:
        """How it ended, and why, as far as that can be learnt."""
        if self.odd:
            return f"{self} answers in a way that is not ours: {self.odd}"
        status = self.status
        ended = f"ended as {status.state} ({status.reason})" if status else "is not known to Slurm"
        words = self._refused
        if not words:
            with contextlib.suppress(OSError):
                words = " ".join(_end_of(self.folder / "output").split())[-300:]
        if not words and not self._answered:
            words = "it answered nothing: do the nodes have this folder at the same place?"
        return f"{self} {ended}" + (f": {words}" if words else "")


def _end_of(file: Path) -> str:
    """Raises OSError."""
    with open(os.open(file, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as output:  # noqa: PTH123
        output.seek(max(0, os.fstat(output.fileno()).st_size - _LAST_BYTES))
        return output.read(_LAST_BYTES).decode(errors="replace")


class Jobs:
    """The jobs of one campaign. folder: for a folder of each, and the files that all need."""

    def __init__(self, folder: Path, watcher: Watcher) -> None:
        self._folder = folder
        self._watcher = watcher
        self._user = folder.stat().st_uid
        self._files = LocalFiles(folder / batch.FILES)
        self._told: dict[str, str] = {}
        self._gone: dict[str, float] = {}
        self._heard = (time.monotonic(), 0)
        self._asked, self._step = 0.0, _STEP
        self.there = [Job(each) for each in sorted(folder.iterdir()) if (each / batch.REQUESTS).exists()]

    def crew(
        self,
        arms: Mapping[str, Mapping[str, Any]],
        envelope: Mapping[str, Any],
        rootfs: base.Rootfs,
        kernels: Mapping[str, base.GuestKernel | str],
    ) -> list[Record]:
        """The requests with which a job begins, for a crew; the files of it are there then. Arguments as of Crew."""
        crew = crew_request(self._files, arms, envelope, rootfs, kernels)
        kernels_files = (each for boots in crew["kernels"].values() for key, each in boots.items() if key != "missing")
        files = [crew["rootfs"]["file"], *kernels_files]
        return [{"do": "enter", "files": sorted(set(files))}, crew]

    def submit(self, what: str, python: str, options: Sequence[str], requests: Sequence[Record]) -> Job:
        """A job that answers these requests. what: in a word, for its name; python, options: as in a campaign.

        It runs the code of today, and says which that is: an older job's is left to that job. Raises HostError where
        Slurm does not take it.
        """
        program = self._files.put(bundle.make())
        folder = self._folder / f"{what}-{secrets.token_hex(4)}"
        folder.mkdir()
        (folder / batch.ANSWERS).touch()  # a folder's new files may be seen late across a network
        enter, *others = requests
        asked = [enter | {"program": program}, *others]
        write(folder / batch.REQUESTS, "".join(json.dumps(request) + "\n" for request in asked))
        job = Job(folder)
        self.there.append(job)
        try:
            argv = [python, str(self._folder / batch.FILES / program), "batch", str(folder)]
            slurm.submit(job.name, folder, folder / "output", argv, options)
        except HostError:
            if job.name not in self._statuses():
                self.drop(job)
                raise
        self._asked = 0.0
        return job

    def _statuses(self) -> dict[str, slurm.Status]:
        """Raises HostLost where Slurm does not answer."""
        try:
            return slurm.look([job.name for job in self.there], self._user)
        except CommandError as error:
            raise HostLost(f"Slurm does not answer: {error.what}", hint="its jobs go on") from error

    def look(self) -> None:
        """Learn how the jobs are, after a moment. Raises HostLost where nobody has been heard of for long."""
        time.sleep(_STEP)
        now = time.monotonic()
        heard = sum(job.heard for job in self.there)
        if heard != self._heard[1]:
            self._heard = now, heard
        if now < self._asked + self._step and not any(job.finished for job in self.there):
            return
        self._asked, self._step = now, min(_LONGEST_STEP, self._step * 1.2)
        try:
            found = self._statuses()
        except HostLost as error:
            if now > self._heard[0] + _SILENCE:
                raise
            self._tell("Slurm", error.what)
            return
        self._heard = now, heard
        for job in self.there:
            job.status = found.get(job.name, job.status)
            if job.name in found and not found[job.name].over:
                self._gone.pop(job.name, None)
                self._tell_of(job, found[job.name])
            else:
                # What it wrote last may need a moment to be seen, and what was just submitted, too.
                since = self._gone.setdefault(job.name, now)
                job.over = job.finished or now > since + _LATE
                self._step = _STEP

    def _tell_of(self, job: Job, status: slurm.Status) -> None:
        if self._tell(str(job), status.state.lower() + (f" ({status.reason})" if status.state == "PENDING" else "")):
            self._step = _STEP
            if status.state == "RUNNING" and not status.alone:
                self._watcher.warned(f"{job} may have to share its node: see OverSubscribe of its partition")
            if status.state == "SUSPENDED":
                self._watcher.warned(f"{job} is suspended: a slot may have a pause in it")

    def _tell(self, who: str, what: str) -> bool:
        """Whether that is new."""
        if self._told.get(who) == what:
            return False
        self._told[who] = what
        self._watcher.say(f"slurm   {who}: {what}")
        return True

    def drop(self, job: Job) -> None:
        """Forget an ended job, and remove its folder."""
        self.there.remove(job)
        (job.folder / batch.REQUESTS).unlink()  # without which a folder is not a job's
        mounts.remove_tree(job.folder)

    def cancel(self, some: Sequence[Job] | None = None) -> bool:
        """End jobs, or all, and wait until they have; whether they did. Never raises: says what could not be ended."""
        names = {job.name for job in (self.there if some is None else some)}
        deadline = time.monotonic() + _END_LIMIT
        try:
            while living := [each.id for name, each in self._statuses().items() if name in names and not each.over]:
                if time.monotonic() > deadline:
                    raise HostError(f"jobs do not end: {', '.join(living)}")
                slurm.cancel(living)
                time.sleep(_STEP)
        except (CommandError, HostError) as error:
            self._watcher.warned(f"jobs may still run: {error}")
            return False
        return True
