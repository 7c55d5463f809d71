"""Lab hosts: what is made from a recipe, how QEMU is called, and what a folder that a dead one left means."""

from __future__ import annotations

import dataclasses
import json
import subprocess
import sys
import tarfile
import threading
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import cli, lab, state
from bench.errors import HostError, InputError
from bench.lab import _build, _qemu, _recipe, _store, _vm

DEBIAN, XEN = lab.recipe("lab-debian"), lab.recipe("lab-xen")


@pytest.fixture(autouse=True)
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    return tmp_path / "tare/lab"


@pytest.fixture
def sleeper() -> Iterator[tuple[int, str]]:
    """A process that bears a token, as a lab host's QEMU does: its pid and the token."""
    token = str(uuid.uuid4())
    with subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)", "-uuid", token]) as child:
        deadline = time.monotonic() + 10
        while token.encode() not in Path(f"/proc/{child.pid}/cmdline").read_bytes():  # it is just becoming Python
            assert time.monotonic() < deadline
        yield child.pid, token
        child.kill()


def put_up(cache: Path, name: str = "lab-debian", **known: Any) -> Path:
    folder = cache / f"up-{name}"
    folder.mkdir(parents=True)
    whole = {"port": 45001, "token": "none", "boot": _vm._boot_id(), "since": "2026-01-01 00:00:00 UTC", "ready": True}
    (folder / "vm.json").write_text(json.dumps(whole | known))
    return folder


def put_built(cache: Path, recipe: lab.Recipe) -> Path:
    folder = cache / f"{recipe.name}-{recipe.digest}"
    folder.mkdir(parents=True)
    (folder / "lab.json").write_text(json.dumps({"kernels": ["6.1.0-2-amd64", "6.1.0-1-amd64"]}))
    return folder


def test_names_are_those_of_the_recipe_files() -> None:
    assert lab.names() == ["lab-debian", "lab-xen"]
    assert lab.recipe("xen") is lab.recipe("lab-xen")
    assert [recipe.name for recipe in lab.recipes([])] == lab.names()
    assert [recipe.name for recipe in lab.recipes(["xen", "lab-xen"])] == ["lab-xen"]
    for wrong in ("", "lab-", "lab-plan9", "_build", "../debian"):
        with pytest.raises(InputError, match="no lab host"):
            lab.recipe(wrong)


def test_the_digest_is_of_what_is_built_and_not_of_how_it_runs() -> None:
    assert DEBIAN.digest == dataclasses.replace(DEBIAN, memory=1, append="x", ready="true", about="").digest
    other = [
        dataclasses.replace(DEBIAN, packages=DEBIAN.packages + " hello"),
        dataclasses.replace(DEBIAN, files={**DEBIAN.files, "etc/x": ""}),
        dataclasses.replace(DEBIAN, setup="true"),
        dataclasses.replace(DEBIAN, kernels=1),
        dataclasses.replace(DEBIAN, disabled=""),
        dataclasses.replace(DEBIAN, disk=1),
        XEN,
    ]
    assert len({DEBIAN.digest, *(recipe.digest for recipe in other)}) == len(other) + 1


def test_the_digest_does_not_change_from_one_process_to_the_next() -> None:
    code = "from bench import lab; print(lab.recipe('lab-debian').digest)"
    said = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=30)
    assert said.stdout.strip() == DEBIAN.digest


def test_the_newest_kernels_by_number_are_chosen() -> None:
    known = [f"linux-image-6.1.0-{n}-amd64" for n in (9, 47, 100, 56)]
    known += ["linux-image-6.1.0-99-cloud-amd64", "linux-image-6.12.9-amd64", "linux-image-6.1.0-101-amd64-dbg"]
    chosen = _build.choose(known, DEBIAN.kernel_pattern, 2)
    assert chosen == ["linux-image-6.1.0-100-amd64", "linux-image-6.1.0-56-amd64"]
    with pytest.raises(HostError, match="knows 1 kernels"):
        _build.choose(known[:1], DEBIAN.kernel_pattern, 2)


def test_qemu_listens_on_loopback_alone_and_its_guest_reaches_nothing() -> None:
    argv = _qemu.argv("qemu", DEBIAN, 45001, "T", "B")
    assert argv[argv.index("-netdev") + 1] == "user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:45001-:22"
    assert argv[argv.index("-accel") + 1].startswith("tcg")
    assert argv[argv.index("-drive") + 1].endswith("snapshot=on")
    assert argv[argv.index("-m") + 1] == "4096"
    assert argv[argv.index("-uuid") + 1] == "T"
    assert argv[-2:] == ["-append", f"{DEBIAN.append} norandmaps"]


def test_xen_gets_its_kernel_as_a_module_with_a_line_of_its_own() -> None:
    recipe = dataclasses.replace(XEN, append="root=/dev/sda console=hvc0,x")
    argv = _qemu.argv("qemu", recipe, 1, "T", "B")
    assert argv[argv.index("-kernel") + 1] == "image/xen"
    assert argv[argv.index("-initrd") + 1] == "image/kernel root=/dev/sda console=hvc0,,x norandmaps,image/initrd"
    assert argv[argv.index("-append") + 1] == recipe.xen


def test_the_files_of_the_new_system_are_roots_and_the_hosts_private_key_is_nowhere_else(tmp_path: Path) -> None:
    made = tmp_path / "made"
    made.mkdir()
    _build._make_keys(DEBIAN, made)
    private = (made / "host_key").read_text()
    _build._write_files(DEBIAN, tmp_path, made)
    assert sorted(path.name for path in made.iterdir()) == ["host_key.pub", "key", "key.pub"]
    assert (made / "key").stat().st_mode & 0o777 == 0o600
    with tarfile.open(tmp_path / "files.tar") as archive:
        members = {member.name: member for member in archive.getmembers()}
        assert {(member.uid, member.gid) for member in members.values()} == {(0, 0)}
        assert members["./root/.ssh/authorized_keys"].mode == 0o600
        file = archive.extractfile("./lab-keys/ssh_host_ed25519_key")
        assert file
        assert file.read().decode() == private


