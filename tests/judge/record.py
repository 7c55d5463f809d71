"""Records a session of A/A campaigns on this host with Tare itself: every arm stands twice, under two names.

    .venv/bin/python -m tests.judge.record --set test --conditions "quiet host" --minutes 5

Each campaign runs for its share of the time and is then interrupted; the blocks that are whole are kept. Written are
recordings/SESSION.parquet, one row a slot and metric, and an entry of recordings/sessions.json. A session belongs
whole to the set `train` or `test`: windows of one session share its weather.
"""

from __future__ import annotations

import argparse
import json
import os
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pandas as pd

from bench import lock
from bench.results import JOURNAL, read_journal, read_plan

TOP: Final = Path(__file__).resolve().parents[2]
RECORDINGS: Final = Path(__file__).resolve().parent / "recordings"
SESSIONS: Final = RECORDINGS / "sessions.json"
TWIN: Final = "-b"
_HELD = 4  # exit status of a host that somebody holds, among other things
_INTERRUPTED = 130


@dataclass(frozen=True)
class Recorded:
    """What a campaign measures, on which arms (each twice), and its share of a session's time."""

    arms: tuple[str, ...]
    scenarios: str
    share: float


CAMPAIGNS: Final = {
    "fast": Recorded(
        ("process", "bwrap", "crun", "runc", "lxc", "nspawn"),
        'lifecycle = { measures = ["boot", "spawn", "teardown"], warmups = 2, values = 10 }',
        0.4,
    ),
    "steady": Recorded(  # the calmest that a noisy host has: much work a slot
        ("crun",),
        'hash = { measures = ["spawn"], workloads = ["sha256"], warmups = 1, values = 15 }',
        1.0,
    ),
    "sha256": Recorded(
        ("crun",),
        'hash = { measures = ["spawn"], workloads = ["sha256"], warmups = 1, values = 3 }',
        0.2,
    ),
    "uml": Recorded(("uml",), 'lifecycle = { measures = ["boot", "spawn"], warmups = 2, values = 10 }', 0.4),
    "qemu": Recorded(("qemu",), 'lifecycle = { measures = ["boot", "spawn"], warmups = 2, values = 10 }', 1.5),
}


def campaign_file(name: str, seed: int) -> str:
    recorded = CAMPAIGNS[name]
    arms = [f'{arm} = {{}}\n{arm}{TWIN} = {{ backend = "{arm}" }}\n' for arm in recorded.arms]
    head = f'name = "recording-{name}"\nseed = {seed}\nblocks = 5000\nbaseline = "{recorded.arms[0]}"\n'
    return f"{head}[arms]\n{''.join(arms)}[scenarios]\n{recorded.scenarios}\n"


def run(name: str, seed: int, seconds: float, patience: float) -> pd.DataFrame:
    """One campaign for `seconds` from its first slot on, waiting up to `patience` seconds for a host that is held."""
    with tempfile.TemporaryDirectory(prefix="tare-recording-") as folder:
        file = Path(folder) / "campaign.toml"
        file.write_text(campaign_file(name, seed))
        until = time.monotonic() + patience
        while lock.is_held() or not _ran(file, Path(folder), seconds):
            if time.monotonic() > until:
                sys.exit(f"record: this host was held for {patience:.0f} s: try again later")
            time.sleep(0.5)
        (results,) = Path(folder).glob(f"recording-{name}-*")
        return table(results).assign(campaign=name)


def _ran(file: Path, folder: Path, seconds: float) -> bool:
    """False where somebody else holds the host."""
    command = [sys.executable, "-m", "bench", "run", str(file), "--results", str(folder)]
    with (folder / "said").open("w+") as said:
        process = subprocess.Popen(command, cwd=TOP, stdout=said, stderr=subprocess.STDOUT, start_new_session=True)
        try:
            begun = None
            while process.poll() is None:
                begun = begun or (time.monotonic() if any(folder.glob(f"*/{JOURNAL}")) else None)
                if begun and time.monotonic() > begun + seconds:
                    os.killpg(process.pid, signal.SIGTERM)
                    process.wait(120)
                time.sleep(0.5)
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait(120)
            raise
        said.seek(0)
        text = said.read()
    if process.returncode == _HELD and "held by" in text:
        return False
    if process.returncode != _INTERRUPTED:
        sys.exit(f"record: {' '.join(command)} ended with {process.returncode}:\n{text[-2000:]}")
    return True


