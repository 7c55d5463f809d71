"""The bare loop that `tare selfbench` holds the harness against: posix_spawn, read READY, say halt, wait. Nothing else.

Run as a program inside a cage: reads one JSON line {"doors", "argv", "count", "keep"} and prints {"boots", "wall"} in
seconds. "{}" in argv becomes the instance's number; keep: start all before ending any.
"""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path


def _start(argv: list[str]) -> tuple[int, int, int, float]:
    child_in, write = os.pipe()
    read, child_out = os.pipe()
    begin = time.monotonic()
    wiring = [(os.POSIX_SPAWN_DUP2, child_in, 0), (os.POSIX_SPAWN_DUP2, child_out, 1)]
    pid = os.posix_spawn(argv[0], argv, os.environ, file_actions=wiring)
    os.close(child_in)
    os.close(child_out)
    heard = b""
    while b"READY\n" not in heard:
        data = os.read(read, 4096)
        if not data:
            raise SystemExit(f"no READY from {argv}: {heard!r}")
        heard += data
    return pid, read, write, time.monotonic() - begin


def _end(pid: int, read: int, write: int) -> None:
    os.write(write, b"halt\n")
    os.waitpid(pid, 0)
    os.close(read)
    os.close(write)


def main() -> None:
    job = json.loads(sys.stdin.readline())
    for door in job["doors"]:
        Path(door).write_text("0")
    boots, kept = [], []
    begin = time.monotonic()
    for number in range(job["count"]):
        pid, read, write, seconds = _start([word.replace("{}", str(number)) for word in job["argv"]])
        boots.append(seconds)
        if job["keep"]:
            kept.append((pid, read, write))
        else:
            _end(pid, read, write)
    for instance in kept:
        _end(*instance)
    print(json.dumps({"boots": boots, "wall": time.monotonic() - begin}))


if __name__ == "__main__":
    main()
