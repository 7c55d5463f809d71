"""Campaign and scenario files: TOML, decoded strictly. Every mistake is one line: file, key, what would be right."""

from __future__ import annotations

import os
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import msgspec

from bench import files, image, inventory, kbuild, kernels, measures, neighbours, parcel, slurm, units, workloads
from bench.backends import base
from bench.errors import InputError, MissingFile

PROJECT_SCENARIOS = Path(__file__).resolve().parent.parent / "scenarios"
_NAME = re.compile(r"[a-z0-9][a-z0-9._@+-]{0,63}\Z")
_LONGEST_TIME = 24 * 3600
_LEAST_DISK, _MOST_DISK = 64 << 20, 1 << 40

T = TypeVar("T", bound=msgspec.Struct)
Count = Annotated[int, msgspec.Meta(ge=1, le=100_000)]
Whole = Annotated[int, msgspec.Meta(ge=0, le=100_000)]


class Envelope(msgspec.Struct, forbid_unknown_fields=True):
    """What every arm is given alike. disk: the size of a data disk at /data, if there is to be one; link: whether there
    is one, to a peer."""

    cpus: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    memory: str = "128 MiB"
    rootfs: str = "tiny"
    disk: str | None = None
    link: bool = False

    @property
    def memory_bytes(self) -> int:
        return units.size(self.memory)

    @property
    def disk_bytes(self) -> int | None:
        return None if self.disk is None else units.size(self.disk)


class Scenario(msgspec.Struct, forbid_unknown_fields=True):
    """A scenario file, or the keys of it that a campaign changes."""

    measures: Annotated[list[str], msgspec.Meta(min_length=1)]
    description: str = ""
    blocks: Count | None = None
    workloads: Annotated[list[str], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: ["true"])
    neighbours: list[str] = []
    warmups: Whole = 1
    values: Count = 5
    timeout: str = "60 s"
    instances: Count = 10
    step: Count = 1
    boot_limit: str | None = None
    memory_reserve: str = "512 MiB"
    tenant: str | None = None
    p99_limit: str | None = None
    ksm: Literal["on", "off"] | None = None
    cache: Literal["warm", "cold"] | None = None


class Slurm(msgspec.Struct, forbid_unknown_fields=True):
    """How a campaign has a Slurm cluster run it. nodes: between how many its blocks are divided; options: for sbatch,
    like "--partition=lab"; python: the nodes' own."""

    nodes: Annotated[int, msgspec.Meta(ge=1, le=1024)] = 1
    options: list[str] = []
    python: str = "python3"


class CampaignFile(msgspec.Struct, forbid_unknown_fields=True):
    """A campaign file as it is written."""

    name: str
    blocks: Annotated[int, msgspec.Meta(ge=1, le=10_000)]
    baseline: str
    scenarios: Annotated[dict[str, Any], msgspec.Meta(min_length=1)]
    arms: Annotated[dict[str, Any], msgspec.Meta(min_length=1)]
    description: str = ""
    seed: Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)] = 1
    envelope: Envelope = msgspec.field(default_factory=Envelope)
    stop: Literal["fixed", "adaptive"] = "fixed"
    pairs: list[list[str]] = []
    delta: str | None = None
    host_kernels: list[str] = []
    reboots: Literal["interleaved", "grouped"] = "interleaved"
    hosts: Annotated[list[str], msgspec.Meta(min_length=1)] = msgspec.field(default_factory=lambda: [inventory.LOCAL])
    engine: Literal["fabric", "slurm"] = "fabric"
    slurm: Slurm | None = None


class Stop(msgspec.Struct):
    """How a campaign may end before its last block. pairs: (base, new) arms; delta: the margin of equivalence, 0.03."""

    pairs: list[tuple[str, str]]
    delta: float


class Arm(msgspec.Struct):
    """One thing under comparison. kernel: the one it boots; None where it runs on the host's."""

    name: str
    backend: str
    options: dict[str, Any]
    kernel: kernels.Wish | None

    @property
    def kind(self) -> type[base.Backend]:
        return base.load(self.backend)


class Campaign(msgspec.Struct):
    """A checked campaign. text: the file, verbatim; host_kernels: releases; given_kernels: where those lie that the
    file names by a path."""

    name: str
    description: str
    seed: int
    blocks: int
    baseline: str
    envelope: Envelope
    scenarios: dict[str, Scenario]
    arms: dict[str, Arm]
    text: str
    stop: Stop | None = None
    host_kernels: list[str] = []
    given_kernels: dict[str, Path] = {}
    reboots: str = "interleaved"
    hosts: list[str] = msgspec.field(default_factory=lambda: [inventory.LOCAL])
    slurm: Slurm | None = None


