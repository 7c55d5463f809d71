"""Neighbours that misbehave, each in one resource: what they run, by the busybox that every rootfs has.

Whoever starts one ends its instance. Should nobody come to do so, each ends by itself: all loops are counted.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from bench.disk import PLACE

#: The most processes that a neighbour may have; the next fork fails, as in any container with such a limit.
PROCESSES = 1024
#: Where the peers of those that send listen.
PORT = 5009
#: Takes what comes. It must have nothing to say and never come to the end of that, or who sends would go.
_SINK = (
    f"mkfifo /tmp/silence; n=0; while [ $n -lt 1000 ]; do nc -l -p {PORT} <>/tmp/silence >/dev/null; n=$((n+1)); done"
)


@dataclass(frozen=True)
class Neighbour:
    """What it takes too much of, in words; script: for sh; disk: whether it needs the data disk; peer: what is at the
    far end of its link, on PORT, "{peer}" in its script."""

    about: str
    script: str
    disk: bool = False
    peer: Sequence[str] = ()


KINDS: Mapping[str, Neighbour] = {
    "cpu": Neighbour(
        "four busy loops",
        "for i in 1 2 3 4; do ( n=0; while [ $n -lt 500000000 ]; do n=$((n+1)); done ) & done",
    ),
    "memory": Neighbour(
        "takes memory until it is killed for it, again and again",
        "for i in 1 2; do ( n=0; while [ $n -lt 1000 ]; do tail /dev/zero; n=$((n+1)); done ) & done",
    ),
    "fork": Neighbour(
        "a bomb of 128 processes that do nothing but start others",
        'bomb() { if [ "$1" -gt 0 ]; then bomb $(($1-1)) & bomb $(($1-1)) & fi; '
        "n=0; while [ $n -lt 100000 ]; do /bin/true; n=$((n+1)); done; }; bomb 6 &",
    ),
    "disk": Neighbour(
        "two writers that flush every 16 MiB",
        f"for i in 1 2; do ( n=0; while [ $n -lt 1000 ]; do "
        f"dd if=/dev/zero of={PLACE}/hog$i bs=1M count=16 conv=fsync; n=$((n+1)); done ) & done",
        disk=True,
    ),
    "network": Neighbour(
        "sends through its link as much as that takes",
        f"( n=0; while [ $n -lt 1000 ]; do nc {{peer}} {PORT} </dev/zero; n=$((n+1)); done ) &",
        peer=("/bin/busybox", "sh", "-c", _SINK),
    ),
}


def start(kind: str) -> tuple[str, ...]:
    """The command that starts one, and ends at once."""
    return ("/bin/busybox", "sh", "-c", f"( {KINDS[kind].script} ) </dev/null >/dev/null 2>&1")
