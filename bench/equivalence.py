"""Equivalence: what an instance said it sees, against what the envelope and this host would give the bare process."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench import confine

#: A guest's kernel keeps some of its memory for itself before it counts MemTotal.
MEMORY_TOLERANCE = 0.15
#: What the data disk is everywhere: ext4 with what that has by default.
DISK = "ext4 rw,nosuid,nodev,relatime"
#: What a link does between two processes of this host (see bench.link).
LINK = "MTU 1500, tx-checksum sg tso"

#: What every instance on this host's kernel is given, whatever its runtime is (see bench.confine).
CONFINED = {
    "no_new_privs": 1,
    "apparmor": "unconfined",
    "capabilities": confine.CAPABILITIES,
    "bounding": confine.CAPABILITIES,
    "open_files": f"{confine.FILES[0]}:{confine.FILES[1]}",
    "masked": list[str](),
}
#: What a guest's own kernel decides: what its root may do there, it may not do here.
_OF_A_KERNEL = frozenset({*CONFINED, "read_only"})


def reference(envelope: Mapping[str, Any], host: Mapping[str, Any], digest: str) -> dict[str, Any]:
    """What a process on this host would see under the envelope. envelope: cpus, memory (bytes); host: facts' `host`."""
    expected = {
        "kernel": host["kernel"],
        "cpus": envelope["cpus"],
        "memory": envelope["memory"],
        "rootfs": digest,
        "clocksource": host["clocksource"],
        "mitigations": host["mitigations"],
        "seccomp": 0,
        **CONFINED,
        "read_only": sorted(["/sys", *host.get("read_only", confine.READ_ONLY)]),
    }
    # What its file system is mounted with tells how it treats what is flushed.
    expected |= {"disk": DISK} if envelope.get("disk") else {}
    return expected | ({"link": LINK} if envelope.get("link") else {})


def compare(
    expected: Mapping[str, Any],
    seen: Mapping[str, Any],
    *,
    memory_by_cage: bool,
    caged: bool,
    memory_limit: int | None = None,
    own_kernel: bool = False,
) -> dict[str, Any]:
    """The journal's `equivalence`: badge "equal" or "differs", and for each difference [expected, seen].

    A container sees all the host's memory and is held to the envelope by its cage, whose limit is read back
    (memory_limit, bytes); a guest's size is what it sees. own_kernel: whether it is a guest, whose rights are
    of no matter here.
    """
    differs: dict[str, list[Any]] = {}
    for key, wanted in expected.items():
        got = seen.get(key)
        if own_kernel and key in _OF_A_KERNEL:
            continue
        if key == "memory":
            got = memory_limit if memory_by_cage else got
            if got is not None and abs(got - wanted) <= MEMORY_TOLERANCE * wanted:
                continue
        if key == "mitigations" and isinstance(got, Mapping):
            odd = sorted(name for name in {*wanted, *got} if wanted.get(name) != got.get(name))
            if odd:
                differs[key] = [{name: wanted.get(name) for name in odd}, {name: got.get(name) for name in odd}]
            continue
        if got != wanted:
            differs[key] = [wanted, got]
    if not caged:
        differs["cage"] = ["one cgroup", None]
    return {"badge": "differs" if differs else "equal", "caged": caged, "differs": differs}
