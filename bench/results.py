"""The record: one results folder of plan.json, facts.json and journal.jsonl (schema 1).

The journal has one JSON object a line, one line a slot. Readers keep unknown keys, ignore a torn last line
(one without its newline: the writer died), and name file and line for anything else that is not a record.
Imports only the standard library, because the slot worker needs this module on hosts that have nothing more: so it
checks by bench.shape, and not by msgspec as bench.answers does.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import itertools
import json
import math
import os
import re
import time
from collections.abc import Iterable, Iterator, Mapping
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from bench import files
from bench.errors import InputError, MissingFile, RecordError
from bench.shape import Needed, Shape, fault
from bench.units import show_size

SCHEMA: Final = 1
JOURNAL: Final = "journal.jsonl"
PLAN: Final = "plan.json"
FACTS: Final = "facts.json"
CAMPAIGN: Final = "campaign.toml"
#: Of a campaign on several hosts: {"schema", "hosts": [name]}. Each has a results folder of its own beside it.
HOSTS: Final = "hosts.json"
#: Of a host that was lost before its last slot: {"schema", "when", "reason"}.
LOST: Final = "lost.json"
#: Of a campaign on a cluster: {"schema", "nodes": {name: {"host", "tools", "cgroup"…} as in facts.json}}.
NODES: Final = "nodes.json"
#: Of a campaign that may stop early: {"schema", "block": the last look, "text": it in words, "stopped": [{"scenario",
#: "arm", "blocks"}]: what took no further block, "metrics": [{"base", "new", "scenario", "metric", "verdict", "ratio",
#: "blocks", "over"}]}.
DECISIONS: Final = "decisions.json"

Record = dict[str, Any]

#: What a host is called, which is also what its folder is called.
HOST_NAME: Final = re.compile(r"[a-z0-9][a-z0-9._-]{0,31}\Z")

#: What an arm is called in a plan; on a host kernel it bears that one's release too.
ARM_NAME: Final = re.compile(r"[a-z0-9][A-Za-z0-9._@+~-]{0,159}\Z")

_LEAST, _MOST = 1e-15, 2.0**63
_TAIL_BYTES = 1 << 16
#: A ramp of thousands of instances has a line of a megabyte or two.
_LONGEST_LINE = 16 << 20
#: Half a million slots.
_LARGEST_JOURNAL = 4 << 30

_ANY: Shape = {...: object}
_HOST: Shape = {
    **dict.fromkeys(("name", "cpu", "microcode", "kernel", "boot_id", "clocksource", "governor", "thp"), str),
    **dict.fromkeys(("distribution", "machine", "board"), str),
    "cores": int,
    "memory": int,
    "mitigations": _ANY,
}
_FACTS: Shape = {
    **dict.fromkeys(("started", "python", "user", "cgroup"), str),
    "host": _HOST,
    "git": {"revision": str, "dirty": bool},
    "cage": {"cpus": str, "harness_cpus": str},
    "rootfs": {"name": str, "digest": str, "packages": _ANY},
    "tools": _ANY,
    "packages": _ANY,
    "kernels": _ANY,
    "notes": [str],
    "code": str,
    "resumed": [{"when": Needed(str), "changed": Needed([str]), "anyway": Needed(bool)}],
}
_SCENARIO: Shape = {
    **dict.fromkeys(("description", "workload", "tenant", "ksm", "cache"), str),
    "measures": [str],
    "workloads": [str],
    "neighbours": [str],
    **dict.fromkeys(("blocks", "warmups", "values", "instances", "step", "memory_reserve"), int),
    **dict.fromkeys(("timeout", "boot_limit", "p99_limit"), float),
}
_PLAN: Shape = {
    **dict.fromkeys(("campaign", "description", "baseline", "host", "reboots"), str),
    "seed": int,
    "blocks": int,
    "envelope": {"cpus": int, "memory": int, "rootfs": str, "disk": int, "link": bool},
    "arms": {
        ...: {
            **dict.fromkeys(("backend", "family", "label", "of", "host_kernel", "kernel"), str),
            "options": _ANY,
            "boots": _ANY,
        }
    },
    "scenarios": {...: _SCENARIO},
    "workloads": {...: {"area": str, "summary": str}},
    "measures": {...: {...: [str]}},
    "stop": {"pairs": Needed([[str]]), "delta": Needed(float)},
    "slots": [{"slot": Needed(str), "scenario": Needed(str), "arm": Needed(str), "block": int, "order": int}],
    "left_out": [{"arm": str, "scenario": str, "reason": str}],
    "host_kernels": [str],
    "slurm": {"nodes": int, "options": [str], "python": str},
    "sent": {...: _ANY},
}
_DECISIONS: Shape = {
    "block": Needed(int),
    "text": str,
    "stopped": Needed([{"scenario": Needed(str), "arm": Needed(str), "blocks": Needed(int)}]),
    "metrics": [
        {
            **dict.fromkeys(("base", "new", "scenario", "metric", "verdict"), Needed(str)),
            "ratio": float,
            "blocks": int,
            "over": Needed(bool),
        }
    ],
}
_HOSTS: Shape = {"hosts": Needed([str]), "host_kernels": [{"release": Needed(str), "sha256": str}]}
_LOST: Shape = {"when": str, "reason": str}
_NODES: Shape = {"nodes": {...: {"host": _HOST, "tools": _ANY, "cgroup": str}}}
_LINE: Shape = {
    "slot": Needed(str),
    **dict.fromkeys(("scenario", "arm", "family", "host", "boot_id", "kernel"), str),
    **dict.fromkeys(("status", "reason", "started", "stop", "console", "job"), str),
    **dict.fromkeys(("block", "order"), int),
    **dict.fromkeys(("wall_s", "cpu_s"), float),
    "marks": _ANY,
    "memory": _ANY,
    "seen": _ANY,
    "equivalence": {"badge": str, "caged": bool, "differs": _ANY, "kernel": _ANY},
    "samples": [{"metric": Needed(str), "unit": str, "better": str, "values": list, "warmups": list, "clock": float}],
    "ramp": [_ANY],
}


def now() -> str:
    """The time of day, UTC, as records have it."""
    return stamp(time.time())


def stamp(seconds: float) -> str:
    """As now(), of seconds since 1970."""
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


class Journal:
    """Appends records to a journal so that each is on disk whole, or not there at all.

    Opening cuts off a torn last line, so that a resumed campaign starts on a clean one.
    """

    def __init__(self, path: Path, *, of_slots: bool = True) -> None:
        """of_slots: whether its records are those that read_journal() reads; any others, else."""
        self.path = path
        self._of_slots = of_slots
        existed = path.exists()
        try:
            flags = os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
            self._fd = os.open(path, flags, 0o644)
        except OSError as error:
            why = "it is a symbolic link" if error.errno == errno.ELOOP else error.strerror
            raise RecordError(f"cannot write {path}: {why}") from error
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            whole = _end_of_last_line(self._fd)
            if whole != os.fstat(self._fd).st_size:
                os.ftruncate(self._fd, whole)
            if not existed:
                files.sync_folder(path.parent)
        except OSError as error:
            os.close(self._fd)
            why = "another tare writes it" if isinstance(error, BlockingIOError) else error.strerror
            raise RecordError(f"cannot write {path}: {why}") from error

    def append(self, record: Record) -> None:
        """Writes one line and waits until it is on disk.

        Raises RecordError where the disk is full or fails, or where the line could not be read again; the lines
        before stay whole, the new one is not there.
        """
        try:
            line = encoded(record) if self._of_slots else _encoded(record)
        except (TypeError, ValueError) as error:
            raise _unfit(record, error) from error
        before = os.fstat(self._fd).st_size
        try:
            if self._of_slots and before + len(line) > _LARGEST_JOURNAL:
                raise OSError(0, f"more than {show_size(_LARGEST_JOURNAL)} are not read again")
            written = os.write(self._fd, line)
            if written < len(line):
                raise OSError(0, f"only {written} of {len(line)} bytes fitted, the disk is full")
            os.fsync(self._fd)
        except OSError as error:
            # A device such as /dev/full cannot be truncated, and holds no earlier lines to protect.
            with contextlib.suppress(OSError):
                os.ftruncate(self._fd, before)
                os.fsync(self._fd)
            raise RecordError(
                f"cannot write slot {record.get('slot')!r} to {self.path}: {error.strerror}",
                detail="the earlier lines are intact",
                hint="make room on that disk, then resume the campaign",
            ) from error

    def close(self) -> None:
        os.close(self._fd)

    def __enter__(self) -> Journal:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def encoded(record: Record) -> bytes:
    """A slot's line of the journal. Raises RecordError for what could not be read again, nor the lines after it."""
    try:
        line = _encoded(record)
        if len(line) > _LONGEST_LINE:
            raise ValueError(f"it is of more than {show_size(_LONGEST_LINE)}")
        _record(line, Path(JOURNAL), 0)
    except (TypeError, ValueError, InputError) as error:
        raise _unfit(record, error) from error
    return line


