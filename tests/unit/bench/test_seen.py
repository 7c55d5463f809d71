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
/proc/self/status:NoNewPrivs:\t1
/proc/self/status:CapEff:\t0000000000000003
/proc/self/status:CapBnd:\t0000800000000001
/proc/self/limits:Limit                     Soft Limit           Hard Limit           Units
/proc/self/limits:Max open files            1024                 unlimited            files
/proc/self/attr/apparmor/current:docker-default (enforce)
/proc/mounts:proc /proc proc rw,nosuid 0 0
/proc/mounts:proc /proc/sys proc ro,nosuid 0 0
/proc/mounts:tmpfs /proc/kcore tmpfs rw 0 0
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
    "no_new_privs",
    "apparmor",
    "capabilities",
    "bounding",
    "open_files",
    "read_only",
    "masked",
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
        "mounts": ["devtmpfs on /dev", "ext4 on /data", "proc on /proc", "proc on /proc/sys", "tmpfs on /proc/kcore"],
        "mitigations": {"mds": "Mitigation: Clear CPU buffers; SMT vulnerable", "meltdown": "Not affected"},
        "seccomp": 2,
        "no_new_privs": 1,
        "apparmor": "docker-default (enforce)",
        "capabilities": ["chown", "dac_override"],
        "bounding": ["chown", "capability 47"],
        "open_files": "1024:unlimited",
        "read_only": ["/proc/sys"],
        "masked": ["/proc/kcore"],
    }


def told_of(*mounts: str) -> tuple[object, object]:
    """What is read-only and masked where just these are mounted, in this order."""
    found = seen.parse("".join(f"/proc/mounts:{line} 0 0\n" for line in mounts).encode())
    return found["read_only"], found["masked"]


def test_what_is_covered_by_a_later_mount_is_not_seen() -> None:
    """nspawn mounts /sys and a boot_id first, and what is to be read-only over them."""
    mounts = [
        "tmpfs /sys tmpfs rw",
        "sysfs /sys sysfs ro",
        "proc /proc proc rw",
        "proc /proc/sys/net proc rw",
        "tmpfs /proc/sys/kernel/random/boot_id tmpfs ro",
        "tmpfs /proc/kmsg tmpfs rw",
        "proc /proc/sys proc ro",
        "tmpfs /sys/fs/cgroup tmpfs ro",
        "cgroup /sys/fs/cgroup/cpu cgroup rw",
        "tmpfs /tmp tmpfs ro",
    ]
    assert told_of(*mounts) == (["/proc/sys", "/sys"], [])


def test_sys_is_read_only_where_all_of_it_is() -> None:
    """It may be shown in parts, as nspawn does by itself."""
    parts = ["tmpfs /sys tmpfs ro", "sysfs /sys/bus sysfs ro", "sysfs /sys/kernel sysfs "]
    assert told_of(*parts[:2], parts[2] + "ro") == (["/sys"], [])
    assert told_of(*parts[:2], parts[2] + "rw") == ([], [])
    assert told_of("sysfs /sys sysfs rw") == ([], [])


def test_masks_of_files_and_of_folders() -> None:
    """A null device, and an empty folder, as the OCI runtimes do."""
    mounts = [
        "proc /proc proc rw",
        "sysfs /sys sysfs ro",
        "tmpfs /proc/acpi tmpfs ro",
        "devtmpfs /proc/keys devtmpfs rw",
        "tmpfs /sys/firmware tmpfs ro",
        "binfmt_misc /proc/sys/fs/binfmt_misc binfmt_misc rw",
        "securityfs /sys/kernel/security securityfs rw",
    ]
    assert told_of(*mounts) == (["/sys"], ["/proc/acpi", "/proc/keys", "/sys/firmware"])


def test_a_kernel_without_apparmor_confines_nobody_by_it() -> None:
    assert seen.parse(b"/proc/self/status:Seccomp:\t0\n")["apparmor"] == "unconfined"
    assert seen.parse(b"")["apparmor"] is None


def test_nothing_told_is_none() -> None:
    found = seen.parse(b"")
    assert set(found) == KEYS
    assert {key: value for key, value in found.items() if value} == {}


def test_garbage_is_none() -> None:
    found = seen.parse(
        b"\xff\xfe\n:::\n/proc/version:Linux\n/proc/self/status:Cpus_allowed_list:\tall\n"
        b"/proc/self/status:Seccomp:\t?\n/proc/self/status:CapEff:\tall\n/proc/self/limits:Max open files\n"
        b"/proc/meminfo:MemTotal: much kB\n/proc/mounts:proc\n"
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
    assert found["capabilities"] is not None
    assert found["open_files"] is not None
    assert isinstance(found["mounts"], list)
    assert "proc on /proc" in found["mounts"]
