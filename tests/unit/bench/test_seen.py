"""What an instance tells of its world."""

from __future__ import annotations

import subprocess

from bench import process, seen

OUTPUT = b"""\
/proc/version:Linux version 6.1.176 (pkg@host) (gcc 12.2.0) #1 SMP
/proc/meminfo:MemTotal:         120340 kB
/proc/meminfo:MemFree:           90000 kB
/proc/meminfo:MemAvailable:     100340 kB
/proc/meminfo:HugePages_Total:       0
/proc/self/status:Name:\tgrep
/proc/self/status:Cpus_allowed:\t2b
/proc/self/status:Cpus_allowed_list:\t0-1,3,5
/proc/self/status:Seccomp:\t2
/proc/self/status:Seccomp_filters:\t1
/proc/mounts:proc /proc proc rw,nosuid 0 0
/proc/mounts:dev /dev devtmpfs rw,size=1k 0 0
/proc/mounts:/dev/vda /data ext4 rw,relatime 0 0
/etc/tare-rootfs:sha256:abcd
/sys/devices/system/clocksource/clocksource0/current_clocksource:tsc
/sys/devices/system/cpu/vulnerabilities/mds:Mitigation: Clear CPU buffers; SMT vulnerable
/sys/devices/system/cpu/vulnerabilities/meltdown:Not affected
"""
KEYS = {
    "kernel",
    "cpus",
    "memory",
    "memory_used",
    "rootfs",
    "clocksource",
    "disk",
    "mounts",
    "mitigations",
    "seccomp",
}


def test_parse() -> None:
    assert seen.parse(OUTPUT) == {
        "kernel": "6.1.176",
        "cpus": 4,
        "memory": 120340 * 1024,
        "memory_used": 20000 * 1024,
        "rootfs": "sha256:abcd",
        "clocksource": "tsc",
        "disk": "ext4 rw,relatime",
        "mounts": ["devtmpfs on /dev", "ext4 on /data", "proc on /proc"],
        "mitigations": {"mds": "Mitigation: Clear CPU buffers; SMT vulnerable", "meltdown": "Not affected"},
        "seccomp": 2,
    }


def test_nothing_told_is_none() -> None:
    found = seen.parse(b"")
    assert set(found) == KEYS
    assert {key: value for key, value in found.items() if value} == {}


def test_garbage_is_none() -> None:
    found = seen.parse(
        b"\xff\xfe\n:::\n/proc/version:Linux\n/proc/self/status:Cpus_allowed_list:\tall\n"
        b"/proc/self/status:Seccomp:\t?\n/proc/meminfo:MemTotal: much kB\n/proc/mounts:proc\n"
        b"/proc/meminfo:MemAvailable: 1 kB\n"
    )
    assert {key: value for key, value in found.items() if value} == {}


def test_the_question_is_one_that_busybox_can_answer() -> None:
    """The same command inside every instance, here on this host."""
    busybox = process.require("busybox", "busybox-static")
    answer = subprocess.run([busybox, *seen.ARGV], capture_output=True, check=False, timeout=10).stdout
    found = seen.parse(answer)
    with open("/proc/sys/kernel/osrelease") as release:  # noqa: PTH123
        assert found["kernel"] == release.read().strip()
    assert isinstance(found["cpus"], int)
    assert found["cpus"] >= 1
    assert isinstance(found["memory_used"], int)
    assert isinstance(found["mounts"], list)
    assert "proc on /proc" in found["mounts"]
