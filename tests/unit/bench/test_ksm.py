"""Same-page merging is switched for a block and put back, whoever has to do that."""

from __future__ import annotations

import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from bench import clean, ksm, state
from bench.errors import HostError

BEFORE = {"run": "0", "pages_to_scan": "100", "sleep_millisecs": "20"}


@pytest.fixture
def kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    folder = tmp_path / "ksm"
    folder.mkdir()
    for name, value in BEFORE.items():
        (folder / name).write_text(f"{value}\n")
    (folder / "full_scans").write_text("7\n")
    (folder / "pages_sharing").write_text("3\n")
    monkeypatch.setattr(ksm, "_FOLDER", folder)
    return folder


def now(kernel: Path) -> dict[str, str]:
    return {name: (kernel / name).read_text().strip() for name in BEFORE}


def test_it_is_on_for_a_block_and_then_as_it_was(kernel: Path, tmp_path: Path) -> None:
    with ksm.switched("on", tmp_path):
        assert now(kernel)["run"] == "1"
        assert (tmp_path / ksm.NOTE).exists()
    assert now(kernel) == BEFORE
    assert not (tmp_path / ksm.NOTE).exists()


def test_it_is_put_back_when_a_slot_fails(kernel: Path, tmp_path: Path) -> None:
    with pytest.raises(RuntimeError, match="slot"), ksm.switched("on", tmp_path):
        raise RuntimeError("the slot")
    assert now(kernel) == BEFORE


def test_nobody_who_asks_for_nothing_changes_it(kernel: Path, tmp_path: Path) -> None:
    (kernel / "run").write_text("1")
    with ksm.switched(None, tmp_path):
        assert now(kernel)["run"] == "1"
    with ksm.switched("off", tmp_path):
        assert now(kernel) == BEFORE
    assert now(kernel)["run"] == "1"


def test_what_a_killed_worker_left_on_is_not_taken_for_the_host_s(kernel: Path, tmp_path: Path) -> None:
    left = ksm.switched("on", tmp_path)
    left.__enter__()
    assert now(kernel)["run"] == "1"
    with ksm.switched("on", tmp_path):
        pass
    assert now(kernel) == BEFORE


def a_run(folder: Path) -> state.Run:
    folder.mkdir(parents=True)
    return state.Run(folder.name, folder, 1, -5, "a test", "then", 0)


def test_clean_puts_back_what_a_dead_run_switched(kernel: Path, tmp_path: Path) -> None:
    dead = a_run(tmp_path / "runs/0000dead")
    left = ksm.switched("on", dead.folder)
    left.__enter__()
    assert now(kernel)["run"] == "1"
    assert [thing.kind for thing in clean._switches(dead)] == ["setting"]
    assert now(kernel) == BEFORE
    assert clean._switches(dead) == []


def test_the_end_of_a_run_puts_back_what_its_worker_could_not(
    kernel: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(state, "records", lambda: tmp_path / "records")
    own = a_run(tmp_path / "runs/0000beef")
    left = ksm.switched("on", own.folder)
    left.__enter__()
    assert now(kernel)["run"] == "1"
    assert clean.release(own) == []
    assert now(kernel) == BEFORE


def test_a_kernel_without_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ksm, "_FOLDER", tmp_path / "none")
    with pytest.raises(HostError, match="KSM cannot be switched on"), ksm.switched("on", tmp_path):
        pass
    assert not (tmp_path / ksm.NOTE).exists()
    assert ksm.saved() == 0
    ksm.settle()


def test_scans_are_waited_for_where_there_are_any_and_not_for_ever(
    kernel: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def waited(numbers: Callable[[int], dict[str, int]]) -> float:
        """Seconds, while the kernel's numbers change every 50 ms."""
        end = threading.Event()

        def show(turn: int) -> None:
            for name, value in numbers(turn).items():
                (kernel / f"{name}.new").write_text(f"{value}\n")
                (kernel / f"{name}.new").replace(kernel / name)

        def count() -> None:
            for turn in range(400):
                show(turn)
                if end.wait(0.05):
                    return

        show(0)
        with ThreadPoolExecutor(1) as pool:
            pool.submit(count)
            begin = time.monotonic()
            ksm.settle()
            took = time.monotonic() - begin
            end.set()
        return took

    assert waited(lambda turn: {"full_scans": turn}) < 0.05, "it is off"
    (kernel / "run").write_text("1")
    assert ksm._NOTHING < waited(lambda turn: {"full_scans": 7}) < 10, "nothing is there to be merged"
    assert 1.5 < waited(lambda turn: {"full_scans": turn // 15, "pages_scanned": turn}) < 10, "three scans"
    monkeypatch.setattr(ksm, "_SCAN_LIMIT", 2.0)
    assert 2.0 < waited(lambda turn: {"full_scans": 7, "pages_scanned": turn}) < 10, "too much to scan"


def test_a_note_that_is_no_note_is_told(tmp_path: Path) -> None:
    (tmp_path / ksm.NOTE).write_text("half of i")
    with pytest.raises(HostError, match="cannot be put back"):
        ksm.restore(tmp_path / ksm.NOTE)
