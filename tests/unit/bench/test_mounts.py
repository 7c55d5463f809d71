"""Removing a folder in which something is mounted, in a mount namespace of the test's own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from bench import mounts

PROJECT = Path(__file__).resolve().parents[3]
#: Binds a folder that must stay into one that goes, by an ordinary user's rights.
REMOVE = """
import sys
from pathlib import Path
from bench import mounts

kept, gone = Path(sys.argv[1]), Path(sys.argv[2])
mounts.enter_private_namespace(become_root=True)
mounts.bind(kept, gone / "a b")
assert (gone / "a b/file").exists()
assert mounts.below(gone) == [gone / "a b"], mounts.below(gone)
mounts.remove_tree(gone)
assert not gone.exists()
"""


def test_what_is_mounted_in_a_folder_outlives_it(tmp_path: Path) -> None:
    kept, gone = tmp_path / "kept", tmp_path / "gone"
    kept.mkdir()
    (kept / "file").touch()
    (gone / "a b").mkdir(parents=True)
    subprocess.run([sys.executable, "-c", REMOVE, kept, gone], check=True, timeout=60, cwd=PROJECT)
    assert (kept / "file").exists()


def test_a_plain_folder_goes_and_a_missing_one_is_fine(tmp_path: Path) -> None:
    (tmp_path / "folder/in").mkdir(parents=True)
    mounts.remove_tree(tmp_path / "folder")
    mounts.remove_tree(tmp_path / "folder")
    assert not any(tmp_path.iterdir())


#: What somebody who may write there does between the look for mounts and their end: a link on the way to another one.
RACE = """
import sys
from pathlib import Path
from bench import mounts

top = Path(sys.argv[1])
for name in ("victim/home", "theirs/a/home", "kept"):
    (top / name).mkdir(parents=True)
mounts.enter_private_namespace(become_root=True)
mounts.bind(top / "kept", top / "victim/home")
mounts.bind(top / "kept", top / "theirs/a/home")
found = mounts.below(top / "theirs")
(top / "theirs/a").rename(top / "theirs/b")
(top / "theirs/a").symlink_to(top / "victim")
for place in found:
    try:
        mounts._unmount(place, top / "theirs")
    except OSError as error:
        print(error.strerror)
assert mounts.below(top / "victim") == [top / "victim/home"], mounts.below(top / "victim")
mounts.remove_tree(top / "theirs")
assert mounts.below(top / "victim") == [top / "victim/home"]
assert not (top / "theirs").exists()
"""


def test_no_link_on_the_way_to_a_mount_is_followed(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-c", RACE, tmp_path], capture_output=True, text=True, timeout=60, cwd=PROJECT
    )
    assert done.returncode == 0, done.stderr
    assert done.stdout == "Not a directory\n"


#: Where one arrives who joins the mounts of a process that was started in a chroot, and how that process then stands.
CHROOT = """
import ctypes, os, sys
from pathlib import Path
from bench import mounts

top = Path(sys.argv[1])
(top / "proc").mkdir()
(top / "inside").mkdir()
mounts.enter_private_namespace()
mounts.bind(Path("/proc"), top / "proc", recursive=True)
os.chroot(top)
os.chdir("/inside")
if sys.argv[2] == "left":
    mounts.leave_chroot()
assert sorted(os.listdir("/")) == ["inside", "proc"], os.listdir("/")
assert os.getcwd() == "/inside"
own = os.open("/proc/self/ns/mnt", os.O_RDONLY)
assert ctypes.CDLL(None).setns(own, 0x00020000) == 0
print(*sorted(os.listdir("/")))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can make a chroot")
@pytest.mark.parametrize("left", [True, False], ids=["left", "not left"])
def test_who_joins_the_mounts_of_a_process_in_a_chroot_stays_there(left: bool, tmp_path: Path) -> None:
    argv = [sys.executable, "-c", CHROOT, tmp_path, "left" if left else "not"]
    done = subprocess.run(argv, capture_output=True, text=True, timeout=60, cwd=PROJECT)
    assert done.returncode == 0, done.stderr
    assert (done.stdout.split() == ["inside", "proc"]) is left


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can leave a chroot")
def test_outside_a_chroot_there_is_nothing_to_leave(tmp_path: Path) -> None:
    code = "import os; from bench import mounts; mounts.leave_chroot()  # the tests' own, if they run in one\n"
    code += "before = os.readlink('/proc/self/ns/mnt'); mounts.leave_chroot()"
    code += "; print(before == os.readlink('/proc/self/ns/mnt'), os.getcwd())"
    env = {**os.environ, "PYTHONPATH": str(PROJECT)}
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=tmp_path, env=env
    )
    assert done.stdout.split() == ["True", str(tmp_path)], done.stderr
