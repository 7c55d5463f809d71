"""The first of several kernels in which a metric has moved, by halving.

Every step is an ordinary campaign; one folder holds them all, and bisect.json, which says what was asked. A search that
was interrupted goes on from what is there. What the figures say is not decided here: see analysis.step.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import config, files, kernels, measures, runner, workloads
from bench.backends import base
from bench.errors import InputError, InstanceError, RecordError
from bench.results import JOURNAL, last_of_each_slot, read_journal
from bench.shape import Needed, fault
from bench.slots import Watcher

QUESTION = "bisect.json"
INSTRUCTIONS = ".instructions"
#: A release without its flavour: 6.1.0-50, 6.12.100+deb12. With it, `6.1.0-50-rt-amd64` is none of flavour `amd64`.
_BARE = r"\d[\d.]*(?:[-+~](?:\d|deb|bpo)[\d.]*)*"
_QUESTION = {
    "kernels": Needed([str]),
    "metric": Needed(str),
    "change": Needed(float),
    "backend": Needed(str),
    "blocks": Needed(int),
}
#: Boots of each end, which also prove that counts repeat; the two kernels beside the step get as many.
PROOF = 2


@dataclass(frozen=True)
class Question:
    """kernels: as campaigns call them, in order; change: a fraction of the first one's figure; blocks: the most that a
    comparison may take where counts do not repeat, or nothing is counted."""

    kernels: tuple[str, ...]
    metric: str
    change: float
    backend: str
    blocks: int

    def arm(self, place: int) -> str:
        """The arm that boots a kernel: qemu@6.1.0-50-cloud-amd64, or qemu-03 where no release tells it from others."""
        wish = kernels.parse(self.kernels[place])
        alone = sum(kernels.parse(name).name == wish.name for name in self.kernels) == 1
        if alone and wish.form in ("release", "package"):
            return f"{self.backend}@{wish.name.removeprefix('linux-image-')}"
        return f"{self.backend}-{place:02}"

    def name(self, place: int) -> str:
        """A kernel, for people."""
        return self.kernels[place].removeprefix("linux-image-")

    def __str__(self) -> str:
        most = (
            f"at most {most_boots(len(self.kernels))} boots" if self.counts else f"at most {self.blocks} blocks a look"
        )
        ends = f"{self.name(0)} … {self.name(len(self.kernels) - 1)}"
        return f"{self.metric} by more than {self.change:.3%} in {len(self.kernels)} kernels ({ends}), {most}"

    @property
    def counts(self) -> bool:
        return base.load(self.backend).counts


@dataclass(frozen=True)
class Look:
    """What the record says of one kernel against the first one.

    ratio: of their figures; moved: by more than was asked for, None where these data cannot tell; exact: whether both
    were counted and every count repeated so far; text: the same for people.
    """

    ratio: float
    moved: bool | None
    exact: bool
    text: str


@dataclass(frozen=True)
class Found:
    """before, first: places of the last kernel that has not moved and of the first that has, neighbours if `certain`;
    looks: by place, against the first kernel; boots: all that the record holds."""

    before: int
    first: int
    looks: dict[int, Look]
    boots: int

    @property
    def certain(self) -> bool:
        return self.first - self.before == 1

    @property
    def exact(self) -> bool:
        return all(look.exact for look in self.looks.values())

    @property
    def astray(self) -> list[int]:
        """Kernels that lie on the other side of the first one than the last kernel does, or that moved before the
        step or moved back behind it: with them there is more than one step."""
        up = self.looks[max(self.looks)].ratio > 1
        return [
            place
            for place, look in self.looks.items()
            if (look.moved and (place < self.first or (look.ratio > 1) != up))
            or (look.moved is False and place > self.first)
        ]


#: Folders of campaigns, the arms of the first kernel and of another one → what they say.
Judge = Callable[[Sequence[Path], str, str], Look]


def search(count: int, moved: Callable[[int], bool | None]) -> tuple[int, int]:
    """Places of the last of `count` that has not moved and of the first that has, in at most log2(count − 1) questions.

    The first is taken not to have moved and the last to have. An answer of None ends the search; the two are then not
    neighbours. Where the answers are not monotonic it ends at one of the steps.
    """
    low, high = 0, count - 1
    while high - low > 1:
        middle = (low + high) // 2
        answer = moved(middle)
        if answer is None:
            break
        low, high = (low, middle) if answer else (middle, high)
    return low, high


def most_boots(count: int) -> int:
    """Boots of an exact search over so many kernels: the ends and the step's neighbours twice, the others once."""
    inside = math.ceil(math.log2(count - 1)) if count > 2 else 0
    return 2 * PROOF + inside + min(inside, 2)


