"""Runs steps on one real instance in a process of its own, as the slot worker does; prints one JSON object.

Reads {"setup": …, "steps": [[name, …], …]} from standard input. Steps: call ARGV, exec ARGV, hang SECONDS,
freeze SECONDS (the init no longer answers), stop, firmware (boots that guest), talk (hears its peer by the link), flood
KIND (bytes that a neighbour sends in a second).
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from bench import mounts, workloads
from bench.errors import InstanceTimeout
from bench.measures import isolation
from bench.session import Place, Scenario, Session
from bench.worker import Worker
from bench.workloads import Workload

#: The peer says its name; nothing else has it.
TALK = Workload(
    "talk",
    ["/bin/busybox", "nc", "-w", "5", "{peer}", "5009"],
    lambda output: [],
    peer=["/bin/busybox", "nc", "-ll", "-p", "5009", "-e", "/bin/busybox", "echo", "the far end"],
    port=5009,
)


def main() -> None:
    job = json.load(sys.stdin)
    mounts.leave_chroot()
    worker = Worker(job["setup"])
    place = Place(worker.run, "s1", worker.folder, worker.hierarchy, worker.cpus)
    session = worker.session(Scenario(("boot",), timeout=60), place)
    done: list[Any] = []
    try:
        for name, *rest in job["steps"]:
            done.append(_step(session, name, rest))
    finally:
        begin = time.monotonic()
        session.release(by_force=True)
        released = time.monotonic() - begin
        worker.close()
    print(json.dumps({"steps": done, "marks": session.marks, "seen": session.seen, "released_s": released}))


def _step(session: Session, name: str, rest: list[Any]) -> Any:
    instance = session.boot("firmware" if name == "firmware" else "linux")
    if name == "firmware":
        return True
    if name in ("call", "exec"):
        reply = getattr(instance, name)(rest[0], session.deadline())
        output = reply.output
        return {
            "status": reply.status,
            "size": len(output),
            "output": output[:2000].decode(),
            "distinct": len(set(output)),
        }
    if name == "talk":
        with workloads.ready(session, instance, TALK) as workload:
            return instance.call(workload.argv, session.deadline()).output.decode()
    if name == "flood":
        with workloads.ready(session, instance, isolation.workload_of(rest[0])) as hog:
            instance.call(hog.argv, session.deadline())
            time.sleep(1)
            reply = instance.call(["/bin/busybox", "cat", "/proc/net/dev"], session.deadline())
        (sent,) = [line.split()[9] for line in reply.output.decode().splitlines() if line.strip().startswith("tare")]
        return int(sent)
    if name == "stop":
        session.stop(instance)
        return True
    if name == "freeze":
        for pid in instance.pids():
            os.kill(pid, signal.SIGSTOP)
    begin = time.monotonic()
    try:
        # Never ends, whatever clock the guest goes by: where instructions are counted, it leaps over a sleep.
        instance.call(["/bin/tail", "-f", "/dev/null"], begin + rest[0])
    except InstanceTimeout:
        return {"timeout_after": time.monotonic() - begin}
    return None


if __name__ == "__main__":
    main()
