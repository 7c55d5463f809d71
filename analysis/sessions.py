"""Sessions of a history: results folders and files of results, found, read and reduced to a median a metric and arm."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Final

import numpy as np
import pandas as pd

from analysis.copies import copies_among
from analysis.ends import unlike
from analysis.estimate import ratio_of, slot_medians
from analysis.load import load, no_collector
from analysis.suites import Suite, moment, open_suite
from bench.errors import InputError, TareError
from bench.results import JOURNAL
from bench.text import clean, one_line

POINTS: Final = (
    "session",
    "started",
    "committed",
    "arm",
    "backend",
    "release",
    "reference",
    "scenario",
    "metric",
    "unit",
    "better",
    "value",
    "ratio",
    "slots",
)
_SUITES = (".json", ".json.gz")
_SERIES: Final = ("scenario", "metric", "arm")
_BEFORE_RELEASE = frozenset({"rc", "a", "b", "alpha", "beta", "pre", "dev"})


@dataclass(frozen=True)
class Sessions:
    """What was read.

    points    one row a session, arm, scenario and metric, sessions in their order of time (where all of them say
              when they began, else of name):
              session (its name), started and committed (when it ran, and when what it measured was committed: ISO
              8601, or "" where it does not say), arm, backend, release (of the kernel; "" where there is none),
              reference (whether the arm is the session's baseline), scenario, metric, unit, better,
              value (median over slots of each slot's median, in `unit`, > 0), ratio (to the baseline arm of the same
              blocks, Hodges–Lehmann; NaN without), slots (how many)
    left_out  what was found and not read, and runs that failed, a sentence each
    """

    points: pd.DataFrame
    left_out: list[str]


def read_sessions(paths: Sequence[Path]) -> Sessions:
    """Reads results folders, files of results, and folders of either.

    What a folder holds and cannot be read leaves out itself alone. Raises InputError naming what cannot be read, where
    it was named itself or nothing else is there.
    """
    left_out: list[str] = []
    found: dict[Path, tuple[Path, bool]] = {}
    for given in paths:
        for path in _find(given, left_out):
            found.setdefault(path.resolve(), (path, path == given))
    for copy, first in copies_among([path for path, _ in found.values()]).items():
        left_out.append(f"{copy} is a copy of {first}")
        del found[copy.resolve()]
    names = _names([path for path, _ in found.values()])
    read: list[pd.DataFrame] = []
    suites: dict[str, Suite] = {}
    with no_collector():
        for path, named in found.values():
            try:
                if path.is_file():
                    suite = open_suite(path)
                    suites[names[path]] = replace(suite, benchmarks=[])  # values of many files are too much to keep
                    read += [_of_suite(suite, names[path])] if suite.benchmarks else []
                else:
                    read.append(_of_campaign(path, names[path]))
            except TareError as error:
                if named:
                    raise
                left_out.append(one_line(error))
    bad, told = unlike(suites)
    left_out += told
    if read:
        points = pd.concat(read, ignore_index=True)[list(POINTS)]
        points = points[[where not in bad for where in zip(points["session"], points["metric"], strict=True)]]
    if not read or points.empty:
        what = f"; {left_out[0]}" if left_out else ""
        raise InputError(f"no results folder and no file of results in {', '.join(map(str, paths))}{what}")
    return Sessions(in_order(points, "time" if all_say(points, "started") else "name"), left_out)


def all_say(points: pd.DataFrame, column: str) -> bool:
    """Whether every session has a time in `column` (started, committed)."""
    return all(moment(text) for text in points[column].unique())


def in_order(points: pd.DataFrame, by: str) -> pd.DataFrame:
    """The points in the order of their sessions' commit dates, times (each then by time) or names."""
    times = {column: points[column].map(moment) for column in ("committed", "started")}
    keys = {"commit": ["committed", "started"], "time": ["started"]}.get(by, [])
    order = pd.DataFrame({key: times[key] for key in keys} | {"session": points["session"]})
    return points.loc[order.sort_values([*keys, "session"], kind="stable").index].reset_index(drop=True)


def _find(given: Path, left_out: list[str]) -> Iterator[Path]:
    if (given / JOURNAL).is_file() or given.is_file():
        yield given
        return
    if not given.is_dir():
        raise InputError(f"no such file or folder: {given}", hint="name results folders or .json files of results")
    try:
        inside = sorted(given.iterdir())
    except OSError as error:
        left_out.append(f"{given} cannot be read: {error.strerror}")
        return
    for inner in inside:
        if inner.name.startswith("."):
            continue
        if (journal := inner / JOURNAL).is_file():
            if journal.stat().st_size:
                yield inner
            else:
                left_out.append(f"{journal} is empty: no slot has ended yet")
        elif inner.is_dir() and not inner.is_symlink():
            yield from _find(inner, left_out)
        elif inner.is_file() and inner.name.endswith(_SUITES):
            yield inner


def _names(paths: list[Path]) -> dict[Path, str]:
    """Short names that tell sessions apart: the last parts of their paths, as few as do."""
    for parts in range(1, 100):
        names = {path: clean("/".join(path.resolve().parts[-parts:])) for path in paths}
        if len(set(names.values())) == len(paths):
            break
    return {path: re.sub(r"\.json(\.gz)?$", "", name) for path, name in names.items()}


def _of_suite(suite: Suite, name: str) -> pd.DataFrame:
    points = _medians(suite.frame(suite.arm), None)
    about = {"session": name, "started": suite.started, "committed": suite.committed}
    return points.assign(**about, backend="", release="", reference=False)


def _of_campaign(path: Path, name: str) -> pd.DataFrame:
    loaded = load([path])
    points = _medians(loaded.samples, loaded.baseline)
    slots = loaded.slots[loaded.slots["status"] == "ok"]
    return points.assign(
        session=name,
        started=min(filter(None, loaded.slots["started"]), default=""),
        committed="",
        backend=points["arm"].map({arm.name: arm.backend for arm in loaded.arms.values()}),
        release=points["arm"].map({arm: _release(arm, slots) for arm in points["arm"].unique()}),
        reference=points["arm"] == loaded.baseline,
    )


def _medians(samples: pd.DataFrame, baseline: str | None) -> pd.DataFrame:
    """scenario, metric, arm, unit, better, value, slots and ratio, a row a metric and arm."""
    slots = slot_medians(samples)
    slots = slots.astype(dict.fromkeys((*_SERIES, "unit", "better"), str))
    kept = slots.groupby([*_SERIES, "unit", "better"], sort=False)["value"].agg(value="median", slots="size")
    logs = slots[slots["value"] > 0].assign(log=lambda rows: np.log(rows["value"]))
    sides = logs[logs["arm"] != baseline].merge(
        logs[logs["arm"] == baseline], on=["scenario", "metric", "block"], suffixes=("", "_base")
    )
    sides["log"] -= sides["log_base"]
    ratios = {key: ratio_of(blocks["log"].to_numpy()).point for key, blocks in sides.groupby(list(_SERIES), sort=False)}
    points = kept.reset_index()
    points["ratio"] = [ratios.get(key, np.nan) for key in points[list(_SERIES)].itertuples(index=False, name=None)]
    return points


def _release(arm: str, slots: pd.DataFrame) -> str:
    """The kernel release that the arm's name says, else the one that ran."""
    named = arm.partition("@")[2]
    ran = slots.loc[slots["arm"] == arm, "kernel"].dropna()
    return named or (str(ran.iloc[0]) if len(ran) else "")


def version_key(release: str) -> list[tuple[int, int, str]]:
    """Sorts releases as people count: 6.1.9 < 6.1.10, 6.2-rc1 < 6.2, 6.1.0-50 < 6.1.0-50-cloud < 6.1.0-51."""
    key: list[tuple[int, int, str]] = []
    for part in re.findall(r"\d+|[a-zA-Z]+", release):
        if part.isdigit():
            key.append((2, int(part), ""))
        else:
            key.append((0 if part.lower() in _BEFORE_RELEASE else 1, 1, part.lower()))
    return [*key, (1, 0, "")]
