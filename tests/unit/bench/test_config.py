"""Campaign and scenario files: what is right loads, what is wrong is one line of file, key and the right way."""

from __future__ import annotations

import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import cli, config, runner
from bench.kernels import Wish

TOP = Path(__file__).resolve().parents[3]
#: Campaigns and scenarios; policy.toml is what a gate reads.
SHIPPED = sorted(file for file in (TOP / "scenarios").glob("*.toml") if file.stem != "policy")
GOOD = """\
name = "good"
seed = 1
blocks = 3
baseline = "crun"
[envelope]
cpus = 1
memory = "128 MiB"
rootfs = "tiny"
[arms]
crun = {}
uml = { root = "ext4" }
[scenarios]
boot = { timeout = "10 s" }
mine = { measures = ["spawn"], values = 3 }
"""

#: what to replace in GOOD, by what → words of the message: the key, and what is wrong or would be right.
BAD: dict[str, tuple[str, str, tuple[str, ...]]] = {
    "a host that is no name": ("seed = 1", 'hosts = ["../x"]', ("hosts: '../x' is not a host's name", "host list")),
    "Slurm's table without Slurm": ("seed = 1", "slurm = { nodes = 2 }", ("slurm:", 'engine = "slurm"')),
    "Slurm and hosts": ("seed = 1", 'engine = "slurm"\nhosts = ["a"]', ("hosts: Slurm chooses the nodes",)),
    "Slurm that stops early": ("seed = 1", 'engine = "slurm"\nstop = "adaptive"', ("stop: a cluster's nodes",)),
    "more nodes than blocks": ("seed = 1", 'engine = "slurm"\nslurm = { nodes = 4 }', ("slurm.nodes: 4 is more",)),
    "an option of Tare's own": (
        "seed = 1",
        'engine = "slurm"\nslurm = { options = ["--array=1-9"] }',
        ("slurm.options: '--array=1-9' is not one of --account=…",),
    ),
    "an option that is none": (
        "seed = 1",
        'engine = "slurm"\nslurm = { options = ["/bin/sh"] }',
        ("slurm.options: '/bin/sh' is not one of",),
    ),
    "an engine that is none": ("seed = 1", 'engine = "pbs"', ("engine:", "pbs")),
    "a host twice": ("seed = 1", 'hosts = ["a", "a"]', ("hosts: 'a' is there more than once",)),
    "no host": ("seed = 1", "hosts = []", ("hosts:", "1")),
    "host kernels of this machine": (
        "seed = 1",
        'host_kernels = ["6.1.0-50-amd64"]',
        ("host_kernels: this machine is not booted anew", "hosts"),
    ),
    "a host kernel that is no release": (
        "seed = 1",
        'hosts = ["a"]\nhost_kernels = ["/boot/x"]',
        ("host_kernels: there is no /boot/x",),
    ),
    "a host kernel by a word": (
        "seed = 1",
        'hosts = ["a"]\nhost_kernels = ["mine"]',
        ("host_kernels: 'mine' is neither a release", "nor a path"),
    ),
    "a host kernel twice": (
        "seed = 1",
        'hosts = ["a"]\nhost_kernels = ["6.1", "6.1"]',
        ("host_kernels: '6.1' is there more than once",),
    ),
    "host kernels that stop early": (
        "seed = 1",
        'hosts = ["a"]\nhost_kernels = ["6.1"]\nstop = "adaptive"',
        ("host_kernels:", "leave out stop"),
    ),
    "grouped reboots of nothing": (
        "seed = 1",
        'reboots = "grouped"',
        ("reboots: is for a campaign with",),
    ),
    "unknown key": ("seed = 1", "sead = 1", ("sead: unknown key", "seed", "blocks")),
    "unknown key in envelope": ("cpus = 1", "cpu = 1", ("envelope.cpu: unknown key", "cpus, memory, rootfs, disk")),
    "unknown key in scenario": ('timeout = "10 s"', 'time = "10 s"', ("scenarios.boot.time: unknown key", "timeout")),
    "unknown option": ('root = "ext4"', 'rot = "ext4"', ("arms.uml.rot: unknown option", "root")),
    "two-line key": ("seed = 1", '"se\\ned" = 1', ("unknown key",)),
    "option of an arm without any": ("crun = {}", "crun = { a = 1 }", ("arms.crun.a: unknown option", "none")),
    "option not among those": ('root = "ext4"', 'root = "xfs"', ("arms.uml.root", "'xfs'", "'initramfs', 'ext4'")),
    "option of a wrong type": (
        "crun = {}",
        "crun = {}\noci = { runtime = 5 }",
        ("arms.oci.runtime", "5 is not a string"),
    ),
    "option missing": ("crun = {}", "crun = {}\noci = {}", ("arms.oci.runtime: missing", "a string")),
    "no name": ('name = "good"', "", ("name: missing",)),
    "no blocks": ("blocks = 3", "", ("blocks: missing",)),
    "no arms": ('[arms]\ncrun = {}\numl = { root = "ext4" }', "", ("arms: missing",)),
    "arms empty": ('crun = {}\numl = { root = "ext4" }', "", ("arms:", "1")),
    "scenarios empty": (GOOD[GOOD.index("boot =") :], "", ("scenarios:", "1")),
    "wrong type": ("blocks = 3", 'blocks = "3"', ("blocks: expected a whole number", "a string")),
    "wrong type: true": ("blocks = 3", "blocks = true", ("blocks: expected a whole number",)),
    "wrong type: name": ('name = "good"', "name = 5", ("name: expected a string",)),
    "wrong type: arm": ("crun = {}", "crun = 5", ("arms.crun: expected a table",)),
    "wrong type: arms": ("[arms]", "[[arms]]", ("arms: expected a table",)),
    "wrong type: scenario": ('boot = { timeout = "10 s" }', "boot = true", ("scenarios.boot: expected a table",)),
    "wrong type: envelope": ("cpus = 1", 'cpus = "1"', ("envelope.cpus: expected a whole number",)),
    "wrong type: memory": ('memory = "128 MiB"', "memory = 128", ("envelope.memory: expected a string",)),
    "wrong type: measures": ('["spawn"]', '"spawn"', ("scenarios.mine.measures: expected a list",)),
    "wrong type: measure": ('["spawn"]', "[5]", ("scenarios.mine.measures", "expected a string")),
    "no measures": ('["spawn"]', "[]", ("scenarios.mine.measures", "1")),
    "bad unit": ("128 MiB", "128 MegaByte", ("envelope.memory: '128 MegaByte'", "MiB")),
    "no unit": ("128 MiB", "128", ("envelope.memory: '128'", "MiB")),
    "too little memory": ("128 MiB", "1 MiB", ("envelope.memory", "32 MiB or more")),
    "endless memory": ("128 MiB", "9" * 400 + " GiB", ("envelope.memory", "too much")),
    "no CPU": ("cpus = 1", "cpus = 0", ("envelope.cpus: expected", ">= 1")),
    "rootfs that is not there": ('"tiny"', '"nosuch"', ("envelope.rootfs: there is no rootfs 'nosuch'", "tiny")),
    "baseline that is no arm": ('"crun"', '"runc"', ("baseline: there is no arm 'runc'", "crun, uml")),
    "backend that is not there": (
        "crun = {}",
        "crun = {}\nrkt = {}",
        ("arms.rkt: there is no backend", "docker, kvm"),
    ),
    "backend key": (
        "crun = {}",
        'crun = {}\nx = { backend = "rkt" }',
        ("arms.x", "no backend 'rkt'", "docker, kvm"),
    ),
    "backend of a wrong type": ("crun = {}", "crun = { backend = [1] }", ("arms.crun", "backend", "crun")),
    "helper as a backend": ("crun = {}", "crun = {}\nbase = {}", ("arms.base: there is no backend", "docker, kvm")),
    "kernel of a wrong type": ("crun = {}", "crun = {}\nqemu = { kernel = 6.1 }", ("arms.qemu.kernel", "a release")),
    "kernel that is none": (
        "crun = {}",
        'crun = {}\nqemu = { kernel = "vmlinux" }',
        ("arms.qemu.kernel", "names no kernel"),
    ),
    "kernel that is not there": (
        "crun = {}",
        'crun = {}\nqemu = { kernel = "./none" }',
        ("qemu.kernel: there is no ker",),
    ),
    "kernel that is a shell": (
        "crun = {}",
        'crun = {}\nqemu = { kernel = "/bin/sh" }',
        ("qemu.kernel", "is no kernel"),
    ),
    "kernel for machines in uml": (
        'root = "ext4"',
        'kernel = "linux-image-6.1.0-50-amd64"',
        ("arms.uml.kernel: linux-image-6.1.0-50-amd64 is a kernel for machines", "boots a User-Mode Linux"),
    ),
    "source for qemu": (
        "crun = {}",
        'crun = {}\nqemu = { kernel = "linux-source-6.1=6.1.170-3" }',
        ("arms.qemu.kernel: linux-source-6.1=6.1.170-3 is a User-Mode Linux", "boots a kernel for machines"),
    ),
    "config without a source": (
        'root = "ext4"',
        'config = ["CONFIG_NET=y"]',
        ("arms.uml.kernel: config is of a source package", "linux-source-6.1"),
    ),
    "config of a release": (
        'root = "ext4"',
        'kernel = "6.1.170", config = ["CONFIG_NET=y"]',
        ("arms.uml.kernel: only a source package is built with options",),
    ),
    "config that is none": (
        'root = "ext4"',
        'kernel = "linux-source-6.1", config = ["NET=y"]',
        ("arms.uml.config: line 1 of the options, 'NET=y', is none", "CONFIG_NAME=y"),
    ),
    "config of a wrong type": (
        'root = "ext4"',
        'kernel = "linux-source-6.1", config = { NET = true }',
        ("arms.uml.config: expected a list", "name of a file"),
    ),
    "config that is not there": (
        'root = "ext4"',
        'kernel = "linux-source-6.1", config = "none.config"',
        ("none.config: no such file",),
    ),
    "config for a container": ("crun = {}", "crun = { config = [] }", ("arms.crun.config: unknown option",)),
    "kernel for a container": ("crun = {}", 'crun = { kernel = "6.1" }', ("arms.crun.kernel: unknown option",)),
    "scenario that is not there": ("boot =", "boots =", ("scenarios.boots: there is no scenario", "boot, density")),
    "a campaign as a scenario": ("boot =", "quick =", ("quick.toml", "unknown key")),
    "measure unknown": (
        '["spawn"]',
        '["spwan"]',
        ("scenarios.mine.measures: there is no measure 'spwan'", "boot, density"),
    ),
    "measure twice": ('["spawn"]', '["spawn", "spawn"]', ("scenarios.mine.measures", "spawn", "once")),
    "measures of two guests": (
        '["spawn"]',
        '["spawn", "firmware"]',
        ("scenarios.mine.measures", "firmware", "scenario of its own"),
    ),
    "workload unknown": (
        "values = 3",
        'workloads = ["true", "bonnie"]',
        ("scenarios.mine.workloads: there is no workload 'bonnie'", "sha256, sqlite"),
    ),
    "workload twice": ("values = 3", 'workloads = ["true", "true"]', ("scenarios.mine.workloads", "true", "once")),
    "no workload": ("values = 3", "workloads = []", ("scenarios.mine.workloads:", "1")),
    "workload of another rootfs": (
        "values = 3",
        'workloads = ["true", "fio"]',
        ("scenarios.mine.workloads: workload 'fio' needs envelope.rootfs = \"debian\"",),
    ),
    "workload without its disk": (
        'rootfs = "tiny"',
        'rootfs = "debian"\n[scenarios.more]\nmeasures = ["spawn"]\nworkloads = ["fio"]',
        ("scenarios.more.workloads: workload 'fio' needs a disk: envelope.disk = \"256 MiB\"",),
    ),
    "workload without its link": (
        'rootfs = "tiny"',
        'rootfs = "debian"\n[scenarios.more]\nmeasures = ["spawn"]\nworkloads = ["link_send"]',
        ("scenarios.more.workloads: workload 'link_send' needs a link: envelope.link = true",),
    ),
    "disk too small": ('rootfs = "tiny"', 'disk = "1 MiB"', ("envelope.disk: 1 MiB is no size", "64 MiB to 1024 GiB")),
    "no size of a disk": ('rootfs = "tiny"', 'disk = "much"', ("envelope.disk: 'much'", "MiB")),
    "measure of another rootfs": (
        '["spawn"]',
        '["spawn", "inside"]',
        ("scenarios.mine.measures: measure 'inside' needs envelope.rootfs = \"debian\"",),
    ),
    "blocks = 0": ("blocks = 3", "blocks = 0", ("blocks: expected a whole number >= 1",)),
    "blocks < 0": ("blocks = 3", "blocks = -3", ("blocks: expected a whole number >= 1",)),
    "blocks huge": ("blocks = 3", "blocks = 1000000000", ("blocks: expected a whole number <= 10000",)),
    "blocks beyond all numbers": ("blocks = 3", "blocks = " + "9" * 30, ("blocks: expected a whole number",)),
    "seed < 0": ("seed = 1", "seed = -1", ("seed: expected a whole number >= 0",)),
    "more blocks than the campaign": ("values = 3", "blocks = 4", ("scenarios.mine.blocks: 4 is more", "blocks = 3")),
    "values = 0": ("values = 3", "values = 0", ("scenarios.mine.values: expected a whole number >= 1",)),
    "warmups < 0": ("values = 3", "warmups = -1", ("scenarios.mine.warmups: expected a whole number >= 0",)),
    "instances = 0": ("values = 3", "instances = 0", ("scenarios.mine.instances: expected a whole number >= 1",)),
    "step = 0": ("values = 3", "step = 0", ("scenarios.mine.step: expected a whole number >= 1",)),
    "timeout negative": ('"10 s"', '"-10 s"', ("scenarios.boot.timeout: '-10 s'", "30 s")),
    "timeout zero": ('"10 s"', '"0 s"', ("scenarios.boot.timeout: '0 s' must be more than zero",)),
    "timeout without a unit": ('"10 s"', '"10"', ("scenarios.boot.timeout: '10'", "ms, s, min")),
    "timeout a number": ('"10 s"', "10", ("scenarios.boot.timeout: expected a string",)),
    "timeout beyond a day": ('"10 s"', '"99999 min"', ("scenarios.boot.timeout", "99999 min", "24")),
    "boot limit": ("values = 3", 'boot_limit = "fast"', ("scenarios.mine.boot_limit: 'fast'", "30 s")),
    "memory reserve": ("values = 3", 'memory_reserve = "lots"', ("scenarios.mine.memory_reserve: 'lots'", "128 MiB")),
    "arm ../x": ("crun = {}", 'crun = {}\n"../x" = { backend = "crun" }', ("arms.../x", "small letters")),
    "arm a/b": ("crun = {}", 'crun = {}\n"a/b" = { backend = "crun" }', ("arms.a/b", "small letters")),
    "arm without a name": ("crun = {}", 'crun = {}\n"" = { backend = "crun" }', ("arms.", "small letters")),
    "arm of two lines": ("crun = {}", 'crun = {}\n"a\\nb" = { backend = "crun" }', ("arms.", "small letters")),
    "arm in capitals": ("crun = {}", 'crun = {}\nCrun = { backend = "crun" }', ("arms.Crun", "small letters")),
    "arm with a long name": ("crun = {}", f'crun = {{}}\n{"a" * 300} = {{ backend = "crun" }}', ("arms.a", "64")),
    "campaign ../x": ('"good"', '"../x"', ("name: '../x'", "small letters")),
    "campaign with a long name": ('"good"', f'"{"a" * 300}"', ("name:", "64")),
    "scenario ../x": ("mine =", '"../x" =', ("scenarios.../x", "small letters")),
    "scenario with a long name": ("mine =", "a" * 300 + " =", ("scenarios.a", "64")),
    "not TOML": ("blocks = 3", "blocks = = 3", ("not valid TOML", "line 3")),
    "key twice": ("blocks = 3", "blocks = 3\nblocks = 4", ("not valid TOML", "line 4")),
    "empty": (GOOD, "", ("missing",)),
}


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """An empty working directory; nothing may appear in it or in the cache beside it."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    # A file that ought to be refused and is not must not set off a campaign on this host.
    monkeypatch.setattr(runner, "run", lambda *_: pytest.fail("it would have run"))
    before = signal.getsignal(signal.SIGTERM)
    yield work
    signal.signal(signal.SIGTERM, before)


def refused(folder: Path, file: Path, capsys: pytest.CaptureFixture[str], command: str = "run") -> str:
    """The one line with which the command line refuses a file, having created nothing."""
    before = sorted(folder.parent.rglob("*"))
    assert cli.main([command, str(file)]) == 2
    printed = capsys.readouterr()
    assert printed.out == ""
    assert printed.err.startswith("tare: ")
    assert printed.err.count("\n") == 1
    assert sorted(folder.parent.rglob("*")) == before
    return printed.err.strip()


@pytest.mark.parametrize("name", BAD)
def test_a_bad_campaign(name: str, folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    old, new, words = BAD[name]
    assert GOOD.count(old) >= 1
    file = folder / "bad.toml"
    file.write_text(GOOD.replace(old, new, 1) if name != "baseline that is no arm" else GOOD.replace('"crun"', new))
    line = refused(folder, file, capsys)
    assert str(file) in line or "a campaign as a scenario" in name
    for word in words:
        assert word in line
    for jargon in ("`", "$", "msgspec", "Traceback", "NoneType"):
        assert jargon not in line


def test_a_good_campaign(folder: Path) -> None:
    (folder / "good.toml").write_text(GOOD)
    found = config.load(folder / "good.toml")
    assert (found.name, found.blocks, found.baseline, list(found.arms)) == ("good", 3, "crun", ["crun", "uml"])
    assert found.text == GOOD
    assert found.envelope.memory_bytes == 128 << 20
    assert found.scenarios["boot"].timeout == "10 s"
    assert found.scenarios["mine"].measures == ["spawn"]
    assert found.scenarios["mine"].values == 3
    assert found.arms["uml"].options == {"root": "ext4"}


def test_what_may_be_left_out_is_left_out(folder: Path) -> None:
    text = 'name = "a"\nblocks = 1\nbaseline = "crun"\narms.crun = {}\nscenarios.boot = {}\n'
    found = config.parse(text, folder / "x.toml")
    assert (found.envelope.cpus, found.envelope.memory, found.envelope.rootfs) == (1, "128 MiB", "tiny")
    assert found.seed == 1


def test_an_arm_says_its_backend_and_kernel_by_its_name() -> None:
    arms = (
        'qemu = {}\n"qemu@6.1.0-9" = {}\n"qemu@6" = { kernel = "linux-image-6.1.0-9-amd64=6.1.9-1" }\n"crun@a" = {}\n'
    )
    arms += 'youki = { backend = "oci", runtime = "/usr/bin/youki" }\n"uml@6.12.9+deb12" = {}\n'
    found = config.parse(GOOD.replace("crun = {}\n", "crun = {}\n" + arms), Path("x.toml")).arms
    assert {name: (arm.backend, arm.kernel) for name, arm in found.items()} == {
        "crun": ("crun", None),
        "uml": ("uml", Wish()),
        "uml@6.12.9+deb12": ("uml", Wish("release", "6.12.9+deb12")),
        "qemu": ("qemu", Wish()),
        "qemu@6.1.0-9": ("qemu", Wish("release", "6.1.0-9")),
        "qemu@6": ("qemu", Wish("package", "linux-image-6.1.0-9-amd64", "6.1.9-1")),
        "crun@a": ("crun", None),
        "youki": ("oci", None),
    }
    assert found["youki"].options == {"runtime": "/usr/bin/youki"}
    assert found["qemu@6"].options == {}


def test_a_source_with_options_from_the_file_or_from_one_beside_it(folder: Path) -> None:
    (folder / "debug.config").write_text("# why\nCONFIG_DEBUG_KERNEL=y\nCONFIG_NET=n\n")
    for given in ('"debug.config"', '["CONFIG_NET=n", "CONFIG_DEBUG_KERNEL=y"]'):
        text = GOOD.replace('root = "ext4"', f'root = "ext4", kernel = "linux-source-6.1", config = {given}')
        arm = config.parse(text, folder / "x.toml").arms["uml"]
        assert arm.kernel == Wish("source", "linux-source-6.1", None, {"DEBUG_KERNEL": "y", "NET": "n"})
        assert arm.options == {"root": "ext4"}


def test_a_kernel_beside_the_campaign(folder: Path) -> None:
    (folder / "linux").write_bytes(b"\x7fELF Linux version 6.1.170 (a@b) umid=")
    arm = config.parse(GOOD.replace('root = "ext4"', 'kernel = "./linux"'), folder / "x.toml").arms["uml"]
    assert arm.kernel == Wish("path", str(folder / "linux"))


def test_a_scenario_beside_the_campaign_comes_before_the_projects(folder: Path) -> None:
    (folder / "boot.toml").write_text('measures = ["boot"]\ndescription = "mine"\nvalues = 9\n')
    found = config.parse(GOOD, folder / "x.toml").scenarios["boot"]
    assert (found.description, found.values, found.timeout) == ("mine", 9, "10 s")


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ('measures = ["boot"]\nspeed = 1\n', ("speed: unknown key", "timeout")),
        ('measures = ["boots"]\n', ("measures: there is no measure 'boots'", "boot, density")),
        ('measures = ["boot"]\nmemory_reserve = "1 MegaByte"\n', ("memory_reserve: '1 MegaByte'", "MiB")),
        (
            'measures = ["boot"]\nworkloads = ["bonnie"]\n',
            ("workloads: there is no workload 'bonnie'", "sha256, sqlite"),
        ),
        ('measures = ["boot"]\nvalues = 0\n', ("values: expected a whole number >= 1",)),
        ('measures = ["boot"]\ntimeout = "5"\n', ("timeout: '5'", "30 s")),
        ("measures = [", ("not valid TOML",)),
        ('description = "no measures"\n', ("measures: missing",)),
        ("", ("measures: missing",)),
    ],
    ids=["unknown key", "measure", "unit", "workload", "values", "timeout", "TOML", "no measures", "empty"],
)
def test_a_bad_scenario_file_is_named_itself(
    folder: Path, capsys: pytest.CaptureFixture[str], text: str, words: tuple[str, ...]
) -> None:
    (folder / "own.toml").write_text(text)
    (folder / "campaign.toml").write_text(GOOD.replace("mine = {", "own = {}\nmine = {"))
    line = refused(folder, folder / "campaign.toml", capsys)
    assert f"{folder / 'own.toml'}: {words[0]}" in line
    for word in words:
        assert word in line


@pytest.mark.parametrize("command", ["run", "plan"])
def test_files_that_cannot_be_read(folder: Path, capsys: pytest.CaptureFixture[str], command: str) -> None:
    (folder / "folder.toml").mkdir()
    (folder / "latin.toml").write_bytes('name = "é"\n'.encode("latin-1"))
    (folder / "nul.toml").write_bytes(b'name = "\0"\n')
    (folder / "loop.toml").symlink_to("loop.toml")
    for name, word in {
        "none.toml": "no such file",
        "no/such.toml": "no such file",
        "folder.toml": "directory",
        "latin.toml": "UTF-8",
        "nul.toml": "not valid TOML",
        "loop.toml": "symbolic link",
        "a" * 300: "name too long",
        "latin.toml/x.toml": "ot a directory",
    }.items():
        line = refused(folder, folder / name, capsys, command)
        assert name in line
        assert word.lower() in line.lower()


def test_resume_of_nothing(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert "no plan.json" in refused(folder, folder / "nothing", capsys, "resume")


@pytest.mark.parametrize("arguments", [[], ["runs"], ["run"], ["plan", "a", "b"], ["kernel", "burn"]])
def test_wrong_usage_exits_2(arguments: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    assert cli.main(arguments) == 2
    assert "usage: tare" in capsys.readouterr().err


def test_there_are_shipped_files() -> None:
    assert {"quick", "boot", "exec", "spawn", "teardown", "density", "firmware"} <= {file.stem for file in SHIPPED}
    assert set(config.scenario_names()) == {file.stem for file in SHIPPED} - campaigns()


def campaigns() -> set[str]:
    return {file.stem for file in SHIPPED if "\n[arms]" in file.read_text()}


@pytest.mark.parametrize("file", SHIPPED, ids=lambda file: file.stem)
def test_the_shipped_files_load(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(config.image, "names", lambda: ["debian", "tiny"])
    if file.stem in campaigns():
        found = config.load(file)
        assert found.name == file.stem
        assert found.description
    else:
        text = f'name = "a"\nblocks = 1\nbaseline = "crun"\narms.crun = {{}}\nscenarios.{file.stem} = {{}}\n'
        rootfs = "debian" if file.stem in ("inside", "working") else "tiny"
        text += f'envelope.rootfs = "{rootfs}"\nenvelope.disk = "64 MiB"\nenvelope.link = true\n'
        scenario = config.parse(text, file.parent / "a.toml").scenarios[file.stem]
        assert scenario.measures
        assert scenario.description
