"""Locks between the processes of one host (flock), which the kernel releases with their holder."""

from __future__ import annotations

import fcntl
import time
from collections.abc import Callable

from bench.errors import HostError

_PAUSE = 0.2


def wait(held: int, who: str, tell: Callable[[str], None], limit: float) -> None:
    """Lock a descriptor, for which another process is waited for limit seconds at most. Raises HostError then.

    who: that process, in words; tell: hears that it is waited for.
    """
    deadline = time.monotonic() + limit
    told = False
    while True:
        try:
            fcntl.flock(held, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return
        except BlockingIOError:
            pass
        if time.monotonic() > deadline:
            raise HostError(f"{who} did not end within {limit:g} s", hint="try again, or end it")
        if not told:
            tell(f"waiting for {who}")
            told = True
        time.sleep(_PAUSE)
