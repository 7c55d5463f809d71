"""The density table: what one more instance costs in each view, and what no view explains."""

from __future__ import annotations

from dataclasses import dataclass

from analysis.estimate import Interval, Slope, flat, good_ramps
from analysis.load import VIEWS, Loaded
from analysis.matrix import Chosen, largest, limited
from analysis.words import figures, listed, show
from bench.text import clean


@dataclass(frozen=True)
class DensityRow:
    """One arm: slopes by view, and of what cage, processes and the host's kernel hold (bytes an instance).

    At the largest N: the residual, bytes, and its share of the MemAvailable delta; None where that delta is not told
    from nothing. flat: views whose slope the ramp does not tell from zero.
    """

    arm: str
    largest: str
    stop: str
    views: list[Interval | None]
    parts: list[tuple[str, float]]
    processes: list[tuple[str, float]]
    kernel: float | None
    residual: float | None
    share: float | None
    flat: frozenset[str]

    def show(self, view: str, value: float) -> str:
        """A view's slope, in as many digits as its line lets be known."""
        fit = self.views[VIEWS.index(view)]
        return show(value, "byte", figures(fit) if fit else 2)


def conditions(loaded: Loaded) -> str:
    """Under what the ramps were run, in a sentence each: tenants' work, same-page merging, page cache."""
    ramps = [
        each
        for campaign in loaded.campaigns
        for each in (campaign.plan.get("scenarios") or {}).values()
        if "density" in (each.get("measures") or [])
    ]
    given = ramps[0] if ramps else {}
    if any(each.get(name) != given.get(name) for each in ramps for name in ("tenant", "p99_limit", "ksm", "cache")):
        return "These campaigns' ramps were run under different conditions: see their plans before comparing them."
    said = []
    if tenant := given.get("tenant"):
        limit = given.get("p99_limit")
        within = f", and 99 in 100 of its requests had to be answered within {show(limit, 'second')}" if limit else ""
        said.append(f"Every instance had {clean(tenant)} at work, all at the same time{within}.")
    else:
        said.append("Instances are idle.")
    if ksm := given.get("ksm"):
        fast = ", 250,000 pages a second" if ksm == "on" else ""
        said.append(f"Same-page merging (KSM) was switched {clean(ksm)} for the ramp{fast}.")
    if cache := given.get("cache"):
        before = "dropped" if cache == "cold" else "warmed by one more instance of the same kind"
        said.append(f"The page cache was {before} before it.")
    return " ".join(said)


def uncertainty(loaded: Loaded) -> str:
    """What is known of how well slopes would repeat, in a sentence."""
    ramps = good_ramps(loaded)[["arm", "run", "slot"]].drop_duplicates()
    if ramps["arm"].duplicated().any():
        return "Of an arm with several ramps the slope is their median, and has no interval here."
    return (
        "One ramp an arm, so ratios of density carry no interval; the brackets below are the uncertainty of the line "
        "through that one ramp."
    )


def most(loaded: Loaded, chosen: Chosen) -> str:
    """How many tenants of each arm kept within the scenario's limits; at least so many, where no more were tried."""
    parts = []
    for arm in loaded.arms:
        if found := chosen.get("density.n", arm):
            least = "at least " if limited(loaded, arm) else ""
            parts.append(f"{least}{found.median:,.0f} of {loaded.arms[arm].label}")
    return f"Within the limits there is room for {listed(parts)}." if parts else ""


def density_rows(loaded: Loaded, slopes: list[Slope]) -> list[DensityRow]:
    """A row for each arm that has a ramp, in the order of the arms."""
    fits = {(slope.arm, slope.view): slope.slope for slope in slopes}
    zero = {(arm, metric.removeprefix("density.")) for arm, metric in flat(slopes)}
    ramps = good_ramps(loaded)
    rows = []
    for arm in loaded.arms:
        steps = ramps[ramps["arm"] == arm]
        if steps.empty:
            continue
        last = steps.nlargest(1, "n").dropna(axis="columns").to_dict("records")[0]
        known = (arm, "memavailable") not in zero
        residual, total = last.get("residual") if known else None, last.get("memavailable", 0.0)
        parts = [
            (part, fits[arm, f"cage_{part}"].point)
            for part in ("anon", "shmem", "kernel", "file")
            if (arm, f"cage_{part}") in fits
        ]
        named = {"ram": "guest RAM", "vmm": "VMM"}
        processes = [(name, fits[arm, part].point) for part, name in named.items() if (arm, part) in fits]
        kernel = fits.get((arm, "kernel"))
        rows.append(
            DensityRow(
                arm,
                *largest(loaded, arm, f"{int(last['n']):,}"),
                [fits.get((arm, view)) for view in VIEWS],
                parts,
                processes,
                kernel.point if kernel else None,
                residual,
                residual / total if residual is not None and total > 0 else None,
                frozenset(view for view in VIEWS if (arm, view) in zero),
            )
        )
    return rows
