"""Several campaigns in one report: whether they may be pooled, and what differs between them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from typing import Any, Final

from analysis.caution import Caution
from analysis.estimate import enough
from analysis.judge import BETWEEN_SESSIONS
from analysis.load import Campaign, Loaded
from analysis.words import listed, plural, show
from bench.errors import InputError
from bench.text import clean

#: Of a host, what figures may depend on. Another processor is another machine: no figure is common to two.
ALIKE: Final = ("cpu", "microcode", "cores", "kernel", "clocksource", "mitigations", "governor", "thp")
_MACHINE: Final = ("cpu", "cores")
_ENVELOPE: Final = ("cpus", "memory", "rootfs", "disk", "link")
_MAY_DIFFER: Final = frozenset({"description", "blocks", "timeout"})
NO_RATIOS: Final = "There are no ratios: no other arm ended well in a campaign with the baseline."
MEMORY_MARGIN: Final = 1.01  # of two machines alike, some kilobytes always differ


def check(loaded: Loaded) -> None:
    """Raises InputError where the campaigns have no figure in common: other machines, envelopes or scenarios."""
    first, *others = loaded.campaigns
    for other in others:
        odd = [f"host {key}" for key in _MACHINE if _differ(_host(first).get(key), _host(other).get(key))]
        odd += [f"envelope {key}" for key in _ENVELOPE if _envelope(first).get(key) != _envelope(other).get(key)]
        odd += [f"scenario {name}" for name in _other_scenarios(first, other)]
        if odd:
            what = f"{first.folder} and {other.folder} cannot be pooled: they differ in {listed(odd)}"
            raise InputError(what, hint="report them one by one")


def caution(loaded: Loaded) -> list[Caution]:
    """What pooling means for the intervals, and what the campaigns do not share."""
    if len(loaded.campaigns) < 2:
        return []
    many = plural(len(loaded.campaigns), "campaign")
    boots = plural(loaded.slots["boot_id"].dropna().nunique(), "host boot")
    odd = differences(loaded.campaigns)
    said = f"Pooled: {many} from {boots}. {how(loaded)}"
    if odd:
        said += f" The campaigns are NOT alike: they differ in {listed(odd)}; figures mix what differs."
    return [Caution(said, "facts")]


def how(loaded: Loaded) -> str:
    """How the intervals of each arm's ratios are made, in sentences (see `analysis.estimate.over_sessions`)."""
    good = loaded.slots[loaded.slots["status"] == "ok"]
    ran = {str(arm): set(runs) for arm, runs in good.groupby("arm", observed=True)["run"]}
    base = ran.get(loaded.baseline or "")
    arms: dict[str, list[str]] = {}
    for name, arm in loaded.arms.items():
        sessions = len(ran.get(name, set()) & base) if base else len(ran.get(name, ()))
        if sessions and name != loaded.baseline:
            arms.setdefault(_method(sessions), []).append(arm.label)
    if not arms:
        return NO_RATIOS
    if len(arms) == 1:
        return next(iter(arms))
    return " ".join(f"Of {listed(labels)}: {method}" for method, labels in arms.items())


def _method(sessions: int) -> str:
    if sessions == 1:
        return "There is one session alone: intervals are those of its blocks, and another one may lie elsewhere."
    if enough(sessions):
        return "Each session counts once, and intervals are between sessions."
    return (
        f"Sessions scatter more than runs of one session, so intervals are {BETWEEN_SESSIONS:g} times as wide as the "
        "blocks alone say (as `tare compare` of two campaigns has them), and hold what each session found."
    )


def differences(campaigns: Iterable[Campaign]) -> list[str]:
    """What differs between hosts, rootfs, kernels and arms of campaigns, each with the values where they are short."""
    known = list(campaigns)
    odd = [told for key in ALIKE if (told := _told(f"host {key}", [_host(each).get(key) for each in known]))]
    sizes = [size for each in known if (size := _host(each).get("memory"))]
    if sizes and max(sizes) > MEMORY_MARGIN * min(sizes):
        odd.append(f"host memory ({listed(dict.fromkeys(show(size, 'byte') for size in sizes))})")
    odd += filter(None, [_told("rootfs digest", [(each.facts.get("rootfs") or {}).get("digest") for each in known])])
    odd += filter(None, [_told("cgroup", [each.facts.get("cgroup") for each in known])])
    odd += filter(None, [_told("revision of Tare", [(each.facts.get("git") or {}).get("revision") for each in known])])
    arms: dict[str, list[Mapping[str, Any]]] = {}
    for each in known:
        for name, arm in (each.plan.get("arms") or {}).items():
            arms.setdefault(name, []).append(arm)
    guests = [name for name, given in arms.items() if _told("", [_build(arm) for arm in given])]
    if guests:
        odd.append(f"guest kernels of {listed(map(clean, guests))}")
    kinds = [
        n for n, given in arms.items() if _told("", [{k: a.get(k) for k in ("backend", "options")} for a in given])
    ]
    if kinds:
        odd.append(f"options of {listed(map(clean, kinds))}")
    return odd


def _told(what: str, values: list[Any]) -> str:
    """The name of what differs, with its values where they are a few words each; "" where all that are known agree."""
    distinct = {json.dumps(value, sort_keys=True, default=str): value for value in values if value is not None}
    if len(distinct) < 2:
        return ""
    texts = [clean(value) for value in distinct.values() if isinstance(value, str | int) and len(str(value)) <= 40]
    return f"{what} ({listed(texts)})" if len(texts) == len(distinct) else what or "different"


def _build(arm: Mapping[str, Any]) -> Any:
    return (arm.get("boots") or {}).get("sha256") or arm.get("kernel")


def _differ(one: Any, other: Any) -> bool:
    return one is not None and other is not None and one != other


def _host(campaign: Campaign) -> Mapping[str, Any]:
    return campaign.facts.get("host") or {}


def _envelope(campaign: Campaign) -> Mapping[str, Any]:
    return campaign.plan.get("envelope") or {}


def _other_scenarios(first: Campaign, other: Campaign) -> list[str]:
    """Names that mean two things in the two campaigns."""
    ours, theirs = (campaign.plan.get("scenarios") or {} for campaign in (first, other))
    return [
        clean(name)
        for name in ours
        if name in theirs
        and any(
            ours[name][key] != theirs[name][key] for key in ours[name] if key in theirs[name] and key not in _MAY_DIFFER
        )
    ]
