"""What a cluster's job writes into the folder that it shares with us, and what is made of it."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

from bench import answers, batch, bundle, cluster, facts, jobs, slurm
from bench.answers import InvalidAnswer
from bench.jobs import Job, Jobs
from bench.results import JOURNAL, NODES, PLAN, Journal, read_journal
from bench.slots import Watcher

ARM = {"family": "process", "backend": "process", "options": {}}
BLOCKS = 3
SLOTS = [{"slot": f"b{n:02}-s01", "block": n, "order": 1, "scenario": "boot", "arm": "p"} for n in range(1, BLOCKS + 1)]
FINAL: dict[str, Any] = {
    "schema": 1,
    "campaign": "c",
    "slots": SLOTS,
    "blocks": BLOCKS,
    "arms": {"p": ARM},
    "envelope": {"cpus": 1, "memory": 1 << 27, "rootfs": "tiny"},
    "slurm": {"nodes": BLOCKS, "python": "python3", "options": []},
    "scenarios": {"boot": {"instances": 1}},
    "measures": {"boot": {"p": ["boot"]}},
}
HOST = facts.host() | {"name": "n1"}
FACTS = {"host": HOST, "tools": {}, "user": "root", "python": "3.11", "cgroup": "v2", "cage": {}, "notes": []}
GOOD: dict[str, Any] = {"status": "ok", "reason": None, "wall_s": 0.5}


def requests(*slots: dict[str, Any]) -> list[dict[str, Any]]:
    asked = [{"do": "slot", "arm": slot["arm"], "job": {"slot": slot["slot"]}, "limit": 60} for slot in slots]
    return [{"do": "enter", "files": []}, {"do": "crew"}, {"do": "facts", "arms": ["p"]}, *asked]


def lines(*slots: Any) -> bytes:
    """What a job answers that was asked this."""
    told = [{"host": HOST, "cleaned": []}, None, FACTS, *slots]
    return b"".join(
        json.dumps({"to": number, "at": 1.0, "ok": answer}).encode() + b"\n" for number, answer in enumerate(told)
    )


def job(folder: Path, asked: list[dict[str, Any]], answered: bytes) -> Job:
    folder.mkdir(parents=True)
    (folder / batch.REQUESTS).write_text("".join(json.dumps(request) + "\n" for request in asked))
    (folder / batch.ANSWERS).write_bytes(answered)
    return Job(folder)


def test_answers_come_once_and_in_order(tmp_path: Path) -> None:
    one = job(tmp_path / "j", requests(SLOTS[0]), lines(GOOD)[:-5])
    assert [request["do"] for request, _ in one.news()] == ["enter", "crew", "facts"]
    with (tmp_path / "j" / batch.ANSWERS).open("ab") as more:
        more.write(lines(GOOD)[-5:])
    (told,) = list(one.news())
    assert answers.plain(told[1].read(answers.Slot))["wall_s"] == 0.5
    assert one.finished
    assert list(one.news()) == []


def as_line(**more: Any) -> bytes:
    return json.dumps(more).encode() + b"\n"


ODD: dict[str, bytes] = {
    "a greeting": b"hello\n",
    "null": b"null\n",
    "deep": b"[" * 100_000 + b"\n",
    "no number": b'{"ok":1}\n',
    "text for a number": as_line(to="3", at=1, ok=GOOD),
    "its number again": as_line(to=2, at=1, ok=GOOD),
    "another's number": as_line(to=4, at=1, ok=GOOD),
    "a number before all": as_line(to=-1, at=1, ok=GOOD),
    "no time": as_line(to=3, ok=GOOD),
    "a time of text": as_line(to=3, at="now", ok=GOOD),
    "an error of text": as_line(to=3, at=1, error="no"),
    "too long": b'{"to":3,"at":1,"ok":"' + b"x" * answers.LONGEST + b'"}\n',
    "one too many": as_line(to=3, at=1, ok=GOOD) + as_line(to=4, at=1, ok=GOOD),
}
FAILING: dict[str, Any] = {
    "a list": [],
    "null": None,
    "text": "ok",
    "the plan's slot": GOOD | {"slot": "b02-s01"},
    "the schema": GOOD | {"schema": 99},
    "the arm": GOOD | {"arm": "q"},
    "a seen list": GOOD | {"seen": [1]},
    "10**25": GOOD | {"cpu_s": 10**25},
    "deep": GOOD | {"marks": {"a": json.loads("[" * 900 + "]" * 900)}},
}


class Cluster:
    """Stands for Slurm: each job has done what a function of its number says, when it is looked for."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, *answered: Any) -> None:
        self.folders: list[Path] = []
        self.argv: list[list[str]] = []
        self.cancelled: list[str] = []
        self._answered = [*answered]
        monkeypatch.setattr(jobs, "_STEP", 0.001)
        monkeypatch.setattr(jobs, "_LATE", 0.0)
        monkeypatch.setattr(jobs, "_END_LIMIT", 0.0)
        monkeypatch.setattr(slurm, "submit", self._submit)
        monkeypatch.setattr(slurm, "look", self._look)
        monkeypatch.setattr(slurm, "cancel", self.cancelled.extend)

    def _submit(self, name: str, folder: Path, output: Path, argv: list[str], options: object) -> None:
        self.folders.append(folder)
        self.argv.append(argv)
        asked = [json.loads(line) for line in (folder / batch.REQUESTS).read_text().splitlines()]
        slots = [request for request in asked if request["do"] == "slot"]
        given = self._answered.pop(0) if self._answered else None
        if callable(given):
            given(folder / batch.ANSWERS)
        else:
            (folder / batch.ANSWERS).write_bytes(lines(*[GOOD for _ in slots]) if given is None else given)

    def _look(self, names: list[str], user: int) -> dict[str, slurm.Status]:
        return {name: slurm.Status(name[-1], "COMPLETED", "n1", "", True) for name in names}


