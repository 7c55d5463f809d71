"""Every error Tare raises on purpose.

    TareError               exit 5
    ├── InputError          exit 2   a file, a key or an argument is wrong
    │   └── FileError       exit 2   … a file cannot be read: a device, too large, not JSON
    │       └── MissingFile exit 2   … is not there
    ├── HostError           exit 4   this host cannot do it (a tool, a right or room is missing; the host is held)
    ├── CommandError        exit 5   a subprocess failed
    ├── InstanceError       exit 5   an instance did not start, answered wrongly or went away
    │   └── InstanceTimeout exit 5   … within its time limit
    └── RecordError         exit 5   the results folder cannot be written or read

Library code raises, only the command line exits.
"""

from __future__ import annotations

import errno

_LONGEST = 1000


class TareError(Exception):
    """What went wrong, the detail, and what to do next."""

    exit_code = 5

    def __init__(self, what: str, *, detail: str = "", hint: str = "") -> None:
        if len(what) > _LONGEST:  # it quotes a file's own words
            what = f"{what[:_LONGEST]}…"
        super().__init__(what)
        self.what = what
        self.detail = detail
        self.hint = hint

    def __str__(self) -> str:
        parts = [self.what]
        if self.hint:
            parts.append(self.hint)
        return "; ".join(parts)


class InputError(TareError):
    exit_code = 2


class FileError(InputError):
    pass


class MissingFile(FileError):
    pass


class HostError(TareError):
    exit_code = 4


class Unreachable(HostError):
    pass


class HostLost(HostError):
    pass


class CommandError(TareError):
    pass


class InstanceError(TareError):
    pass


class InstanceTimeout(InstanceError):
    pass


class RecordError(TareError):
    pass


_REMEDIES = {
    errno.EFBIG: "raise the limit on the size of files (ulimit -f)",
    errno.EMFILE: "raise the limit on open files (ulimit -n)",
    errno.ENFILE: "have fewer files open on this machine",
    errno.EAGAIN: "raise the limit on processes (ulimit -u)",
    errno.ENOMEM: "free memory, or raise its limit (ulimit -v)",
}
#: Where room would change nothing.
_REFUSALS = (errno.EACCES, errno.EPERM, errno.EROFS, errno.EBADF, errno.ENXIO, errno.EISDIR)
_NO_PLACES = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP, errno.ENAMETOOLONG)


def remedy(error: OSError, elsewhere: str) -> str:
    """What to do where the system refuses something. elsewhere: how to have a file in another place."""
    if error.errno in (*_REFUSALS, *_NO_PLACES):
        return elsewhere
    return _REMEDIES.get(error.errno or 0, f"make room, or {elsewhere}")
