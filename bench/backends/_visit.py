"""A stay in an instance's cage, for a library that starts processes by itself and cannot be told where."""

from __future__ import annotations

import contextlib
import os
import threading
from pathlib import Path

from bench.cage import Cage


class Visit:
    """Between enter() and leave(), what the calling thread forks is born in the cage.

    cgroup v1 lets a single thread in. v2 does not: there the whole process goes, and should leave again soon.
    """

    def __init__(self, cage: Cage) -> None:
        self._threads = cage.hierarchy.version == 1
        self._name = "tasks" if self._threads else "cgroup.procs"
        self._inside = [folder / self._name for folder in cage.entrance]
        self._home = [folder / self._name for folder in _own_groups(cage)]
        self._cpus = os.sched_getaffinity(0)

    def enter(self) -> None:
        """Raises OSError."""
        who = threading.get_native_id() if self._threads else os.getpid()
        for door in self._inside:
            door.write_text(str(who))

    def leave(self) -> None:
        """Bring back the calling thread, and those of this process that were started during the visit."""
        for inside, home in zip(self._inside, self._home, strict=True):
            with contextlib.suppress(OSError):
                for task in inside.read_text().split():
                    if Path(f"/proc/self/task/{task}").exists():
                        home.write_text(task)
        for entry in Path("/proc/self/task").iterdir():
            with contextlib.suppress(OSError):
                os.sched_setaffinity(int(entry.name), self._cpus)


def _own_groups(cage: Cage) -> list[Path]:
    """The folders of this process's own groups, one for each of the cage's hierarchies."""
    own: dict[str, str] = {}
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for name in controllers.split(",") if controllers else ["unified"]:
            own[name] = path.lstrip("/")
    by_mount = {mount: mount / own[name] for name, mount in cage.hierarchy.mounts.items()}
    return list(by_mount.values())
