"""This user's own folders: what can be made again is kept in the cache, what the user wrote lies in the configuration,
and what is known of runs in the state.

HOME is not always the user's: `sudo -E`, `sudo -u` and `su` keep the caller's, and what runs under a number alone (a
container's `--user 12345`, a cluster's pod) may have none, or one that is not there.
"""

from __future__ import annotations

import contextlib
import os
import pwd
import stat
from collections.abc import Iterator
from pathlib import Path

from bench.errors import HostError, remedy

_HINT = "set HOME to a folder of your own, or XDG_CACHE_HOME and XDG_CONFIG_HOME"


def folder() -> Path:
    """The home folder that HOME names, or else the one of this user's account; never another user's.

    Raises HostError where there is none.
    """
    named = os.environ.get("HOME")
    for path in (named, _accounts()):
        if path and _is_ours(Path(path)):
            return Path(path).absolute()
    why = f"HOME is {named}, which is no folder of this user" if named else "HOME is not set"
    raise HostError(f"there is no home folder for uid {os.geteuid()}: {why}", hint=_HINT)


def cache() -> Path:
    """$XDG_CACHE_HOME/tare. Raises HostError."""
    return _place("XDG_CACHE_HOME", ".cache")


def configuration() -> Path:
    """$XDG_CONFIG_HOME/tare. Raises HostError."""
    return _place("XDG_CONFIG_HOME", ".config")


def state() -> Path:
    """$XDG_STATE_HOME/tare. Raises HostError."""
    return _place("XDG_STATE_HOME", ".local/state")


@contextlib.contextmanager
def keeping() -> Iterator[None]:
    """Something is put into the cache. Raises HostError where the system refuses that."""
    try:
        yield
    except OSError as error:
        hint = remedy(error, "set XDG_CACHE_HOME to a folder that you may write to, on a disk with room")
        raise HostError(f"the cache {cache()} cannot be written: {error.strerror or error}", hint=hint) from error


def _place(variable: str, name: str) -> Path:
    given = os.environ.get(variable)
    return (Path(given).absolute() if given else folder() / name) / "tare"


def _accounts() -> str | None:
    with contextlib.suppress(KeyError):
        return pwd.getpwuid(os.geteuid()).pw_dir
    return None


def _is_ours(path: Path) -> bool:
    """Whether a folder is this user's to keep things in, or would be once it is made."""
    try:
        found = path.stat()
    except FileNotFoundError:
        return path.parent != path and os.access(_nearest(path), os.W_OK | os.X_OK)
    except OSError:
        return False
    if not stat.S_ISDIR(found.st_mode):
        return False
    if found.st_uid == os.geteuid():
        return True
    if os.geteuid() == 0 or not os.access(path, os.R_OK | os.W_OK | os.X_OK):  # root may write everywhere
        return False
    # A group's, as clusters give them, or /tmp, where others may have put what we would take for our own.
    return not found.st_mode & stat.S_IWOTH or not any(
        _is_anothers(path / name) for name in (".cache", ".config", ".local")
    )


def _is_anothers(path: Path) -> bool:
    try:
        return path.lstat().st_uid != os.geteuid()
    except OSError:
        return False


def _nearest(path: Path) -> Path:
    """The folder above that is there."""
    return next(above for above in path.absolute().parents if above.exists())
