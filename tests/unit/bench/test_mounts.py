"""Removing a folder in which something is mounted, in a mount namespace of the test's own."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

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
