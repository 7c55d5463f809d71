"""Sound inputs of each kind, small; and a case: one of them broken, and a command that reads it."""

from __future__ import annotations

import json
import random
import shutil
import tomllib
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from bench import config, plan
from bench.results import as_json
from tests import synthetic
from tests.fuzz.mutate import Draw, mutated

_REFERENCE = Path(__file__).resolve().parents[2] / "results/reference-full"
_ARMS = {name: synthetic.ARMS[name] for name in ("process", "crun", "qemu@6.1.0-56")}
_CAMPAIGN = """\
name = "small"
description = "For a test"
seed = 7
blocks = 3
baseline = "process"
stop = "adaptive"
pairs = [["process", "crun"]]
delta = "3 %"
[envelope]
cpus = 1
memory = "128 MiB"
rootfs = "tiny"
disk = "128 MiB"
link = true
[scenarios]
own = { values = 3, timeout = "5 s" }
ramp = { measures = ["density"], instances = 3, boot_limit = "2 s", memory_reserve = "1 GiB", ksm = "on" }
hurt = { measures = ["isolation"], workloads = ["sha256"], neighbours = ["cpu"] }
[arms]
process = {}
crun = {}
"my-runc" = { backend = "runc" }
"uml@6.1" = { kernel = "./kernel" }
own = { backend = "oci", runtime = "/usr/bin/youki" }
"""
_ON_HOSTS = """\
name = "far"
blocks = 2
baseline = "crun"
hosts = ["rack1", "rack2"]
host_kernels = ["6.1.0-50-amd64", "6.1.0-56-amd64"]
reboots = "grouped"
[scenarios]
own = {}
[arms]
crun = {}
"""
_SLURM = """\
name = "many"
blocks = 4
baseline = "crun"
engine = "slurm"
[slurm]
nodes = 2
options = ["--partition=lab"]
python = "python3"
[scenarios]
own = {}
[arms]
crun = {}
"""
_SCENARIO = """\
description = "Twenty commands"
measures = ["boot", "spawn"]
workloads = ["true"]
values = 20
warmups = 1
timeout = "30 s"
blocks = 2
"""
_POLICY = """\
alpha = 0.05
delta = "3 %"
sessions = 1.5
tolerate = 0.01
failures = 1
[metrics]
"boot*" = { delta = "5 %", gates = true, tolerate = "10 %" }
"lifecycle:spawn" = { gates = false }
"""
_INVENTORY = """\
[rack1]
address = "rack1.lab"
user = "root"
port = 2222
wait = "10 min"
[rack2]
sudo = true
emulated = true
folder = ".tare"
"""


def make(folder: Path) -> None:
    """All of them, below a folder."""
    synthetic.campaign(folder / "old", blocks=7, values=2, ramp=3, arms=_ARMS, seed=1)
    synthetic.campaign(folder / "new", blocks=7, values=2, ramp=3, arms=_ARMS, seed=2)
    synthetic.campaign(folder / "third", blocks=7, values=2, ramp=3, arms=_ARMS, seed=3)
    _add(folder / "new")
    hosts = folder / "hosts"
    for name in ("rack1", "rack2"):
        synthetic.campaign(hosts / name, blocks=2, values=1, ramp=0, arms={"process": _ARMS["process"]})
    (hosts / "hosts.json").write_text(
        '{"schema": 1, "hosts": ["rack1", "rack2"], "host_kernels": [{"release": "6.1"}]}'
    )
    for name, text in (
        ("campaign.toml", _CAMPAIGN),
        ("far.toml", _ON_HOSTS),
        ("slurm.toml", _SLURM),
        ("own.toml", _SCENARIO),
        ("policy.toml", _POLICY),
        ("hosts.toml", _INVENTORY),
    ):
        (folder / name).write_text(text)
    (folder / "kernel").write_bytes(b"\x7fELF\0\0Linux version 6.1.170 (a@b) #1\0umid=<name>\0")
    synthetic.suite(folder / "base.json", runs=12, values=2, metrics=3, seed=1)
    synthetic.suite(folder / "next.json", runs=12, values=2, metrics=3, factor=1.2, seed=2)
    _begin(folder / "begun")
    _work(folder / "work")
    _foreign(folder / "foreign")
    kernel = folder / "cache/tare/kernels/6.1"
    kernel.mkdir(parents=True)
    (kernel / "image").write_text("image")
    known = {"release": "6.1.170", "kind": "machine", "image": "image", "sha256": "ab", "config": None, "drivers": None}
    origin = {"package": "linux-image-6.1", "version": "6.1.170-3", "options": [], "key": "ab"}
    (kernel / "kernel.json").write_text(json.dumps(known | {"origin": origin}))
    (folder / "nights").mkdir()
    for night in range(9):
        synthetic.suite(folder / f"nights/n{night}.json", runs=3, values=2, metrics=2, seed=night)


