"""Campaigns: prepared, proved, planned and run on each of their hosts, until all slots are in the journal.

Resuming is running what the journal lacks.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

from bench import facts, image, inventory, kernels, mounts, plan, reboot
from bench.backends import base
from bench.config import Campaign, parse
from bench.errors import HostError, HostLost, InputError, RecordError, TareError
from bench.host import Seat, Workers, enter, reach
from bench.measures import load as load_measure
from bench.results import (
    CAMPAIGN,
    FACTS,
    HOSTS,
    JOURNAL,
    LOST,
    PLAN,
    SCHEMA,
    read_facts,
    read_hosts,
    read_journal,
    read_plan,
)
from bench.slots import Watcher, execute, now
from bench.stops import Referee

#: How often a host may be lost without a slot in between, and how often it is looked for meanwhile, seconds.
_LOST_TIMES = 3
_LOST_STEP = 5.0

#: Makes the referee of a plan; None for one that runs all its blocks.
Appoint = Callable[[dict[str, Any]], Referee | None]


def run(campaign: Campaign, top: Path, watcher: Watcher, *, probe: bool = True, appoint: Appoint | None = None) -> Path:
    """Run a campaign from its start; its results folder, made in `top`. Without a probe no arm is left out.

    On several hosts it runs at the same time, on each whole and with a folder of its own inside. appoint: makes the
    referee of a campaign that may stop early, from its plan.

    Raises HostError when no host can be had or none can run an arm, RecordError when the record cannot be written, and
    KeyboardInterrupt after taking the running slots down.
    """
    hosts = [inventory.find(name) for name in campaign.hosts]
    what = f"campaign {campaign.name}"
    if len(hosts) == 1:
        return _Part(hosts[0], what, watcher, appoint).begin(campaign, None, _named(top, campaign), probe=probe)
    folder = _make(
        _named(top, campaign), {CAMPAIGN: campaign.text, HOSTS: _json({"schema": SCHEMA, "hosts": campaign.hosts})}
    )
    ready = _Ready.make(campaign, watcher)
    parts = [_Part(host, what, watcher.on(host.name), appoint, apart=True) for host in hosts]
    try:
        _all(parts, lambda part: part.begin(campaign, ready, iter([folder / part.host.name]), probe=probe))
    except TareError:
        if not any(read_plan(folder / part.host.name) for part in parts):
            mounts.remove_tree(folder)  # there is nothing in it to go on with
        raise
    return folder


def resume(folder: Path, watcher: Watcher, *, appoint: Appoint | None = None) -> Path:
    """Run the slots that a results folder's journal lacks. Raises as run() does, InputError where there is no plan."""
    if (names := read_hosts(folder)) is None:
        final = read_plan(folder)
        if final is None:
            raise _no_results(folder)
        host = inventory.find(final.get("host", inventory.LOCAL))
        return _Part(host, f"campaign {final['campaign']} (resumed)", watcher, appoint).go_on(folder)
    # What a host never began is begun; the file lies where its scenarios are looked for in the project alone.
    campaign = parse((folder / CAMPAIGN).read_text(), folder / CAMPAIGN)
    ready = _Ready.make(campaign, watcher)
    what = f"campaign {campaign.name} (resumed)"
    parts = [_Part(inventory.find(name), what, watcher.on(name), appoint, apart=True) for name in names]

    def go_on(part: _Part) -> None:
        own = folder / part.host.name
        if read_plan(own) is None:
            part.begin(campaign, ready, iter([own]))
        else:
            part.go_on(own)

    _all(parts, go_on)
    return folder


@dataclass(frozen=True)
class _Ready:
    """What is made once for all hosts of a campaign. kernels: by arm, or why an arm has none."""

    rootfs: base.Rootfs
    kernels: Mapping[str, kernels.Kernel | str]

    @classmethod
    def make(cls, campaign: Campaign, watcher: Watcher) -> _Ready:
        return cls(image.build(campaign.envelope.rootfs), _kernels(campaign, watcher))


