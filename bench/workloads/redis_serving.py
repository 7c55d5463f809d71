"""Redis keeps answering one client, 2,000 times each time it is asked: a server that works, and stays there."""

from __future__ import annotations

from bench.workloads import Reading
from bench.workloads._redis import SERVER, table
from bench.workloads._shell import LOOPBACK, OWN

rootfs = "debian"
area = "applications"
_KNOWN = f"/tmp/redis-{OWN}.server"
# The server is started by the first that needs it, and left running: what it takes is the tenant's.
argv = (
    "/bin/sh",
    "-c",
    LOOPBACK
    + f'{{ read -r p d <{_KNOWN} && grep -aqs "^redis-server 127.0.0.1:$p" /proc/$d/cmdline; }} 2>/dev/null || '
    + f"{{ {SERVER}echo $p $d >{_KNOWN}; }}; exec redis-benchmark -p $p -n 2000 -c 1 -t get --csv",
)


def parse(output: str) -> list[Reading]:
    return table(output, ("GET",))
