"""Campaigns on lab hosts: over SSH, under KVM and Xen, through cuts, power cuts and reboots."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

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


def test_host_kernels_take_turns_and_the_host_is_brought_home(debian: Debian, tmp_path: Path) -> None:
    there = on("lab-debian", "ls /boot").split()
    kernels = [name.removeprefix("vmlinuz-") for name in there if name.startswith("vmlinuz-")]
    assert len(kernels) == 2
    home = on("lab-debian", "uname -r").strip()
    more = f"host_kernels = {json.dumps(kernels)}"
    done = tare("run", campaign(tmp_path, ["lab-debian"], ["process", "crun"], 1, more), "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    lines = journal(results(tmp_path))
    assert_whole(results(tmp_path), "lab-debian")
    assert {line["arm"] for line in lines} == {f"{arm}@{kernel}" for arm in ("process", "crun") for kernel in kernels}
    assert all(line["arm"].endswith(f"@{line['seen']['kernel']}") for line in lines)
    assert len({line["boot_id"] for line in lines}) == 2
    assert on("lab-debian", "uname -r").strip() == home


@pytest.fixture
def way(debian: Debian) -> Iterator[Cut]:
    cut = Cut(debian().port)
    yield cut
    cut.close()


def test_a_cut_network_is_a_pause(debian: Debian, way: Cut, inventory: Inventory, tmp_path: Path) -> None:
    known = inventory("rack", debian(), way.port)
    run = start("run", campaign(tmp_path, ["rack"], ["process", "crun"], 4), "--results", tmp_path, **known)
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
    run = start("run", campaign(tmp_path, ["lab-debian"], ["process", "crun"], 3), "--results", tmp_path)
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
    run = start("run", campaign(tmp_path, ["lab-debian"], ["process"], 20), "--results", tmp_path)
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
    run = start("run", campaign(tmp_path, ["rack"], ["process", "crun"], 3), "--results", tmp_path, **known)
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


@pytest.mark.usefixtures("xen")
def test_every_backend_of_both_hosts_in_one_campaign(tmp_path: Path) -> None:
    arms = list(dict.fromkeys(arm for some in ARMS.values() for arm in some))
    done = tare("run", campaign(tmp_path, list(ARMS), arms), "--results", tmp_path)
    assert done.returncode == 0, done.stdout + done.stderr
    folder = results(tmp_path)
    for host, wanted in ARMS.items():
        assert_whole(folder / host, host)
        lines = journal(folder / host)
        assert sorted(line["arm"] for line in lines) == sorted(wanted), done.stderr
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