def _encoded(record: Record) -> bytes:
    return json.dumps(record, separators=(",", ":"), allow_nan=False).encode() + b"\n"


def _unfit(record: Record, error: Exception) -> RecordError:
    return RecordError(f"slot {record.get('slot')!r} cannot be journaled: {error}")


def _end_of_last_line(fd: int) -> int:
    """The offset behind the last newline; 0 where there is none."""
    end = os.fstat(fd).st_size
    while end > 0:
        start = max(0, end - _TAIL_BYTES)
        newline = os.pread(fd, end - start, start).rfind(b"\n")
        if newline >= 0:
            return start + newline + 1
        end = start
    return 0


def read_journal(path: Path) -> list[Record]:
    """Every whole line of a journal, in the order written.

    Raises InputError where the file is missing, or where a line is not a record (naming file and line).
    """
    try:
        return list(_lines(path))
    except MissingFile as error:
        hint = "name a results folder that `tare run` made"
        with contextlib.suppress(InputError):
            if names := read_hosts(path.parent):
                hint = "that campaign ran on several hosts: name one's folder, " + " or ".join(
                    str(path.parent / name) for name in names
                )
        raise InputError(f"no journal at {path}", hint=hint) from error


def _lines(path: Path) -> Iterator[Record]:
    """One line at a time, so that one without an end costs no more than the longest that is read."""
    with files.opened(path, limit=_LARGEST_JOURNAL) as journal:
        for number in itertools.count(1):
            try:
                line = journal.readline(_LONGEST_LINE + 1)
            except OSError as error:
                raise InputError(f"cannot read {path}: {error.strerror}") from error
            if len(line) > _LONGEST_LINE:
                raise InputError(f"{path}:{number}: more than {show_size(_LONGEST_LINE)} are no journal line")
            if not line.endswith(b"\n"):
                return  # torn, or the end
            if line.strip():
                yield _record(line, path, number)