def load(path: Path) -> Campaign:
    """Read and check a campaign file and the scenarios that it names. Raises InputError."""
    text = _read(path)
    return parse(text, path)


def parse(text: str, path: Path, releases: Sequence[str] = ()) -> Campaign:
    """A campaign from its text; path is where scenario files are looked for first, and what errors name.

    releases: those of its host kernels, of a text that is not where its paths lead from any more.
    """
    found = _decode(text, path, CampaignFile)
    _check_name(path, "name", found.name)
    _check(path, "envelope.memory", lambda: units.size(found.envelope.memory))
    if found.envelope.memory_bytes < 32 << 20:
        raise _wrong(path, "envelope.memory", f"{found.envelope.memory} is too little for a guest: 32 MiB or more")
    if found.envelope.disk is not None:
        _check_disk(path, found.envelope)
    if found.envelope.rootfs not in image.names():
        raise _wrong(
            path, "envelope.rootfs", f"there is no rootfs {found.envelope.rootfs!r}: one of {', '.join(image.names())}"
        )
    arms = {name: _arm(path, name, table) for name, table in found.arms.items()}
    host_kernels = _host_kernels(path, found, releases)
    if found.baseline not in arms:
        raise _wrong(path, "baseline", f"there is no arm {found.baseline!r}: one of {', '.join(arms)}")
    scenarios = {name: _scenario(path, name, table) for name, table in found.scenarios.items()}
    ramps = [name for name, scenario in scenarios.items() if "density" in scenario.measures]
    if len(ramps) > 1:
        raise _wrong(path, f"scenarios.{ramps[1]}", f"{ramps[0]} is a ramp already: make another campaign of this one")
    for name, scenario in scenarios.items():
        _check_needs(path, name, scenario, found.envelope)
        if scenario.blocks is not None and scenario.blocks > found.blocks:
            raise _wrong(
                path,
                f"scenarios.{name}.blocks",
                f"{scenario.blocks} is more than the campaign's blocks = {found.blocks}",
            )
    return Campaign(
        name=found.name,
        description=found.description,
        seed=found.seed,
        blocks=found.blocks,
        baseline=found.baseline,
        envelope=found.envelope,
        scenarios=scenarios,
        arms=arms,
        text=text,
        stop=_stop(path, found, arms),
        host_kernels=list(host_kernels),
        given_kernels={release: given for release, given in host_kernels.items() if given},
        reboots=found.reboots,
        hosts=_hosts(path, found.hosts),
        slurm=_slurm(path, found),
    )


def _host_kernels(path: Path, found: CampaignFile, releases: Sequence[str]) -> dict[str, Path | None]:
    """The kernels by release, and where those lie that are given by a path: relative to the campaign's file.

    releases: see parse().
    """
    names = found.host_kernels
    chosen: dict[str, Path | None] = {}
    for name in releases or names:
        given = path.parent / name if "/" in name else None
        try:
            release = parcel.look(given) if given else name
        except InputError as error:
            raise _wrong(path, "host_kernels", str(error)) from error
        if not parcel.RELEASE.match(release):
            raise _wrong(
                path,
                "host_kernels",
                f"{name!r} is neither a release as uname -r has it, like 6.1.0-50-amd64, nor a path, which has a /",
            )
        if release in chosen:
            raise _wrong(path, "host_kernels", f"{release!r} is there more than once: name it once")
        chosen[release] = given
    if names and inventory.LOCAL in found.hosts:
        raise _wrong(path, "host_kernels", "this machine is not booted anew: name other hosts, hosts = [...]")
    if names and found.stop == "adaptive":
        raise _wrong(path, "host_kernels", 'such a campaign runs all its blocks: leave out stop = "adaptive"')
    if found.reboots != "interleaved" and not names:
        raise _wrong(path, "reboots", "is for a campaign with host_kernels")
    return chosen


def _hosts(path: Path, names: list[str]) -> list[str]:
    for name in names:
        if not inventory.NAME.match(name):
            raise _wrong(path, "hosts", f"{name!r} is not a host's name: ./tare host list says which there are")
        if names.count(name) > 1:
            raise _wrong(path, "hosts", f"{name!r} is there more than once: name it once")
    return names


