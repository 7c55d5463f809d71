"""Hosts by SSH, over the loopback: commands and files, and what a host may do about them."""

from __future__ import annotations

import hashlib
import io
import os
import subprocess
import sys
import threading
import time
import tracemalloc
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import paramiko
import pytest

from bench import agent, bundle, host, inventory, remote
from bench.errors import HostError, HostLost, Unreachable
from bench.host import LocalFiles, Ssh
from tests.unit.bench import sshd
from tests.unit.bench.sshd import Sshd, entry, line


@pytest.fixture(autouse=True)
def alone(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Without the keys, agents and configuration of whoever runs this."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "config"))
    monkeypatch.delenv("SSH_AUTH_SOCK", raising=False)
    monkeypatch.setattr(host, "_GRACE", 0.3)


@pytest.fixture
def there(tmp_path: Path) -> Iterator[Sshd]:
    home = tmp_path / "there"
    home.mkdir(mode=0o700)
    with sshd.running(home) as server:
        yield server


@pytest.fixture
def ssh(there: Sshd, tmp_path: Path) -> Iterator[Ssh]:
    with Ssh(entry(there, tmp_path)) as connected:
        yield connected


def test_a_command_is_run_with_both_outputs_and_its_status(ssh: Ssh) -> None:
    assert ssh.run("cat; echo no >&2; exit 3", io.BytesIO(b"yes")) == (3, b"yes", b"no\n")


def test_both_outputs_are_taken_as_they_come(ssh: Ssh) -> None:
    """More on each than a window holds, the errors first."""
    status, out, err = ssh.run("head -c 3000000 /dev/zero >&2; head -c 3000000 /dev/zero", limit=20)
    assert (status, len(out), len(err)) == (0, 3_000_000, 3_000_000)


def trickle(channel: paramiko.Channel, command: str) -> None:
    while True:
        channel.sendall(b"x")
        time.sleep(0.05)


def flood(channel: paramiko.Channel, command: str) -> None:
    while True:
        channel.sendall(bytes(1 << 15))


def flood_errors(channel: paramiko.Channel, command: str) -> None:
    while True:
        channel.sendall_stderr(bytes(1 << 15))


def silence(channel: paramiko.Channel, command: str) -> None:
    time.sleep(30)


def no_end(channel: paramiko.Channel, command: str) -> None:
    channel.send_exit_status(0)
    time.sleep(30)


def cut(channel: paramiko.Channel, command: str) -> None:
    channel.transport.close()


BEHAVIOURS = [trickle, flood, flood_errors, silence, no_end, cut]


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
def test_a_command_ends_by_its_limit_whatever_the_host_does(ssh: Ssh, there: Sshd, behaviour: sshd.Behaviour) -> None:
    there.behaviour = behaviour
    begin = time.monotonic()
    with pytest.raises(HostLost, match="rack1"):
        ssh.run("true", limit=0.5)
    assert time.monotonic() - begin < 5


def test_a_command_ends_by_its_limit_where_nothing_that_is_sent_is_taken(ssh: Ssh, there: Sshd) -> None:
    there.behaviour = silence
    begin = time.monotonic()
    with pytest.raises(HostLost):
        ssh.run("cat >file", io.BytesIO(bytes(8 << 20)), limit=0.5)
    assert time.monotonic() - begin < 5


def test_a_command_ends_by_its_limit_where_the_kernel_takes_nothing_more(ssh: Ssh, there: Sshd) -> None:
    """The other end of the connection stands still, as a process that was stopped."""
    for transport in there._transports:
        transport.packetizer.read_message = lambda: time.sleep(60)
    time.sleep(0.2)
    begin = time.monotonic()
    with pytest.raises(HostLost):
        ssh.run("cat >file", io.BytesIO(bytes(64 << 20)), limit=0.5)
    assert time.monotonic() - begin < 5


def test_an_upload_may_be_refused_early(ssh: Ssh) -> None:
    status, _, err = ssh.run("echo full >&2; exit 7", io.BytesIO(bytes(16 << 20)), limit=20)
    assert (status, err) == (7, b"full\n")


def sha256(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def test_a_file_has_its_digest_for_a_name(ssh: Ssh, there: Sshd) -> None:
    content = os.urandom(3 << 20)
    name = ssh.put(content)
    assert name == sha256(content)
    assert (there.home / ".tare" / name).read_bytes() == content
    assert (there.home / ".tare").stat().st_mode & 0o777 == 0o700
    before = len(there.commands)
    ssh.put(content)
    assert len(there.commands) == before


def test_a_large_file_is_sent_in_parts(ssh: Ssh, there: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "large"
    with file.open("wb") as large:
        large.truncate(48 << 20)
    tracemalloc.start()
    try:
        name = ssh.put_file(file)
        assert tracemalloc.get_traced_memory()[1] < 24 << 20
    finally:
        tracemalloc.stop()
    assert (there.home / ".tare" / name).stat().st_size == 48 << 20


class Cut(io.BytesIO):
    """A file whose reading ends with what else happens then."""

    def __init__(self, content: bytes, what: Callable[[], None]) -> None:
        super().__init__(content)
        self._what = what

    def read(self, size: int | None = -1) -> bytes:
        if self.tell():
            self._what()
            return b""
        return super().read(100_000)


def test_an_upload_that_was_cut_is_not_there(ssh: Ssh, there: Sshd, tmp_path: Path) -> None:
    content = os.urandom(300_000)
    with pytest.raises(HostLost):
        ssh._put(sha256(content), Cut(content, there.cut), len(content))
    assert not (there.home / ".tare" / sha256(content)).exists()
    with Ssh(entry(there, tmp_path)) as again:
        again.put(content)
    assert (there.home / ".tare" / sha256(content)).read_bytes() == content


def test_half_an_upload_that_ends_in_order_is_not_taken(ssh: Ssh, there: Sshd) -> None:
    content = os.urandom(300_000)
    with pytest.raises(HostError, match="did not come whole"):
        ssh._put(sha256(content), Cut(content, lambda: None), len(content))
    assert [path.name for path in (there.home / ".tare").iterdir()] == [agent.MARK]


@pytest.fixture
def program(monkeypatch: pytest.MonkeyPatch) -> bytes:
    """Stands for the agent: says which it is."""
    content = b"print('the right one', flush=True)\n"
    monkeypatch.setattr(bundle, "make", lambda: content)
    return content


def answers(ssh: Ssh) -> list[bytes]:
    door = ssh.agent()
    threading.Timer(5, door.close).start()
    return list(door.lines())


def test_the_agent_is_sent_once_and_run(ssh: Ssh, there: Sshd, program: bytes) -> None:
    assert answers(ssh) == [b"the right one"]
    assert (there.home / ".tare" / sha256(program)).read_bytes() == program


@pytest.mark.parametrize("damage", [b"", b"print('the right", b"print('another', flush=True)\n"])
def test_what_lies_under_the_agents_name_is_not_run_unless_it_is_the_agent(
    there: Sshd, tmp_path: Path, program: bytes, damage: bytes
) -> None:
    folder = there.home / ".tare"
    folder.mkdir(mode=0o700)
    (folder / agent.MARK).write_text(agent.MARKED)
    (folder / sha256(program)).write_bytes(damage)
    with Ssh(entry(there, tmp_path)) as ssh:
        assert answers(ssh) == [b"the right one"]
    assert (folder / sha256(program)).read_bytes() == program


def test_an_agent_that_is_replaced_before_it_starts_is_not_run(
    ssh: Ssh, there: Sshd, program: bytes, monkeypatch: pytest.MonkeyPatch
) -> None:
    put = Ssh.put

    def replaced(self: Ssh, content: bytes) -> str:
        name = put(self, content)
        (there.home / ".tare" / name).write_bytes(b"print('another')\n")
        return name

    monkeypatch.setattr(Ssh, "put", replaced)
    door = ssh.agent()
    assert list(door.lines()) == []
    assert "is not what was sent" in door.last_words()


def test_an_agents_errors_take_no_more_memory_than_they_are_worth(ssh: Ssh, there: Sshd) -> None:
    there.behaviour = flood_errors
    door = host._SshDoor(ssh._transport, "agent")
    time.sleep(0.3)
    assert len(door.last_words()) <= 20 << 15


WRONG_FOLDERS: dict[str, Callable[[Path], Path]] = {
    "all may write": lambda home: mode(home / "open", 0o777),
    "its group may write": lambda home: mode(home / "group", 0o770),
    "below where all may write": lambda home: mode(home / "open", 0o777) / "deep" / "tare",
    "behind a link to where all may write": lambda home: link(home / "link", mode(home / "open", 0o777)) / "tare",
    "a link where all may write": lambda home: link(mode(home / "open", 0o777) / "link", mode(home / "own", 0o700)),
    "no folder": lambda home: mode(home / "file", 0o600, folder=False),
}


def mode(path: Path, bits: int, *, folder: bool = True) -> Path:
    if folder:
        path.mkdir()
    else:
        path.touch()
    path.chmod(bits)
    return path


def link(path: Path, to: Path) -> Path:
    path.symlink_to(to)
    return path


@pytest.mark.parametrize("make", WRONG_FOLDERS.values(), ids=WRONG_FOLDERS)
def test_a_folder_that_others_may_have_filled_is_refused(
    there: Sshd, tmp_path: Path, make: Callable[[Path], Path]
) -> None:
    folder = make(there.home)
    with pytest.raises(Unreachable, match=r"rack1.*(cannot be trusted|cannot be used).*folder = "):
        Ssh(entry(there, tmp_path, folder=str(folder)))


@pytest.mark.parametrize("below", ["", "tare"])
def test_a_folder_of_somebody_else_is_refused(tmp_path: Path, below: str) -> None:
    program = f"import os\nmine = os.geteuid()\nos.geteuid = lambda: mine + 1\n{host._LOOK}"
    argv = [sys.executable, "-", str(tmp_path / below), agent.MARK, agent.MARKED]
    ran = subprocess.run(argv, input=program, capture_output=True, text=True, check=False)
    assert ran.returncode == 1
    assert f"belongs to uid {os.geteuid()}: what is in it cannot be trusted" in ran.stdout


def test_a_folder_below_one_like_tmp_is_taken(there: Sshd, tmp_path: Path) -> None:
    shared = mode(there.home / "shared", 0o1777)
    with Ssh(entry(there, tmp_path, folder=f"{shared}/tare")) as ssh:
        ssh.put(b"x")
    assert (shared / "tare" / sha256(b"x")).exists()


#: What a folder may be that somebody has: with something in it, empty, with marks of other programs, or half of ours.
OTHERS: dict[str, dict[str, str]] = {
    "ordinary": {"thesis.txt": "x", "old.part": "x", f"{'0' * 64}.part": "x"},
    "empty": {},
    "cache": {"CACHEDIR.TAG": "Signature: 8a477f597d28d172789f06886806bc55\n", "data": "x"},
    "half": {agent.MARK: agent.MARKED[:-2], "data": "x"},
    "without words": {agent.MARK: ""},
}


@pytest.mark.parametrize(
    ("files", "given"),
    [(files, "work") for files in OTHERS.values()] + [(OTHERS["ordinary"], "{home}/x/../work/")],
)
def test_a_folder_that_tare_has_not_made_is_refused_and_left_as_it_is(
    there: Sshd, tmp_path: Path, files: dict[str, str], given: str
) -> None:
    own = mode(there.home / "work", 0o700)
    for name, text in files.items():
        (own / name).write_text(text)
        os.utime(own / name, (time.time() - 7200,) * 2)
    at = own.stat().st_mtime_ns
    for each in (Ssh, host.clean_up):
        folder = given.format(home=there.home)
        with pytest.raises(Unreachable, match=r"is there already, and is none that Tare made.*not there yet"):
            each(entry(there, tmp_path, folder=folder))
    assert {path.name: path.read_text() for path in own.iterdir()} == files
    assert own.stat().st_mtime_ns == at


def test_the_home_itself_is_refused(there: Sshd, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="is there already"):
        Ssh(entry(there, tmp_path, folder="."))
    assert list(there.home.iterdir()) == []


def test_a_folder_that_tare_made_is_taken_again_also_by_two_at_once(there: Sshd, tmp_path: Path) -> None:
    known = entry(there, tmp_path, folder="a/b/work")
    for _ in range(2):
        with ThreadPoolExecutor(3) as pool:
            for each in pool.map(Ssh, [known] * 3):
                each.close()
    assert [path.name for path in (there.home / "a/b/work").iterdir()] == [agent.MARK]


def test_what_uploads_left_that_were_cut_before_is_removed(there: Sshd, tmp_path: Path) -> None:
    with Ssh(entry(there, tmp_path)):
        pass
    folder, sent = there.home / ".tare", "0" * 64
    for name, age in ((f"{sent}.01ab.part", 7200), (f"{sent}.02ab.part", 60), ("mine.part", 7200)):
        (folder / name).touch()
        os.utime(folder / name, (time.time() - age,) * 2)
    with Ssh(entry(there, tmp_path)):
        assert {path.name for path in folder.iterdir()} == {agent.MARK, f"{sent}.02ab.part", "mine.part"}


def test_a_host_without_python_says_so(there: Sshd, tmp_path: Path) -> None:
    with pytest.raises(Unreachable, match="has no python9"):
        Ssh(entry(there, tmp_path, python="python9"))


def test_an_old_python_is_refused(there: Sshd, tmp_path: Path) -> None:
    there.behaviour = lambda channel, command: (channel.sendall(b"3 9\n"), sshd.end(channel, 0))[1]
    with pytest.raises(Unreachable, match=r"3\.9, too old"):
        Ssh(entry(there, tmp_path))


def test_a_conversation_whose_cable_is_cut_is_lost(ssh: Ssh, there: Sshd) -> None:
    there.behaviour = lambda channel, command: time.sleep(30)
    talk = remote.Conversation(host._SshDoor(ssh._transport, "agent"), "rack1")
    threading.Timer(0.2, there.cut).start()
    begin = time.monotonic()
    with pytest.raises(HostLost):
        talk.answer(60, do="slot")
    talk.close()
    assert time.monotonic() - begin < 5


def test_a_conversation_without_a_window_is_lost_and_closed(
    ssh: Ssh, there: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(remote, "_CLOSE_LIMIT", 1.0)
    there.behaviour = silence
    talk = remote.Conversation(host._SshDoor(ssh._transport, "agent"), "rack1")
    begin = time.monotonic()
    with pytest.raises(HostLost):
        talk.answer(0.5, do="slot", job="x" * (8 << 20))
    talk.close()
    ssh.close()
    assert time.monotonic() - begin < 5


# Host keys.


def test_a_known_key_is_taken(ssh: Ssh) -> None:
    assert ssh.run("true")[0] == 0


def test_an_unknown_key_is_refused_and_can_be_trusted(there: Sshd, tmp_path: Path) -> None:
    found = entry(there, tmp_path, "")
    with pytest.raises(Unreachable, match=r"nobody has vouched .*SHA256:.*host trust rack1"):
        Ssh(found)
    assert (host.trust(found, lambda name, key: True) or "").startswith("ecdsa-sha2-nistp256 SHA256:")
    with Ssh(found):
        pass
    assert host.trust(found, lambda name, key: False) is None


def test_a_trusted_key_gets_a_line_of_its_own(there: Sshd, tmp_path: Path) -> None:
    file = tmp_path / "config/tare/known_hosts"
    file.parent.mkdir(parents=True)
    file.write_text("other ssh-ed25519 torn")
    host.trust(found := entry(there, tmp_path, ""), lambda name, key: True)
    assert len(file.read_text().splitlines()) == 2
    with Ssh(found):
        pass


def test_a_changed_key_is_refused(there: Sshd, tmp_path: Path) -> None:
    for other in (sshd.key(), sshd.key(384)):
        found = entry(there, tmp_path, line(there, other))
        with pytest.raises(Unreachable, match="another host key"):
            Ssh(found)
        with pytest.raises(Unreachable, match="another host key"):
            host.trust(found, lambda name, key: True)


def test_a_revoked_key_is_refused_even_where_it_is_known(there: Sshd, tmp_path: Path) -> None:
    known = line(there, there.keys[0])
    for names in ("*", f"[127.0.0.1]:{there.port}", "127.0.0.1", "a,127.0.0.*"):
        for text in (
            f"@revoked {line(there, there.keys[0], names)}",
            f"{known}@revoked {line(there, there.keys[0], names)}",
        ):
            found = entry(there, tmp_path, text)
            with pytest.raises(Unreachable, match="is revoked"):
                Ssh(found)
            with pytest.raises(Unreachable, match="is revoked"):
                host.trust(found, lambda name, key: True)
    assert not there.commands


def test_only_a_certificate_is_refused_in_a_line_that_says_so(there: Sshd, tmp_path: Path) -> None:
    found = entry(there, tmp_path, f"@cert-authority {line(there, sshd.key(), '*')}")
    with pytest.raises(Unreachable, match="@cert-authority"):
        Ssh(found)
    host.trust(found, lambda name, key: True)
    with Ssh(found):
        pass


ODD_LINES = """\
@cert-authority *.example.org ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGr4cqdm5jfLTWWBoKXTTmYfFPyyhBgJ8DnJpuLmdzgw
@revoked * ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGr4cqdm5jfLTWWBoKXTTmYfFPyyhBgJ8DnJpuLmdzgw
@unknown * ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGr4cqdm5jfLTWWBoKXTTmYfFPyyhBgJ8DnJpuLmdzgw
@revoked
* ssh-ed25519 !!!not-base64!!!
* ssh-ed25519 AAAA
* ssh-rsa AAAAC3NzaC1lZDI1NTE5AAAAIGr4cqdm5jfLTWWBoKXTTmYfFPyyhBgJ8DnJpuLmdzgw
two words
|1|notbase64|x ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAIGr4cqdm5jfLTWWBoKXTTmYfFPyyhBgJ8DnJpuLmdzgw
   # a comment

"""


@pytest.mark.parametrize("place", ["before", "after", "both"])
def test_lines_that_are_not_understood_keep_no_other_one_from_counting(there: Sshd, tmp_path: Path, place: str) -> None:
    known = (
        (ODD_LINES if place != "after" else "") + line(there, there.keys[0]) + (ODD_LINES if place != "before" else "")
    )
    with Ssh(entry(there, tmp_path, known)):
        pass


def test_patterns_hashes_and_several_keys_are_known(there: Sshd, tmp_path: Path) -> None:
    hashed = paramiko.HostKeys.hash_host(f"[127.0.0.1]:{there.port}")
    for names in ("[127.0.0.1]:*", f"x,[127.0.0.?]:{there.port}", hashed):
        known = line(there, sshd.key(), names) + line(there, there.keys[0], names)
        with Ssh(entry(there, tmp_path, known)):
            pass
    with pytest.raises(Unreachable, match="nobody has vouched"):
        Ssh(entry(there, tmp_path, line(there, there.keys[0], f"[127.0.0.1]:*,![127.0.0.1]:{there.port}")))


def test_a_host_with_several_keys_is_asked_for_the_known_one(tmp_path: Path) -> None:
    keys = [sshd.key(256), sshd.key(384), paramiko.RSAKey.generate(2048)]
    for known in keys:
        with sshd.running(tmp_path, *keys) as server, Ssh(entry(server, tmp_path, line(server, known))):
            pass


def test_each_host_on_the_way_has_its_key_looked_at(there: Sshd, tmp_path: Path) -> None:
    """By ~/.ssh/config: the host has a name there, and a jump host."""
    with sshd.running(there.home) as jump:
        found = entry(there, tmp_path, line(there, there.keys[0]) + line(jump, jump.keys[0]))
        assert found.entry
        (tmp_path / ".ssh").mkdir()
        known = f"IdentityFile {tmp_path}/login\n UserKnownHostsFile {tmp_path}/known_hosts"
        (tmp_path / ".ssh/config").write_text(
            f"Host rack jump\n HostName 127.0.0.1\n User me\n {known}\n"
            f"Host rack\n Port {there.port}\n ProxyJump jump\nHost jump\n Port {jump.port}\n"
        )
        rack = inventory.Host("rack", inventory.Entry())
        with Ssh(rack) as ssh:
            assert ssh.run("echo yes")[1] == b"yes\n"
        assert jump.jumps == [("127.0.0.1", there.port)]
        for unknown in (jump, there):
            known_one = there if unknown is jump else jump
            (tmp_path / "known_hosts").write_text(line(known_one, known_one.keys[0]))
            with pytest.raises(Unreachable, match=f"nobody has vouched .*{unknown.port}"):
                Ssh(rack)


def test_why_a_file_cannot_be_written_is_what_the_host_says(
    ssh: Ssh, there: Sshd, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ssh, "_folder", "/dev/full/tare")
    with pytest.raises(HostError, match=r"cannot create .*full"):
        ssh.put(b"x")


# Files of this machine.


def test_a_local_file_that_is_damaged_is_put_anew(tmp_path: Path) -> None:
    files = LocalFiles(tmp_path / "sent")
    name = files.put(b"content")
    (tmp_path / "sent" / name).write_bytes(b"")
    file = tmp_path / "file"
    file.write_bytes(b"content")
    assert files.put_file(file) == name == sha256(b"content")
    assert (tmp_path / "sent" / name).read_bytes() == b"content"
    assert [path.name for path in (tmp_path / "sent").iterdir()] == [name]
