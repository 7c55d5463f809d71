"""Plans as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.console import Console
from rich.table import Table

from bench import units
from bench.plan import Estimate

_BLOCKS_SHOWN = 3


def plan(made: Mapping[str, Any], cost: Estimate) -> None:
    """The matrix of arms and scenarios, the order of the first blocks, what is left out and why, and the estimate."""
    console = Console(highlight=False, emoji=False)
    envelope = made["envelope"]
    console.print(
        f"campaign [bold]{made['campaign']}[/]: {made['blocks']} blocks, seed {made['seed']}, "
        f"baseline {made['baseline']}, "
        f"envelope {envelope['cpus']} CPU, {units.show_size(envelope['memory'])}, rootfs {envelope['rootfs']}"
    )
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
            f"left out: {gone['arm']} in {gone['scenario']}: {gone['reason']}",
            style="yellow",
            soft_wrap=True,
            markup=False,
        )
    console.print(f"{len(made['slots'])} slots: {cost}")
