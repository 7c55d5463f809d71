"""The `tare` script without its slow half: a stand-in for .venv takes the place of the set-up."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

TOP = Path(__file__).resolve().parents[2]
LOCK = (TOP / "requirements.lock").read_text()


@pytest.fixture
def checkout() -> Iterator[Path]:
    """A checkout that is set up, and that other users can read: its python says how it was called."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield make_checkout(Path(folder) / "check out")


def make_checkout(top: Path) -> Path:
    (top / ".venv/bin").mkdir(parents=True)
    for name in ("tare", "requirements.lock"):
        shutil.copyfile(TOP / name, top / name)
        os.utime(top / name, (1, 1))
    (top / "tare").chmod(0o755)
    python = top / ".venv/bin/python"
    python.write_text('#!/bin/sh\nprintf "%s\\n" "$@"\n')
    python.chmod(0o755)
    (top / ".venv/.ready").touch()
    return top


def call(script: Path, *arguments: str, cwd: Path, path: str = os.environ["PATH"]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [script, *arguments],
        cwd=cwd,
        env={"PATH": path},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )


def test_runs_the_command_line_with_every_argument_as_given(checkout: Path) -> None:
    done = call(checkout / "tare", "run", "a b", "", "*", cwd=checkout)
    assert done.stdout == "-I\n-m\nbench\nrun\na b\n\n*\n"
    assert done.stderr == ""


@pytest.mark.parametrize(("given", "used"), [("hy_AM.ARMSCII-8", "C.UTF-8"), ("de_DE.ISO-8859-1", "de_DE.ISO-8859-1")])
def test_a_locale_that_python_cannot_start_in_gives_way(checkout: Path, given: str, used: str) -> None:
    starts = 'case $LC_ALL in *ARMSCII*) echo unknown encoding >&2; exit 1 ;; esac; echo "$LC_ALL"'
    (checkout / ".venv/bin/python").write_text(f"#!/bin/sh\n{starts}\n")
    done = subprocess.run(
        [checkout / "tare", "plan"],
        env={"PATH": os.environ["PATH"], "LC_ALL": given},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"{used}\n", "")


def test_runs_from_any_folder_and_through_links(checkout: Path, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/one").symlink_to(checkout / "tare")
    (tmp_path / "two").symlink_to("bin/one")
    assert call(tmp_path / "two", "doctor", cwd=Path("/")).stdout.split() == [
        "-I",
        "-m",
        "bench",
        "doctor",
    ]


def test_a_call_without_set_up_starts_one_program_beside_python(checkout: Path, tmp_path: Path) -> None:
    """Every call pays for what the script starts: with only readlink to be found, it still works."""
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/readlink").symlink_to(shutil.which("readlink") or "")
    done = call(checkout / "tare", "plan", cwd=checkout, path=str(tmp_path / "bin"))
    assert done.stdout.split()[-1] == "plan"


@pytest.mark.parametrize("newer", ["tare", "requirements.lock"])
def test_a_change_asks_for_set_up_which_a_stranger_is_refused(checkout: Path, newer: str) -> None:
    (checkout / ".venv/.ready").touch()
    os.utime(checkout / newer, (2**32, 2**32))
    checkout.chmod(0o555)
    as_stranger = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"] if os.getuid() == 0 else []
    done = subprocess.run(
        [*as_stranger, checkout / "tare"], cwd="/", capture_output=True, text=True, timeout=20, check=False
    )
    assert done.returncode == 4
    assert "may not write there" in done.stderr
    assert "make a clone of your own" in done.stderr


@pytest.mark.skipif(os.getuid() != 0, reason="only root can give a checkout to somebody else")
@pytest.mark.parametrize(("owner", "sudo", "warned"), [(65534, None, True), (65534, "65534", False), (0, None, False)])
def test_root_is_told_whose_code_it_runs(checkout: Path, owner: int, sudo: str | None, warned: bool) -> None:
    os.chown(checkout / "tare", owner, -1)
    done = subprocess.run(
        [checkout / "tare", "plan"],
        env={"PATH": os.environ["PATH"], **({"SUDO_UID": sudo} if sudo else {})},
        capture_output=True,
        text=True,
        timeout=20,
        check=True,
    )
    assert ("belongs to nobody, whose code you run" in done.stderr) == warned
    assert done.stdout.split()[-1] == "plan"


def test_set_up_writes_nothing_that_others_may_write(checkout: Path) -> None:
    """In a checkout that has everything already; what is run afterwards has the caller's umask again."""
    shutil.copyfile(checkout / "requirements.lock", checkout / ".venv/installed.lock")
    (checkout / ".venv/.ready").unlink()
    (checkout / ".venv/bin/python").write_text("#!/bin/sh\numask\n")
    done = subprocess.run(
        ["/bin/sh", "-c", 'umask 0; exec "$0" plan', checkout / "tare"],
        env={"PATH": make_path(checkout)},
        capture_output=True,
        text=True,
        timeout=20,
        check=False,
    )
    assert done.stdout.split()[-1] == "0000", done.stderr
    for made in (checkout / ".setup.lock", checkout / ".setup.log", checkout / ".venv/.ready"):
        assert made.stat().st_mode & 0o022 == 0, made
    assert (checkout / ".setup.lock").stat().st_mode & 0o077 == 0


def make_path(checkout: Path) -> str:
    """Where set-up finds what it needs before it installs anything, and nothing to install with."""
    folder = checkout / "bin"
    folder.mkdir()
    for tool in ("readlink", "id", "flock", "date", "cmp", "grep", "tail", "sed", "rm", "stat"):
        (folder / tool).symlink_to(shutil.which(tool) or "")
    return str(folder)


def test_setup_takes_no_arguments(checkout: Path) -> None:
    done = call(checkout / "tare", "setup", "now", cwd=checkout)
    assert (done.returncode, done.stderr) == (2, "tare: setup takes no arguments\n")


def test_the_lock_fixes_every_package_by_hash_and_names_no_registry() -> None:
    packages = re.split(r"\n(?=\S)", LOCK.strip())
    assert len(packages) > 30
    for package in packages:
        assert re.match(r"[a-z0-9-]+==\S+( ; [^\\]+)? \\\n", package), package
        assert re.fullmatch(r"( {4}--hash=sha256:[0-9a-f]{64}( \\)?\n?)+", package.split("\n", 1)[1]), package
    assert "://" not in LOCK
    assert "--" not in LOCK.replace("    --hash=", "")


def test_libvirt_and_the_rest_of_the_lock_are_told_apart() -> None:
    """The script's two expressions, as they stand in it, divide the lock without loss."""
    expressions = re.findall(r"sed(?: -n)? '(/\^libvirt[^']+)'", (TOP / "tare").read_text())
    assert len(expressions) == 2
    wheels, libvirt = (
        subprocess.run(["sed", *quiet, expression], input=LOCK, capture_output=True, text=True, check=True).stdout
        for quiet, expression in zip(([], ["-n"]), expressions, strict=True)
    )
    assert [line.split("==")[0] for line in libvirt.splitlines() if line[0] != " "] == ["libvirt-python"]
    assert len(wheels.splitlines()) + len(libvirt.splitlines()) == len(LOCK.splitlines())
    assert "libvirt-python" not in wheels