def choose(text: str, flavour: str) -> tuple[str, ...]:
    """Kernels in order, of a list like "6.1.0-47-cloud-amd64,6.12.100+deb12-cloud-amd64" or of a range like
    "6.1.0-47..6.1.0-56" over what Debian has of a flavour; a list may hold ranges.

    Raises InputError for unknown ends and for fewer than two kernels.
    """
    found: list[str] = []
    for part in filter(None, (part.strip() for part in text.split(","))):
        found += _range(part, flavour) if ".." in part else [part]
    for name in found:
        kernels.parse(name)
    if len(dict.fromkeys(found)) != len(found):
        raise InputError(f"--kernels {text}: names a kernel twice")
    if len(found) < 2:
        raise InputError(f"--kernels {text}: a search needs two kernels or more", hint="like 6.1.0-47..6.1.0-56")
    return tuple(found)


def _range(part: str, flavour: str) -> list[str]:
    prefix = "linux-image-"
    offered = dict.fromkeys(package.name for package in kernels.offered())
    releases = [name.removeprefix(prefix) for name in offered if name.startswith(prefix)]
    releases = [name for name in releases if re.fullmatch(rf"{_BARE}-{re.escape(flavour)}", name)]
    places = []
    for end in part.split("..", 1):
        name = end.strip().removeprefix(prefix)
        name = name if name.endswith(f"-{flavour}") else f"{name}-{flavour}"
        if name not in releases:
            have = ", ".join(release.removesuffix(f"-{flavour}") for release in releases) or "none"
            raise InputError(f"Debian has no kernel {name}", hint=f"of flavour {flavour} there are: {have}")
        places.append(releases.index(name))
    if places[0] > places[1]:
        raise InputError(f"{part}: the range runs backwards")
    return [prefix + release for release in releases[places[0] : places[1] + 1]]


def ask(
    kernels_text: str, flavour: str, metric: str, backend: str | None, change: float | None, blocks: int
) -> Question:
    """A Question, with what was left open filled in. change: per cent. Raises InputError."""
    counted = metric.endswith(INSTRUCTIONS)
    backend = backend or ("qemu-icount" if counted else "qemu")
    kind = base.load(backend)
    if kind.kernel is None:
        raise InputError(f"{backend} boots no kernel of its own: it runs on the host's")
    if kind.counts != counted:
        what = "counts instructions" if kind.counts else "measures seconds"
        raise InputError(f"{backend} {what}, and {metric} is not one", hint="see --backend and --metric")
    percent = change if change is not None else 0.1 if counted else 5.0
    if not 0 < percent < 100:
        raise InputError(f"--change {percent:g}: expected per cent, above 0 and below 100, like 0.1")
    question = Question(choose(kernels_text, flavour), metric, percent / 100, backend, blocks)
    for name in question.kernels:
        kernels.check_kind(kernels.parse(name), kind.kernel)
    _scenario(metric)
    return question


def _scenario(metric: str) -> dict[str, Any]:
    """The measure, and the workload, that give a metric like boot.kernel.instructions or spawn.sha256. Raises
    InputError."""
    words = metric.removesuffix(INSTRUCTIONS).split(".")
    measure = "instructions" if metric.endswith(INSTRUCTIONS) else words[0]
    if measure not in measures.names() or measure in ("density", "exec", "inside"):
        raise InputError(f"no search for {metric!r}", hint="like boot.instructions, spawn.instructions, boot or spawn")
    workload = words[1] if words[0] == "spawn" and words[1:] and words[1] in workloads.names() else "true"
    if workloads.load(workload).rootfs:
        raise InputError(f"no search for {metric!r}: {workload} is not in the rootfs that a search boots")
    return {"measures": [measure], "workloads": [workload]}


def make_folder(top: Path, question: Question) -> Path:
    """A search's own folder, made in `top`. Raises RecordError."""
    folder = top / f"bisect-{datetime.now(UTC).strftime('%Y%m%dT%H%M%SZ')}"
    try:
        folder.mkdir(parents=True)
        files.sync_folder(folder.parent)
        files.write(folder / QUESTION, json.dumps(asdict(question), indent=1) + "\n")
    except OSError as error:
        raise RecordError(
            f"cannot write {folder}: {error.strerror}", hint="make room, or choose another --results"
        ) from error
    return folder