def _foreign(folder: Path) -> None:
    """What other tools write, as far as their readers look at it: two files each, and three more nights."""
    folder.mkdir()
    for number in range(5):
        draw = random.Random(number)
        values = [round(draw.gauss(0.1, 0.003), 9) for _ in range(8)]
        day = f"2026-11-{10 + number:02}"
        hyperfine = {"command": "sleep 0.1", "mean": 0.1, "stddev": 0.003, "median": 0.1, "user": 0.01, "system": 0.01}
        hyperfine |= {"min": min(values), "max": max(values), "times": values, "exit_codes": [0] * 8}
        rows: list[dict[str, Any]] = [
            {"name": f"BM_sort/{size}", "run_name": f"BM_sort/{size}", "run_type": "iteration", "repetitions": 4}
            | {"repetition_index": place, "iterations": 100, "real_time": value * 1e9, "cpu_time": value * 9e8}
            | {"time_unit": "ns", "threads": 1}
            for size in (8, 64)
            for place, value in enumerate(values[:4])
        ]
        rows.append(rows[-1] | {"name": "BM_sort/64_mean", "run_type": "aggregate", "aggregate_name": "mean"})
        stats = {"min": min(values), "max": max(values), "mean": 0.1, "median": 0.1, "stddev": 0.003, "rounds": 8}
        row = {"group": None, "name": "test_sort", "fullname": "tests/test_sort.py::test_sort", "params": None}
        commit = {"id": "ab" * 20, "time": f"{day}T10:00:00+01:00", "branch": "main", "dirty": False}
        asv = {
            "commit_hash": "ab" * 20,
            "env_name": "virtualenv-py3.11",
            "date": 1795000000000 + number * 86400000,
            "params": {"machine": "lab", "cpu": "Made-up CPU", "os": "Linux"},
            "result_columns": ["result", "params", "version", "started_at", "duration", "samples"],
            "results": {
                "time.Sort.time_sort": [[0.1, 0.2], [["8", "64"]], "ab", 1795000000000, 1.5, [values[:4], values[4:]]],
                "time.mem_all": [[1000], [], "ab", 1795000000000, 1.5],
            },
            "version": 2,
        }
        whole: dict[str, Any] = {
            "hyperfine": {"results": [hyperfine]},
            "google": {"context": {"date": f"{day}T10:00:00+01:00", "num_cpus": 2, "caches": []}, "benchmarks": rows},
            "pytest": {"machine_info": {"node": "lab"}, "commit_info": commit, "datetime": f"{day}T11:00:00"}
            | {"benchmarks": [row | {"stats": stats | {"data": values}}], "version": "4.0.0"},
            "asv": asv,
        }
        for tool, document in whole.items():
            (folder / tool).mkdir(exist_ok=True)
            (folder / tool / f"{number}.json").write_text(json.dumps(document))


def _begin(folder: Path) -> None:
    """A campaign that was interrupted after its first slot."""
    folder.mkdir()
    text = "\n".join(line for line in _CAMPAIGN.splitlines() if "kernel" not in line and "youki" not in line)
    made = plan.make(config.parse(text, folder.parent / "campaign.toml"))
    line = {"schema": 1, **made["slots"][0], "status": "ok", "wall_s": 0.5}
    (folder / "campaign.toml").write_text(text)
    (folder / "plan.json").write_text(as_json(made))
    (folder / "facts.json").write_text(synthetic.FACTS)
    (folder / "journal.jsonl").write_text(json.dumps(line) + "\n")
    decisions = {"schema": 1, "block": 1, "stopped": [], "metrics": []}
    (folder / "decisions.json").write_text(json.dumps(decisions))