def _slurm(path: Path, found: CampaignFile) -> Slurm | None:
    if found.engine != "slurm":
        if found.slurm:
            raise _wrong(path, "slurm", 'is for a campaign on a cluster: add engine = "slurm"')
        return None
    if found.hosts != [inventory.LOCAL]:
        raise _wrong(path, "hosts", 'Slurm chooses the nodes: leave it out, or give slurm.options = ["--nodelist=…"]')
    if found.host_kernels:
        raise _wrong(path, "host_kernels", "a cluster's nodes are not booted anew: leave it out")
    if found.stop == "adaptive":
        raise _wrong(path, "stop", "a cluster's nodes run their blocks at the same time, and all of them: leave it out")
    given = found.slurm or Slurm()
    if given.nodes > found.blocks:
        raise _wrong(path, "slurm.nodes", f"{given.nodes} is more than blocks = {found.blocks}: a block has one node")
    for option in given.options:
        if not option.startswith(tuple(f"--{name}=" for name in slurm.OPTIONS)):
            known = ", ".join(f"--{name}=…" for name in slurm.OPTIONS)
            raise _wrong(path, "slurm.options", f"{option!r} is not one of {known}")
    return given


def _stop(path: Path, found: CampaignFile, arms: dict[str, Arm]) -> Stop | None:
    if found.stop == "fixed":
        for key, given in (("pairs", found.pairs), ("delta", found.delta)):
            if given:
                raise _wrong(path, key, 'is for a campaign that may stop early: add stop = "adaptive"')
        return None
    for pair in found.pairs:
        if len(pair) != 2 or pair[0] == pair[1] or not set(pair) <= set(arms):
            raise _wrong(path, "pairs", f"{pair!r} is not two of the arms: {', '.join(arms)}")
    pairs = [(base, new) for base, new in found.pairs] or [
        (found.baseline, name) for name in arms if name != found.baseline
    ]
    if not pairs:
        raise _wrong(path, "stop", "an adaptive campaign needs two arms to compare")
    text = found.delta or "3 %"
    match = re.fullmatch(r"\s*(\d+(?:\.\d+)?)\s*%\s*", text)
    if not match or not 0 < float(match[1]) < 100:
        raise _wrong(path, "delta", f'{text!r} is not a margin of equivalence like "3 %"')
    return Stop(pairs, float(match[1]) / 100)


def _arm(path: Path, name: str, found: object) -> Arm:
    key = f"arms.{name}"
    _check_name(path, key, name)
    table = dict(_table(path, key, found))
    prefix, _, release = name.partition("@")
    backend = table.pop("backend", prefix)
    if backend not in base.names():
        raise _wrong(path, key, f"there is no backend {backend!r}: one of {', '.join(base.names())}")
    kind = base.load(backend)
    kernel = _kernel(path, key, table, release, kind.kernel) if kind.kernel else None
    try:
        base.make_options(kind, table)
    except InputError as error:
        raise _wrong(path, f"{key}.{error.what}", error.hint) from error
    return Arm(name, backend, table, kernel)


def _kernel(path: Path, key: str, table: dict[str, Any], release: str, kind: base.KernelKind) -> kernels.Wish:
    """Takes `kernel` and `config` out of an arm's table. Files are looked for beside the campaign."""
    text, lines = table.pop("kernel", release), table.pop("config", [])
    if not isinstance(text, str):
        raise _wrong(path, f"{key}.kernel", 'expected a release like "6.1.0-56-cloud-amd64", a package or a path')
    if not isinstance(lines, str) and not (isinstance(lines, list) and all(isinstance(line, str) for line in lines)):
        raise _wrong(path, f"{key}.config", 'expected a list like ["CONFIG_PROVE_LOCKING=y"], or the name of a file')
    try:
        options = read_options(path.parent / lines) if isinstance(lines, str) else kbuild.parse_options(lines)
    except InputError as error:
        raise _wrong(path, f"{key}.config", str(error)) from error
    try:
        if "/" in text:  # a file's name alone is none of a kernel's
            text = str(path.parent / text)
            text = text if "/" in text else f"./{text}"
        wish = kernels.parse(text, options) if text else kernels.Wish()
        if options and not text:
            raise InputError("config is of a source package", hint='kernel = "linux-source-6.1"')
        kernels.check_kind(wish, kind)
    except InputError as error:
        raise _wrong(path, f"{key}.kernel", str(error)) from error
    return wish


def read_options(path: Path) -> dict[str, str]:
    """Kernel options of a file: name without CONFIG_ → value. Raises InputError."""
    lines = _read(path).splitlines()
    try:
        return kbuild.parse_options(lines)
    except InputError as error:
        raise InputError(f"{path}: {error}") from error