def table(folder: Path) -> pd.DataFrame:
    """A row a slot and metric of the whole blocks: block, order, arm, metric, unit, better, values."""
    records = read_journal(folder / JOURNAL)
    plan = read_plan(folder)
    assert plan is not None
    due = pd.Series([slot["block"] for slot in plan["slots"]]).value_counts()
    done = pd.Series([record["block"] for record in records]).value_counts()
    whole = {block for block, count in done.items() if count == due[block]}
    rows: list[dict[str, Any]] = []
    for record in records:
        if record["block"] not in whole or record["status"] != "ok":
            continue
        head = {key: record[key] for key in ("block", "order", "arm")}
        for sample in record["samples"]:
            values = [float(value) for value in sample["values"]]
            rows.append(head | {key: sample[key] for key in ("metric", "unit", "better")} | {"values": values})
    return pd.DataFrame(rows)


def write(frame: pd.DataFrame, target: Path) -> None:
    """Compactly: text as dictionaries, values in seven digits, which is 0.1 µs of a second."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    columns = ["campaign", "block", "order", "arm", "metric", "unit", "better", "values"]
    kinds = {"block": pa.int32(), "order": pa.int32(), "values": pa.list_(pa.float32())}
    schema = pa.schema([(name, kinds.get(name, pa.string())) for name in columns])
    pq.write_table(
        pa.Table.from_pandas(frame[columns], schema=schema, preserve_index=False),
        target,
        compression="zstd",
        compression_level=19,
        use_dictionary=[name for name in columns if name not in kinds],
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--set", choices=["train", "test"], required=True)
    parser.add_argument("--conditions", required=True, help="what else the host did, in a few words")
    parser.add_argument("--campaigns", default="fast,sha256,uml", help=f"of {','.join(CAMPAIGNS)}")
    parser.add_argument("--minutes", type=float, default=5.0, help="for shares that sum to 1")
    parser.add_argument("--patience", type=float, default=30.0, help="minutes to wait for a host that is held")
    arguments = parser.parse_args()
    names = arguments.campaigns.split(",")
    if unknown := [name for name in names if name not in CAMPAIGNS]:
        parser.error(f"there is no campaign {unknown[0]!r}: one of {', '.join(CAMPAIGNS)}")
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("record: ended"))  # and the campaign with us
    now = datetime.now(UTC)
    session = now.strftime("%Y-%m-%d-%H%M")
    tables: dict[str, pd.DataFrame] = {}
    load = []
    for name in names:
        seconds = 60 * arguments.minutes * CAMPAIGNS[name].share
        tables[name] = run(name, int(now.timestamp()) % 1_000_000, seconds, 60 * arguments.patience)
        load.append(os.getloadavg()[0])
        print(f"{name}: {tables[name]['block'].nunique()} blocks, load {load[-1]:.1f}", flush=True)
        _keep(session, arguments, now, tables, load)  # what there is, in case that the next one fails


def _keep(
    session: str, arguments: argparse.Namespace, now: datetime, tables: dict[str, pd.DataFrame], load: list[float]
) -> None:
    RECORDINGS.mkdir(exist_ok=True)
    write(pd.concat(tables.values(), ignore_index=True), RECORDINGS / f"{session}.parquet")
    known = json.loads(SESSIONS.read_text()) if SESSIONS.exists() else {}
    known[session] = {
        "set": arguments.set,
        "date": now.strftime("%Y-%m-%d"),
        "time": now.strftime("%H:%MZ"),
        "conditions": arguments.conditions,
        "load": [round(value, 1) for value in load],
        "kernel": os.uname().release,
        "blocks": {name: int(frame["block"].nunique()) for name, frame in tables.items()},
    }
    SESSIONS.write_text(json.dumps(known, indent=1) + "\n")


if __name__ == "__main__":
    main()
