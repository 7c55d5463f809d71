"""What must be known of a host and its tools to read the results: facts.json."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import importlib.metadata
import os
import platform
import re
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from bench import confine, counters, memory, process
from bench.errors import TareError
from bench.results import SCHEMA

_PACKAGES = ("pyperf", "libvirt-python", "pandas", "seaborn", "scipy")
#: How a tool is asked for its version, where it is not by --version.
_ASK: Mapping[str, list[str]] = {"busybox": []}
_HOLES = Path("/sys/devices/system/cpu/vulnerabilities")


def host() -> dict[str, Any]:
    """This machine, as far as it shows itself. Sizes in bytes; what cannot be read is None."""
    cpu = _colon_lines(_read("/proc/cpuinfo") or "")
    release = dict(line.split("=", 1) for line in (_read("/etc/os-release") or "").splitlines() if "=" in line)
    return {
        "name": "local",
        "cpu": cpu.get("model name"),
        "microcode": cpu.get("microcode"),
        "cores": os.cpu_count(),
        "memory": memory.meminfo(_read("/proc/meminfo") or "").get("MemTotal"),
        "swap": memory.meminfo(_read("/proc/meminfo") or "").get("SwapTotal"),
        "kernel": platform.release(),
        "boot_id": _read("/proc/sys/kernel/random/boot_id"),
        "clocksource": _read("/sys/devices/system/clocksource/clocksource0/current_clocksource"),
        "mitigations": {path.name: _read(path) for path in sorted(_HOLES.glob("*"))},
        "governor": _read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor") or "none",
        "virtualised": "hypervisor" in (cpu.get("flags") or "").split(),
        "thp": _chosen(_read("/sys/kernel/mm/transparent_hugepage/enabled")),
        "ksm": _read("/sys/kernel/mm/ksm/run"),
        "distribution": (release.get("PRETTY_NAME") or "").strip('"'),
        "load": _read("/proc/loadavg"),
        "machine": _digest(_read("/etc/machine-id") or _read("/var/lib/dbus/machine-id")),
        "board": _digest(_read("/sys/class/dmi/id/product_uuid")),
        "read_only": confine.read_only(),
        "counters": counters.missing() or "the processor counts instructions",
    }


def here(tools: Iterable[str]) -> dict[str, Any]:
    """Of the machine that measures. tools: names or paths of every tool that is run there."""
    return {
        "host": host(),
        "tools": {tool: version(tool) for tool in sorted({*tools, "busybox"})} | _libvirt(),
        "user": "root" if os.geteuid() == 0 else "unprivileged",
        "python": platform.python_version(),
    }


def gather(there: Mapping[str, Any], **more: Any) -> dict[str, Any]:
    """facts.json. there: here() of the machine that measured, with what else it told; more: what the caller knows."""
    return {
        "schema": SCHEMA,
        "started": datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
        **there,
        "git": revision(),
        "code": code(),
        "packages": {name: _package(name) for name in _PACKAGES},
        **more,
    }


def version(tool: str) -> str | None:
    """The version that a tool prints of itself; None where there is no such tool or it does not say."""
    path = process.which(tool)
    if path is None:
        return None
    with contextlib.suppress(TareError):
        output = process.run([path, *_ASK.get(tool, ["--version"])], timeout=10, check=False).stdout.decode(
            errors="replace"
        )
        if match := re.search(r"\d+(?:\.\d+)+\S*", output) or re.search(r"\b\d+\b", output):
            return match[0].rstrip(",)")
    return None


def _libvirt() -> dict[str, str]:
    """The C library's version, which is not that of its Python binding."""
    with contextlib.suppress(ImportError):
        import libvirt

        number = libvirt.getVersion()
        return {"libvirt": f"{number // 1000000}.{number // 1000 % 1000}.{number % 1000}"}
    return {}


def _digest(identity: str | None) -> str | None:
    """machine-id(5) asks that it be not shown as it is."""
    return identity and hashlib.sha256(f"tare {identity}".encode()).hexdigest()[:16]


@functools.cache
def code() -> str:
    """Of everything that measures: two checkouts of one revision may differ."""
    whole = hashlib.sha256()
    package = Path(__file__).resolve().parent
    for file in sorted(path for path in package.rglob("*") if path.is_file() and "__pycache__" not in path.parts):
        whole.update(f"{file.relative_to(package)}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return whole.hexdigest()[:16]


def revision() -> dict[str, Any]:
    """Of this checkout, and whether anything in it is not committed; None where there is none."""
    project = Path(__file__).resolve().parent.parent
    git = process.which("git")
    if git is None or not (project / ".git").exists():
        return {"revision": None, "dirty": None}
    with contextlib.suppress(TareError):
        revision = process.run([git, "-C", project, "rev-parse", "HEAD"]).stdout.decode().strip()
        # What campaigns write is no change of the code that measured.
        changes = process.run([git, "-C", project, "status", "--porcelain", "--", ".", ":!results"]).stdout.strip()
        return {"revision": revision, "dirty": bool(changes)}
    return {"revision": None, "dirty": None}


def _package(name: str) -> str | None:
    with contextlib.suppress(importlib.metadata.PackageNotFoundError):
        return importlib.metadata.version(name)
    return None


def _read(path: str | Path) -> str | None:
    try:
        return Path(path).read_text().strip()
    except OSError:
        return None


def _colon_lines(text: str) -> dict[str, str]:
    """The first value of each "key : value" line."""
    found: dict[str, str] = {}
    for line in text.splitlines():
        key, _, value = line.partition(":")
        found.setdefault(key.strip(), value.strip())
    return found


def _chosen(text: str | None) -> str | None:
    """The word in brackets."""
    match = re.search(r"\[(\w+)\]", text or "")
    return match[1] if match else text