def _work(folder: Path) -> None:
    """Two arms of a real campaign, in three of its blocks: neighbours, and what tools inside told."""
    folder.mkdir()
    known = json.loads((_REFERENCE / "plan.json").read_text())
    known["arms"] = {name: arm for name, arm in known["arms"].items() if name in ("process", "qemu")}
    known["slots"] = [slot for slot in known["slots"] if slot["arm"] in known["arms"] and slot["block"] <= 3]
    kept = {slot["slot"] for slot in known["slots"]}
    lines = (_REFERENCE / "journal.jsonl").read_text().splitlines()
    (folder / "plan.json").write_text(json.dumps(known))
    (folder / "facts.json").write_text((_REFERENCE / "facts.json").read_text())
    (folder / "journal.jsonl").write_text("".join(f"{line}\n" for line in lines if json.loads(line)["slot"] in kept))


def _add(folder: Path) -> None:
    """What a campaign may have beside its journal: an early stop, a lost host, nodes, a slot that failed."""
    stopped = [{"scenario": "lifecycle", "arm": "crun", "blocks": 6}]
    metric = {"base": "process", "new": "crun", "scenario": "lifecycle", "metric": "boot", "verdict": "regressed"}
    metrics = [metric | {"ratio": 1.9, "blocks": 6, "over": True}]
    files: dict[str, Any] = {
        "decisions.json": {"schema": 1, "block": 6, "text": "after 6 blocks", "stopped": stopped, "metrics": metrics},
        "lost.json": {"schema": 1, "when": "2026-11-22T05:00:00Z", "reason": "a cut cable"},
        "nodes.json": {"schema": 1, "nodes": {"n1": json.loads(synthetic.FACTS), "n2": json.loads(synthetic.FACTS)}},
    }
    for name, value in files.items():
        (folder / name).write_text(json.dumps(value))
    lines = (folder / "journal.jsonl").read_text().splitlines()
    failed = json.loads(lines[-1])
    failed |= {"status": "failed", "reason": "the guest hung", "console": "Kernel panic\n" * 3, "samples": []}
    (folder / "journal.jsonl").write_text("\n".join([*lines[:-1], json.dumps(failed), ""]))


@dataclass(frozen=True)
class Case:
    """A broken file in a folder of sound ones, and a command that reads it; arguments are relative to the folder."""

    number: int
    broken: str
    argv: list[str]


_RECORD = ("journal.jsonl", "journal.jsonl", "plan.json", "facts.json", "decisions.json", "lost.json", "nodes.json")
_Make = Callable[[Draw], tuple[str, list[str]]]


def _report(draw: Draw) -> tuple[str, list[str]]:
    if draw.random() < 0.2:
        broken = draw.choice(("hosts.json", "rack1/plan.json", "rack2/journal.jsonl", "rack1/facts.json"))
        return f"hosts/{broken}", ["report", "hosts", "--out", "out"]
    if draw.random() < 0.4:
        return f"work/{draw.choice(_RECORD[:4])}", ["report", "work", "--out", "out"]
    folders = draw.choice((["new"], ["new"], ["new", "old"]))
    return f"new/{draw.choice(_RECORD)}", ["report", *folders, "--out", "out"]


def _compare(draw: Draw) -> tuple[str, list[str]]:
    sides = draw.choice(
        (["new:process", "new:crun"], ["process", "crun", "--in", "new"], ["old", "new"], ["new", "old"])
    )
    more = draw.choice(([], ["--json"], ["--markdown", "out/a.md"]))
    return f"new/{draw.choice(_RECORD)}", [draw.choice(("compare", "check")), *sides, *more]


def _gate(draw: Draw) -> tuple[str, list[str]]:
    more = draw.choice((["--junit", "out/a.xml"], ["--json"], ["--markdown", "out/a.md"], []))
    sides = draw.choice((["old", "new"], ["base.json", "next.json"], ["new:process", "new:crun"]))
    return "policy.toml", ["check", *sides, "--policy", "policy.toml", *more]


