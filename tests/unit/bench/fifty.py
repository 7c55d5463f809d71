"""A campaign on fifty hosts whose doors are simulated; prints the controller's peak memory in bytes.

The doors stand for what is at their other end and nothing else: plan, runner, conversations and journals are real, and
each host is sent the rootfs, packed once.
"""

from __future__ import annotations

import contextlib
import json
import queue
import re
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from bench import config, facts, inventory, remote, runner
from bench.host import LocalFiles
from bench.slots import Watcher

HOSTS = [f"rack{number}" for number in range(50)]
CAMPAIGN = f"""
name = "fifty"
blocks = 20
baseline = "process"
hosts = {json.dumps(HOSTS)}
[scenarios]
boot = {{}}
spawn = {{}}
[arms]
process = {{}}
crun = {{}}
runc = {{}}
"""
FACTS = facts.host() | {"kernel": "6.1"}
CREW = {"tools": {}, "user": "root", "python": "3.11", "cgroup": "v2", "cage": {}, "notes": []}
SLOT = {
    "status": "ok",
    "reason": None,
    "marks": dict.fromkeys(("requested", "spawned", "kernel", "init", "ready"), 1),
    "samples": [{"metric": f"m{n}", "values": [0.1] * 20, "unit": "second", "better": "lower"} for n in range(5)],
    "memory": {},
    "seen": {"kernel": "6.1", "cpus": 1},
    "caged": True,
    "wall_s": 0.0,
}


class Door:
    def __init__(self) -> None:
        self._out: queue.SimpleQueue[bytes | None] = queue.SimpleQueue()

    def send(self, data: bytes) -> None:
        answers: dict[str, Any] = {
            "enter": {"run": "0" * 8, "host": FACTS, "cleaned": []},
            "probe": {"reason": None},
            "lacking": {},
            "facts": CREW | {"host": FACTS},
            "slot": SLOT,
            "bye": {"left": []},
        }
        if data.strip():
            request = json.loads(data)
            self._out.put(json.dumps({"to": request["id"], "ok": answers.get(request["do"])}).encode())

    def lines(self) -> Iterator[bytes]:
        yield from iter(self._out.get, None)

    def last_words(self) -> str:
        return ""

    def hang_up(self) -> None:
        self._out.put(None)

    def close(self) -> None: ...


@contextlib.contextmanager
def enter(host: inventory.Host, what: str, warned: object, **_: object) -> Iterator[remote.RemoteSeat]:
    with remote.occupy(Door(), LocalFiles(Path(sys.argv[1]) / "sent" / host.name), host.name, what) as seat:
        yield seat


def main() -> None:
    runner.enter = enter  # type: ignore[assignment]
    inventory.hosts = lambda: {name: inventory.Host(name, inventory.Entry()) for name in HOSTS}  # type: ignore[assignment]
    campaign = config.parse(CAMPAIGN, Path("fifty.toml"))
    folder = runner.run(campaign, Path(sys.argv[1]), Watcher())
    done = sum(len((folder / name / "journal.jsonl").read_text().splitlines()) for name in HOSTS)
    found = re.search(r"VmHWM:\s+(\d+)", Path("/proc/self/status").read_text())
    assert found
    print(done, int(found[1]) * 1024)


if __name__ == "__main__":
    main()