def folders(folder: Path, name: str = "*") -> list[Path]:
    """The campaigns of a search."""
    return sorted(path.parent for path in folder.glob(f"{name}-*/{JOURNAL}"))


def recall(folder: Path) -> Question:
    """Raises InputError where there is no search in the folder."""
    try:
        known = files.read_json(folder / QUESTION)
        if wrong := fault(known, _QUESTION):
            raise InputError(f"{folder / QUESTION}: {wrong}")
        if len(known["kernels"]) < 2 or known["blocks"] < 1 or not 0 < known["change"] < 1:
            raise InputError(f"{folder / QUESTION}: is no question that was asked")
    except InputError as error:
        raise InputError(f"{folder}: no search there: {error}", hint="give a folder like results/bisect-…") from error
    return Question(tuple(known["kernels"]), *(known[key] for key in ("metric", "change", "backend", "blocks")))


class Search:
    """A Question, being answered in a folder of its own."""

    def __init__(
        self,
        question: Question,
        folder: Path,
        judge: Judge,
        watcher: Watcher,
        appoint: runner.Appoint | None = None,
        *,
        anyway: bool = False,
    ) -> None:
        """appoint: see runner.run(); anyway: see runner.resume()."""
        self.question = question
        self.folder = folder
        self._judge = judge
        self._watcher = watcher
        self._appoint = appoint
        self._anyway = anyway
        self._last = len(question.kernels) - 1
        self._looks: dict[int, Look] = {}

    def run(self, *, everything: bool = False) -> Found:
        """everything: look at all kernels instead of halving.

        Raises InputError where the ends do not differ, InstanceError where a kernel does not run, and what
        runner.run() raises.
        """
        if self.question.counts:
            if self._ends_repeat():
                before, first = self._seek(self._count, everything)
                for place in filter(None, (before, first)):  # the first kernel is proved already
                    self._count(place, PROOF)
                if all(look.exact for look in self._looks.values()):
                    return self._found(before, first)
            self._watcher.say("bisect  the counts do not repeat: going on by statistics")
            self._looks.clear()
        return self._found(*self._seek(self._compare, everything))

    def _seek(self, look: Callable[[int], Look], everything: bool) -> tuple[int, int]:
        """Places before and behind the step; both ends where these data cannot tell whether there is one."""
        moved = look(self._last).moved
        if everything:
            there = [place for place in range(1, self._last + 1) if look(place).moved]
            if there:
                return there[0] - 1, there[0]
        elif moved:
            return search(self._last + 1, lambda place: look(place).moved)
        if moved is False:
            ends = f"{self.question.name(0)} and {self.question.name(self._last)}"
            raise InputError(
                f"no step between {ends}: {self._looks[self._last].text}",
                hint=f"a smaller --change than {self.question.change:.3%}, or other ends",
            )
        return 0, self._last

    def _found(self, before: int, first: int) -> Found:
        return Found(before, first, dict(sorted(self._looks.items())), sum(self._booted().values()))

    def _ends_repeat(self) -> bool:
        """Boots both ends as often as it takes to see."""
        self._boot("ends", (0, self._last), PROOF)
        return self._look_at(folders(self.folder), self._last).exact

    def _count(self, place: int, times: int = 1) -> Look:
        """Boots a kernel as often as it was not yet, and looks at all there is."""
        self._boot(f"kernel-{place:02}", (place,), times)
        return self._tell(place, self._look_at(folders(self.folder), place))

    def _compare(self, place: int) -> Look:
        """A campaign of the first kernel and another one, interleaved, that ends when it has decided."""
        if place in self._looks:
            return self._looks[place]
        name = f"compare-{place:02}"
        if not self._finished(name):
            self._run(name, (0, place), self.question.blocks, adaptive=True)
        return self._tell(place, self._look_at(folders(self.folder, name), place))

    def _look_at(self, campaigns: list[Path], place: int) -> Look:
        return self._judge(campaigns, self.question.arm(0), self.question.arm(place))

    def _tell(self, place: int, look: Look) -> Look:
        if self._looks.get(place) != look:
            self._watcher.say(f"bisect  {self.question.name(place)}: {look.text}")
        self._looks[place] = look
        return look

    def _boot(self, name: str, places: tuple[int, ...], times: int) -> None:
        """Boots these kernels until each has been so many times."""
        booted = self._booted()
        while lacking := [place for place in places if booted.get(self.question.arm(place), 0) < times]:
            least = min(booted.get(self.question.arm(place), 0) for place in lacking)
            self._run(name, tuple(lacking), times - least if len(lacking) == len(places) else 1)
            booted = self._booted()

    def _run(self, name: str, places: tuple[int, ...], blocks: int, *, adaptive: bool = False) -> None:
        text = self._campaign(name, places, blocks, adaptive)
        campaign = config.parse(text, self.folder / f"{name}.toml")
        self._check(runner.run(campaign, self.folder, self._watcher, probe=False, appoint=self._appoint))

    def _check(self, folder: Path) -> None:
        """Raises InstanceError where a slot did not end well."""
        for line in last_of_each_slot(read_journal(folder / JOURNAL)):
            if line["status"] != "ok":
                raise InstanceError(f"{line['arm']} did not run: {line['reason']}", hint=f"see {folder / JOURNAL}")

    def _campaign(self, name: str, places: tuple[int, ...], blocks: int, adaptive: bool) -> str:
        quoted = {place: json.dumps(self.question.arm(place)) for place in places}
        tables = [
            f"{quoted[place]} = {{ backend = {json.dumps(self.question.backend)}, "
            f"kernel = {json.dumps(self._kernel(place))} }}"
            for place in places
        ]
        scenario = _scenario(self.question.metric)
        return "\n".join(
            [
                f'name = "{name}"',
                f"description = {json.dumps(f'A step in the search for where {self.question.metric} moved')}",
                f"seed = {sum(places) + 1}",
                f"blocks = {blocks}",
                f"baseline = {quoted[places[0]]}",
                *(['stop = "adaptive"', f'delta = "{self.question.change:.6%}"'] if adaptive else []),
                "[arms]",
                *tables,
                "[scenarios]",
                f"{scenario['measures'][0]} = {{ workloads = {json.dumps(scenario['workloads'])} }}",
                "",
            ]
        )

    def _kernel(self, place: int) -> str:
        """A file by its whole path: campaigns look for files beside themselves."""
        name = self.question.kernels[place]
        return str(Path(name).resolve()) if "/" in name else name

    def _finished(self, name: str) -> bool:
        """Whether a comparison is there whole; one that was interrupted is finished first."""
        for folder in folders(self.folder, name):
            runner.resume(
                folder, self._watcher, appoint=self._appoint, anyway=self._anyway
            )  # what is finished ends at once
            self._check(folder)
            return True
        return False

    def _booted(self) -> dict[str, int]:
        """By arm, slots that ended well."""
        found: dict[str, int] = {}
        for folder in folders(self.folder):
            for line in last_of_each_slot(read_journal(folder / JOURNAL)):
                if line["status"] == "ok":
                    found[line["arm"]] = found.get(line["arm"], 0) + 1
        return found


