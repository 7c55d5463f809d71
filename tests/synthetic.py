"""Makes results folders that look like a campaign's, from a seed: for tests and for timing the report.

python tests/synthetic.py DIR --samples 200000
python tests/synthetic.py DIR --samples 1000000 --metrics 200
"""

from __future__ import annotations

import argparse
import gzip
import json
import math
import random
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

Record = dict[str, Any]
MIB = 2**20


@dataclass(frozen=True)
class Arm:
    """What one synthetic arm costs: seconds of boot phases, seconds of each operation, bytes an instance."""

    family: str
    phases: dict[str, float]
    spawn: float
    exec: float | None
    teardown: float
    bytes: float
    kernel: str = "6.18.44"


ARMS: dict[str, Arm] = {
    "process": Arm("process", {"launch": 0.0009, "setup": 0.0011, "init": 0.0015}, 0.0009, None, 0.0008, 0.45 * MIB),
    "bwrap": Arm("container", {"launch": 0.001, "setup": 0.002, "init": 0.0016}, 0.0009, None, 0.001, 0.6 * MIB),
    "crun": Arm("container", {"launch": 0.001, "setup": 0.0055, "init": 0.0016}, 0.00092, 0.0064, 0.003, 1.1 * MIB),
    "runc": Arm("container", {"launch": 0.0015, "setup": 0.025, "init": 0.0017}, 0.00095, 0.021, 0.012, 6.5 * MIB),
    "lxc": Arm("container", {"launch": 0.001, "setup": 0.023, "init": 0.0017}, 0.00095, 0.019, 0.02, 2.1 * MIB),
    "nspawn": Arm("container", {"launch": 0.002, "setup": 0.031, "init": 0.0017}, 0.00095, None, 0.022, 2.9 * MIB),
    "qemu@6.1.0-56": Arm(
        "hypervisor",
        {"launch": 0.05, "setup": 0.42, "kernel": 1.35, "init": 0.11},
        0.009,
        None,
        0.08,
        178 * MIB,
        "6.1.0-56",
    ),
    "uml": Arm(
        "uml",
        {"launch": 0.0014, "setup": 0.03, "kernel": 1.02, "init": 0.06},
        0.0062,
        None,
        0.04,
        31 * MIB,
        "6.1.176",
    ),
}
FACTS = """{"schema": 1,
 "host": {"name": "local", "cpu": "Made-up CPU", "cores": 2, "memory": 25276502016, "kernel": "6.18.44",
  "microcode": "0xffffffff", "mitigations": {"meltdown": "Not affected", "spectre_v2": "Retpolines"},
  "governor": "none", "clocksource": "tsc", "virtualised": "kvm", "thp": "madvise", "ksm": "0",
  "boot_id": "00000000-0000-4000-8000-000000000000", "distribution": "Debian GNU/Linux 12 (bookworm)"},
 "cgroup": "v1 hybrid", "cage": {"cpus": "1", "harness_cpus": "0"}, "tools": {"crun": "1.8.1"},
 "rootfs": {"name": "tiny", "digest": "sha256:abababab"}, "kernels": {"qemu": "6.1.0-56-cloud-amd64"},
 "git": {"revision": "0123456789abcdef0123456789abcdef01234567", "dirty": false}, "python": "3.11.2",
 "packages": {"pyperf": "2.10.0"}, "user": "root", "started": "2026-11-22T05:00:00Z", "notes": ["made up"]}
"""
LIFECYCLE = ["boot", "exec", "spawn", "teardown"]


def campaign(
    folder: Path,
    *,
    blocks: int = 12,
    values: int = 5,
    seed: int = 1,
    ramp: int = 12,
    planned_blocks: int | None = None,
    arms: dict[str, Arm] | None = None,
    change: Callable[[Record], None] | None = None,
) -> Path:
    """Writes plan, facts and journal to `folder`: `blocks` blocks of every arm, `values` values an operation.

    More `planned_blocks` than `blocks` is an interrupted campaign; `change` may alter each record.
    """
    arms = ARMS if arms is None else arms
    rng = random.Random(seed)
    folder.mkdir(parents=True, exist_ok=True)
    plan = _plan(arms, planned_blocks or blocks, seed, ramp)
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "facts.json").write_text(FACTS)
    with (folder / "journal.jsonl").open("w") as journal:
        for slot in plan["slots"]:
            if slot["block"] > blocks:
                break
            record = _record(slot, arms, rng, values, ramp)
            if change is not None:
                change(record)
            journal.write(json.dumps(record) + "\n")
    return folder


