"""What a campaign needs before its first slot, whatever has it run: kernels, proofs, the plan, facts, a folder."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

from bench import facts, files, image, kernels, parcel
from bench.backends import base
from bench.config import Campaign
from bench.errors import InputError, RecordError, TareError
from bench.measures import load as load_measure
from bench.results import CAMPAIGN, FACTS, PLAN, as_json, content
from bench.rootfs import packages
from bench.slots import Watcher


@dataclass(frozen=True)
class Ready:
    """What is made once for all hosts of a campaign. kernels: by arm, or why an arm has none; parcels: the host kernels
    that the campaign gives, by release."""

    rootfs: base.Rootfs
    kernels: Mapping[str, kernels.Kernel | str]
    parcels: Mapping[str, parcel.Parcel]

    @classmethod
    def make(cls, campaign: Campaign, watcher: Watcher, pins: Iterable[Mapping[str, Any]] = ()) -> Ready:
        """pins: pins() of an earlier time, when the campaign's kernels lay where it says."""
        rootfs = image.build(campaign.envelope.rootfs, tell=watcher.preparing)
        booted = guest_kernels(campaign, watcher)
        parcels = [parcel.pack(path, watcher.preparing) for path in campaign.given_kernels.values()]
        parcels += [parcel.find_again(pin, watcher.preparing) for pin in pins if "sha256" in pin]
        return cls(rootfs, booted, {each.release: each for each in parcels})

    def pins(self, campaign: Campaign) -> list[dict[str, Any]]:
        """The host kernels, in the campaign's order: release, and what is needed to find those again that it gives."""
        given = {release: each.facts() for release, each in self.parcels.items()}
        return [given.get(release, {"release": release}) for release in campaign.host_kernels]


def images(
    arms: Mapping[str, Mapping[str, Any]], booted: Mapping[str, kernels.Kernel | str]
) -> dict[str, base.GuestKernel | str]:
    """What each of a plan's arms boots. booted: by the plan's or the campaign's names."""
    found: dict[str, base.GuestKernel | str] = {}
    for name, arm in arms.items():
        kernel = booted.get(name) or booted.get(arm.get("of", ""))
        if kernel:
            found[name] = kernel if isinstance(kernel, str) else kernel.booted
    return found


class Answers(Protocol):
    """Of a crew, what is asked before the first slot: see bench.crew.Crew."""

    def probe(self, arm: str, guest: base.Guest) -> str | None: ...
    def lacking(self, asked: Mapping[str, Iterable[str]]) -> dict[str, dict[str, str]]: ...
    def facts(self, arms: list[str]) -> dict[str, Any]: ...


def wanted(campaign: Campaign, arms: Mapping[str, Mapping[str, Any]]) -> list[tuple[str, str, base.Guest]]:
    """What is to be proved: an arm of the campaign, its name in the plan, and a kind of guest that is asked of it.

    arms: the plan's. Where there are several host kernels, the one that is there now must do.
    """
    found: list[tuple[str, str, base.Guest]] = []
    guests = {load_measure(each).guest for scenario in campaign.scenarios.values() for each in scenario.measures}
    for arm in campaign.arms.values():
        name = next(name for name, each in arms.items() if each.get("of", name) == arm.name)
        found += [(arm.name, name, guest) for guest in sorted(guests & arm.kind.guests)]
    return found


def probe(
    campaign: Campaign, arms: Mapping[str, Mapping[str, Any]], crew: Answers, watcher: Watcher
) -> dict[tuple[str, str], str]:
    """Start each arm once per kind of guest that the campaign asks of it; why those fail that do.

    Also warms caches, alike.
    """
    missing = {}
    for arm, name, guest in wanted(campaign, arms):
        reason = crew.probe(name, guest)
        if reason is not None:
            missing[arm, str(guest)] = reason
        watcher.probed(arm, guest, reason)
    return missing