def test_setup_is_a_script_that_a_shell_can_read() -> None:
    for recipe in (DEBIAN, XEN):
        subprocess.run(["sh", "-n"], input=recipe.whole_setup().encode(), check=True, timeout=10)


def test_up_is_what_its_process_is(cache: Path, sleeper: tuple[int, str]) -> None:
    pid, _ = sleeper
    folder = put_up(cache, pid=pid, born=state.birth(pid))
    host = lab.running()["lab-debian"]
    assert (host.address, host.port, host.user, host.emulated) == ("127.0.0.1", 45001, "root", True)
    assert (host.key, host.known_hosts) == (folder / "key", folder / "known_hosts")
    assert lab.host("debian") == host


@pytest.mark.parametrize("wrong", [{"born": 1}, {"boot": "another"}, {"ready": False}])
def test_another_process_with_its_pid_is_not_taken_for_it(
    cache: Path, sleeper: tuple[int, str], wrong: dict[str, Any]
) -> None:
    pid, _ = sleeper
    put_up(cache, **({"pid": pid, "born": state.birth(pid)} | wrong))
    assert lab.running() == {}
    with pytest.raises(HostError, match="not up"):
        lab.host("lab-debian")


def test_down_removes_what_a_dead_one_left_and_ends_no_stranger(cache: Path, sleeper: tuple[int, str]) -> None:
    pid, _ = sleeper
    folder = put_up(cache, pid=pid, born=1)
    assert lab.down(DEBIAN, lambda text: None) is False
    assert not folder.exists()
    assert state.birth(pid) is not None


def test_down_ends_a_start_that_was_killed_before_it_knew_the_pid(cache: Path, sleeper: tuple[int, str]) -> None:
    pid, token = sleeper
    folder = put_up(cache, token=token, ready=False)
    lab.down(DEBIAN, lambda text: None)
    assert state.birth(pid) is None
    assert not folder.exists()


@pytest.mark.parametrize("text", ["", "{", "[]", "null"])
def test_a_damaged_folder_is_that_of_a_host_which_is_down(cache: Path, text: str) -> None:
    folder = put_up(cache)
    (folder / "vm.json").write_text(text)
    assert lab.running() == {}
    lab.down(DEBIAN, lambda text: None)
    assert not folder.exists()


def test_ssh_knows_the_host_and_offers_its_own_key_alone(cache: Path, sleeper: tuple[int, str]) -> None:
    pid, _ = sleeper
    put_up(cache, pid=pid, born=state.birth(pid))
    argv = lab.ssh_argv(lab.running()["lab-debian"])
    shown = subprocess.run([argv[0], "-G", *argv[1:]], capture_output=True, text=True, check=True, timeout=10).stdout
    said = dict(line.split(" ", 1) for line in shown.splitlines())
    assert (said["hostname"], said["port"], said["user"]) == ("127.0.0.1", "45001", "root")
    assert said["stricthostkeychecking"] in ("true", "yes")
    assert said["userknownhostsfile"] == str(cache / "up-lab-debian/known_hosts")
    assert said["identityfile"] == str(cache / "up-lab-debian/key")
    assert (said["identitiesonly"], said["batchmode"]) == ("yes", "yes")


def test_status_as_a_program_reads_it(
    cache: Path, sleeper: tuple[int, str], capsys: pytest.CaptureFixture[str]
) -> None:
    pid, _ = sleeper
    put_built(cache, DEBIAN)
    put_up(cache, pid=pid, born=state.birth(pid))
    assert cli.main(["lab", "status", "--json"]) == 0
    debian, xen = json.loads(capsys.readouterr().out)
    assert (debian["name"], debian["built"], debian["up"], debian["pid"]) == ("lab-debian", True, True, pid)
    assert debian["kernels"] == ["6.1.0-2-amd64", "6.1.0-1-amd64"]
    assert (xen["name"], xen["built"], xen["up"], xen["port"]) == ("lab-xen", False, False, None)
    assert cli.main(["lab", "status"]) == 0
    assert "45001" in capsys.readouterr().out


def test_a_built_host_is_not_built_again(cache: Path) -> None:
    folder = put_built(cache, DEBIAN)
    assert lab.build(DEBIAN, lambda text: pytest.fail(text)) == folder


def test_the_next_waits_for_who_holds_and_says_so(cache: Path) -> None:
    said: list[str] = []
    order: list[str] = []

    def other() -> None:
        with _store.held("x", "another", said.append, 10):
            order.append("second")

    with _store.held("x", "another", said.append, 1):
        second = threading.Thread(target=other)
        second.start()
        while not said:
            time.sleep(0.01)
        with pytest.raises(HostError, match="did not end within"), _store.held("x", "another", said.append, 0):
            pass
        order.append("first")
    second.join(10)
    assert order == ["first", "second"]
    assert said == ["waiting for another"] * 2 or said == ["waiting for another"]


@pytest.mark.parametrize("words", [["lab", "up", "nowhere"], ["lab", "ssh", "nowhere"], ["lab", "build", "x"]])
def test_a_host_that_is_none_is_bad_input(words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(words) == 2
    assert "lab-debian" in capsys.readouterr().err


def test_every_unit_that_is_masked_is_named_once() -> None:
    masked = _recipe._MASKED.split()
    assert sorted(set(masked)) == sorted(masked)