def _plan(arms: dict[str, Arm], blocks: int, seed: int, ramp: int) -> Record:
    rng = random.Random(seed)
    slots: list[Record] = []
    for block in range(1, blocks + 1):
        jobs = [("lifecycle", arm) for arm in arms]
        if block == 1:
            jobs += [("density", arm) for arm in arms] if ramp else []
            jobs += [("firmware", arm) for arm in ("qemu-firmware", "kvm-firmware")]
        rng.shuffle(jobs)
        slots += [
            {
                "slot": f"b{block:02}-s{order:02}",
                "block": block,
                "order": order,
                "scenario": scenario,
                "arm": arm,
            }
            for order, (scenario, arm) in enumerate(jobs, start=1)
        ]
    listed = {
        name: {"backend": name.split("@")[0], "family": arm.family, "options": {}, "label": name}
        for name, arm in arms.items()
    }
    for name in ("qemu-firmware", "kvm-firmware"):
        listed[name] = {"backend": name.split("-")[0], "family": "hypervisor", "options": {}, "label": name}
    no_door = "no exec door: its runtime cannot run a command in it"
    doorless = [name for name, arm in arms.items() if arm.exec is None]
    left_out = [{"arm": name, "scenario": "lifecycle:exec", "reason": no_door} for name in doorless]
    no_linux = "boots a boot sector only: a Linux guest hangs under KVM on this host"
    left_out += [
        {"arm": name, "scenario": scenario, "reason": no_linux}
        for name in ("qemu-firmware", "kvm-firmware")
        for scenario in ("lifecycle", "density")
    ]
    scenarios = {
        "lifecycle": {"measures": LIFECYCLE, "description": "start, use and end one instance"},
        "density": {"measures": ["density"], "description": f"start up to {ramp} instances side by side"},
        "firmware": {"measures": ["firmware"], "description": "boot-sector guest, no Linux in it"},
    }
    return {
        "schema": 1,
        "campaign": "synthetic",
        "description": "made up for a test",
        "seed": seed,
        "blocks": blocks,
        "baseline": next(iter(arms)),
        "envelope": {"cpus": 1, "memory": 128 * MIB, "rootfs": "tiny"},
        "arms": listed,
        "scenarios": scenarios,
        "slots": slots,
        "left_out": left_out,
    }


def _noisy(rng: random.Random, value: float) -> float:
    """A value as a noisy host gives it: some per cent of spread, now and then a slow one."""
    slow = 1.6 if rng.random() < 0.03 else 1.0
    return value * math.exp(rng.gauss(0.0, 0.06)) * slow


def _sample(metric: str, values: list[float], unit: str = "second", better: str = "lower") -> Record:
    return {"metric": metric, "values": values, "warmups": [], "unit": unit, "better": better}