def torn_bytes(path: Path) -> int:
    """How long the torn last line is that `read_journal` leaves out; 0 where the journal ends with a whole one."""
    try:
        fd = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}") from error
    try:
        return os.fstat(fd).st_size - _end_of_last_line(fd)
    finally:
        os.close(fd)


def _record(line: bytes, path: Path, number: int) -> Record:
    name = f"{path}:{number}"
    record: Record = _checked(files.parse_json(line, name), _LINE, name)
    if not record["slot"]:
        raise InputError(f"{name}: no slot id: each line needs a text `slot`")
    return record


def _checked(found: Any, shape: Shape, name: str) -> Record:
    """Raises InputError where it is not an object of this shape and schema."""
    if not isinstance(found, dict):
        raise InputError(f"{name}: a {type(found).__name__} where a JSON object should be")
    schema = found.get("schema", SCHEMA)
    if schema != SCHEMA:
        raise InputError(f"{name}: written in schema {ascii(schema)[:40]}, this Tare reads schema {SCHEMA}")
    if wrong := fault(found, shape):
        raise InputError(f"{name}: {wrong}")
    return found


def measurable(values: Iterable[float]) -> bool:
    """Whether numbers can be measurements of anything: finite, and what 64 bits hold at most."""
    return all(size <= _MOST for size in map(abs, values))


def resolved(values: list[float]) -> list[float]:
    """Measurements, in which what no clock and no counter resolves is 0: the rounding of a difference, for one."""
    return [0.0 if abs(value) < _LEAST else value for value in values]


def last_of_each_slot(records: list[Record]) -> list[Record]:
    """One record a slot id: the last, because an id stands twice only where its first attempt was lost.

    Of a block that a cluster's job left to another, only what the other ran: a block is of one node.
    """
    last = {record["slot"]: record for record in records}
    jobs = {record.get("block"): record.get("job") for record in records}
    return [record for record in last.values() if record.get("job") == jobs[record.get("block")]]