def tell(question: Question, found: Found, parts: Mapping[str, float]) -> list[str]:
    """The answer in a few lines. parts: by metric, the change over the step."""
    name = question.name
    lines = [
        f"{question.metric} moved in {name(found.first)}"
        if found.certain
        else f"{question.metric} moved after {name(found.before)}, in {name(found.first)} at the latest"
    ]
    lines[0] += f" ({found.looks[found.first].text} against {name(0)})"
    if found.before:
        lines.append(f"  {name(found.before)} had not: {found.looks[found.before].text}")
    if not found.certain:
        lines.append("  what lies between could not be told: more --blocks, or a larger --change")
    lines += [f"  {metric}: {change:+.3%} from {name(found.before)}" for metric, change in parts.items()]
    if found.astray:
        names = ", ".join(name(place) for place in found.astray)
        lines.append(f"  not the only step, as it moved the other way or back in: {names} (--all shows them all)")
    unseen = len(question.kernels) - 1 - len(found.looks)
    how = "counts that repeated to the last digit" if found.exact else "judged by statistics"
    rest = (
        f"; {unseen} kernels were not measured, and a step and its undoing among them would not show" if unseen else ""
    )
    return [*lines, f"  {found.boots} boots, {how}{rest}"]


def as_dict(question: Question, folder: Path, found: Found, parts: Mapping[str, float]) -> dict[str, Any]:
    """The answer for programs. Changes are fractions."""
    return {
        "metric": question.metric,
        "change": question.change,
        "kernels": list(question.kernels),
        "before": question.kernels[found.before],
        "first": question.kernels[found.first],
        "certain": found.certain,
        "exact": found.exact,
        "step": dict(parts),
        "looks": {question.kernels[place]: asdict(look) for place, look in found.looks.items()},
        "astray": [question.kernels[place] for place in found.astray],
        "boots": found.boots,
        "folder": str(folder),
    }
