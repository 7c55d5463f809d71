"""Kernels from Debian: fetched, built, booted, told apart; and what becomes of wrong ones."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import pytest

from bench import debian, kernels, lock
from bench.results import JOURNAL, read_facts, read_plan

from .conftest import PROJECT, proved
from .test_campaigns import assert_complete, journal, results, wait_for

pytestmark = pytest.mark.usefixtures("nothing_left")

Tare = Callable[..., subprocess.CompletedProcess[str]]


def source() -> str:
    """The oldest of the kernel's sources that Debian has: a package of its own, which another only depends on."""
    names = [name for name in debian.known("linux-source-") if re.fullmatch(r"linux-source-\d+\.\d+", name)]
    oldest_first = sorted(names, key=lambda name: [int(number) for number in re.findall(r"\d+", name)])
    return next(iter(oldest_first), "linux-source-6.1")  # of empty lists, which the first command renews


SOURCE = source()

#: What the tests' builds leave out of Tare's base, so that they are quick.
SMALL = """\
CONFIG_EXPERT=y
# CONFIG_BLOCK is not set
# CONFIG_NET is not set
# CONFIG_INOTIFY_USER is not set
# CONFIG_POSIX_MQUEUE is not set
# CONFIG_SECCOMP is not set
# CONFIG_SYSVIPC is not set
# CONFIG_HIGH_RES_TIMERS is not set
CONFIG_FUTEX=y
CONFIG_EPOLL=y
CONFIG_SHMEM=y
CONFIG_POSIX_TIMERS=y
"""
#: What is planted: the kernel tests its trees while it boots, which takes it three times as long, so that the noise
#: of a machine that others share does not hide it. Few files more to compile, and the rest as it was.
COSTLY = """\
CONFIG_DEBUG_KERNEL=y
CONFIG_RUNTIME_TESTING_MENU=y
CONFIG_RBTREE_TEST=y
CONFIG_INTERVAL_TREE_TEST=y
CONFIG_TEST_XARRAY=y
"""


def write(folder: Path, arms: str, *, blocks: int, scenarios: str = 'boot = { timeout = "60 s" }') -> Path:
    file = folder / "campaign.toml"
    first = arms.partition("=")[0].strip()
    file.write_text(f"name = 'test'\nblocks = {blocks}\nbaseline = {first}\n[arms]\n{arms}[scenarios]\n{scenarios}\n")
    return file


def oldest() -> str:
    """The oldest release of Debian's cloud kernel that apt's lists know."""
    names = [package.name for package in kernels.offered()]
    return next(name for name in names if name.endswith("-cloud-amd64")).removeprefix("linux-image-")


@pytest.fixture
def own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty cache, as on a fresh machine, from when this host has shown with its own what it can run."""
    proved("qemu")
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache/tare/kernels"


def test_a_second_release_is_fetched_and_booted(
    tmp_path: Path, own_cache: Path, tare: Tare, require_guest: Callable[[str, str], None]
) -> None:
    """Named by its release alone, said before it is fetched, pinned, and found again when the campaign is resumed."""
    require_guest("qemu", "linux")
    release = oldest()
    file = write(tmp_path, f'"qemu@{release}" = {{}}\n', blocks=2)
    assert f"first: linux-image-{release}=" in tare("plan", file).stdout
    done = tare("run", file, "--results", tmp_path)
    assert done.returncode == 0, done.stderr
    assert f"fetching linux-image-{release}" in done.stderr
    folder = results(tmp_path)
    assert {line["kernel"] for line in journal(folder)} == {release}
    facts, plan = read_facts(folder), read_plan(folder)
    assert facts is not None
    assert plan is not None
    known = facts["kernels"][f"qemu@{release}"]
    assert (known["release"], known["kind"], known["package"]) == (release, "machine", f"linux-image-{release}")
    assert plan["arms"][f"qemu@{release}"]["boots"] == known
    assert str(tmp_path) not in json.dumps(facts)
    seen = journal(folder)[0]["equivalence"]["kernel"]
    assert (seen["release"], seen["version"]) == (release, known["version"])

    assert "first:" not in tare("plan", file).stdout
    (kernel,) = kernels.available()
    lines = (folder / JOURNAL).read_text().splitlines(keepends=True)
    (folder / JOURNAL).write_text("".join(lines[:-1]))
    assert tare("resume", folder).returncode == 0
    assert_complete(folder)
    kernel.image.write_bytes(b"something else")
    assert "damaged" in (again := tare("run", file, "--results", tmp_path)).stderr
    assert again.returncode == 4
    assert list(own_cache.glob(".work-*")) == []


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["fetch", "linux-image-6.1.0-1-amd64"],
            "Debian has no package linux-image-6.1.0-1-amd64; ./tare kernel list --r",
        ),
        (["fetch", "6.1.0-1-amd64"], "no kernel 6.1.0-1-amd64, neither in the cache"),
        (["fetch", SOURCE], "is no kernel package to fetch"),
        (["build", f"{SOURCE}=1.2.3-1"], f"Debian has no {SOURCE}=1.2.3-1; versions: "),
        (["build", "linux-source-4.9"], "Debian has no package linux-source-4.9"),
        (["build", "linux-image-6.1.0-1-amd64"], "is a kernel for machines"),
        (["build", SOURCE, "--config", "none.config"], "none.config: no such file"),
        (["build", SOURCE, "--name", "A B"], "'A B' is no name for a kernel"),
    ],
)
@pytest.mark.usefixtures("own_cache")
def test_what_there_is_not(words: list[str], message: str, tare: Tare) -> None:
    done = tare("kernel", *words)
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert message in line


def test_a_kernel_of_the_wrong_kind(tmp_path: Path, tare: Tare) -> None:
    """Real images, told apart by what is in them."""
    image = kernels.prepare(kernels.Wish(), "machine", print).image
    program = kernels.prepare(kernels.Wish(), "uml", print).image
    for arm, kernel, words in [
        ("uml", image, "is a kernel for machines"),
        ("qemu", program, "is a User-Mode Linux"),
        ("qemu", Path(sys.executable), "is no kernel"),
        ("uml", Path(sys.executable), "is no kernel"),
    ]:
        file = write(tmp_path, f"'{arm}' = {{ kernel = '{kernel}' }}\n", blocks=1)
        done = tare("run", file, "--results", tmp_path)
        assert done.returncode == 2
        (line,) = done.stderr.splitlines()
        assert f"arms.{arm}.kernel: " in line
        assert words in line


def test_an_option_that_the_kernel_does_not_have(tmp_path: Path, tare: Tare) -> None:
    (tmp_path / "x.config").write_text("CONFIG_NOSUCH=y\n")
    done = tare("kernel", "build", SOURCE, "--config", tmp_path / "x.config")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith("tare: this kernel has no option CONFIG_NOSUCH")


def test_a_configuration_that_does_not_build(tmp_path: Path, tare: Tare) -> None:
    """The build's own last lines say why."""
    (tmp_path / "x.config").write_text('CONFIG_INITRAMFS_SOURCE="/nonexistent"\n')
    done = tare("kernel", "build", SOURCE, "--config", tmp_path / "x.config")
    assert done.returncode == 2
    assert "tare: the kernel does not build: " in done.stderr
    assert "/nonexistent" in done.stderr