def content(text: str, name: str) -> bytes:
    """Of a file beside the journal. Raises InputError where it is too large to be read again."""
    found = text.encode()
    if len(found) > files.SMALL:
        what = f"{name} would be {show_size(len(found))}, and is too large: at most {show_size(files.SMALL)} are read"
        raise InputError(what, hint="take fewer blocks, arms or scenarios")
    return found


def write(path: Path, text: str) -> None:
    """A file beside the journal, on the disk whole or not at all. Raises RecordError, and as content()."""
    try:
        files.write(path, content(text, path.name), within=path.parent)
    except OSError as error:
        raise RecordError(
            f"cannot write {path}: {error.strerror}", hint="make room, then resume the campaign"
        ) from error


def write_object(path: Path, value: Mapping[str, Any]) -> None:
    """As write(), of one of the JSON files."""
    write(path, as_json(value))


def as_json(value: object) -> str:
    """As the files beside the journal have it."""
    return json.dumps(_finite(value), indent=1, allow_nan=False) + "\n"


def _finite(value: Any) -> Any:
    """JSON has no word for what is no number."""
    if isinstance(value, Mapping):
        return {key: _finite(each) for key, each in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(each) for each in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def refuse_file(folder: Path) -> None:
    """Raises InputError where a file is given for a results folder."""
    if os.path.exists(folder) and not os.path.isdir(folder):  # noqa: PTH110, PTH112 # which take any name
        hint = f"name the folder: {folder.parent}" if (folder.parent / JOURNAL).exists() else "name the folder"
        raise InputError(f"{folder} is a file, not a results folder", hint=hint)


def read_plan(folder: Path) -> Record | None:
    """plan.json, or None where the folder has none. Raises InputError where it is none."""
    return _read_object(folder / PLAN, _PLAN)


def read_facts(folder: Path) -> Record | None:
    """facts.json, or None where the folder has none. Raises InputError where it is none."""
    return _read_object(folder / FACTS, _FACTS)


def read_decisions(folder: Path) -> Record | None:
    """decisions.json, or None where the folder has none. Raises InputError where it is none."""
    return _read_object(folder / DECISIONS, _DECISIONS)


def read_hosts(folder: Path) -> list[str] | None:
    """The hosts of a campaign that ran on several, or None for one that did not. Raises InputError."""
    found = _read_object(folder / HOSTS, _HOSTS)
    if found is None:
        return None
    names: list[str] = found["hosts"]
    if not names:
        raise InputError(f"{folder / HOSTS}: no list of hosts")
    for name in names:
        if not HOST_NAME.match(name):  # it is a folder's
            raise InputError(f"{folder / HOSTS}: {ascii(name)[:60]} is not a host's name")
        if (folder / name).is_symlink():
            raise InputError(f"{folder / name} is a symbolic link: results are read in their own folder alone")
    return list(dict.fromkeys(names))


def read_host_kernels(folder: Path) -> list[Record]:
    """The host kernels of a campaign that ran on several hosts, in its order: release, and facts of those that it gave.

    Raises InputError.
    """
    return (_read_object(folder / HOSTS, _HOSTS) or {}).get("host_kernels") or []


def read_lost(folder: Path) -> Record | None:
    """lost.json, or None where no host was lost. Raises InputError where it is none."""
    return _read_object(folder / LOST, _LOST)


def read_nodes(folder: Path) -> dict[str, Record]:
    """What is known of each node of a cluster, {} where none is named. Raises InputError where it is no JSON object."""
    return (_read_object(folder / NODES, _NODES) or {}).get("nodes") or {}


def spared(plan: Record, decisions: Record | None) -> set[str]:
    """The ids of slots that were planned and that an early stop made needless."""
    after = {(each["scenario"], each["arm"]): each["blocks"] for each in (decisions or {}).get("stopped", [])}
    slots = plan.get("slots") or [] if after else []
    kinds = ((slot, (slot.get("scenario"), slot.get("arm"))) for slot in slots)
    return {slot["slot"] for slot, kind in kinds if kind in after and slot["block"] > after[kind]}


def _read_object(path: Path, shape: Shape) -> Record | None:
    try:
        found = files.read_json(path)
    except MissingFile:
        return None
    return _checked(found, shape, str(path))