def _scenario(path: Path, name: str, found: object) -> Scenario:
    """A scenario file with the campaign's changes. What is wrong in the file is said of the file."""
    key = f"scenarios.{name}"
    _check_name(path, key, name)
    changes = _table(path, key, found)
    for folder in (path.parent, PROJECT_SCENARIOS):
        if (file := folder / f"{name}.toml").is_file():
            table = files.parse_toml(_read(file), str(file))
            _checked_scenario(table, file, "")
            return _checked_scenario({**table, **changes}, path, key)
    if "measures" not in changes:
        there = ", ".join(scenario_names()) or "none"
        raise _wrong(
            path,
            key,
            f"there is no scenario {name!r} (no {name}.toml): one of {there}, or give it measures = [...]",
        )
    return _checked_scenario(changes, path, key)


def _checked_scenario(table: dict[str, Any], path: Path, prefix: str) -> Scenario:
    """prefix: where in the file the scenario is, for errors."""
    scenario = _convert(table, path, Scenario, prefix)
    _check_measures(path, _dotted(prefix, "measures"), scenario.measures)
    _check_names(path, _dotted(prefix, "workloads"), "workload", scenario.workloads, workloads.names())
    _check_names(path, _dotted(prefix, "neighbours"), "neighbour", scenario.neighbours, list(neighbours.KINDS))
    if "isolation" in scenario.measures and not scenario.neighbours:
        known = ", ".join(neighbours.KINDS)
        raise _wrong(path, _dotted(prefix, "neighbours"), f"isolation needs some of {known}: neighbours = [...]")
    if "isolation" in scenario.measures and len(scenario.workloads) > 1:
        raise _wrong(path, _dotted(prefix, "workloads"), "isolation has one tenant: name one workload")
    _check(path, _dotted(prefix, "memory_reserve"), lambda: units.size(scenario.memory_reserve))
    if scenario.tenant is not None:
        _check_names(path, _dotted(prefix, "tenant"), "workload", [scenario.tenant], workloads.names())
        if workloads.load(scenario.tenant).peer:
            raise _wrong(path, _dotted(prefix, "tenant"), "a tenant works by itself, without a peer")
    if scenario.tenant is None and scenario.p99_limit is not None:
        raise _wrong(path, _dotted(prefix, "p99_limit"), 'whose? name a tenant: tenant = "redis_serving"')
    for key in ("tenant", "ksm", "cache"):
        if "density" not in scenario.measures and getattr(scenario, key) is not None:
            raise _wrong(path, _dotted(prefix, key), f'only a ramp has {key}: measures = ["density"]')
    times = {name: getattr(scenario, name) for name in ("timeout", "boot_limit", "p99_limit")}
    for key, text in times.items():
        if text is not None:
            _check_time(path, _dotted(prefix, key), text)
    return scenario


def _check_measures(path: Path, key: str, names: list[str]) -> None:
    _check_names(path, key, "measure", names, measures.names())
    for alone, why in (
        ("density", "its memory is that of all the slot's instances"),
        ("isolation", "whatever came before its neighbours would be beside them"),
    ):
        if alone in names and len(names) > 1:
            raise _wrong(path, key, f"{alone} needs a scenario of its own: {why}")
    # Measures share the slot's instance, so that a second kind of guest would go unmeasured.
    if len({measures.load(name).guest for name in names}) > 1:
        raise _wrong(path, key, "firmware needs a scenario of its own: its guest runs no Linux")


def _check_names(path: Path, key: str, what: str, names: list[str], known: list[str]) -> None:
    for name in names:
        if name not in known:
            raise _wrong(path, key, f"there is no {what} {name!r}: one of {', '.join(known)}")
        if names.count(name) > 1:
            raise _wrong(path, key, f"{name!r} is there more than once: name it once")


def _check_disk(path: Path, envelope: Envelope) -> None:
    _check(path, "envelope.disk", lambda: envelope.disk_bytes)
    if not _LEAST_DISK <= (envelope.disk_bytes or 0) <= _MOST_DISK:
        least, most = units.show_size(_LEAST_DISK), units.show_size(_MOST_DISK)
        raise _wrong(path, "envelope.disk", f"{envelope.disk} is no size for a data disk: {least} to {most}")