class _Part:
    """A campaign's part on one host: begun, and gone on with for as long as a host that was lost comes back."""

    def __init__(
        self, host: inventory.Host, what: str, watcher: Watcher, appoint: Appoint | None, *, apart: bool = False
    ) -> None:
        """apart: see host.enter()."""
        self.host = host
        self._what = what
        self._watcher = watcher
        self._appoint = appoint
        self._apart = apart
        self._seat: Seat | None = None
        self._run: str | None = None
        self._folder: Path | None = None
        self._cancelled = False
        self.error: BaseException | None = None

    def begin(self, campaign: Campaign, ready: _Ready | None, names: Iterator[Path], *, probe: bool = True) -> Path:
        """Run the campaign from its start. names: for its results folder, the first that is free."""
        return self._stubbornly(lambda: self._begin(campaign, ready, names, probe=probe))

    def go_on(self, folder: Path) -> Path:
        """Run what a results folder's journal lacks."""
        self._folder = folder
        return self._stubbornly(lambda: self._go_on(folder))

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
            self._seat, self._run = seat, seat.run
            if self._cancelled:
                raise KeyboardInterrupt
            try:
                yield seat
            finally:
                self._seat = None

    def _begin(self, campaign: Campaign, ready: _Ready | None, names: Iterator[Path], *, probe: bool) -> Path:
        with self._entered() as seat:
            ready = ready or _Ready.make(campaign, self._watcher)
            draft = plan.make(campaign)
            crew = seat.crew(draft["arms"], draft["envelope"], ready.rootfs, _images(draft["arms"], ready.kernels))
            with _released(crew):
                missing = _probe(campaign, draft["arms"], crew, self._watcher) if probe else {}
                final = plan.make(campaign, missing) | {"host": self.host.name}
                if not final["slots"]:
                    hint = f"./tare doctor{_option(self.host)} says why"
                    raise HostError(f"{self.host.name} can run no arm of this campaign", hint=hint)
                _pin_kernels(final, ready.kernels)
                known = _facts(final, ready.rootfs, crew)
                self._folder = _make(names, {CAMPAIGN: campaign.text, PLAN: _json(final), FACTS: _json(known)})
                if not campaign.host_kernels:
                    self._execute(final, seat, crew, ready.rootfs.digest)
        return self._go_on(self._folder) if campaign.host_kernels else self._folder

    def _go_on(self, folder: Path) -> Path:
        final, known = read_plan(folder), read_facts(folder)
        if final is None or known is None:
            raise _no_results(folder)
        needed = _next_kernel(final, _journal(folder))
        try:
            while True:
                if needed:
                    reboot.boot(self.host, needed, self._watcher.say, lambda: self._cancelled)
                needed = self._go_on_as_it_is(folder, final, known["rootfs"]["digest"])
                if needed is None:
                    return folder
        finally:
            if "host_kernels" in final:
                self._bring_home(known["host"]["kernel"])

    def _bring_home(self, release: str) -> None:
        """Have the host run the kernel again with which it was found, if there is a way to it."""
        try:
            reboot.boot(self.host, release, self._watcher.say)
        except HostError as error:
            self._watcher.warned(f"{self.host.name} may run another kernel than {release}: {error}")

    def _go_on_as_it_is(self, folder: Path, final: dict[str, Any], digest: str) -> str | None:
        """The kernel that the host must run for the next slot; None where there is no further one."""
        with self._entered() as seat:
            name = final["envelope"]["rootfs"]
            rootfs = image.build(name)
            if rootfs.digest != digest:
                raise InputError(f"{folder}: was begun with another {name} rootfs", hint="start the campaign anew")
            booted = {
                name: kernels.find_again(arm["boots"], self._watcher.preparing)
                for name, arm in final["arms"].items()
                if "boots" in arm
            }
            crew = seat.crew(final["arms"], final["envelope"], rootfs, _images(final["arms"], booted))
            with _released(crew):
                # A host that was just booted has nothing in its page cache.
                for name, arm in final["arms"].items():
                    if arm.get("host_kernel") == seat.host["kernel"]:
                        crew.probe(name, "linux")
                return self._execute(final, seat, crew, rootfs.digest)

    def _execute(self, final: dict[str, Any], seat: Seat, crew: Workers, digest: str) -> str | None:
        assert self._folder
        referee = self._appoint(final) if self._appoint else None
        return execute(self._folder, final, seat.host, crew, digest, self._watcher, _journal(self._folder), referee)


def _next_kernel(final: Mapping[str, Any], lines: list[dict[str, Any]]) -> str | None:
    """The kernel that the host must run for the first slot that a journal lacks; None where any will do."""
    done = {line["slot"] for line in lines}
    return next((plan.host_kernel(final, slot) for slot in final["slots"] if slot["slot"] not in done), None)


def _all(parts: Sequence[_Part], work: Callable[[_Part], object]) -> None:
    """Work on every host at once. A host that fails does not end the others.

    Raises what the first of them failed of where all did, and KeyboardInterrupt when all have ended in order.
    """

    def guarded(part: _Part) -> None:
        try:
            work(part)
        except BaseException as error:
            part.error = error
            if isinstance(error, TareError):
                part.report(error)

    threads = [threading.Thread(target=guarded, args=[part], name=part.host.name) for part in parts]
    for thread in threads:
        thread.start()
    try:
        for thread in threads:
            thread.join()
    except BaseException:
        for part in parts:
            part.cancel()
        for thread in threads:
            thread.join()
        raise
    for part in parts:
        if part.error and not isinstance(part.error, TareError):
            raise part.error
    if all(part.error for part in parts):
        raise next(part.error for part in parts if part.error)


