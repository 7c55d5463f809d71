"""What an instance sees of its own world, as told at READY by a command that its init runs."""

from __future__ import annotations

import re

from bench.disk import PLACE
from bench.memory import guest_used, meminfo

_FILES = ("/proc/version", "/proc/meminfo", "/proc/self/status", "/proc/mounts", "/etc/tare-rootfs")
_CLOCK = "/sys/devices/system/clocksource/clocksource0/current_clocksource"
_HOLES = "/sys/devices/system/cpu/vulnerabilities"

#: Prints "file:line" for every line of the files above. A file that an instance lacks is left out.
ARGV = ("grep", "-rsH", ".", *_FILES, _CLOCK, _HOLES)


def parse(output: bytes) -> dict[str, object]:
    """kernel, cpus, memory (MemTotal, bytes), memory_used (bytes), rootfs, clocksource, disk (file system and options
    of what is mounted at /data), mounts, mitigations, seccomp.

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
        "seccomp": int(status["Seccomp"]) if status.get("Seccomp", "").isdigit() else None,
    }


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