def _check_needs(path: Path, name: str, scenario: Scenario, envelope: Envelope) -> None:
    """Whether what a scenario runs is in the campaign's rootfs, and has the disk that it writes to and the link that it
    sends through."""
    needed = [("measure", each, measures.load(each).rootfs, False, False) for each in scenario.measures]
    for each in [*scenario.workloads, *([scenario.tenant] if scenario.tenant else [])]:
        workload = workloads.load(each)
        needed.append(("workload", each, workload.rootfs, workload.disk, bool(workload.peer)))
    for each in scenario.neighbours:
        needed.append(("neighbour", each, None, neighbours.KINDS[each].disk, bool(neighbours.KINDS[each].peer)))
    for what, each, rootfs, disk, link in needed:
        if rootfs not in (None, envelope.rootfs):
            raise _wrong(path, f"scenarios.{name}.{what}s", f'{what} {each!r} needs envelope.rootfs = "{rootfs}"')
        if disk and envelope.disk is None:
            raise _wrong(path, f"scenarios.{name}.{what}s", f'{what} {each!r} needs a disk: envelope.disk = "256 MiB"')
        if link and not envelope.link:
            raise _wrong(path, f"scenarios.{name}.{what}s", f"{what} {each!r} needs a link: envelope.link = true")


def _check_time(path: Path, key: str, text: str) -> None:
    _check(path, key, lambda: units.duration(text))
    if units.duration(text) > _LONGEST_TIME:
        raise _wrong(path, key, f"{text!r} is too much: at most {_LONGEST_TIME // 60} min (24 hours)")


def scenario_names() -> list[str]:
    """The project's own scenario files (a campaign has arms, a scenario has measures)."""
    return sorted(
        file.stem for file in PROJECT_SCENARIOS.glob("*.toml") if "measures" in files.parse_toml(_read(file), str(file))
    )


def _read(path: Path) -> str:
    if os.path.isdir(path):  # noqa: PTH112 # which takes any name
        inside = path / "campaign.toml"
        hint = f"name a file, like {inside}" if inside.is_file() else "name a campaign's file"
        raise InputError(f"{path}: is a directory", hint=hint)
    try:
        return files.read_text(path, limit=files.WRITTEN)
    except MissingFile as error:
        raise InputError(f"{path}: no such file", hint="campaigns that come with Tare are in scenarios/") from error


def _decode(text: str, path: Path, kind: type[T]) -> T:
    return _convert(files.parse_toml(text, str(path)), path, kind, "")


def _convert(table: dict[str, Any], path: Path, kind: type[T], prefix: str) -> T:
    try:
        return msgspec.convert(table, kind)
    except msgspec.ValidationError as error:
        raise InputError(f"{path}: {_one_line(_explain(str(error), prefix, kind))}") from error


_PLAIN = {
    "int": "a whole number",
    "str": "a string",
    "object": "a table",
    "array": "a list",
    "bool": "true or false",
    "float": "a number",
}


def _explain(message: str, prefix: str, kind: type[msgspec.Struct]) -> str:
    """msgspec's message as "key: what is wrong"."""
    what, _, where = message.partition(" - at `")
    key = ".".join(part for part in (prefix, where.rstrip("`").removeprefix("$").lstrip(".")) if part)
    if match := re.match(r"Object contains unknown field `(.*)`", what, re.DOTALL):
        owner = Envelope if key == "envelope" else kind
        known = ", ".join(field.name for field in msgspec.structs.fields(owner))
        return f"{_dotted(key, match[1])}: unknown key: one of {known}"
    if match := re.match(r"Object missing required field `(.*)`", what):
        return f"{_dotted(key, match[1])}: missing: this file needs it"
    for name, plain in _PLAIN.items():
        what = what.replace(f"`{name}`", plain)
    what = what.replace("`null`", "nothing").replace("Expected", "expected").replace(" | nothing", "")
    return f"{key}: {what}"


def _dotted(prefix: str, key: str) -> str:
    return f"{prefix}.{key}" if prefix else key


def _check(path: Path, key: str, convert: Any) -> None:
    try:
        convert()
    except ValueError as error:
        raise _wrong(path, key, str(error)) from error


def _check_name(path: Path, key: str, name: str) -> None:
    if not _NAME.match(name):
        raise _wrong(path, key, f"{name!r} is not a name: at most 64 small letters, digits and . _ @ + -")


def _wrong(path: Path, key: str, message: str) -> InputError:
    return InputError(f"{path}: {_one_line(key)}: {message}")


def _one_line(text: str) -> str:
    """TOML keys may hold anything, line ends too."""
    return "".join(char if char.isprintable() else repr(char)[1:-1] for char in text)


def _table(path: Path, key: str, value: object) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise _wrong(path, key, f"expected a table like {{}}, not {value!r}")
    return value
