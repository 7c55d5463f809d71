"""How the runs of benchmarks ended, over several files: the values of those that failed are left out, and it is told.

A code that all runs of all files exit with is how the command ends. Where codes differ, any but 0 is a failure.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from analysis.foreign import FAILED, Fate
from analysis.matching import Found, Gap
from analysis.suites import Suite
from analysis.words import listed, plural

#: How many runs failed, and of how many.
Failures = tuple[int, int]


@dataclass(frozen=True)
class Ended:
    """Both sides without the values of runs that failed.

    fates  by benchmark how many runs of BASE and of NEW failed, where any did
    told   what must be said of it, a sentence each
    gaps   by name the benchmarks of which a side has therefore no value
    """

    base: list[Suite]
    new: list[Suite]
    fates: dict[str, tuple[Failures, Failures]]
    told: list[str]
    gaps: dict[str, Gap]

    def known(self, found: Sequence[Found]) -> list[Found]:
        """What was matched, with the reasons that are known here."""
        return [*(each for each in found if each.metric not in self.gaps), *self.gaps.values()]


def ended(base: Sequence[Suite], new: Sequence[Suite]) -> Ended:
    every = [*base, *new]
    fates, told = {}, []
    codes: dict[str, str] = {}
    for name in dict.fromkeys(name for suite in every for name in suite.fates):
        known = {suite.fates[name].code for suite in every if name in suite.fates}
        codes[name] = known.pop() if len(known) == 1 else ""
        if codes[name]:
            told.append(f"{name} exits with {codes[name]} in all its runs, and is taken as it is")
    ours, theirs = ([_settled(suite, codes) for suite in side] for side in (base, new))
    for name in codes:
        (old, of_old), (late, of_late) = sums = _failures(ours, name), _failures(theirs, name)
        if old or late:
            fates[name] = sums
            told.append(f"{name}: {old} of {plural(of_old, 'run')} of BASE failed, {late} of {of_late} of NEW")
    told += [line for side, suites in (("BASE", ours), ("NEW", theirs)) for line in _odd(side, suites)]
    names = dict.fromkeys(name for suite in (*ours, *theirs) for name in suite.gone)
    gaps = {name: gap for name in names if (gap := _gap(name, {"BASE": ours, "NEW": theirs}))}
    return Ended(ours, theirs, fates, told, gaps)


def unlike(sessions: Mapping[str, Suite]) -> tuple[set[tuple[str, str]], list[str]]:
    """Of the sessions of a history, by name: the (session, benchmark) whose values are of another end than in most
    sessions; and, a sentence each, what is left out of the history and why."""
    codes = {name: _most(name, sessions) for suite in sessions.values() for name in suite.fates}
    bad, told = set(), []
    for session, suite in sessions.items():
        told += [f"{session}: {name} {why}" for name, why in suite.gone.items()]
        for name, fate in suite.fates.items():
            if name not in suite.gone and fate.code != codes[name]:
                bad.add((session, name))
                how = f"{fate.code or 0} in {'some' if fate.failed else 'all'} of its runs"
                told.append(f"{session}: {name} exits with {how}, and with {codes[name] or 0} in most sessions")
    for name, code in codes.items():
        if code:
            told.append(f"{name} exits with {code} in all its runs of most sessions, and is taken as it is")
        else:
            told += _partly(name, [suite.fates[name] for suite in sessions.values() if _some(suite, name)])
    return bad, told


def _some(suite: Suite, name: str) -> bool:
    """Whether some runs failed and others did not."""
    return name in suite.fates and name not in suite.gone and suite.fates[name].failed > 0


def _partly(name: str, fates: Sequence[Fate]) -> list[str]:
    of = f"{sum(each.failed for each in fates)} of {plural(sum(each.runs for each in fates), 'run')}"
    return [f"{name}: {of} failed in {plural(len(fates), 'session')}, and are left out"] if fates else []


def _most(name: str, sessions: Mapping[str, Suite]) -> str:
    """The code of most sessions; 0 where as many have that."""
    ends = [suite.fates[name].code for suite in sessions.values() if name in suite.fates and name not in suite.gone]
    counts = Counter(ends)
    return max(counts, key=lambda code: (counts[code], code == ""), default="")


def _settled(suite: Suite, codes: Mapping[str, str]) -> Suite:
    """Without the values of what exits with another code than in `codes`."""
    bad = {name: fate for name, fate in suite.fates.items() if fate.code != codes[name]}
    return replace(
        suite,
        benchmarks=[kind for kind in suite.benchmarks if kind.name not in bad],
        fates=suite.fates | {name: Fate(fate.runs, fate.runs) for name, fate in bad.items()},
        gone=suite.gone | dict.fromkeys(bad, FAILED),
    )


def _failures(side: Sequence[Suite], name: str) -> Failures:
    known = [suite.fates[name] for suite in side if name in suite.fates]
    return sum(each.failed for each in known), sum(each.runs for each in known)


def _odd(side: str, suites: Sequence[Suite]) -> list[str]:
    """Benchmarks that some files of a side have no values of for another reason than that their runs failed."""
    told = []
    for name in dict.fromkeys(name for suite in suites for name in suite.gone if _has(suites, name)):
        whys = [suite.gone[name] for suite in suites if suite.gone.get(name, FAILED) != FAILED]
        if whys:
            told.append(f"{name}: left out of {len(whys)} of {plural(len(suites), 'file')} of {side}: it {whys[0]}")
    return told


def _gap(name: str, sides: Mapping[str, Sequence[Suite]]) -> Gap | None:
    """Of a benchmark that a side had and has no values of."""
    whys = {side: [suite.gone[name] for suite in suites if name in suite.gone] for side, suites in sides.items()}
    empty = {side: found[0] for side, found in whys.items() if found and not _has(sides[side], name)}
    if not empty:
        return None
    absent = [side for side, suites in sides.items() if not whys[side] and not _has(suites, name)]
    if absent:
        ((side, why),) = empty.items()
        return Gap("", name, f"only {side} has it, and it {why}", unproved=side == "BASE")
    same = len(set(empty.values())) == 1
    told = f"{next(iter(empty.values()))} in {listed(empty)}" if same else None
    return Gap("", name, told or listed(f"{why} in {side}" for side, why in empty.items()))


def _has(suites: Sequence[Suite], name: str) -> bool:
    return any(kind.name == name for suite in suites for kind in suite.benchmarks)
