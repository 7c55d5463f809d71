"""Campaigns on lab hosts: over SSH, under KVM and Xen, through cuts, power cuts and reboots."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from bench import state
from bench.debian import known
from bench.equivalence import DISK, LINK
from bench.lab import LabHost
from bench.results import FACTS, JOURNAL, LOST, last_of_each_slot, read_facts, read_journal, read_plan

from .conftest import Cut, on, start, tare

pytestmark = pytest.mark.usefixtures("nothing_left")
Inventory = Callable[..., dict[str, str]]
Debian = Callable[[], LabHost]

#: What each host must be able to run. (User-Mode Linux runs too, and takes a minute a start under emulation.)
ARMS = {
    "lab-debian": ["process", "bwrap", "crun", "runc", "lxc", "nspawn", "podman", "docker", "kvm"],
    "lab-xen": ["process", "bwrap", "crun", "runc", "nspawn", "xen"],
}


def campaign(folder: Path, hosts: list[str], arms: list[str], blocks: int = 1, more: str = "") -> Path:
    lines = ['name = "test"', f"blocks = {blocks}", 'baseline = "process"', f"hosts = {json.dumps(hosts)}", more]
    lines += ["[scenarios]", 'lifecycle = { values = 1, warmups = 0, timeout = "300 s" }', "[arms]"]
    lines += [f"{arm} = {{}}" for arm in arms]
    file = folder / "campaign.toml"
    file.write_text("\n".join(lines) + "\n")
    return file


def results(folder: Path) -> Path:
    (found,) = folder.glob("test-*")
    return found


def journal(folder: Path) -> list[dict[str, Any]]:
    return read_journal(folder / JOURNAL) if (folder / JOURNAL).exists() else []


def assert_whole(folder: Path, host: str) -> None:
    """Every slot of the plan once, ended well, on that host, and marked."""
    plan = read_plan(folder)
    assert plan
    lines = journal(folder)
    assert [line["slot"] for line in lines] == [slot["slot"] for slot in plan["slots"]]
    assert {line["status"] for line in last_of_each_slot(lines)} == {"ok"}, [line["reason"] for line in lines]
    assert {(line["host"], line.get("emulated")) for line in lines} == {(host, True)}


def wait_for(condition: Callable[[], object], seconds: float) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it never happened"
        time.sleep(0.2)


def end(process: subprocess.Popen[str], seconds: float) -> str:
    out, _ = process.communicate(timeout=seconds)
    return out


def sent_kernel() -> str:
    """A release that Debian has and the lab host has not; its modules are few."""
    found = [re.fullmatch(r"linux-image-(6\.1\.0-(\d+)-cloud-amd64)", name) for name in known("linux-image-6.1.0-")]
    return max((int(match[2]), match[1]) for match in found if match)[1]


def no_kernel(folder: Path, release: str) -> None:
    """A folder as of a kernel, with an image that says so of itself and has nothing in it to boot."""
    (folder / "lib/modules" / release).mkdir(parents=True)
    head = bytearray(0x4000)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x800).to_bytes(2, "little")
    says = f"{release} (a@b) #1".encode()
    head[0xA00 : 0xA00 + len(says)] = says
    (folder / "bzImage").write_bytes(head)


def test_host_kernels_take_turns_and_the_host_is_brought_home(debian: Debian, tmp_path: Path) -> None:
    """One that it has (and goes home to), one that it is sent, and one that cannot be booted."""
    before = [on("lab-debian", command) for command in ("ls -l /boot", "ls -A /lib/modules", "uname -r")]
    home = before[2].strip()
    kernels = [home, sent_kernel()]
    no_kernel(tmp_path / "broken", "6.1.0-broken")
    more = f'host_kernels = {json.dumps([*kernels, "./broken"])}\nreboots = "grouped"'
    file = campaign(tmp_path, ["lab-debian"], ["process", "crun"], 2, more)
    done = tare("run", file, "--results", tmp_path, timeout=1800)
    assert done.returncode == 0, done.stdout + done.stderr
    assert_whole(results(tmp_path), "lab-debian")
    lines = journal(results(tmp_path))
    assert {line["arm"] for line in lines} == {f"{arm}@{kernel}" for arm in ("process", "crun") for kernel in kernels}
    assert all(line["arm"].endswith(f"@{line['seen']['kernel']}") for line in lines)
    assert len({line["boot_id"] for line in lines}) == 2  # grouped: both blocks of a kernel in one boot of it
    gone = (read_plan(results(tmp_path)) or {})["left_out"]
    assert {entry["arm"] for entry in gone} == {"process@6.1.0-broken", "crun@6.1.0-broken"}
    assert all("kexec takes no such kernel" in entry["reason"] for entry in gone)
    assert "6.1.0-broken" in (results(tmp_path) / "report.html").read_text()
    assert on("lab-debian", "uname -r").strip() == home
    assert kernels[1] in on("lab-debian", "ls /lib/modules").split()
    removed = tare("clean", "--host", "lab-debian")
    assert f"removed kernel's modules /lib/modules/{kernels[1]}" in removed.stdout, removed.stderr
    assert [on("lab-debian", command) for command in ("ls -l /boot", "ls -A /lib/modules", "uname -r")] == before


@pytest.mark.usefixtures("xen")
def test_every_backend_of_both_hosts_in_one_campaign(tmp_path: Path) -> None:
    arms = list(dict.fromkeys(arm for some in ARMS.values() for arm in some))
    file = campaign(tmp_path, list(ARMS), arms, more='envelope = { disk = "64 MiB", link = true }')
    done = tare("run", file, "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = results(tmp_path)
    for host, wanted in ARMS.items():
        assert_whole(folder / host, host)
        lines = journal(folder / host)
        assert sorted(line["arm"] for line in lines) == sorted(wanted), done.stderr
        assert {line["seen"]["disk"] for line in lines} == {DISK}
        assert {line["seen"]["link"] for line in lines} == {LINK}
        kernels = {line["arm"]: line["seen"]["kernel"] for line in lines}
        ours = on(host, "uname -r").strip()
        assert {kernel for arm, kernel in kernels.items() if arm not in ("kvm", "xen")} == {ours}
        facts = read_facts(folder / host)
        assert facts
        assert facts["host"]["emulated"]
        assert "v2" in facts["cgroup"]
        page = (folder / host / "report.html").read_text()
        assert "emulated host" in page
    digests = {json.loads((folder / host / FACTS).read_text())["rootfs"]["digest"] for host in ARMS}
    assert len(digests) == 1
    assert all(f'href="{host}/report.html"' in (folder / "report.html").read_text() for host in ARMS)


@pytest.fixture
def way(debian: Debian) -> Iterator[Cut]:
    cut = Cut(debian().port)
    yield cut
    cut.close()


def test_a_cut_network_is_a_pause(debian: Debian, way: Cut, inventory: Inventory, tmp_path: Path) -> None:
    known = inventory("rack", debian(), way.port)
    run = start("run", campaign(tmp_path, ["rack"], ["process", "crun"], 12), "--results", tmp_path, **known)
    wait_for(lambda: list(tmp_path.glob("test-*")) and journal(results(tmp_path)), 240)
    way.cut()
    before = len(journal(results(tmp_path)))
    wait_for(lambda: not on("lab-debian", "ls /run/tare || true").strip(), 120)  # the host gave up too, and tidied
    assert len(journal(results(tmp_path))) <= before + 1
    way.mend()
    said = end(run, 300)
    assert run.returncode == 0, said
    assert "rack was lost" in said
    assert_whole(results(tmp_path), "rack")
    assert not (results(tmp_path) / LOST).exists()


def test_a_controller_that_is_killed_leaves_nothing_on_the_host_and_its_campaign_goes_on(
    debian: Debian, tmp_path: Path
) -> None:
    run = start("run", campaign(tmp_path, ["lab-debian"], ["process", "crun"], 12), "--results", tmp_path)
    wait_for(lambda: list(tmp_path.glob("test-*")) and journal(results(tmp_path)), 240)
    os.killpg(run.pid, signal.SIGKILL)
    run.communicate()
    wait_for(lambda: not on("lab-debian", "ls /run/tare || true").strip(), 60)
    done = tare("resume", results(tmp_path))
    assert done.returncode == 0, done.stderr
    assert_whole(results(tmp_path), "lab-debian")


def test_an_unknown_key_is_refused_until_the_user_vouches_for_it(
    debian: Debian, inventory: Inventory, tmp_path: Path
) -> None:
    known = inventory("rack", debian()) | {"XDG_CONFIG_HOME": str(tmp_path / "config")}
    (tmp_path / "known_hosts").write_text("")
    file = campaign(tmp_path, ["rack"], ["process"])
    done = tare("run", file, "--results", tmp_path, **known)
    assert done.returncode == 4
    assert "nobody has vouched for the host key" in done.stderr
    assert "./tare host trust rack" in done.stderr
    assert done.stderr.count("\n") == 1
    shown = next(word for word in done.stderr.replace(";", " ").split() if word.startswith("SHA256:"))
    wrong = tare("host", "trust", "rack", "--fingerprint", "SHA256:x", **known)
    assert wrong.returncode == 2
    assert "not trusted" in wrong.stderr
    assert tare("host", "trust", "rack", "--fingerprint", shown, **known).returncode == 0
    assert "known already" in tare("host", "trust", "rack", **known).stdout
    own = tmp_path / "config/tare/known_hosts"
    assert subprocess.run(["ssh-keygen", "-qt", "ed25519", "-N", "", "-f", tmp_path / "other"], check=True)
    own.write_text(f"{own.read_text().split()[0]} {(tmp_path / 'other.pub').read_text()}")
    changed = tare("run", file, "--results", tmp_path, **known)
    assert changed.returncode == 4
    assert "has another host key than the one that is known" in changed.stderr
    assert not list(tmp_path.glob("test-*"))


def test_a_held_host_names_its_holder_and_a_full_one_its_disk(
    debian: Debian, inventory: Inventory, tmp_path: Path
) -> None:
    run = start("run", campaign(tmp_path, ["lab-debian"], ["process"], 200), "--results", tmp_path)
    wait_for(lambda: list(tmp_path.glob("test-*")) and journal(results(tmp_path)), 240)
    held = tare("doctor", "--host", "lab-debian")
    run.send_signal(signal.SIGINT)
    said = end(run, 120)
    assert run.returncode == 130, said
    assert held.returncode == 4
    assert "held by campaign test (pid " in held.stderr
    on("lab-debian", "mkdir -p /root/small && mount -t tmpfs -o size=64k none /root/small")
    try:
        on("lab-debian", "printf '#!/bin/sh\\necho 3 9\\n' >/root/small/old && chmod +x /root/small/old")
        for line, words in (
            ('folder = "small/tare"', "No space left on device"),
            ('python = "/nowhere/python3"', "rack has no /nowhere/python3"),
            ('python = "/root/small/old"', "rack's /root/small/old is 3.9, too old"),
        ):
            known = inventory("rack", debian())
            file = Path(known["TARE_HOSTS"])
            file.write_text(file.read_text() + line + "\n")
            refused = tare("doctor", "--host", "rack", **known)
            assert refused.returncode == 4
            assert words in refused.stderr
            assert refused.stderr.count("\n") == 1
    finally:
        on("lab-debian", "umount /root/small")


def test_a_power_cut_is_told_and_resumed_from(debian: Debian, inventory: Inventory, tmp_path: Path) -> None:
    known = inventory("rack", debian(), wait="10 s")
    run = start("run", campaign(tmp_path, ["rack"], ["process", "crun"], 12), "--results", tmp_path, **known)
    wait_for(lambda: list(tmp_path.glob("test-*")) and journal(results(tmp_path)), 240)
    os.kill(debian().pid, signal.SIGKILL)
    said = end(run, 300)
    assert run.returncode == 5, said
    assert "rack was lost" in said
    assert "Go on with: ./tare resume" in said
    assert (results(tmp_path) / LOST).exists()
    assert "Lost: rack was lost before its last slot" in (results(tmp_path) / "report.html").read_text()
    up = tare("lab", "up", "debian")
    assert up.returncode == 0, up.stderr
    known = inventory("rack", debian())
    done = tare("resume", results(tmp_path), **known)
    assert done.returncode == 0, done.stderr
    assert_whole(results(tmp_path), "rack")
    removed = tare("clean", "--host", "rack", **known)
    assert "removed folder /root/.tare" in removed.stdout
    assert on("lab-debian", "ls -A /root").split().count(".tare") == 0


def test_a_user_with_sudo_behind_a_jump_host_whose_clock_is_set(debian: Debian, tmp_path: Path) -> None:
    host = debian()
    known = host.known_hosts.read_text()
    (tmp_path / "known").write_text(known + known.replace(f"[127.0.0.1]:{host.port} ", "127.0.0.1 "))
    (tmp_path / ".ssh").mkdir(mode=0o700)
    (tmp_path / ".ssh" / "config").write_text(
        f"Host rack jump\n  HostName 127.0.0.1\n  IdentityFile {host.key}\n  UserKnownHostsFile {tmp_path / 'known'}\n"
        f"Host jump\n  User root\n  Port {host.port}\nHost rack\n  User user\n  ProxyJump jump\n"
    )
    (tmp_path / "hosts.toml").write_text("[rack]\nsudo = true\nemulated = true\n")
    own = {"HOME": str(tmp_path), "XDG_CACHE_HOME": str(state.cache_folder().parent)}
    own["TARE_HOSTS"] = str(tmp_path / "hosts.toml")
    run = start("run", campaign(tmp_path, ["rack"], ["process", "crun"], 12), "--results", tmp_path, **own)
    wait_for(lambda: list(tmp_path.glob("test-*")) and journal(results(tmp_path)), 240)
    on("lab-debian", "date -s '+1 hour'")
    said = end(run, 300)
    on("lab-debian", "date -s '-1 hour'")
    assert run.returncode == 0, said
    assert_whole(results(tmp_path), "rack")
    facts = read_facts(results(tmp_path))
    assert facts
    assert "v2" in facts["cgroup"], "nobody but root has cages"
    (jumped,) = (line for line in journal(results(tmp_path)) if "clock_jump_s" in line)
    assert jumped["clock_jump_s"] == pytest.approx(3600, abs=5)
    assert "rack: its clock was set by +3" in said
    removed = tare("clean", "--host", "rack", **own)
    assert "removed folder /home/user/.tare" in removed.stdout
