"""What a campaign may be gone on with."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from bench import cli, config, continuity, facts, plan
from bench.claim import claimed
from bench.results import read_facts

CAMPAIGN = """\
name = "small"
blocks = 2
baseline = "process"
[scenarios]
own = { measures = ["boot"] }
[arms]
process = {}
crun = {}
"""
Change = Callable[[dict[str, Any]], Any]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """As a campaign that was begun here by this Tare leaves it after its first slot."""
    folder = tmp_path / "small"
    folder.mkdir()
    made = plan.make(config.parse(CAMPAIGN, tmp_path / "c.toml"))
    known = facts.gather({"host": facts.host(), "tools": {}}, rootfs={"name": "tiny", "digest": "sha256:0"})
    (folder / "plan.json").write_text(json.dumps(made))
    (folder / "facts.json").write_text(json.dumps(known))
    (folder / "journal.jsonl").write_text(json.dumps({"schema": 1, **made["slots"][0], "status": "ok"}) + "\n")
    return folder


def change(file: Path, by: Change) -> None:
    known = json.loads(file.read_text())
    by(known)
    file.write_text(json.dumps(known))


def refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> str:
    """The one line by which resume refuses a folder; it has changed nothing there."""
    before = {path: path.read_bytes() for path in folder.iterdir()}
    assert cli.main(["resume", str(folder)]) == 2
    assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (line,) = capsys.readouterr().err.splitlines()
    return line


def test_what_was_begun_here_by_this_tare_is_gone_on_with(folder: Path) -> None:
    final, known = continuity.begun(folder)
    continuity.check(folder, final, known, facts.host(), anyway=False)
    assert "resumed" not in (read_facts(folder) or {})


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (lambda known: known["host"].update(machine="0" * 16), "machine"),
        (lambda known: known["host"].update(machine=None, board=None, boot_id="another"), "nothing proves"),
        (lambda known: known["host"].update(cpu="Another CPU"), "CPU Another CPU → "),
        (lambda known: known["host"].update(cores=999), "cores 999 → "),
        (lambda known: known["host"].update(memory=1 << 50), "memory 1125899906842624 → "),
        (lambda known: known["git"].update(revision="a" * 40), "Tare aaaaaaaaaaaa → "),
        (lambda known: known.update(code="0" * 16), "Tare's code was changed since"),
    ],
)
def test_another_machine_or_tare_is_refused_and_told_of(
    folder: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, by: Change, words: str
) -> None:
    host = facts.host() | {"machine": "1" * 16}
    monkeypatch.setattr(facts, "host", lambda: host)
    change(folder / "facts.json", lambda known: known["host"].update(machine="1" * 16))
    change(folder / "facts.json", by)
    line = refused(folder, capsys)
    assert words in line
    assert "--anyway" in line
    final, known = continuity.begun(folder)
    for _ in range(2):  # what is written down once stays
        continuity.check(folder, final, known, facts.host(), anyway=True)
        (told,) = (read_facts(folder) or {})["resumed"]
        assert told["anyway"] is True
        assert any(words in text for text in told["changed"])


def test_another_boot_and_kernel_are_told_of(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    host = facts.host() | {"machine": "1" * 16}
    was = {"machine": "1" * 16, "boot_id": "another", "kernel": "6.1.0-1"}
    change(folder / "facts.json", lambda known: known["host"].update(was))
    final, known = continuity.begun(folder)
    continuity.check(folder, final, known, host, anyway=False)
    (told,) = (read_facts(folder) or {})["resumed"]
    assert told["changed"] == ["the host was booted anew", f"kernel 6.1.0-1 → {host['kernel']}"]
    assert told["anyway"] is False


@pytest.mark.parametrize(
    ("by", "words"),
    [
        (lambda plan: plan.pop("measures"), "there is no `measures`"),
        (lambda plan: plan["arms"].pop("crun"), "is of no arm"),
        (lambda plan: plan["arms"]["crun"].update(backend="../evil"), "there is no backend"),
        (lambda plan: plan["arms"]["crun"].update(options={"x": 1}), "arms.crun: "),
        (lambda plan: plan["arms"].update({"../evil": plan["arms"]["crun"]}), "is not an arm's name"),
        (lambda plan: plan["scenarios"]["own"].pop("timeout"), "has no `timeout`"),
        (lambda plan: plan["scenarios"]["own"].update(timeout=1e15), "timeout is out of range"),
        (lambda plan: plan["scenarios"]["own"].update(measures=["evil"]), "this Tare does not know"),
        (lambda plan: plan["scenarios"]["own"].update(values=10**9), "values is out of range"),
        (lambda plan: plan["slots"].append(plan["slots"][0]), "there twice"),
        (lambda plan: plan["slots"][0].pop("block"), "has no `block`"),
        (lambda plan: plan["slots"][0].update(arm="nobody"), "of no arm"),
        (lambda plan: plan["slots"][0].update(slot="../../x"), "slot"),
        (lambda plan: plan["envelope"].update(rootfs="../../etc"), "there is no rootfs"),
        (lambda plan: plan["arms"]["crun"].update(boots={"kind": "cake"}), "boots"),
        (lambda plan: plan.update(slots=[]), "is not of this plan"),
        (lambda plan: plan.clear(), "there is no `campaign`"),
    ],
)
def test_a_plan_that_tare_did_not_write_is_refused(
    folder: Path, capsys: pytest.CaptureFixture[str], by: Change, words: str
) -> None:
    change(folder / "plan.json", by)
    assert words in refused(folder, capsys)


def test_a_journal_of_another_plan_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    change(folder / "journal.jsonl", lambda line: line.update(arm="other"))
    with (folder / "journal.jsonl").open("a") as journal:
        journal.write("\n")
    assert "is not of this plan" in refused(folder, capsys)


def test_a_folder_without_facts_is_refused(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (folder / "facts.json").write_text("{}")
    assert "there is no `host`" in refused(folder, capsys)
    (folder / "facts.json").write_text("")
    assert "not JSON" in refused(folder, capsys)


def test_a_folder_that_is_held_is_not_written_to(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Neither with --anyway: whoever holds it goes on with what it has."""
    change(folder / "facts.json", lambda known: known.update(code="0" * 16))
    with claimed(folder):
        before = {path: path.read_bytes() for path in folder.iterdir()}
        assert cli.main(["resume", str(folder), "--anyway"]) == 4
        assert {path: path.read_bytes() for path in folder.iterdir()} == before
    (line,) = capsys.readouterr().err.splitlines()
    assert "is followed by another tare (pid " in line
