"""Signals that end a command in order: SIGINT, SIGTERM, SIGHUP. The first one counts, and clean-up is not cut short."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator
from typing import ClassVar

SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)
#: Seconds after a signal for which further ones change nothing.
PATIENCE = 45.0


class _State:
    holders: ClassVar[int] = 0
    came: ClassVar[int | None] = None


def listen() -> None:
    """Signals raise KeyboardInterrupt, but those that whoever called has us ignore (nohup, a script's `&`)."""
    for number in SIGNALS:
        if signal.getsignal(number) is not signal.SIG_IGN:
            signal.signal(number, _interrupt)


def ignore() -> None:
    """From here on they change nothing."""
    for number in SIGNALS:
        signal.signal(number, signal.SIG_IGN)


def _interrupt(signum: int, frame: object) -> None:
    """A second signal must not cut short what the first one has us take down, for as long as that may take."""
    heeded = [number for number in SIGNALS if signal.getsignal(number) is not signal.SIG_IGN]

    def heed(signum: int, frame: object) -> None:
        for number in heeded:
            signal.signal(number, _interrupt)

    ignore()
    signal.signal(signal.SIGALRM, heed)
    signal.setitimer(signal.ITIMER_REAL, PATIENCE)
    if _State.holders:
        _State.came = signum
    else:
        raise KeyboardInterrupt(signum)


@contextlib.contextmanager
def held() -> Iterator[None]:
    """What runs in this block runs to its end; a signal that came meanwhile raises KeyboardInterrupt then.

    Also where the block failed, in whose words it is then.
    """
    signum, failed = None, None
    _State.holders += 1
    try:
        yield
    except Exception as error:
        if _State.holders > 1 or _State.came is None:
            raise
        failed = error
    finally:
        _State.holders -= 1
        if not _State.holders:
            signum, _State.came = _State.came, None
    if failed is not None:
        raise KeyboardInterrupt(str(failed) or type(failed).__name__) from failed
    if signum is not None:
        raise KeyboardInterrupt(signum)
