"""The kernel's same-page merging (KSM): switched for a slot, and put back as it was.

It merges what asks for it: QEMU its guests' memory, UML and containers nothing.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import time
from collections.abc import Iterator
from pathlib import Path

from bench import files
from bench.errors import FileError, HostError, MissingFile
from bench.shape import fault

_FOLDER = Path("/sys/kernel/mm/ksm")
#: What was there before, in the run's folder, for who has to put it back where its worker cannot.
NOTE = "ksm.json"
#: On: a quarter of a million pages a second, so that what can be merged is before it is looked at.
_STATES = {"on": {"pages_to_scan": "5000", "sleep_millisecs": "20", "run": "1"}, "off": {"run": "0"}}
#: A page is merged when it has not changed since the scan before.
_SCANS = 3
_SCAN_LIMIT = 30.0
#: Nobody has asked for merging, or no longer, where no page is looked at for so many seconds.
_NOTHING = 1.0


@contextlib.contextmanager
def switched(state: str | None, folder: Path) -> Iterator[None]:
    """On or off for as long as the block lasts; None leaves it alone. folder: the run's. Raises HostError."""
    note = folder / NOTE
    restore(note)  # of a worker that was killed in between
    if state is None:
        yield
        return
    wanted = _STATES[state]
    try:
        before = {name: (_FOLDER / name).read_text().strip() for name in wanted}
        files.write(note, json.dumps(before))
        _write(wanted)
    except OSError as error:
        restore(note)
        raise HostError(
            f"KSM cannot be switched {state}: {error.strerror}", hint="only root can (CONFIG_KSM)"
        ) from error
    try:
        yield
    finally:
        restore(note)


def restore(note: Path) -> bool:
    """Put back what a note says; whether there was one. Raises HostError where it cannot be."""
    try:
        before = files.read_json(note)
        if fault(before, {...: str}) or not set(before) <= set(_STATES["on"]):
            raise ValueError("it is none")
        _write(before)
    except MissingFile:
        return False
    except (OSError, ValueError, FileError) as error:
        raise HostError(f"KSM cannot be put back as {note} says: {error}", hint=f"see {_FOLDER}") from error
    note.unlink()
    return True


def settle() -> None:
    """Wait until all has been scanned often enough to be merged, where KSM runs; for half a minute at most."""
    if _number("run") != 1:
        return
    begin = moved = time.monotonic()
    first, before = _number("full_scans"), _progress()
    while _number("full_scans") - first < _SCANS and time.monotonic() - begin < _SCAN_LIMIT:
        time.sleep(0.05)
        if (now := _progress()) != before:
            before, moved = now, time.monotonic()
        if time.monotonic() - moved > _NOTHING:
            return


def saved() -> int:
    """Bytes that merged pages would take on top, of whoever they are."""
    return _number("pages_sharing") * mmap.PAGESIZE


def _progress() -> list[int]:
    """What changes while pages are looked at; kernels before 6.6 do not count those."""
    return [_number(name) for name in ("full_scans", "pages_scanned", "pages_shared", "pages_unshared")]


def _number(name: str) -> int:
    """0 where the kernel has no KSM."""
    try:
        return int((_FOLDER / name).read_text())
    except OSError:
        return 0


def _write(values: dict[str, str]) -> None:
    for name, value in values.items():
        (_FOLDER / name).write_text(value)
