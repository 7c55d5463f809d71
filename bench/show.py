"""Plans, kernels and lab hosts as tables for people."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from itertools import groupby
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import units
from bench.debian import Package
from bench.kernels import Kernel
from bench.lab import Condition
from bench.plan import Estimate
from bench.text import one_line

_BLOCKS_SHOWN = 3


def plan(made: Mapping[str, Any], cost: Estimate, kernels: Mapping[str, str], misfits: Sequence[str] = ()) -> None:
    """The matrix of arms and scenarios, the order of the first blocks, what is left out and why, and the estimate.

    kernels: by arm, what a run does first for a kernel that is not there; misfits: what this machine has too little of.
    """
    console = Console(highlight=False, emoji=False)
    envelope = made["envelope"]
    console.print(
        f"campaign [bold]{made['campaign']}[/]: {made['blocks']} blocks, seed {made['seed']}, "
        f"baseline {made['baseline']}, "
        f"envelope {envelope['cpus']} CPU, {units.show_size(envelope['memory'])}, rootfs {envelope['rootfs']}"
        + (f", disk {units.show_size(envelope['disk'])}" if "disk" in envelope else "")
        + (", link" if "link" in envelope else "")
    )
    if "slurm" in made:
        options = " ".join(made["slurm"]["options"])
        nodes = made["slurm"]["nodes"]
        dealt = f"on a Slurm cluster ({options or 'no options'}), its blocks dealt to {nodes} nodes"
        console.print(one_line(dealt), markup=False)
    table = Table("arm", *made["scenarios"])
    for name in made["arms"]:
        cells = [", ".join(made["measures"].get(scenario, {}).get(name, [])) or "–" for scenario in made["scenarios"]]
        table.add_row(name, *cells)
    console.print(table)
    for block in range(1, min(made["blocks"], _BLOCKS_SHOWN) + 1):
        order = [f"{slot['arm']}/{slot['scenario']}" for slot in made["slots"] if slot["block"] == block]
        console.print(f"block {block}: " + " → ".join(order), soft_wrap=True)
    if made["blocks"] > _BLOCKS_SHOWN:
        console.print(
            f"… and {made['blocks'] - _BLOCKS_SHOWN} blocks more, each in an order of its own (all of it: --json)"
        )
    for gone in made["left_out"]:
        console.print(
            one_line(f"left out: {gone['arm']} in {gone['scenario']}: {gone['reason']}"),
            style="yellow",
            soft_wrap=True,
            markup=False,
        )
    for text, arms in groupby(sorted(kernels, key=lambda name: kernels[name]), key=lambda name: kernels[name]):
        console.print(one_line(f"first: {text} (for {', '.join(arms)})"), soft_wrap=True, markup=False)
    console.print(f"{len(made['slots'])} slots: {cost}")
    for text in misfits:
        console.print(one_line(f"does not fit: {text}"), style="yellow", soft_wrap=True, markup=False)


def kernels(there: Sequence[Kernel]) -> None:
    """What the cache holds."""
    table = Table("release", "kind", "from", "config", "size", box=None, pad_edge=False)
    for kernel in there:
        config = (kernel.config or "unknown")[:12]
        cells = kernel.release, kernel.kind, kernel.source, config, units.show_size(kernel.size)
        table.add_row(*map(one_line, cells))
    _console().print(table if there else "the cache holds no kernel: ./tare kernel fetch")


def packages(offered: Sequence[Package], there: Sequence[Kernel]) -> None:
    """What Debian has, and which of it is in the cache."""
    cached = {(kernel.origin.get("package"), kernel.origin.get("version")) for kernel in there}
    table = Table("package", "version", "size", "", box=None, pad_edge=False)
    for package in offered:
        mark = "in the cache" if (package.name, package.version) in cached else ""
        table.add_row(package.name, package.version, units.show_size(package.size), mark)
    _console().print(table if offered else "apt knows no kernel packages: apt-get update renews its lists")


def lab_hosts(conditions: Sequence[Condition]) -> None:
    """Which lab hosts are built, and which are up."""
    table = Table("host", "built", "up", "port", "pid", "since", "what it is", box=None, pad_edge=False)
    for host in conditions:
        built = units.show_size(host.size) if host.built else "no"
        up = ["yes", str(host.port), str(host.pid), host.since or ""] if host.up else ["no", "", "", ""]
        table.add_row(host.name, built, *up, host.about)
    _console().print(table)


def _console() -> Console:
    """As wide as it takes where nobody looks: lines are not cut in pipes."""
    wide = Console(highlight=False, emoji=False, markup=False)
    return wide if wide.is_terminal else Console(highlight=False, emoji=False, markup=False, width=200)