def _record(slot: Record, arms: dict[str, Arm], rng: random.Random, values: int, ramp: int) -> Record:
    arm = arms.get(slot["arm"], Arm("hypervisor", {"launch": 0.05, "setup": 0.3}, 0, None, 0, 0, "none"))
    different = {} if arm.kernel == "6.18.44" else {"kernel": ["6.18.44", arm.kernel]}
    marks, now = {"requested": 10**12 + slot["block"] * 10**10}, 10**12 + slot["block"] * 10**10
    phases = {name: _noisy(rng, cost) for name, cost in arm.phases.items()}
    for mark, phase in (("spawned", "launch"), ("kernel", "setup"), ("init", "kernel"), ("ready", "init")):
        now += round(phases.get(phase, 0) * 1e9)
        marks[mark] = now
    boot = sum(phases.values())
    record: Record = {
        "schema": 1,
        **slot,
        "family": arm.family,
        "host": "local",
        "boot_id": "00000000",
        "kernel": "6.18.44",
        "status": "ok",
        "reason": None,
        "started": f"2026-11-22T05:{slot['block'] // 60 % 60:02}:{slot['block'] % 60:02}Z",
        "wall_s": boot * 2,
        "marks": marks,
        "samples": [],
        "cpu_s": boot,
        "memory": {"cage": arm.bytes},
        "seen": {
            "kernel": arm.kernel,
            "cpus": 1,
            "memory": 128 * MIB,
            "rootfs": "sha256:" + "ab" * 32,
            "clocksource": "kvm-clock" if arm.family == "hypervisor" else "tsc",
            "mounts": ["proc on /proc", "sysfs on /sys"],
            "mitigations": {"meltdown": "Not affected"},
            "seccomp": 0,
        },
        "equivalence": {"badge": "differs" if different else "equal", "caged": True, "differs": different},
    }
    if slot["scenario"] == "lifecycle":
        record["samples"] = _lifecycle(arm, phases, rng, values)
    elif slot["scenario"] == "density":
        record["ramp"], record["samples"] = _density(arm, boot, rng, ramp)
        record["stop"] = "n"
    else:
        record["samples"] = [
            _sample("firmware", [boot]),
            _sample("firmware.launch", [phases["launch"]]),
            _sample("firmware.setup", [phases["setup"]]),
            _sample("firmware.cpu", [boot * 0.9]),
        ]
    return record


def _lifecycle(arm: Arm, phases: dict[str, float], rng: random.Random, values: int) -> list[Record]:
    boot = sum(phases.values())
    samples = [_sample("boot", [boot])] + [_sample(f"boot.{name}", [cost]) for name, cost in phases.items()]
    samples.append(_sample("boot.cpu", [_noisy(rng, boot * 0.8)]))
    for metric, cost in (("exec", arm.exec), ("spawn", arm.spawn)):
        if cost is not None:
            samples.append(_sample(metric, [_noisy(rng, cost) for _ in range(values)]))
            samples.append(_sample(f"{metric}.cpu", [_noisy(rng, cost * 0.7) for _ in range(values)]))
    samples.append(_sample("channel", [_noisy(rng, 0.00012) for _ in range(values)]))
    samples.append(_sample("teardown", [_noisy(rng, arm.teardown)]))
    samples.append(_sample("teardown.cpu", [_noisy(rng, arm.teardown * 0.5)]))
    return samples


def _density(arm: Arm, boot: float, rng: random.Random, count: int) -> tuple[list[Record], list[Record]]:
    ramp: list[Record] = []
    host = cage = 0.0
    for n in range(1, count + 1):
        host += arm.bytes * rng.uniform(0.9, 1.12)
        cage += arm.bytes * rng.uniform(0.93, 0.97)
        ramp.append(
            {
                "n": n,
                "boot": _noisy(rng, boot),
                "memavailable": int(host),
                "cage": int(cage),
                "cage_anon": int(cage * 0.7),
                "cage_file": int(cage * 0.2),
                "cage_kernel": int(cage * 0.1),
                "cage_shmem": int(cage * 0.15),
                "kernel": int(cage * 0.12),
                "ram": int(cage * 0.6) if arm.kernel != "6.18.44" else None,
                "vmm": int(cage * 0.3) if arm.kernel != "6.18.44" else None,
                "pss": int(cage * 0.97),
                "guest": int(n * 22 * MIB) if arm.kernel != "6.18.44" else None,
                "residual": int(host - cage),
            }
        )
    samples = [
        _sample("density.n", [count], "integer", "higher"),
        _sample("density.memavailable", [host / count], "byte"),
        _sample("density.cage", [cage / count], "byte"),
        _sample("density.pss", [cage * 0.97 / count], "byte"),
        _sample("density.residual", [host - cage], "byte"),
        _sample("density.boot", [step["boot"] for step in ramp]),
    ]
    if ramp and ramp[-1]["guest"] is not None:
        samples.append(_sample("density.guest", [22.0 * MIB], "byte"))
    return ramp, samples


def sample_count(folder: Path) -> int:
    """How many values the journal in `folder` holds."""
    with (folder / "journal.jsonl").open() as journal:
        return sum(len(sample["values"]) for line in journal for sample in json.loads(line)["samples"])