def asked(campaign: Campaign, arms: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """The measures that arms could take, of each that the campaign wants: the host says why they cannot there.

    arms: the plan's; those of other host kernels are as the first.
    """
    names = sorted({name for scenario in campaign.scenarios.values() for name in scenario.measures})
    found = {}
    for arm in campaign.arms.values():
        first = next(name for name, each in arms.items() if each.get("of", name) == arm.name)
        found[first] = [name for name in names if load_measure(name).impossible(arm.kind) is None]
    return found


def lacking(campaign: Campaign, arms: Mapping[str, Mapping[str, Any]], crew: Answers) -> dict[tuple[str, str], str]:
    """Why arms cannot take measures on the crew's host: (the campaign's arm, measure) → reason."""
    wanted = asked(campaign, arms)
    told = crew.lacking(wanted)
    return {
        (arms[arm].get("of", arm), name): reason
        for arm, names in wanted.items()
        for name in names
        if (reason := told.get(arm, {}).get(name))
    }


def guests(final: Mapping[str, Any]) -> dict[str, list[base.Guest]]:
    """The kinds of guest that a plan asks of each arm."""
    found: dict[str, set[base.Guest]] = {}
    for by_arm in final["measures"].values():
        for arm, measures in by_arm.items():
            found.setdefault(arm, set()).update(load_measure(each).guest for each in measures)
    return {arm: sorted(kinds) for arm, kinds in found.items()}


def guest_kernels(campaign: Campaign, watcher: Watcher) -> dict[str, kernels.Kernel | str]:
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


def _facts(final: Mapping[str, Any], rootfs: base.Rootfs, crew: Answers) -> dict[str, Any]:
    there = crew.facts(list(final["arms"]))
    notes = [
        "page cache: warm (every arm was started once before the first block)",
        "KSM and huge pages: left as found",
        *there.pop("notes"),
    ]
    release = there["host"]["kernel"]
    return facts.gather(
        there,
        rootfs={
            "name": final["envelope"]["rootfs"],
            "digest": rootfs.digest,
            "packages": packages(rootfs.tree),
        },
        kernels={
            name: arm.get("boots") or _host_kernel(final, arm.get("host_kernel", release))
            for name, arm in final["arms"].items()
        },
        notes=notes,
    )


def _host_kernel(final: Mapping[str, Any], release: str) -> dict[str, Any]:
    sent: Mapping[str, Mapping[str, Any]] = final.get("sent", {})
    return {"kind": "host", "release": release, **sent.get(release, {})}


def record(campaign: Campaign, final: dict[str, Any], ready: Ready, crew: Answers) -> dict[str, str]:
    """The files of a results folder that is begun, by name. final: the plan, which says then what each arm boots."""
    _pin_kernels(final, ready.kernels)
    return {
        CAMPAIGN: campaign.text,
        PLAN: as_json(final),
        FACTS: as_json(_facts(final, ready.rootfs, crew)),
    }


def again(folder: Path, final: Mapping[str, Any], digest: str, watcher: Watcher) -> Ready:
    """What a plan was begun with. digest: its rootfs's. Raises InputError where that cannot be had any more."""
    name = final["envelope"]["rootfs"]
    rootfs = image.build(name, tell=watcher.preparing)
    if rootfs.digest != digest:
        raise InputError(f"{folder}: was begun with another {name} rootfs", hint="start the campaign anew")
    booted = {
        name: kernels.find_again(arm["boots"], watcher.preparing)
        for name, arm in final["arms"].items()
        if "boots" in arm
    }
    return Ready(rootfs, booted, {})


def names(top: Path, campaign: Campaign) -> Iterator[Path]:
    """Names for a results folder, the next for when one is taken."""
    first = f"{campaign.name}-{datetime.now(UTC):%Y%m%dT%H%M%SZ}"
    yield top / first
    for number in itertools.count(2):
        yield top / f"{first}-{number}"


def folder(names: Iterator[Path], texts: Mapping[str, str]) -> Path:
    """A results folder with these files, all on the disk. Raises RecordError, InputError for what nobody would read."""
    written = {name: content(text, name) for name, text in texts.items()}
    folder = Path()
    try:
        for folder in names:
            folder.parent.mkdir(parents=True, exist_ok=True)
            try:
                folder.mkdir()
            except FileExistsError:
                continue
            files.sync_folder(folder.parent)
            for name, found in written.items():
                files.write(folder / name, found)
            return folder
    except OSError as error:
        hint = "make room, or choose another --results"
        raise RecordError(f"cannot write {folder}: {error.strerror}", hint=hint) from error
    raise RecordError(f"{folder} is there already and has no {PLAN}", hint="remove it")


def no_results(folder: Path) -> InputError:
    """Of a folder that cannot be gone on with."""
    return InputError(f"{folder}: no {PLAN} and {FACTS} there", hint="give a results folder, like results/quick-…")
