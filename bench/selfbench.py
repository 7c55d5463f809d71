"""What the harness itself costs: ratios to the barest way of doing the same, both sides alternating in one run.

A benchmark, not a test: it prints what it measured and judges nothing. Nothing else should run beside it.
"""

from __future__ import annotations

import dataclasses
import json
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench import cage, facts, image, inventory, lock, process, slots, state, workloads
from bench.backends.base import NAME_PREFIX, Order, Rootfs
from bench.backends.crun import Backend as Crun
from bench.cage import Cage, Group
from bench.crew import Crew
from bench.errors import InstanceError
from bench.host import enter
from bench.results import FACTS, JOURNAL, PLAN

#: Debian's own, the one that an environment is made from; a version manager's stand-in takes much longer to start.
_PYTHON = "/usr/bin/python3"
_PROJECT = Path(__file__).resolve().parent.parent
_ENVELOPE = {"cpus": 1, "memory": 128 << 20}
_ROUNDS = 10
_BOOT_ROUNDS = 30
_INSTANCES = 1000


@dataclass(frozen=True)
class Result:
    """A ratio of medians, the target it is held against, and what was measured (seconds, or as named)."""

    name: str
    ratio: float
    target: float
    figures: Mapping[str, float] = field(default_factory=dict)

    def __str__(self) -> str:
        figures = ", ".join(f"{name} {value:.4g}" for name, value in self.figures.items())
        return f"{self.name}: {self.ratio:.3g} (target: at most {self.target:g}; {figures})"

    def as_dict(self) -> dict[str, Any]:
        return dataclasses.asdict(self)


class _Bench:
    """A crew with the one arm crun, and the bare loop on the same bundle in a cage like its cages."""

    def __init__(self, own: state.Run, rootfs: Rootfs) -> None:
        self.own = own
        self.rootfs = rootfs
        self.plan = _plan()
        self.cpus = cage.divide_cpus(1)
        self.crew = Crew(own, self.plan["arms"], _ENVELOPE, rootfs, {})
        self.hierarchy = cage.detect()
        Group(self.hierarchy, own.id)
        Group(self.hierarchy, f"{own.id}/bare")
        self.loop_cage = Cage(self.hierarchy, f"{own.id}/bare/loop", self.cpus, None)
        backend = Crun(own.folder, Crun.Options())
        for number in range(_INSTANCES):
            bundle = own.folder / f"bundle{number}"
            bundle.mkdir()
            order = Order(f"{NAME_PREFIX}{own.id}-bare{number}", bundle, rootfs, 1, _ENVELOPE["memory"])
            argv = backend.bare_command(order, self.loop_cage)
        self._argv = [_numbered(word, number) if word in (order.name, str(bundle)) else word for word in argv]
        self.crew.probe("crun", "linux")

    def slots(self, scenario: Mapping[str, Any], count: int, first: int) -> list[dict[str, Any]]:
        return [
            self.crew.slot("crun", {"slot": f"s{first + number}", "scenario": scenario}, 600) for number in range(count)
        ]

    def bare(self, count: int, *, keep: bool = False) -> dict[str, Any]:
        """The bare loop's boots and wall time, in seconds."""
        job = {"doors": self.loop_cage.doors(), "argv": self._argv, "count": count, "keep": keep}
        done = process.run(
            [sys.executable, "-m", "bench.bare"], stdin=json.dumps(job).encode() + b"\n", timeout=600, cwd=_PROJECT
        )
        found: dict[str, Any] = json.loads(done.stdout)
        return found


@contextmanager
def _bench() -> Iterator[_Bench]:
    with lock.occupy("tare selfbench", lambda removed: None, _complain) as own:
        bench = _Bench(own, image.build("tiny"))
        try:
            yield bench
        finally:
            bench.crew.close()
            bench.loop_cage.remove(time.monotonic() + 10)


def _complain(text: str) -> None:
    sys.stderr.write(f"warning {text}\n")


def _plan(slots: int = 0) -> dict[str, Any]:
    scenario: dict[str, Any] = {
        "measures": ["boot"],
        "description": "",
        "blocks": None,
        "workloads": ["true"],
        "warmups": 0,
        "values": 1,
    }
    scenario |= {"timeout": 30.0, "instances": 1, "step": 1, "boot_limit": None, "memory_reserve": 0}
    return {
        "schema": 1,
        "campaign": "selfbench",
        "description": "",
        "seed": 1,
        "blocks": slots,
        "baseline": "crun",
        "envelope": {**_ENVELOPE, "rootfs": "tiny"},
        "arms": {"crun": {"backend": "crun", "family": "container", "options": {}, "label": "crun"}},
        "scenarios": {"boot": scenario},
        "measures": {"boot": {"crun": ["boot"]}},
        "slots": [
            {"slot": f"b{n:04}-s01", "block": n, "order": 1, "scenario": "boot", "arm": "crun"}
            for n in range(1, slots + 1)
        ],
        "left_out": [],
    }


