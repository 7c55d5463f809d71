"""Campaigns: prepared, proved, planned and run on each of their hosts, until all slots are in the journal.

Resuming is running what the journal lacks.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from bench import cluster, continuity, crash, facts, files, inventory, mounts, plan, prepare, remote
from bench.answers import Loaded
from bench.claim import claimed
from bench.config import Campaign, parse
from bench.errors import HostError, HostLost, TareError
from bench.host import Seat, Workers, enter, reach
from bench.results import (
    CAMPAIGN,
    HOSTS,
    JOURNAL,
    LOST,
    SCHEMA,
    as_json,
    now,
    read_facts,
    read_host_kernels,
    read_hosts,
    read_journal,
    read_plan,
    write_object,
)
from bench.slots import Watcher, execute
from bench.stops import Referee
from bench.turns import Turns

#: How often a host may be lost without a slot in between, and how often it is looked for meanwhile, seconds.
_LOST_TIMES = 3
_LOST_STEP = 5.0
#: Seconds for all hosts together to end when somebody waits at the keyboard, and within which Ctrl-C is heard.
_CANCEL_LIMIT = remote.CANCEL_LIMIT + 5.0
_HEAR_EVERY = 0.5

#: Makes the referee of a plan; None for one that runs all its blocks.
Appoint = Callable[[dict[str, Any]], Referee | None]


def run(campaign: Campaign, top: Path, watcher: Watcher, *, probe: bool = True, appoint: Appoint | None = None) -> Path:
    """Run a campaign from its start; its results folder, made in `top`. Without a probe no arm is left out.

    On several hosts it runs at the same time, on each whole and with a folder of its own inside. appoint: makes the
    referee of a campaign that may stop early, from its plan.

    Raises HostError when no host can be had or none can run an arm, RecordError when the record cannot be written, and
    KeyboardInterrupt after taking the running slots down.
    """
    if campaign.slurm:
        return cluster.run(campaign, top, watcher)
    hosts = [inventory.find(name) for name in campaign.hosts]
    what = f"campaign {campaign.name}"
    if len(hosts) == 1:
        return _Part(hosts[0], what, watcher, appoint).begin(campaign, None, prepare.names(top, campaign), probe=probe)
    ready = prepare.Ready.make(campaign, watcher)
    known = {"schema": SCHEMA, "hosts": campaign.hosts, "host_kernels": ready.pins(campaign)}
    folder = prepare.folder(prepare.names(top, campaign), {CAMPAIGN: campaign.text, HOSTS: as_json(known)})
    parts = [_Part(host, what, watcher.on(host.name), appoint, apart=True) for host in hosts]
    try:
        with claimed(folder):
            _all(parts, lambda part: part.begin(campaign, ready, iter([folder / part.host.name]), probe=probe))
    except TareError:
        if not any(read_plan(folder / part.host.name) for part in parts):
            mounts.remove_tree(folder)  # there is nothing in it to go on with
        raise
    return folder


def resume(folder: Path, watcher: Watcher, *, appoint: Appoint | None = None, anyway: bool = False) -> Path:
    """Run the slots that a results folder's journal lacks.

    anyway: also where the machine or Tare is not what it was begun with, which its facts then say. Raises as run()
    does, InputError where there is no plan, or where that is so.
    """
    if (names := read_hosts(folder)) is None:
        draft = read_plan(folder)
        if (folder / cluster.JOBS).is_dir() or (draft and draft.get("slurm")):
            return cluster.resume(folder, watcher, anyway=anyway)
        final, known = continuity.begun(folder)
        host = inventory.find(final.get("host") or inventory.LOCAL)
        if host.entry is None and not anyway:  # before anything there is touched
            continuity.refuse(folder, final, known, facts.host())
        return _Part(host, f"campaign {final['campaign']} (resumed)", watcher, appoint, anyway=anyway).go_on(folder)
    with claimed(folder, anyway=anyway):
        return _resume_hosts(folder, names, watcher, appoint, anyway)


def _resume_hosts(folder: Path, names: list[str], watcher: Watcher, appoint: Appoint | None, anyway: bool) -> Path:
    begun = [name for name in names if read_plan(folder / name) is not None]
    if begun and len(begun) < len(names) and not anyway:  # or the hosts would be compared as if one Tare measured them
        continuity.refuse(folder / begun[0], {}, read_facts(folder / begun[0]) or {}, None)
    # What a host never began is begun; the file lies where its scenarios are looked for in the project alone.
    pins = read_host_kernels(folder)
    campaign = parse(
        files.read_text(folder / CAMPAIGN, limit=files.WRITTEN), folder / CAMPAIGN, [pin["release"] for pin in pins]
    )
    ready = prepare.Ready.make(campaign, watcher, pins)
    what = f"campaign {campaign.name} (resumed)"
    parts = [_Part(inventory.find(name), what, watcher.on(name), appoint, apart=True, anyway=anyway) for name in names]

    def go_on(part: _Part) -> None:
        own = folder / part.host.name
        if read_plan(own) is None:
            part.begin(campaign, ready, iter([own]))
        else:
            part.go_on(own)

    _all(parts, go_on)
    return folder


class _Part:
    """A campaign's part on one host: begun, and gone on with for as long as a host that was lost comes back."""

    def __init__(
        self,
        host: inventory.Host,
        what: str,
        watcher: Watcher,
        appoint: Appoint | None,
        *,
        apart: bool = False,
        anyway: bool = False,
    ) -> None:
        """apart: see host.enter(); anyway: see resume()."""
        self.host = host
        self._what = what
        self._watcher = watcher
        self._appoint = appoint
        self._apart = apart
        self._anyway = anyway
        self._claims = contextlib.ExitStack()
        self._seat: Seat | None = None
        self._run: str | None = None
        self._folder: Path | None = None
        self._cancelled = False
        self._turns = Turns(host, watcher, lambda: self._cancelled)
        self.error: BaseException | None = None

    def begin(
        self, campaign: Campaign, ready: prepare.Ready | None, names: Iterator[Path], *, probe: bool = True
    ) -> Path:
        """Run the campaign from its start. names: for its results folder, the first that is free."""
        return self._stubbornly(lambda: self._begin(campaign, ready, names, probe=probe))

    def go_on(self, folder: Path) -> Path:
        """Run what a results folder's journal lacks."""

        def work() -> Path:
            self._claim(folder)
            return self._go_on(folder)

        return self._stubbornly(work)

    def report(self, error: TareError) -> None:
        """Tell of what ended this host's part, and not that of the others."""
        self._watcher.warned(f"{self.host.name} takes no further part: {error}")

    def cancel(self) -> None:
        """From another thread: end as on a signal."""
        self._cancelled = True
        if self._seat:
            self._seat.cancel()

    def _stubbornly(self, work: Callable[[], Path]) -> Path:
        """A host that was lost is waited for and gone on with, unless that is in vain. Raises HostLost."""
        with self._claims:
            return self._while_lost(work)

    def _claim(self, folder: Path) -> None:
        """Have the folder alone for as long as this part takes."""
        self._folder = folder
        self._claims.enter_context(claimed(folder, anyway=self._anyway))

    def _while_lost(self, work: Callable[[], Path]) -> Path:
        lost = before = 0
        while True:
            try:
                folder = work()
            except HostLost as error:
                if self._folder is None:
                    raise
                done = len(_journal(self._folder))
                lost = 1 if done > before else lost + 1
                before = done
                self._watcher.warned(f"{self.host.name} was lost: {error}")
                _mark_lost(self._folder, str(error))
                if lost > _LOST_TIMES or not self._await_host():
                    raise
                work = partial(self._go_on, self._folder)
            else:
                (folder / LOST).unlink(missing_ok=True)
                return folder

    def _await_host(self) -> bool:
        """Whether a lost host can be reached again within the limit."""
        deadline = time.monotonic() + self.host.wait
        while time.monotonic() < deadline and not self._cancelled:
            time.sleep(_LOST_STEP)
            with contextlib.suppress(HostLost):
                reach(self.host)
                return True
        return False

    @contextmanager
    def _entered(self) -> Iterator[Seat]:
        with enter(self.host, self._what, self._watcher.warned, replaces=self._run, apart=self._apart) as seat:
            self._watcher.cleaned(seat.cleaned)
            for text in seat.resisting:
                self._watcher.warned(f"{self.host.name}: {text}")
            self._seat, self._run = seat, seat.run
            if self._cancelled:
                raise KeyboardInterrupt
            try:
                yield seat
            finally:
                self._seat = None

    def _begin(self, campaign: Campaign, ready: prepare.Ready | None, names: Iterator[Path], *, probe: bool) -> Path:
        with self._entered() as seat:
            ready = ready or prepare.Ready.make(campaign, self._watcher)
            draft = plan.make(campaign)
            crew = seat.crew(
                draft["arms"], draft["envelope"], ready.rootfs, prepare.images(draft["arms"], ready.kernels)
            )
            with _released(crew):
                missing = prepare.lacking(campaign, draft["arms"], crew)
                if probe:
                    missing |= prepare.probe(campaign, draft["arms"], crew, self._watcher)
                sent = self._turns.settle(seat, campaign.host_kernels, ready.parcels) if campaign.host_kernels else {}
                final = plan.make(campaign, missing, self._turns.unbootable) | {"host": self.host.name}
                if sent:
                    final["sent"] = sent
                if not final["slots"]:
                    hint = _look_at(campaign, self.host)
                    raise HostError(f"{self.host.name} can run no arm of this campaign", hint=hint)
                self._claim(prepare.folder(names, prepare.record(campaign, final, ready, crew)))
                if not campaign.host_kernels:
                    self._execute(final, seat, crew, ready.rootfs.digest)
        assert self._folder
        return self._go_on(self._folder) if campaign.host_kernels else self._folder

    def _go_on(self, folder: Path) -> Path:
        final, known = continuity.begun(folder)
        try:
            while loaded := self._go_on_as_it_is(folder, final, known):
                self._turns.boot(*loaded)
            return folder
        finally:
            if "host_kernels" in final:
                self._turns.bring_home(known["host"]["kernel"], self._what, self._run)

    def _go_on_as_it_is(self, folder: Path, final: dict[str, Any], known: dict[str, Any]) -> tuple[str, Loaded] | None:
        """The kernel that the host must boot for the next slot, loaded; None where there is no further slot."""
        digest = known["rootfs"]["digest"]
        with self._entered() as seat:
            continuity.check(folder, final, known, seat.host, anyway=self._anyway)
            while True:
                needed = _next_kernel(final, _journal(folder), self._turns.unbootable)
                if needed is None or self._turns.runs(seat, needed):
                    needed = self._go_on_with_crew(folder, final, digest, seat)
                if needed is None:
                    return None
                if loaded := self._turns.load(seat, needed, final.get("sent", {}).get(needed)):
                    return needed, loaded

    def _go_on_with_crew(self, folder: Path, final: dict[str, Any], digest: str, seat: Seat) -> str | None:
        """The kernel that the host must run for the next slot; None where there is no further one."""
        ready = prepare.again(folder, final, digest, self._watcher)
        images = prepare.images(final["arms"], ready.kernels)
        crew = seat.crew(final["arms"], final["envelope"], ready.rootfs, images)
        with _released(crew):
            # A host that was just booted has nothing in its page cache.
            for name, arm in final["arms"].items():
                if arm.get("host_kernel") == seat.host["kernel"]:
                    crew.probe(name, "linux")
            return self._execute(final, seat, crew, digest)

    def _execute(self, final: dict[str, Any], seat: Seat, crew: Workers, digest: str) -> str | None:
        assert self._folder
        referee = self._appoint(final) if self._appoint else None
        lines, unbootable = _journal(self._folder), self._turns.unbootable
        return execute(self._folder, final, seat.host, crew, digest, self._watcher, lines, referee, unbootable)


