"""Notices that the harness itself stood still while a slot ran: it was stopped, or the machine was paused.

The process that waits for a worker looks at the clock ten times a second; a look that comes late is a stall. A worker
that is stopped alone is told by SIGCONT. Figures of such a slot are of the stall and not of the arm.
"""

from __future__ import annotations

import signal
import threading
import time
from typing import ClassVar

#: Seconds between two looks at the clock.
TICK = 0.1
#: Seconds by which a look may be late on a busy machine.
LATE = 1.0


class Continued:
    """How often this process was continued after it had been stopped."""

    times: ClassVar[int] = 0

    @classmethod
    def listen(cls) -> None:
        """From now on. Only the main thread can."""
        if threading.current_thread() is threading.main_thread():
            signal.signal(signal.SIGCONT, cls._note)

    @classmethod
    def _note(cls, signum: int, frame: object) -> None:
        cls.times += 1


class Watch:
    """From its making on. late: seconds by which a look may be late."""

    def __init__(self, late: float = LATE) -> None:
        self._late = late
        self._looked = time.monotonic()
        self._suspended = _suspended()
        self._continued = Continued.times
        self.seconds = 0.0

    def look(self) -> None:
        """Call it every TICK seconds."""
        now = time.monotonic()
        gap = now - self._looked - TICK
        self._looked = now
        # Only we were stopped (Ctrl-Z in a terminal stops what it started, and no worker): the worker went on.
        alone = Continued.times > self._continued
        self._continued = Continued.times
        if gap > self._late and not alone:
            self.seconds += gap

    def stalled(self) -> float:
        """Seconds for which this machine stood still since the watch was made; 0 where it did not."""
        self.look()
        asleep = _suspended() - self._suspended
        return self.seconds + (asleep if asleep > self._late else 0.0)


def _suspended() -> float:
    """Seconds that this machine has spent suspended, which the clock that measures leaves out."""
    return time.clock_gettime(time.CLOCK_BOOTTIME) - time.clock_gettime(time.CLOCK_MONOTONIC)