def boot() -> Iterator[Result]:
    """crun's boot as Tare measures it ÷ as the bare loop does."""
    with _bench() as bench:
        tare: list[float] = []
        bare: list[float] = []
        ratios = []
        for number in range(_BOOT_ROUNDS):
            answers = bench.slots({"measures": ["boot"], "timeout": 30.0}, 30, number * 30)
            mine = [answer["samples"][0]["values"][0] for answer in answers]
            theirs = bench.bare(30)["boots"]
            tare += mine
            bare += theirs
            ratios.append(statistics.median(mine) / statistics.median(theirs))
        figures = {
            "tare s": statistics.median(tare),
            "bare s": statistics.median(bare),
            "lowest round": min(ratios),
            "highest round": max(ratios),
        }
        yield Result("crun boot, measured ÷ bare loop", figures["tare s"] / figures["bare s"], 1.05, figures)


def _numbered(word: str, number: int) -> str:
    return word.removesuffix(str(number)) + "{}"


def through_runner() -> Iterator[Result]:
    """1,000 crun boots with cages, equivalence, journal and all ÷ the bare loop of 1,000."""
    with _bench() as bench, tempfile.TemporaryDirectory(dir=_PROJECT) as scratch:
        tare = bare = 0.0
        each = _INSTANCES // _ROUNDS
        final = _plan(_INSTANCES)
        for number in range(_ROUNDS):
            begin = time.monotonic()
            part = {**final, "slots": final["slots"][number * each : (number + 1) * each]}
            slots.execute(Path(scratch), part, facts.host(), bench.crew, bench.rootfs.digest, slots.Watcher(), [])
            tare += time.monotonic() - begin
            bare += bench.bare(each)["wall"]
        yield Result(f"{_INSTANCES} crun boots, runner ÷ bare loop", tare / bare, 2.0, {"tare s": tare, "bare s": bare})