def _next_kernel(final: Mapping[str, Any], lines: list[dict[str, Any]], unbootable: Mapping[str, str]) -> str | None:
    """The kernel that the host must run for the first slot that a journal lacks, and that can be run; None where any
    will do."""
    done = {line["slot"] for line in lines}
    wanted = (plan.host_kernel(final, slot) for slot in final["slots"] if slot["slot"] not in done)
    return next((release for release in wanted if release not in unbootable), None)


def _all(parts: Sequence[_Part], work: Callable[[_Part], object]) -> None:
    """Work on every host at once. A host that fails does not end the others.

    Raises what the first of them failed of where all did, and KeyboardInterrupt when all have ended in order.
    """

    def guarded(part: _Part) -> None:
        try:
            work(part)
        except TareError as error:
            part.error = error
            part.report(error)
        except Exception as error:  # a defect that one host brings to light is not the others'
            part.error = error
            kept = crash.keep(crash.told(error))
            part.report(TareError(f"{type(error).__name__}: {error}", hint=f"the traceback is in {kept}"))
        except BaseException as error:
            part.error = error

    # One that is stuck does not keep this process from its end: the agent over there sees that nobody listens.
    threads = [threading.Thread(target=guarded, args=[part], name=part.host.name, daemon=True) for part in parts]
    try:
        for thread in threads:
            thread.start()
        # A signal that comes just before a wait begins is only heard when that wait ends.
        for thread in threads:
            while thread.is_alive():
                thread.join(_HEAR_EVERY)
    except BaseException:
        for part in parts:
            part.cancel()
        deadline = time.monotonic() + _CANCEL_LIMIT
        pairs = list(zip(parts, threads, strict=True))
        for thread in threads:
            if thread.is_alive():  # the interrupt may have come before it began
                thread.join(max(0.0, deadline - time.monotonic()))
        stuck = [remote.left_behind(part.host.name) for part, thread in pairs if thread.is_alive()]
        told = [str(word) for part, _ in pairs if isinstance(part.error, KeyboardInterrupt) for word in part.error.args]
        if stuck or told:
            raise KeyboardInterrupt("; ".join(stuck + told)) from None
        raise
    if all(part.error for part in parts):
        raise next(part.error for part in parts if part.error)


def _journal(folder: Path) -> list[dict[str, Any]]:
    path = folder / JOURNAL
    return read_journal(path) if path.exists() else []


def _mark_lost(folder: Path, reason: str) -> None:
    """So that a report says why slots are missing."""
    write_object(folder / LOST, {"schema": SCHEMA, "when": now(), "reason": reason})


def _option(host: inventory.Host) -> str:
    return f" --host {host.name}" if host.entry else ""


@contextmanager
def _released(crew: Workers) -> Iterator[None]:
    try:
        yield
    except BaseException:
        crew.interrupt()
        raise
    crew.close()


def _look_at(campaign: Campaign, host: inventory.Host) -> str:
    """Where to look when no arm came up: the doctor tries backends with their defaults, and nothing of a campaign's."""
    if all(arm.options or (arm.kernel and arm.kernel.name) for arm in campaign.arms.values()):
        return "the reasons are above; check the kernels, runtimes and options that the campaign names"
    return f"the reasons are above; ./tare doctor{_option(host)} tries each backend with its defaults"