class Heard(Watcher):
    def __init__(self) -> None:
        self.warnings: list[str] = []

    def warned(self, text: str) -> None:
        self.warnings.append(text)


def deal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *answered: Any) -> tuple[dict[str, Any], Cluster, Heard]:
    """The journal's lines, by slot, when all is over."""
    there, heard = Cluster(monkeypatch, *answered), Heard()
    (tmp_path / cluster.JOBS).mkdir()
    (tmp_path / PLAN).write_text(json.dumps(FINAL))
    dealt = Jobs(tmp_path / cluster.JOBS, heard)
    with Journal(tmp_path / JOURNAL) as journal:
        dealer = cluster._Dealer(tmp_path, FINAL, "sha256:aa", dealt, journal, heard)
        dealer.__dict__["_crew"] = requests()[:2]
        monkeypatch.setattr(cluster.slots, "task", lambda final, slot: ({"slot": slot["slot"]}, 60.0))
        monkeypatch.setattr(cluster.prepare, "guests", lambda final: {"p": []})
        dealer.run()
    return {line["slot"]: line for line in read_journal(tmp_path / JOURNAL)}, there, heard


def test_all_blocks_are_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    told, there, heard = deal(tmp_path, monkeypatch)
    assert [line["status"] for line in told.values()] == ["ok"] * BLOCKS
    assert len(there.folders) == BLOCKS
    assert not heard.warnings
    assert json.loads((tmp_path / NODES).read_text())["nodes"] == {"n1": FACTS}


@pytest.mark.parametrize("odd", ODD.values(), ids=ODD)
def test_a_node_that_answers_in_another_way_has_its_blocks_done_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, odd: bytes
) -> None:
    told, there, heard = deal(tmp_path, monkeypatch, lines() + odd)
    assert {slot: line["status"] for slot, line in told.items()} == {slot["slot"]: "ok" for slot in SLOTS}
    assert any("not ours" in text for text in heard.warnings) or odd == ODD["one too many"]
    assert len(there.folders) == BLOCKS + (odd != ODD["one too many"])


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


@pytest.mark.parametrize("replace", [Path.unlink, fifo, link, folder])
def test_a_node_without_a_file_of_answers_has_its_blocks_done_by_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, replace: Any
) -> None:
    told, _, heard = deal(tmp_path, monkeypatch, replace)
    assert [line["status"] for line in told.values()] == ["ok"] * BLOCKS
    assert any("file of answers" in text for text in heard.warnings)


@pytest.mark.parametrize("answer", FAILING.values(), ids=FAILING)
def test_a_slot_that_is_answered_in_another_form_fails_alone(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, answer: Any
) -> None:
    told, there, _ = deal(tmp_path, monkeypatch, lines(answer))
    assert [line["status"] for line in told.values()] == ["failed", "ok", "ok"]
    assert len(there.folders) == BLOCKS
    assert {line["schema"] for line in told.values()} == {1}


def test_a_job_runs_the_code_of_today_and_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    there = Cluster(monkeypatch)
    several = Jobs(tmp_path, Watcher())
    for code in (b"before", b"after"):
        monkeypatch.setattr(bundle, "make", lambda code=code: code)
        several.submit("c-1", "python3", [], requests(SLOTS[0]))
    programs = [Path(argv[1]) for argv in there.argv]
    assert [program.read_bytes() for program in programs] == [b"before", b"after"]
    told = [Job(each).requests[0]["program"] for each in there.folders]
    assert told == [program.name for program in programs]


def test_a_first_answer_of_another_form_is_an_error_of_the_proof(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked = [*requests()[:2], {"do": "probe", "arm": "p", "guest": "linux"}]
    odd = lines()[: -len(lines().splitlines()[-1]) - 1] + as_line(to=2, at=1, ok=[1])
    Cluster(monkeypatch)
    proof = cluster._Proof(Jobs(tmp_path, Watcher()), job(tmp_path / "j", asked, odd))
    with pytest.raises(InvalidAnswer, match="another form"):
        proof.probe("p", "linux")