def density() -> Iterator[Result]:
    """A ramp of 1,000 crun instances and their end ÷ the bare loop's, and the harness's own memory."""
    with _bench() as bench:
        scenario = {"measures": ["density"], "instances": _INSTANCES, "step": _INSTANCES // 5, "timeout": 60.0}
        ratios, tare, bare, peak = [], [], [], 0.0
        for number in range(3):
            answer = bench.slots(scenario, 1, number)[0]
            if answer["status"] != "ok":
                raise InstanceError(f"density: {answer['reason']}")
            tare.append(answer["wall_s"])
            bare.append(bench.bare(_INSTANCES, keep=True)["wall"])
            ratios.append(tare[-1] / bare[-1])
            peak = max(peak, bench.crew.peak_memory("crun") + resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024)
        figures = {"tare s": statistics.median(tare), "bare s": statistics.median(bare)}
        yield Result(f"density ramp of {_INSTANCES} crun, tare ÷ bare loop", statistics.median(ratios), 1.5, figures)
        yield Result("the harness's own peak memory, ÷ 150 MB", peak / 150e6, 1.0, {"MB": peak / 1e6})


#: By hand: the tree in $0 with what programs expect in it, and on the CPUs in $1 the rest.
_BY_HAND = (
    'mount --rbind /proc "$0/proc" && mount --rbind /dev "$0/dev" && mount -t tmpfs none "$0/tmp" && cpus=$1 && shift '
    '&& exec taskset -c "$cpus" chroot "$0" "$@"'
)
_TOOLS = ("perf_syscall", "sysbench_cpu", "sysbench_memory", "redis")


def inside() -> Iterator[Result]:
    """What tools say of themselves in the arm process, and by hand in a chroot on the same CPU: how far apart."""
    rootfs = image.build("debian")
    envelope = {**_ENVELOPE, "rootfs": "debian"}
    scenario = {"measures": ["inside"], "warmups": 0, "values": 1, "timeout": 60.0}
    with lock.occupy("tare selfbench", lambda removed: None, _complain) as own:
        crew = Crew(own, {"process": {"backend": "process", "family": "process", "options": {}}}, envelope, rootfs, {})
        try:
            crew.probe("process", "linux")
            for number, workload in enumerate(map(workloads.load, _TOOLS)):
                argv = ["unshare", "--mount", "sh", "-c", _BY_HAND, str(rootfs.tree)]
                argv += [cage.cpu_list(cage.divide_cpus(1).caged), *workload.argv]
                tare: list[float] = []
                hand: list[float] = []
                for turn in range(_ROUNDS):
                    job = {"slot": f"s{number}-{turn}", "scenario": {**scenario, "workloads": [workload.name]}}
                    answer = crew.slot("process", job, 120)
                    if answer["status"] != "ok":
                        raise InstanceError(f"{workload.name}: {answer['reason']}")
                    first = workload.parse(process.run(argv, timeout=120).stdout.decode())[0]
                    name = f"{workload.name}.{first.metric}"
                    tare += next(each["values"] for each in answer["samples"] if each["metric"] == name)
                    hand.append(first.value)
                figures = {"tare": statistics.median(tare), "by hand": statistics.median(hand)}
                ratio = figures["tare"] / figures["by hand"]
                yield Result(f"{name} in the arm process and by hand, apart", max(ratio, 1 / ratio), 1.03, figures)
        finally:
            crew.close()


def help_text() -> Iterator[Result]:
    """./tare --help ÷ python3 -c pass."""
    tare, bare = _alternate([str(_PROJECT / "tare"), "--help"], [_PYTHON, "-c", "pass"], 20)
    yield Result("./tare --help ÷ python3 -c pass", tare / bare, 10, {"tare s": tare, "bare s": bare})


def _alternate(first: Sequence[str], second: Sequence[str], rounds: int) -> tuple[float, float]:
    """Median seconds of two commands that take turns."""
    took: tuple[list[float], list[float]] = ([], [])
    for _ in range(rounds):
        for argv, times in zip((first, second), took, strict=True):
            begin = time.monotonic()
            subprocess.run(argv, stdout=subprocess.DEVNULL, check=True)
            times.append(time.monotonic() - begin)
    return statistics.median(took[0]), statistics.median(took[1])


def report() -> Iterator[Result]:
    """Seconds for the report of a journal with 200,000 samples, and how they grow from 20,000."""
    took = {}
    for samples in (20_000, 200_000):
        with tempfile.TemporaryDirectory() as scratch:
            folder = Path(scratch)
            _synthesise(folder, samples)
            begin = time.monotonic()
            process.run([sys.executable, "-m", "bench", "report", folder], timeout=300, cwd=_PROJECT)
            took[samples] = time.monotonic() - begin
    yield Result("report of 200,000 samples, s", took[200_000], 10, {"20,000 samples s": took[20_000]})
    yield Result("10 × more samples, report time ÷ 10", took[200_000] / took[20_000] / 10, 1.0)


def _synthesise(folder: Path, samples: int) -> None:
    """A results folder like a long campaign's: 8 arms, 10 samples a slot."""
    import random

    draw = random.Random(1)
    blocks = samples // 80
    arms = {f"arm{n}": {"backend": "crun", "family": "container", "options": {}, "label": f"arm{n}"} for n in range(8)}
    slots = [
        {"slot": f"b{b}-s{n}", "block": b, "order": n, "scenario": "boot", "arm": f"arm{n}"}
        for b in range(1, blocks + 1)
        for n in range(8)
    ]
    final = {**_plan(), "campaign": "synthetic", "blocks": blocks, "baseline": "arm0", "arms": arms, "slots": slots}
    (folder / PLAN).write_text(json.dumps(final))
    (folder / FACTS).write_text(json.dumps({"schema": 1, "host": {"name": "local"}}))
    metrics = (
        "boot",
        "boot.launch",
        "boot.setup",
        "boot.init",
        "boot.cpu",
        "exec",
        "spawn",
        "channel",
        "teardown",
        "teardown.cpu",
    )
    with (folder / JOURNAL).open("w") as journal:
        for slot in slots:
            taken = [
                {
                    "metric": m,
                    "values": [draw.lognormvariate(-4, 0.1)],
                    "warmups": [],
                    "unit": "second",
                    "better": "lower",
                }
                for m in metrics
            ]
            line = {
                **slot,
                "schema": 1,
                "family": "container",
                "host": "local",
                "status": "ok",
                "reason": None,
                "samples": taken,
                "marks": {},
            }
            journal.write(json.dumps(line) + "\n")


def slots_of(name: str) -> Iterator[Result]:
    """What a slot on another host takes us beside what it takes the worker there: 100 boots of the arm process."""
    host = inventory.find(name)
    arms = {"process": {"backend": "process", "family": "process", "options": {}, "label": "process"}}
    beside = []
    with enter(host, "tare selfbench", _complain) as seat:
        crew = seat.crew(arms, {**_ENVELOPE, "rootfs": "tiny"}, image.build("tiny"), {})
        crew.probe("process", "linux")
        for number in range(100):
            begin = time.monotonic()
            scenario = {"measures": ["boot"], "timeout": 30.0}
            answer = crew.slot("process", {"slot": f"s{number}", "scenario": scenario}, 60)
            beside.append(time.monotonic() - begin - answer["wall_s"])
        crew.close()
    yield Result(
        f"a slot on {name}, beside the worker's own time, s", statistics.median(beside), 0.3, {"most s": max(beside)}
    )


PARTS: dict[str, Callable[[], Iterator[Result]]] = {
    "boot": boot,
    "runner": through_runner,
    "density": density,
    "inside": inside,
    "help": help_text,
    "report": report,
}


def measure(parts: Sequence[str]) -> Iterator[Result]:
    """The results of these parts, one by one as they come."""
    for part in parts:
        yield from PARTS[part]()