def _suites(draw: Draw) -> tuple[str, list[str]]:
    sides = draw.choice((["base.json", "next.json"], ["next.json", "base.json"]))
    more = draw.choice(([], ["--json"], ["--markdown", "out/a.md"]))
    return "next.json", [draw.choice(("compare", "check")), *sides, *more]


def _nights(draw: Draw) -> tuple[str, list[str]]:
    """Several sessions a side."""
    names = [f"nights/n{night}.json" for night in range(9)]
    sides = [*names[:4], "--", *names[4:]]
    more = draw.choice(([], ["--json"], ["--policy", "policy.toml"]))
    return f"nights/n{draw.randrange(9)}.json", [draw.choice(("compare", "check")), *more, *sides]


def _campaigns(draw: Draw) -> tuple[str, list[str]]:
    """Several campaigns a side, one of them broken."""
    more = draw.choice(([], ["--json"]))
    sides = ["old", "work", "--", "new", "third"]
    return f"new/{draw.choice(_RECORD)}", [draw.choice(("compare", "check")), *more, *sides]


def _history(draw: Draw) -> tuple[str, list[str]]:
    return f"nights/n{draw.randrange(9)}.json", ["history", "nights", "--metric", "all", "--out", "out"]


def _tools(draw: Draw) -> tuple[str, list[str]]:
    folder = f"foreign/{draw.choice(('hyperfine', 'google', 'pytest', 'asv'))}"
    if draw.random() < 0.2:
        return f"{folder}/3.json", ["history", folder, "--metric", "all", "--out", "out"]
    more = draw.choice(([], ["--json"]))
    sides = draw.choice(([f"{folder}/0.json", f"{folder}/1.json"], [f"{folder}/1.json", f"{folder}/0.json"]))
    return f"{folder}/1.json", [draw.choice(("compare", "check")), *sides, *more]


def _plan(draw: Draw) -> tuple[str, list[str]]:
    file = draw.choice(("campaign.toml", "campaign.toml", "far.toml", "slurm.toml"))
    broken = draw.choice((file, file, "own.toml"))
    return broken, ["plan", file, *draw.choice(([], ["--json"]))]


def _hosts(draw: Draw) -> tuple[str, list[str]]:
    return "hosts.toml", ["host", "list", *draw.choice(([], ["--json"]))]


def _resume(draw: Draw) -> tuple[str, list[str]]:
    """What it was begun with is no machine that there is: it never gets as far as a slot."""
    files = ("plan.json", "plan.json", "facts.json", "journal.jsonl", "decisions.json")
    return f"begun/{draw.choice(files)}", ["resume", "begun"]


def _kernels(draw: Draw) -> tuple[str, list[str]]:
    return "cache/tare/kernels/6.1/kernel.json", ["kernel", "list", *draw.choice(([], ["--json"]))]


#: How often each is drawn: what writes pictures takes seconds.
_KINDS: tuple[tuple[int, _Make], ...] = (
    (2, _report),
    (1, _history),
    (8, _compare),
    (4, _gate),
    (6, _suites),
    (8, _plan),
    (3, _hosts),
    (6, _tools),
    (3, _nights),
    (2, _campaigns),
    (5, _resume),
    (2, _kernels),
)


def case(seed: int, number: int, sound: Path, folder: Path, kind: str = "") -> Case:
    """The case of a number, in a folder that is made anew. The same numbers give the same case.

    kind: only what is so called, like "report".
    """
    draw = random.Random(f"{seed}-{number}")
    kinds = [(weight, each) for weight, each in _KINDS if kind in ("", each.__name__.strip("_"))]
    (make_one,) = draw.choices([each for _, each in kinds], [weight for weight, _ in kinds])
    broken, argv = make_one(draw)
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(sound, folder)
    file = folder / broken
    data = file.read_bytes()
    tree = tomllib.loads(data.decode()) if broken.endswith(".toml") else None
    file.write_bytes(mutated(draw, data, broken, tree))
    return Case(number, broken, argv)