def _no_results(folder: Path) -> InputError:
    return InputError(f"{folder}: no {PLAN} and {FACTS} there", hint="give a results folder, like results/quick-…")


def _images(arms: Mapping[str, Mapping[str, Any]], booted: Mapping[str, kernels.Kernel | str]) -> dict[str, Path | str]:
    """What each of a plan's arms boots. booted: by the plan's or the campaign's names."""
    found: dict[str, Path | str] = {}
    for name, arm in arms.items():
        kernel = booted.get(name) or booted.get(arm.get("of", ""))
        if kernel:
            found[name] = kernel if isinstance(kernel, str) else kernel.image
    return found


def _journal(folder: Path) -> list[dict[str, Any]]:
    path = folder / JOURNAL
    return read_journal(path) if path.exists() else []


def _mark_lost(folder: Path, reason: str) -> None:
    """So that a report says why slots are missing."""
    (folder / LOST).write_text(_json({"schema": SCHEMA, "when": now(), "reason": reason}))


def _json(value: object) -> str:
    return json.dumps(value, indent=1) + "\n"


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


def _probe(
    campaign: Campaign, arms: Mapping[str, Mapping[str, Any]], crew: Workers, watcher: Watcher
) -> dict[tuple[str, str], str]:
    """Start each arm once per kind of guest that the campaign asks of it; why those fail that do.

    Also warms caches, alike. Where there are several host kernels, the one that is there now must do.
    """
    missing = {}
    for arm in campaign.arms.values():
        name = next(name for name, each in arms.items() if each.get("of", name) == arm.name)
        wanted = {load_measure(each).guest for scenario in campaign.scenarios.values() for each in scenario.measures}
        for guest in sorted(wanted & arm.kind.guests):
            reason = crew.probe(name, guest)
            if reason is not None:
                missing[arm.name, str(guest)] = reason
            watcher.probed(arm.name, guest, reason)
    return missing


def _kernels(campaign: Campaign, watcher: Watcher) -> dict[str, kernels.Kernel | str]:
    """What each arm boots that boots a kernel, fetched or built where it must be.

    Of arms that name none, why there is none. Raises as kernels.prepare() for those that do.
    """
    found: dict[str, kernels.Kernel | str] = {}
    for arm in campaign.arms.values():
        if arm.kernel is None or arm.kind.kernel is None:
            continue
        try:
            found[arm.name] = kernels.prepare(arm.kernel, arm.kind.kernel, watcher.preparing)
        except TareError as error:
            if arm.kernel.name:
                raise
            found[arm.name] = str(error)
    return found


def _pin_kernels(final: dict[str, Any], booted: Mapping[str, kernels.Kernel | str]) -> None:
    """Says what each arm boots, so that a resumed run boots the same."""
    for name, arm in final["arms"].items():
        kernel = booted.get(arm.get("of", name))
        if isinstance(kernel, kernels.Kernel):
            arm |= {"kernel": kernel.release, "boots": kernel.facts()}


def _facts(final: Mapping[str, Any], rootfs: base.Rootfs, crew: Workers) -> dict[str, Any]:
    there = crew.facts(list(final["arms"]))
    notes = [
        "page cache: warm (every arm was started once before the first block)",
        "KSM and huge pages: left as found",
        *there.pop("notes"),
    ]
    release = there["host"]["kernel"]
    return facts.gather(
        there,
        rootfs={"name": final["envelope"]["rootfs"], "digest": rootfs.digest},
        kernels={
            name: arm.get("boots", {"kind": "host", "release": arm.get("host_kernel", release)})
            for name, arm in final["arms"].items()
        },
        notes=notes,
    )


def _named(top: Path, campaign: Campaign) -> Iterator[Path]:
    """Names for a results folder, the next for when one is taken."""
    first = f"{campaign.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    yield top / first
    for number in itertools.count(2):
        yield top / f"{first}-{number}"


def _make(names: Iterator[Path], files: Mapping[str, str]) -> Path:
    """A results folder with these files. Raises RecordError."""
    folder = Path()
    try:
        for folder in names:
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            for name, text in files.items():
                (folder / name).write_text(text)
            return folder
    except OSError as error:
        hint = "make room, or choose another --results"
        raise RecordError(f"cannot write {folder}: {error.strerror}", hint=hint) from error
    raise RecordError(f"{folder} is there already and has no {PLAN}", hint="remove it")
