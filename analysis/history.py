"""A metric over kernel releases or time: host-normalised, with outlier sessions set aside and change points marked.

Host-normalised. What a host gives from session to session varies far more than one session shows. So each value is
divided by the host's reference in the same session:

- *baseline*: by the campaign's baseline arm, as the Hodges–Lehmann ratio over the session's blocks, where the arm and
  its baseline ran side by side; multiplied by the baseline's median over all sessions, it keeps its unit.
- *session*: where there is no baseline arm but at least MANY other metrics, by what they have in common: the median
  over them of value ÷ that metric's own level there (the median between its change points), again ÷ its own level.
  Only where that takes a fifth off the metric's noise: what is common is estimated too, and elsewhere adds as much as
  it takes.
- *nothing* otherwise.

What it cannot do: a baseline divides out what slows both arms alike, and nothing else; its own noise is added. A
session factor cannot tell a lasting step of the host or the toolchain from one of the thing under test, as both stay
in every metric: such a change says how many of the metrics moved alike. And what less than LASTS sessions show is
never believed: neither a change that was undone, nor one that just began.

Set aside (quarantine). A session is left out where its level or its spread is the host's and not the metric's:
- level: its factor lies beyond 10 % *and* beyond 5 robust standard deviations (1.4826 MAD) of all factors. Division
  takes care of less than 10 %; 5 deviations happen to one calm session in a million.
- spread: what its metrics scatter around that factor is more than 3 times the sessions' median, and beyond 5 robust
  standard deviations of its logarithm; needs MANY metrics.
The factor is that of the baseline arm's metrics, or of all where there is none, against medians that run over
2·LASTS−1 sessions: what lasts LASTS sessions or more moves these medians, so a lasting step is never set aside, and
neighbours that are slow for less are no step. At most one session in ten, and one more, is set aside: beyond that
the host is the finding, and a note says so.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Final, Literal

import numpy as np
import numpy.typing as npt
import pandas as pd

from analysis.changes import APART, FEWEST, LASTS, Change, apart, changes, levels, noise, running_median
from analysis.ranks import Floats
from analysis.sessions import all_say, in_order, version_key
from analysis.suites import moment
from analysis.words import listed, plural
from bench.errors import InputError
from bench.text import one_line

Order = Literal["release", "commit", "time", "name"]
Bools = npt.NDArray[np.bool_]

FAR: Final = 5.0  # robust standard deviations
LEVEL: Final = 0.10  # a session's factor beyond which it can be set aside
SPREAD: Final = 3.0  # times the sessions' median spread, likewise
MANY: Final = 8  # metrics, for a spread or a factor of the session itself
GAIN: Final = 0.8  # of its noise, that a metric may keep for a session's factor to be divided out
_WHEN: Final[dict[Order, str]] = {"commit": "committed", "time": "started"}
_ALIKE = 0.5  # a metric that moved at least so far, and not more than its inverse, moved alike


@dataclass(frozen=True)
class Moved:
    """A change point of a history.

    change          where (in `History.used`), how much, how sure
    session, started, release, …_before   the first point after the change, the last before it; when: by what time it
             is ordered
    alike, others   how many of how many other metrics of the arm moved the same way, by half to twice as much
    note            what must be said beside it ("" for nothing)
    """

    change: Change
    session: str
    started: str
    when: str
    release: str
    session_before: str
    release_before: str
    alike: int
    others: int
    note: str


@dataclass(frozen=True)
class History:
    """One metric of one arm over sessions.

    points   one row a session (and release, where a session has several), in the order drawn: session, started,
             committed, when (one of the two: by which it is ordered), release, value (the median, in `unit`),
             normalised (`unit`), factor (the session's level against the sessions around it; 1 is like them), spread
             (of its metrics around that; NaN with few), state ("used", "set aside" or "apart": this metric alone
             stands far off for less than LASTS points), reason
    changes  the change points among the used ones
    by       the order taken; along: that of the sessions (commit, time or name), also inside one release
    """

    scenario: str
    metric: str
    arm: str
    unit: str
    better: str
    by: Order
    along: Order
    normalised_by: str
    points: pd.DataFrame
    changes: list[Moved]
    notes: list[str]

    @property
    def used(self) -> pd.DataFrame:
        """The points among which changes were looked for and which levels are made of."""
        return self.points[self.points["state"] == "used"]


def histories(
    points: pd.DataFrame,
    metrics: Sequence[str] = ("boot",),
    arm: str | None = None,
    by: Order | None = None,
    left_out: list[str] | None = None,
) -> list[History]:
    """One history a metric, from the `points` of `analysis.sessions.read_sessions`.

    metrics: names, or scenario:metric where several scenarios have it, or ("all",). arm: an arm's name, what stands
    before its @, or a backend; not needed where only one has the metric. by: release, commit (the date of the commit
    that was measured), time (when it was measured) or name; by default release where there are several, else and inside
    a release by commit where every session has a date of its own, else by time where every session says it, else by
    name. left_out: takes a sentence for each metric of "all" that has no history, and for points in another unit than
    that of most sessions. Raises InputError: an unknown metric or arm (and which there are), units that differ in half
    of the sessions, values not above zero, an order that not every session tells, fewer than FEWEST points.
    """
    along = _along(points, by)
    points = in_order(points, along)
    points = points.assign(kind=points["arm"].str.partition("@")[0])
    every = tuple(metrics) == ("all",)
    points, odd = _of_one_unit(points)
    left_out = [] if left_out is None else left_out
    left_out += _told(odd if every else pd.concat([_named(odd, name) for name in metrics]))
    if every:
        metrics = _enough(points, _series(points, None, arm), left_out)
    host = _host(points)
    return [_history(points, host, metric, arm, by, along) for metric in metrics]


def _enough(points: pd.DataFrame, rows: pd.DataFrame, left_out: list[str]) -> list[str]:
    """The names of the metrics in `rows` of which a history can be made; of each other one, left_out says why not."""
    shared = set(points.groupby("metric").filter(lambda of: of["scenario"].nunique() > 1)["metric"])
    found: list[str] = []
    most = 0
    for (scenario, metric), points_of in rows.groupby(["scenario", "metric"], sort=False):
        name = f"{scenario}:{metric}" if scenario or metric in shared else str(metric)
        most = max(most, len(points_of))
        try:
            _check(points_of, name)
            found.append(name)
        except InputError as error:
            left_out.append(one_line(error))
    if not found:
        said = f"no metric has {FEWEST} points (sessions × releases) above zero, as a history needs"
        raise InputError(f"{said}; the most is {most}")
    return found


def _check(rows: pd.DataFrame, name: str) -> None:
    """Raises InputError where no history can be made of the points of a metric."""
    _alone(rows, "unit", name)
    _alone(rows, "better", name)
    if not (rows["value"] > 0).all():
        worst = rows.sort_values("value").iloc[0]
        said = f"{name} is {worst['value']:g} in {worst['session']}"
        raise InputError(said, hint="a history needs values above zero")
    if len(rows) < FEWEST:
        raise InputError(
            f"{name} has {plural(len(rows), 'point')} (sessions × releases): a history needs at least {FEWEST}"
        )


def _of_one_unit(points: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """The points, and apart from them those of metrics that most sessions have in another unit or direction.

    The latter with `usual`, that unit. Where no unit is that of most sessions, all stay.
    """
    metric, head = ["scenario", "metric", "kind"], ["unit", "better"]
    counts = points.groupby([*metric, *head], sort=False)["session"].nunique().rename("sessions").reset_index()
    whole = counts.groupby(metric)["sessions"].transform("sum")
    usual = counts.loc[2 * counts["sessions"] > whole, [*metric, *head]]
    if len(usual) == len(counts):
        return points, points.iloc[:0].assign(usual="")
    beside = points.merge(usual.rename(columns={name: f"usual_{name}" for name in head}), on=metric, how="left")
    other = beside["usual_unit"].notna() & (
        (beside["unit"] != beside["usual_unit"]) | (beside["better"] != beside["usual_better"])
    )
    odd = points[other.to_numpy()].assign(usual=beside.loc[other, "usual_unit"].to_numpy())
    return points[~other.to_numpy()].reset_index(drop=True), odd


def _told(odd: pd.DataFrame) -> list[str]:
    """What was left out for its unit, a sentence for all metrics of a session that are in it."""
    said = []
    for (session, unit, usual), rows in odd.groupby(["session", "unit", "usual"], sort=False):
        names = list(dict.fromkeys(rows["metric"]))
        shown = listed(names if len(names) < 4 else [*names[:2], f"{len(names) - 2} more metrics"])
        why = f"in unit {unit!r}, in most sessions in {usual!r}" if unit != usual else "better the other way round"
        said.append(f"{shown} of {session}: {why}")
    return said


def _along(points: pd.DataFrame, by: Order | None) -> Order:
    """The order of the sessions. Raises InputError where not all of them tell it."""
    if by in _WHEN and not all_say(points, _WHEN[by]):
        silent = points.loc[~points[_WHEN[by]].map(lambda text: bool(moment(text))), "session"].unique()
        what = "when its commit was made" if by == "commit" else "when it ran"
        said = f"{plural(len(silent), 'session')} of {points['session'].nunique()} do not say {what}: {silent[0]}"
        raise InputError(f"{said}{' …' if len(silent) > 1 else ''}", hint="order them with --by name")
    if by in ("commit", "time", "name"):
        return by
    if all_say(points, "committed") and points["committed"].nunique() > 1:
        return "commit"
    return "time" if all_say(points, "started") else "name"


def session_levels(table: pd.DataFrame, baseline: str = "") -> pd.DataFrame:
    """Each session's factor and spread against the sessions around it, and why it is set aside.

    table: a row a session in order of time, a column a metric, values > 0 of any unit, NaN where there is none.
    Returns, with the same index: factor (1 is like the sessions around), spread (a standard deviation of logarithms
    over metrics; NaN for fewer than MANY), reason ("" where the session stays). The rules stand in the module's
    docstring. `baseline` only names the arm in the reasons.
    """
    logs = np.log(table.to_numpy(dtype=float))
    out = np.zeros(len(logs), dtype=bool)
    for _ in range(5):  # without those set aside, medians and spreads are smaller or elsewhere
        factor, spread = _levels(logs, out)
        level, wide = _far_level(factor, out), _far_spread(spread, out)
        found = _worst(np.maximum(level, wide), 1 + len(logs) // 10)
        if (found == out).all():
            break
        out = found
    whose = f"{baseline}, the baseline, is" if baseline else "its metrics are"
    reasons = []
    for place in range(len(logs)):
        said = []
        if out[place] and level[place]:
            said.append(f"{whose} {np.exp(factor[place]):.2f}× what the sessions around it have")
            if place >= len(logs) - LASTS + 1:
                said.append(f"a step would look so too until it has lasted {LASTS} sessions")
        if out[place] and wide[place]:
            usual = float(np.nanmedian(spread[~out]))
            said.append(f"its metrics scatter by {spread[place]:.1%}, the others’ by {usual:.1%}")
        reasons.append("; ".join(said))
    found_levels = {"factor": np.exp(factor), "spread": spread, "reason": reasons}
    left = int(((level > 0) | (wide > 0)).sum() - out.sum())
    frame = pd.DataFrame(found_levels, index=table.index)
    frame.attrs["unsteady"] = left
    return frame


def _levels(logs: Floats, out: Bools) -> tuple[Floats, Floats]:
    """Each session's log factor and spread; 0 and NaN where it has no metric to tell."""
    apart_by = logs - running_median(np.where(out[:, None], np.nan, logs))
    factor = np.array([_median(row) for row in apart_by])
    factor = np.where(np.isfinite(factor), factor, 0.0)
    rest = np.abs(apart_by - factor[:, None])
    spread = np.array([1.4826 * _median(row) if np.isfinite(row).sum() >= MANY else np.nan for row in rest])
    return factor, spread


def _far_level(factor: Floats, out: Bools) -> Floats:
    """How far each level is out, in limits; 0 where it is not."""
    middle = np.median(factor[~out])
    limit = max(np.log1p(LEVEL), FAR * _deviation(factor[~out]))
    found = np.abs(factor - middle) / limit
    return np.where(found > 1, found, 0.0)


def _far_spread(spread: Floats, out: Bools) -> Floats:
    logs = np.log(np.maximum(spread, 1e-9))
    calm = logs[~out & np.isfinite(logs)]
    if len(calm) < FEWEST:
        return np.zeros(len(spread))
    limit = max(np.log(SPREAD), FAR * _deviation(calm))
    found = np.nan_to_num((logs - np.median(calm)) / limit)
    return np.where(found > 1, found, 0.0)


def _worst(far: Floats, most: int) -> Bools:
    out = far > 0
    out[np.argsort(-far, kind="stable")[most:]] = False
    return out


def _history(points: pd.DataFrame, host: _Host, name: str, arm: str | None, by: Order | None, along: Order) -> History:
    rows = _series(points, name, arm)
    scenario, metric = _alone(rows, "scenario", name), str(rows["metric"].iloc[0])
    unit, better = _alone(rows, "unit", name), _alone(rows, "better", name)
    by = by or ("release" if rows["release"].nunique() > 1 else along)
    rows = _ordered(rows, points, by)
    _check(rows, name)
    sessions = host.levels.reindex(rows["session"])
    normalised_by, values = _normalised(rows, points, host)
    reasons = sessions["reason"].to_numpy(dtype=object)
    state = np.where(reasons == "", "used", "set aside").astype(object)
    used = np.flatnonzero(state == "used")
    found: list[Change] = []
    if len(used):
        far = apart(values[used])
        middle = np.exp(running_median(np.where(far, np.nan, np.log(values[used]))))
        state[used[far]] = "apart"
        for place in np.flatnonzero(far):
            reasons[used[place]] = (
                f"{values[used[place]] / middle[place]:.2f}× the points around it, over {APART:.0f} times their noise, "
                f"in this metric alone, for fewer than {LASTS} points"
            )
        kept = np.flatnonzero(~far)
        found = [replace(change, at=int(np.searchsorted(kept, change.at))) for change in changes(values[used])]
        used = used[kept]
    frame = pd.DataFrame(
        {
            "session": rows["session"],
            "started": rows["started"],
            "committed": rows["committed"],
            "when": rows[_WHEN[along]] if along in _WHEN else "",
            "release": rows["release"],
            "value": rows["value"],
            "normalised": values,
            "factor": sessions["factor"].to_numpy(),
            "spread": sessions["spread"].to_numpy(),
            "state": state,
            "reason": reasons,
        }
    ).reset_index(drop=True)
    moved = _moved(found, frame, used, _others(rows, points, normalised_by)) if found else []
    notes = _notes(rows, points, host.levels.attrs["unsteady"], normalised_by, len(used))
    if along == "name":
        why = "as was asked" if all_say(points, "started") else "not all of them say when they ran"
        notes.append(f"Sessions are in the order of their names: {why}.")
    elif along == "commit" and (frame["started"].map(moment) < frame["started"].map(moment).cummax()).any():
        notes.append("Sessions are in the order of their commits, which is not that in which they ran.")
    arm = str(rows["kind"].iloc[0])
    return History(scenario, metric, arm, unit, better, by, along, normalised_by, frame, moved, notes)


def _series(points: pd.DataFrame, name: str | None, arm: str | None) -> pd.DataFrame:
    """The rows of one metric (of all for None) and one arm. Raises InputError with what there is."""
    rows = points
    if name is not None:
        rows = _named(points, name)
        if rows.empty:
            raise InputError(f"there is no metric {name!r}", hint=f"there are {listed(_metrics(points))}")
        if rows["scenario"].nunique() > 1:
            raise InputError(f"several scenarios have {name!r}", hint=f"write one of {_scenarios(rows)}")
    if arm is None:
        others = rows[~rows["reference"]]
        kinds = others["kind"].unique()
        if len(kinds) > 1:
            counts = others.drop_duplicates(["kind", "session"]).groupby("kind").size()
            whose = listed(f"{kind or 'files without an arm'} ({plural(n, 'session')})" for kind, n in counts.items())
            what = f"{name!r}" if name else "all metrics"
            raise InputError(f"{what} of which arm?", hint=f"name one with --arm: {whose}")
        return rows[rows["kind"] == kinds[0]] if len(kinds) else rows
    found = rows[(rows["arm"] == arm) | (rows["kind"] == arm)]
    found = rows[rows["backend"] == arm] if found.empty else found
    if found.empty:
        raise InputError(f"no arm or backend {arm!r} has it", hint=f"there are {listed(sorted(rows['kind'].unique()))}")
    return found


def _named(points: pd.DataFrame, name: str) -> pd.DataFrame:
    full = points["scenario"] + ":" + points["metric"]
    return points[(points["metric"] == name) | (full == name)]


def _metrics(points: pd.DataFrame) -> list[str]:
    """Every metric's name, with its scenario where several scenarios have it."""
    pairs = points[["scenario", "metric"]].drop_duplicates()
    shared = pairs["metric"].duplicated(keep=False)
    names = pairs["metric"].where(~shared, pairs["scenario"] + ":" + pairs["metric"])
    return sorted(names)


def _scenarios(rows: pd.DataFrame) -> str:
    """`lifecycle:boot and :boot (that of files, which know no scenario)`."""
    metric = str(rows["metric"].iloc[0])
    names = sorted(rows["scenario"].unique(), key=lambda name: (name == "", name))
    return listed(
        f"{name}:{metric}" if name else f":{metric} (that of files, which know no scenario)" for name in names
    )


def _alone(rows: pd.DataFrame, column: str, name: str) -> str:
    found = sorted(rows[column].unique())
    if len(found) > 1:
        where = rows.drop_duplicates(column).set_index(column)["session"]
        said = listed(f"{value!r} in {where[value]}" for value in found)
        raise InputError(f"{name} has more than one {column}: {said}")
    return str(found[0])


def _ordered(rows: pd.DataFrame, points: pd.DataFrame, by: Order) -> pd.DataFrame:
    """In the order drawn. Raises InputError where two arms give a session the same release, or none has one."""
    doubled = rows[rows.duplicated(["session", "release"], keep=False)]
    if not doubled.empty:
        arms = listed(sorted(doubled["arm"].unique()))
        raise InputError(
            f"{doubled['session'].iloc[0]} has several arms of one release: {arms}", hint="--arm names one"
        )
    if by == "release" and (rows["release"] == "").any():
        raise InputError("files of results say no kernel release", hint="order them with --by commit, time or name")
    time = {session: place for place, session in enumerate(points["session"].unique())}
    releases = {release: place for place, release in enumerate(sorted(rows["release"].unique(), key=version_key))}
    places = pd.DataFrame({"time": rows["session"].map(time), "release": rows["release"].map(releases)})
    order = places.sort_values(["release", "time"] if by == "release" else ["time", "release"], kind="stable").index
    return rows.loc[order]


@dataclass(frozen=True)
class _Host:
    """What all histories of one set of sessions share: the sessions' levels, and (for sessions without a baseline)
    every metric ÷ its own level, a row a session, a column a metric, NaN where there is none."""

    levels: pd.DataFrame
    apart: pd.DataFrame


def _host(points: pd.DataFrame) -> _Host:
    sessions = points["session"].unique()
    good = points[points["value"] > 0]
    reference, baseline = good, ""
    of_baseline = good[good["reference"]]
    if of_baseline["session"].nunique() == len(sessions):
        names = sorted(of_baseline["arm"].unique())
        if len(names) > 1:
            raise InputError(
                f"the campaigns have different baselines ({', '.join(names)})", hint="one history has one baseline"
            )
        reference, baseline = of_baseline, names[0]
    found = session_levels(_table(reference, sessions), baseline)
    metrics = {} if reference is not good else dict(_table(good, sessions)[found["reason"] == ""].items())
    return _Host(found, pd.DataFrame({name: _from_level(metric) for name, metric in metrics.items()}, index=sessions))


def _from_level(metric: pd.Series) -> pd.Series:
    known = metric.dropna()
    return known / levels(known.to_numpy())


def _table(points: pd.DataFrame, sessions: npt.NDArray[np.object_]) -> pd.DataFrame:
    """The values, a row a session, a column a scenario, metric and kind of arm."""
    values = points.groupby(["session", "scenario", "metric", "kind"])["value"].median()
    return values.unstack([1, 2, 3]).reindex(sessions)


def _normalised(rows: pd.DataFrame, points: pd.DataFrame, host: _Host) -> tuple[str, Floats]:
    """By what one metric is normalised, and its values, in its unit, as the median session would have given them."""
    values = rows["value"].to_numpy(dtype=float)
    head = rows.iloc[0]
    if not rows["reference"].any() and rows["ratio"].notna().all():
        same = points[points["reference"] & (points["metric"] == head["metric"])]
        level = same.loc[same["scenario"] == head["scenario"], "value"].median()
        return f"baseline {same['arm'].iloc[0]}", np.asarray(rows["ratio"].to_numpy(dtype=float) * level)
    if len(host.apart.columns) > MANY:
        others = host.apart.drop(columns=[(head["scenario"], head["metric"], head["kind"])])
        common = others.median(axis=1).fillna(1.0)
        common /= levels(common.to_numpy())
        divided = values / common.reindex(rows["session"]).to_numpy()
        if noise(np.log(divided)) < GAIN * noise(np.log(values)):
            return "session", np.asarray(divided)
        return "nothing (the sessions hardly differ)", values
    return "nothing", values


def _others(rows: pd.DataFrame, points: pd.DataFrame, by: str) -> pd.DataFrame:
    """Logarithms of the arm's other metrics at the same points, a column a metric; NaN where one is missing."""
    head = rows.iloc[0]
    column = "ratio" if by.startswith("baseline") else "value"
    arms = points[points["arm"].isin(rows["arm"].unique()) & (points[column] > 0)]
    table = arms.groupby(["session", "release", "scenario", "metric"])[column].median().unstack([2, 3])
    table = table.drop(columns=[(head["scenario"], head["metric"])], errors="ignore")
    places = pd.MultiIndex.from_frame(rows[["session", "release"]])
    return table.reindex(places).reset_index(drop=True).transform(np.log)


def _moved(found: list[Change], frame: pd.DataFrame, used: npt.NDArray[np.intp], others: pd.DataFrame) -> list[Moved]:
    moved = []
    for change in found:
        before, after = used[change.at - change.before : change.at], used[change.at : change.at + change.after]
        shifts = (others.iloc[after].median() - others.iloc[before].median()).dropna() / np.log(change.ratio.point)
        alike = int(shifts.between(_ALIKE, 1 / _ALIKE).sum())
        first, last = frame.iloc[after[0]], frame.iloc[before[-1]]
        notes = []
        if len(shifts) >= MANY and alike > len(shifts) / 2:
            notes.append("most metrics moved alike: a change of the host or the toolchain looks so too")
        if first["release"] and first["release"] == last["release"]:
            notes.append("inside one release: not the kernel’s")
        moved.append(
            Moved(
                change,
                first["session"],
                first["started"],
                first["when"],
                first["release"],
                last["session"],
                last["release"],
                alike,
                len(shifts),
                "; ".join(notes),
            )
        )
    return moved


def _notes(rows: pd.DataFrame, points: pd.DataFrame, unsteady: int, by: str, used: int) -> list[str]:
    notes = []
    if by == "nothing":
        notes.append(
            f"Not host-normalised: not every session has a baseline arm beside it, nor are there {MANY} other metrics."
        )
    missing = points["session"].nunique() - rows["session"].nunique()
    if missing:
        notes.append(f"{plural(missing, 'session')} without this metric.")
    if unsteady:
        notes.append(f"{plural(unsteady, 'more session')} as far off as those set aside: the host is not steady.")
    if used < FEWEST:
        notes.append(f"{plural(used, 'point')} left: no change is looked for in fewer than {FEWEST}.")
    return notes


def _median(values: Floats) -> float:
    values = values[np.isfinite(values)]
    return float(np.median(values)) if len(values) else float("nan")


def _deviation(values: Floats) -> float:
    return float(1.4826 * np.median(np.abs(values - np.median(values))))
