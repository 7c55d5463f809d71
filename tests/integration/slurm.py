"""A Slurm cluster of this machine: its daemons for real, on loopback, with two nodes that are both this machine."""

from __future__ import annotations

import ipaddress
import os
import secrets
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

NODES = ("n1", "n2")
_CONF = """\
ClusterName=tare
SlurmctldHost={host}(127.0.0.1)
SlurmctldPort={ctld}
SlurmUser=root
SlurmdUser=root
AuthType=auth/munge
AuthInfo=socket={top}/munge.socket
CommunicationParameters=NoCtldInAddrAny,NoInAddrAny
StateSaveLocation={top}/state
SlurmdSpoolDir={top}/spool-%n
SlurmctldPidFile={top}/slurmctld.pid
SlurmdPidFile={top}/slurmd-%n.pid
ProctrackType=proctrack/pgid
TaskPlugin=task/none
SchedulerParameters=batch_sched_delay=0,sched_interval=2,bf_interval=2
SelectType=select/cons_tres
SelectTypeParameters=CR_Core
ReturnToService=2
KillWait=20
MpiDefault=none
JobAcctGatherType=jobacct_gather/none
{nodes}
PartitionName=lab Nodes=n[1-2] Default=YES MaxTime=INFINITE State=UP OverSubscribe=EXCLUSIVE
"""


#: The daemons look up the name of their machine, which need not resolve; this one does without a resolver: it is the
#: number that 127.0.0.1 is.
_HOST = str(int(ipaddress.IPv4Address("127.0.0.1")))
_NAMED = 'echo "$1" > /proc/sys/kernel/hostname && shift && exec "$@"'


class Cluster:
    """Up for as long as the block lasts. environment: what its commands need."""

    def __init__(self, top: Path) -> None:
        self.top = top
        self.environment = {"SLURM_CONF": str(top / "slurm.conf")}
        self._daemons: dict[str, subprocess.Popen[bytes]] = {}

    def __enter__(self) -> Cluster:
        try:
            self._begin()
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        for name in reversed(list(self._daemons)):
            self.end(name)

    def _begin(self) -> None:
        ports = iter(_free_ports(1 + len(NODES)))
        ctld = next(ports)
        nodes = "\n".join(
            f"NodeName={name} NodeHostname={_HOST} NodeAddr=127.0.0.1 Port={next(ports)} CPUs={os.cpu_count()}"
            for name in NODES
        )
        (self.top / "state").mkdir()
        (self.top / "slurm.conf").write_text(_CONF.format(host=_HOST, ctld=ctld, top=self.top, nodes=nodes))
        key = self.top / "munge.key"
        key.touch(0o600)
        key.write_bytes(secrets.token_bytes(128))
        names = ("socket", "pid-file", "log-file", "seed-file")
        files = [f"--{name}={self.top / 'munge'}.{name.removesuffix('-file')}" for name in names]
        self._start("munged", ["munged", "--foreground", "--force", f"--key-file={key}", *files])
        self.start_controller()
        for name in NODES:
            self.start_node(name)
        deadline = time.monotonic() + 60
        while self.run("sinfo", "--noheader", "--format=%T %D") != f"idle {len(NODES)}":
            assert time.monotonic() < deadline, self.run("sinfo") + self.logs()
            time.sleep(0.2)

    def start_controller(self) -> None:
        self._start("slurmctld", ["slurmctld", "-D", "-f", str(self.top / "slurm.conf")])

    def start_node(self, name: str) -> None:
        self._start(name, ["slurmd", "-D", "-N", name, "-f", str(self.top / "slurm.conf")])

    def end(self, name: str) -> None:
        """munged, slurmctld or a node's slurmd."""
        daemon = self._daemons.pop(name)
        daemon.terminate()
        try:
            daemon.wait(20)
        except subprocess.TimeoutExpired:
            daemon.kill()
            daemon.wait()

    def run(self, *argv: str) -> str:
        """What one of Slurm's commands prints."""
        ran = subprocess.run(
            argv, capture_output=True, text=True, timeout=60, env={**os.environ, **self.environment}, check=False
        )
        return (ran.stdout + ran.stderr).strip()

    def logs(self) -> str:
        return "\n".join(f"{log}: {log.read_text()[-2000:]}" for log in sorted(self.top.glob("*.out")))

    def _start(self, name: str, argv: Sequence[str]) -> None:
        program = shutil.which(argv[0], path=os.environ["PATH"] + ":/usr/sbin")
        assert program, f"{argv[0]} is not installed"
        with (self.top / f"{name}.out").open("ab") as out:
            self._daemons[name] = subprocess.Popen(
                ["unshare", "--uts", "sh", "-c", _NAMED, "sh", _HOST, program, *argv[1:]],
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=out,
                env={**os.environ, **self.environment},
                start_new_session=True,
            )


def _free_ports(count: int) -> list[int]:
    held = [socket.create_server(("127.0.0.1", 0)) for _ in range(count)]
    ports = [each.getsockname()[1] for each in held]
    for each in held:
        each.close()
    return ports


if __name__ == "__main__":  # to try things: python -m tests.integration.slurm FOLDER COMMAND…
    folder = Path(sys.argv[1]).absolute()
    folder.mkdir()
    with Cluster(folder) as cluster:
        sys.exit(subprocess.call(sys.argv[2:], env={**os.environ, **cluster.environment}))
