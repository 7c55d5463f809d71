"""What the libvirt backends do without a libvirt: threads that visit a cage, finding QEMU by its name."""

from __future__ import annotations

import os
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from bench.backends import _qemu, _visit
from bench.backends.base import make_options
from bench.cage import Cage
from bench.errors import InputError, InstanceError


def _nothing() -> None:
    pass


class _Place:
    """A cage's doors and this process's own groups as plain files."""

    def __init__(self, folder: Path, monkeypatch: pytest.MonkeyPatch, version: int) -> None:
        self.name = "tasks" if version == 1 else "cgroup.procs"
        self.inside, self.home = folder / "cage", folder / "home"
        for group in (self.inside, self.home):
            group.mkdir()
            (group / self.name).touch()
        monkeypatch.setattr(_visit, "_own_groups", lambda cage: [self.home])
        hierarchy = SimpleNamespace(version=version)
        self.cage = cast(Cage, SimpleNamespace(hierarchy=hierarchy, entrance=[self.inside]))

    def read(self, group: Path) -> str:
        return (group / self.name).read_text()


def test_one_thread_visits_under_v1(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _Place(tmp_path, monkeypatch, version=1)
    visit = _visit.Visit(place.cage)
    visit.enter()
    assert place.read(place.inside) == str(threading.get_native_id())
    visit.leave()
    assert place.read(place.home) == str(threading.get_native_id())


def test_whole_process_visits_under_v2(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _Place(tmp_path, monkeypatch, version=2)
    visit = _visit.Visit(place.cage)
    visit.enter()
    assert place.read(place.inside) == str(os.getpid())


def test_others_in_the_cage_stay_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _Place(tmp_path, monkeypatch, version=1)
    visit = _visit.Visit(place.cage)
    (place.inside / "tasks").write_text("1\n")
    visit.leave()
    assert place.read(place.home) == ""


def test_a_cage_that_cannot_be_entered_is_an_error(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = _Place(tmp_path, monkeypatch, version=1)
    visit = _visit.Visit(place.cage)
    (place.inside / "tasks").unlink()
    place.inside.rmdir()
    with pytest.raises(InstanceError, match="cannot enter the cage"):
        _qemu._Creation(_nothing, _nothing, visit)


def test_a_thread_that_is_late_in_the_cage_asks_nothing_and_ends(monkeypatch: pytest.MonkeyPatch) -> None:
    asked, let_in, left = threading.Event(), threading.Event(), threading.Event()
    visit = cast(_visit.Visit, SimpleNamespace(enter=lambda: let_in.wait(5), leave=left.set))
    monkeypatch.setattr(_qemu, "_ENTER_LIMIT", 0.01)
    with pytest.raises(InstanceError, match="did not enter the cage"):
        _qemu._Creation(asked.set, _nothing, visit)
    let_in.set()
    assert left.wait(5)
    assert not asked.is_set()


def test_creation_waits_for_the_word() -> None:
    asked = threading.Event()
    creation = _qemu._Creation(asked.set, _nothing, None)
    assert not asked.wait(0.05)
    creation.begin()
    creation.join(5)
    assert asked.is_set()
    os.close(creation.done)


def test_cancelled_creation_never_asks() -> None:
    asked = threading.Event()
    creation = _qemu._Creation(asked.set, _nothing, None)
    creation.cancel()
    creation.join(5)
    assert not asked.is_set()
    os.close(creation.done)


def test_creation_cancelled_too_late_is_undone() -> None:
    begun, go_on, undone = threading.Event(), threading.Event(), threading.Event()

    def create() -> None:
        begun.set()
        go_on.wait(5)

    creation = _qemu._Creation(create, undone.set, None)
    creation.begin()
    assert begun.wait(5)
    creation.cancel()
    assert not undone.is_set()
    go_on.set()
    creation.join(5)
    assert undone.is_set()
    os.close(creation.done)


def test_creation_keeps_the_reason_of_a_failure() -> None:
    def fail() -> Any:
        raise InstanceError("libvirt says no")

    creation = _qemu._Creation(fail, _nothing, None)
    creation.begin()
    creation.join(5)
    assert str(creation.error) == "libvirt says no"
    os.close(creation.done)


def test_qemu_is_found_by_its_domains_name() -> None:
    name = f"tare-unit-{os.getpid()}"
    # A shell in the place of QEMU: its first option's value looks the same. It speaks once it can be seen.
    argv = ["qemu", "-c", f"guest={name}-1,debug-threads=on; echo; read -r word"]
    child = subprocess.Popen(argv, executable="/bin/sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    try:
        assert child.stdout is not None
        child.stdout.readline()
        assert _qemu.find_qemu(f"{name}-1") == child.pid
        assert _qemu.find_qemu(name) is None
    finally:
        child.communicate(b"\n")


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become another user")
def test_another_users_process_that_says_so_is_not_the_qemu() -> None:
    name = f"tare-unit-{os.getpid()}"
    argv = ["qemu", "-c", f"guest={name}-2,debug-threads=on; echo; read -r word"]
    with subprocess.Popen(
        argv, executable="/bin/sh", stdin=subprocess.PIPE, stdout=subprocess.PIPE, user=1234, group=1234
    ) as child:
        assert child.stdout
        child.stdout.readline()
        assert f"guest={name}-2," in Path(f"/proc/{child.pid}/cmdline").read_text()
        assert _qemu.find_qemu(f"{name}-2") is None
        child.communicate(b"\n")


@pytest.mark.parametrize("given", [{"machine": "microvm"}, {"uri": 1}, {"acceleration": "kvm"}])
def test_options_are_strict(given: dict[str, object]) -> None:
    with pytest.raises(InputError):
        make_options(_qemu.LibvirtBackend, given)


_LOG = """\
2026-11-22 06:24:17.000+0000: starting up libvirt version: 9.0.0, package: 9.0.0-4, qemu version: 7.2.22, hostname: vm
LC_ALL=C \\
/usr/bin/qemu-system-x86_64 \\
-name guest=tare-1,debug-threads=on \\
-msg timestamp=on
2026-11-22 06:24:17.100+0000: Domain id=1 is tainted: custom-argv
2026-11-22T06:24:17.200000Z qemu-system-x86_64: warning: host doesn't support requested feature
qemu: linux kernel too old to load a ram disk
2026-11-22 06:24:18.000+0000: shutting down, reason=failed
"""


def test_last_words_are_qemus_own() -> None:
    assert _qemu.last_words(_LOG) == "qemu: linux kernel too old to load a ram disk"
    assert _qemu.last_words("") == ""