def with_samples(folder: Path, count: int, values: int = 5) -> Path:
    """A campaign of at least `count` values, or a few more."""
    per_block = sum(
        len(s["values"]) for arm in ARMS.values() for s in _lifecycle(arm, arm.phases, random.Random(0), values)
    )
    return campaign(folder, blocks=math.ceil(count / per_block), values=values)


def wide(folder: Path, samples: int, metrics: int, *, arms: int = 2, values: int = 5, seed: int = 1) -> Path:
    """A campaign of about `samples` values in `metrics` comparable metrics of `arms` arms a0, a1 …

    Each metric has a noise of its own (a spread of 2 to 12 %), and in every fifth the arms differ by some per cent.
    """
    rng = random.Random(seed)
    names = [f"m{place:03}" for place in range(metrics)]
    spread = {name: rng.uniform(0.02, 0.12) for name in names}
    shift = {name: rng.uniform(-0.1, 0.1) if place % 5 == 0 else 0.0 for place, name in enumerate(names)}
    blocks = max(math.ceil(samples / (metrics * values * arms)), 1)
    listed = {f"a{place}": Arm("container", {"launch": 0.001, "setup": 0.002}, 0, None, 0, 0) for place in range(arms)}
    plan = _plan(listed, 1, seed, 0)
    plan |= {"blocks": blocks, "slots": [], "left_out": []}
    plan["scenarios"] = {"wide": {"measures": ["spawn"], "description": "many metrics", "values": values}}
    for gone in ("qemu-firmware", "kvm-firmware"):
        del plan["arms"][gone]
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "plan.json").write_text(json.dumps(plan))
    (folder / "facts.json").write_text(FACTS)
    with (folder / "journal.jsonl").open("w") as journal:
        for block in range(1, blocks + 1):
            for order, arm in enumerate(rng.sample(list(listed), arms), start=1):
                slot = {"slot": f"b{block:02}-s{order:02}", "block": block, "order": order}
                record = _record(slot | {"scenario": "wide", "arm": arm}, listed, rng, 0, 0)
                record["samples"] = []
                for name in names:
                    level = 0.01 * math.exp(rng.gauss(shift[name] if arm != "a0" else 0.0, spread[name]))
                    record["samples"].append(_sample(name, [round(_noisy(rng, level), 9) for _ in range(values)]))
                journal.write(json.dumps(record) + "\n")
    return folder


def suite(
    file: Path, *, runs: int = 20, values: int = 3, metrics: int = 10, factor: float = 1.0, seed: int = 1
) -> Path:
    """A pyperf file as `pyperf` itself writes it: `metrics` benchmarks of `runs` runs, after one that calibrates."""
    rng = random.Random(seed)
    benchmarks = []
    for place in range(metrics):
        kept: list[Record] = [{"metadata": {"calibrate_loops": 4}, "warmups": [[1, 0.02], [2, 0.01]]}]
        for _ in range(runs):
            level = 0.01 * factor * math.exp(rng.gauss(0.0, 0.02))
            about = {"date": "2026-11-22 05:00:00.000000", "duration": 0.3, "load_avg_1min": 0.4, "mem_max_rss": 10**7}
            kept.append(
                {
                    "metadata": about,
                    "warmups": [[4, level * 1.3]],
                    "values": [_noisy(rng, level) for _ in range(values)],
                }
            )
        benchmarks.append({"metadata": {"name": f"bench_{place:03}", "loops": 4}, "runs": kept})
    document = {"benchmarks": benchmarks, "metadata": {"unit": "second", "hostname": "host"}, "version": "1.0"}
    text = json.dumps(document).encode() + b"\n"
    file.write_bytes(gzip.compress(text) if file.suffix == ".gz" else text)
    return file


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--samples", type=int, default=0, help="at least so many values in the journal")
    parser.add_argument("--metrics", type=int, default=0, help="so many metrics, the same for each of two arms")
    parser.add_argument("--blocks", type=int, default=12)
    parser.add_argument("--values", type=int, default=5, help="values per operation in each slot")
    given = parser.parse_args()
    if given.samples and given.metrics:
        wide(given.folder, given.samples, given.metrics, values=given.values)
    elif given.samples:
        with_samples(given.folder, given.samples, given.values)
    else:
        campaign(given.folder, blocks=given.blocks, values=given.values)
    print(f"{given.folder}: {sample_count(given.folder)} values")
