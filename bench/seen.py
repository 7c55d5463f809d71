"""What an instance sees of its own world, as told at READY by a command that its init runs."""

from __future__ import annotations

import re

from bench import confine
from bench.disk import PLACE
from bench.memory import guest_used, meminfo

_APPARMOR = "/proc/self/attr/apparmor/current"
_OWN = ("/proc/self/status", "/proc/self/limits", _APPARMOR)
_FILES = ("/proc/version", "/proc/meminfo", *_OWN, "/proc/mounts", "/etc/tare-rootfs")
_CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_HOLES = "/sys/devices/system/cpu/vulnerabilities"

#: Hierarchies of cgroups lie in the first; LXC and nspawn give each container a boot_id of its own; nspawn covers the
#: last, which nobody with these capabilities could read.
_OF_NO_MATTER = ("/sys/fs/cgroup", "/proc/sys/kernel/random/boot_id", "/proc/kmsg")

#: Prints "file:line" for every line of the files above. A file that an instance lacks is left out.
ARGV = ("grep", "-rsH", ".", *_FILES, _CLOCK, _HOLES)


def parse(output: bytes) -> dict[str, object]:
    """kernel, cpus, memory (MemTotal, bytes), memory_used (bytes), rootfs, clocksource, disk (file system and options
    of what is mounted at /data), mounts, mitigations, seccomp, no_new_privs, apparmor (the profile), capabilities
    (effective) and bounding (names), open_files ("SOFT:HARD"), read_only and masked (/sys, and what is below /proc).

    What the instance could not tell is None.
    """
    lines: dict[str, list[str]] = {}
    for line in output.decode(errors="replace").splitlines():
        name, colon, text = line.partition(":")
        if colon:
            lines.setdefault(name, []).append(text)
    status = {
        key: value.strip() for key, _, value in (line.partition(":") for line in lines.get("/proc/self/status", []))
    }
    seccomp = _number(status.get("Seccomp"))
    mounted = [line.split() for line in lines.get("/proc/mounts", []) if len(line.split()) > 3]
    version = " ".join(lines.get("/proc/version", [])).split()
    memory = "\n".join(lines.get("/proc/meminfo", []))
    return {
        "kernel": version[2] if len(version) > 2 else None,
        "cpus": _count(status.get("Cpus_allowed_list")),
        "memory": meminfo(memory).get("MemTotal"),
        "memory_used": guest_used(memory) if {"MemTotal", "MemAvailable"} <= set(meminfo(memory)) else None,
        "rootfs": _first(lines.get("/etc/tare-rootfs")),
        "clocksource": _first(lines.get(_CLOCK)),
        "disk": next(filter(None, map(_disk, lines.get("/proc/mounts", []))), None),
        "mounts": sorted(_mount(line) for line in lines.get("/proc/mounts", []) if len(line.split()) > 2),
        "mitigations": {
            name.rpartition("/")[2]: " ".join(text) for name, text in sorted(lines.items()) if name.startswith(_HOLES)
        },
        "seccomp": seccomp,
        "no_new_privs": _number(status.get("NoNewPrivs")),
        # A kernel without AppArmor has no such file, and confines nobody by it.
        "apparmor": _first(lines.get(_APPARMOR)) or (None if seccomp is None else "unconfined"),
        "capabilities": _capabilities(status.get("CapEff")),
        "bounding": _capabilities(status.get("CapBnd")),
        "open_files": next(filter(None, map(_open_files, lines.get("/proc/self/limits", []))), None),
        "read_only": _read_only(_visible(mounted)) if mounted else None,
        "masked": _masked(_visible(mounted)) if mounted else None,
    }


def _number(text: str | None) -> int | None:
    return int(text) if text and text.isdecimal() else None


def _capabilities(mask: str | None) -> list[str] | None:
    return confine.named(int(mask, 16)) if mask and re.fullmatch("[0-9a-f]{1,16}", mask) else None


def _open_files(line: str) -> str | None:
    match = re.match(r"Max open files +(\w+) +(\w+)", line)
    return f"{match[1]}:{match[2]}" if match else None


def _visible(mounted: list[list[str]]) -> list[list[str]]:
    """Of mounts at or below /proc and /sys those that none which came later covers."""
    found: list[list[str]] = []
    for line in mounted:
        folder = line[1]
        if folder in ("/proc", "/sys") or folder.startswith(("/proc/", "/sys/")):
            found = [each for each in found if not f"{each[1]}/".startswith(f"{folder}/")]
            found.append(line)
    return found


def _read_only(visible: list[list[str]]) -> list[str]:
    """/sys, where nothing of it can be written, and what is read-only below /proc."""
    found = [folder for _, folder, kind, options, *_ in visible if kind == "proc" and "ro" in options.split(",")]
    system = ["ro" in options.split(",") for _, _, kind, options, *_ in visible if kind == "sysfs"]
    return sorted(found + ["/sys"] * bool(system and all(system)))


def _masked(visible: list[list[str]]) -> list[str]:
    """Where an empty folder or a null device lies over what the kernel shows."""
    covered = {folder for _, folder, kind, *_ in visible if kind in ("tmpfs", "devtmpfs")}
    return sorted(covered - {"/sys", *_OF_NO_MATTER})


def _first(found: list[str] | None) -> str | None:
    return found[0].strip() if found else None


def _count(ranges: str | None) -> int | None:
    """How many CPUs in a list like "0-2,5"."""
    total = 0
    for part in (ranges or "").split(","):
        match = re.fullmatch(r"(\d+)(?:-(\d+))?", part)
        if match is None:
            return None
        total += int(match[2] or match[1]) - int(match[1]) + 1
    return total


def _mount(line: str) -> str:
    _, folder, kind, *_ = line.split()
    return f"{kind} on {folder}"


def _disk(line: str) -> str | None:
    words = line.split()
    return f"{words[2]} {words[3]}" if len(words) > 3 and words[1] == PLACE else None