def test_a_build_that_is_interrupted_leaves_nothing() -> None:
    argv = [sys.executable, "-m", "bench", "kernel", "build", SOURCE, "--name", f"gone{os.getpid()}"]
    for number, status in [(signal.SIGINT, 130), (signal.SIGKILL, -9)]:
        build = subprocess.Popen(argv, cwd=PROJECT, stderr=subprocess.PIPE, text=True, start_new_session=True)
        try:
            wait_for(lambda: list(kernels.folder().glob(".work-*/source/Makefile")))
            build.send_signal(number)
            assert build.wait(60) == status
        finally:
            build.kill()
            build.communicate()
    # Of a build that was killed, the next command removes what is left; until then nobody holds the host.
    assert not lock.is_held()
    done = subprocess.run([*argv[:3], "clean"], cwd=PROJECT, capture_output=True, text=True)
    assert "folder" in done.stdout
    assert list(kernels.folder().glob(".work-*")) == []


def test_a_cache_with_too_little_room(tmp_path: Path, own_cache: Path, tare: Tare) -> None:
    own_cache.mkdir(parents=True)
    subprocess.run(["mount", "-t", "tmpfs", "-o", "size=9m", "small", own_cache], check=True)
    try:
        built, fetched = tare("kernel", "build", SOURCE), tare("kernel", "fetch")
        assert (built.returncode, fetched.returncode) == (4, 4)
        assert "needs 1 GiB of disk for a while" in built.stderr
        assert "No space left on device" in fetched.stderr
        assert "make room" in fetched.stderr
        assert list(own_cache.glob("*/")) == []
    finally:
        subprocess.run(["umount", own_cache], check=True)


@dataclass(frozen=True)
class Build:
    """A kernel of the tests: its release, and the configuration that it is known by."""

    release: str
    config: Path

    @property
    def arm(self) -> str:
        return f"uml@{self.release}"


@pytest.fixture(scope="module")
def builds(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Build]:
    """The same source built three times, by name: twice alike, and once with what costs."""
    folder = tmp_path_factory.mktemp("configs")
    found = {}
    for name, options in (("base", SMALL), ("again", SMALL), ("costly", SMALL + COSTLY)):
        config = folder / name
        config.write_text(f'{options}CONFIG_LOCALVERSION="-{name}"\n')
        argv = [sys.executable, "-m", "bench", "kernel", "build", SOURCE, "--json", "--config", str(config)]
        done = subprocess.run(argv, cwd=PROJECT, capture_output=True, text=True, timeout=1800)
        assert done.returncode == 0, done.stderr
        (known,) = json.loads(done.stdout)
        assert known["release"].endswith(f"-{name}")
        found[name] = Build(known["release"], config)
    return found


def test_a_planted_regression(tmp_path: Path, tare: Tare, builds: dict[str, Build]) -> None:
    """What costs is called regressed; another build of the same thing is not."""
    arms = "".join(
        f'"{build.arm}" = {{ kernel = "{SOURCE}", config = "{build.config}" }}\n' for build in builds.values()
    )
    done = tare("run", write(tmp_path, arms, blocks=20), "--results", tmp_path, timeout=600)
    assert done.returncode == 0, done.stderr
    folder = results(tmp_path)
    assert {line["kernel"] for line in journal(folder)} == {build.release for build in builds.values()}
    # At 0.5 % a false alarm is not what makes this test fail.
    (tmp_path / "policy.toml").write_text("alpha = 0.005\n")

    def check(name: str) -> subprocess.CompletedProcess[str]:
        sides = [f"{folder}:{builds[side].arm}" for side in ("base", name)]
        return tare("check", *sides, "--policy", tmp_path / "policy.toml")

    assert (costly := check("costly")).returncode == 1, costly.stdout
    assert (again := check("again")).returncode in (0, 3), again.stdout
