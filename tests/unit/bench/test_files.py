"""Files: whole and lasting or not at all; reads that no size and no kind of file can hold up."""

from __future__ import annotations

import gzip
import os
import stat
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import files
from bench.errors import FileError, MissingFile


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """What is done to the disk, in its order."""
    done: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(fd: int) -> None:
        done.append("fsync folder" if stat.S_ISDIR(os.fstat(fd).st_mode) else f"fsync {os.fstat(fd).st_size}")
        fsync(fd)

    def note_rename(*args: object, **more: object) -> None:
        done.append("rename")
        rename(*args, **more)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    return done


def test_a_folder_is_published_whole_with_what_its_maker_cannot_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    done: list[str] = []
    made, final = tmp_path / "made", tmp_path / "final"
    (made / "etc").mkdir(parents=True)
    (made / "etc/shadow").write_text("x")
    (made / "etc/shadow").chmod(0)
    (made / "link").symlink_to("/nowhere")
    syncfs = files._libc.syncfs
    monkeypatch.setattr(
        files, "_libc", SimpleNamespace(syncfs=lambda fd: done.append(f"all, {final.exists()}") or syncfs(fd))
    )
    files.publish(made, final)
    assert done == ["all, False"]
    assert (final / "etc/shadow").exists()
    assert not made.exists()


def test_content_is_on_the_disk_before_its_name_is(tmp_path: Path, calls: list[str]) -> None:
    files.write(tmp_path / "plan.json", "drei äpfel\n")
    assert (tmp_path / "plan.json").read_bytes() == "drei äpfel\n".encode()
    assert calls == ["fsync 12", "rename", "fsync folder"]


def test_what_was_there_stays_where_writing_fails(tmp_path: Path) -> None:
    path = tmp_path / "kernel.json"
    files.write(path, b"old")
    with pytest.raises(TypeError), files.writing(path) as file:
        file.writelines([b"ne", 3])  # type: ignore[list-item]
    assert path.read_bytes() == b"old"
    assert [each.name for each in tmp_path.iterdir()] == ["kernel.json"]


def test_the_longest_name_and_the_mode(tmp_path: Path) -> None:
    path = tmp_path / ("n" * 255)
    files.write(path, b"x", mode=0o600)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_a_folder_s_name_is_on_the_disk(tmp_path: Path, calls: list[str]) -> None:
    files.make_folder(tmp_path / "plots")
    files.make_folder(tmp_path / "plots")
    assert (tmp_path / "plots").is_dir()
    assert calls == ["fsync folder"]


@pytest.mark.parametrize("inner", ["pyperf/crun.json", "plan.json", "a/b/c.json"])
def test_no_link_below_a_folder_is_followed(tmp_path: Path, inner: str) -> None:
    inside, outside = tmp_path / "results", tmp_path / "etc"
    inside.mkdir()
    outside.mkdir()
    path = inside / inner
    first = inside / Path(inner).parts[0]
    if first == path:
        (outside / "victim").write_text("precious")
        first.symlink_to(outside / "victim")
    else:
        first.symlink_to(outside)
        (outside / path.relative_to(first)).parent.mkdir(parents=True, exist_ok=True)
        (outside / path.relative_to(first)).write_text("precious")
    with pytest.raises(OSError, match="symbolic link"):
        files.write(path, b"evil", within=inside)
    assert [each.read_text() for each in outside.rglob("*") if each.is_file()] == ["precious"]


def test_a_folder_is_not_made_through_a_link(tmp_path: Path) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "results").mkdir()
    (tmp_path / "results/plots").symlink_to(tmp_path / "etc")
    with pytest.raises(OSError, match="symbolic link"):
        files.make_folder(tmp_path / "results/plots", within=tmp_path / "results")
    with pytest.raises(OSError, match="symbolic link"):
        files.make_folder(tmp_path / "results/plots/deep", within=tmp_path / "results")
    with pytest.raises(OSError, match="leads out"):
        files.make_folder(tmp_path / "results/../new/deep", within=tmp_path / "results")
    assert list((tmp_path / "etc").iterdir()) == []


def test_a_folder_that_was_named_may_itself_be_a_link(tmp_path: Path) -> None:
    (tmp_path / "results").mkdir()
    (tmp_path / "latest").symlink_to("results")
    files.write(tmp_path / "latest/plan.json", b"{}", within=tmp_path / "latest")
    assert (tmp_path / "results/plan.json").read_bytes() == b"{}"


def test_reads_what_is_there(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"12345")
    assert files.read(tmp_path / "a", limit=5) == b"12345"
    assert files.read(Path("/proc/self/status")).startswith(b"Name:")  # of no size that stat(2) tells
    with pytest.raises(MissingFile, match="no such file"):
        files.read(tmp_path / "b")
    with pytest.raises(FileError, match="cannot be read: Not a directory"):
        files.read(tmp_path / "a/b")


def test_never_more_than_the_limit(tmp_path: Path) -> None:
    path = tmp_path / "a"
    with path.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(FileError, match=r"a: 1024 GiB is too large: at most 32 MiB are read"):
        files.read(path)
    with pytest.raises(FileError, match="too large: at most 4 B"):
        files.read(Path("/proc/self/status"), limit=4)


@pytest.mark.parametrize("name", ["pipe", "zero", "folder", "full", "socket"])
def test_only_files_are_read_and_nothing_is_waited_for(tmp_path: Path, name: str) -> None:
    import socket

    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "zero").symlink_to("/dev/zero")
    (tmp_path / "full").symlink_to("/dev/full")
    (tmp_path / "folder").mkdir()
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(str(tmp_path / "socket"))
        with pytest.raises(FileError) as caught:
            files.read(tmp_path / name)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("name", ["a\0b", "a\ud800b", "n" * 300])
def test_names_that_no_file_can_have(name: str) -> None:
    with pytest.raises(FileError):
        files.read(Path(name))


@pytest.mark.parametrize(
    ("content", "why"),
    [
        (b"", "not JSON"),
        (b"[" * 200_000, "nested too deeply"),
        (b'{"a":' * 200_000, "nested too deeply"),
        (b"9" * 5000, "not JSON"),
        (b"\xff\xfe", "not JSON"),
        (b"{}{}", "not JSON"),
    ],
)
def test_what_is_no_json_is_said_in_a_line(tmp_path: Path, content: bytes, why: str) -> None:
    (tmp_path / "a.json").write_bytes(content)
    with pytest.raises(FileError, match=why) as caught:
        files.read_json(tmp_path / "a.json")
    assert "\n" not in str(caught.value)
    assert len(str(caught.value)) < 300


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("a = " + "9" * 5000, "not valid TOML: Exceeds the limit"),
        ("[x]\na = " + "9" * 30, r"x\.a: expected a whole number or a fraction that 64 bits hold"),
        ("[[x]]\n[[x]]\na = 0x" + "f" * 9000, r"x\.1\.a: expected"),
        ("a = inf", "a: expected"),
        ('"\\u001b" = [1, nan]', r"x1b\.1: expected"),
        ("a = " + "[" * 3000 + "]" * 3000, "nested too deeply"),
        (".".join("a" * 60) + " = 1", "nested too deeply"),
        ("a = 1\na = 2", "not valid TOML: Cannot overwrite"),
        ("#" * (2 << 20), "2 MiB is too large: at most 1 MiB"),
    ],
)
def test_what_is_no_toml_of_ours_is_said_in_a_line(tmp_path: Path, text: str, why: str) -> None:
    (tmp_path / "a.toml").write_text(text)
    with pytest.raises(FileError, match=why) as caught:
        files.read_toml(tmp_path / "a.toml")
    assert str(caught.value).isprintable()


def test_text_is_utf_8(tmp_path: Path) -> None:
    (tmp_path / "a").write_bytes(b"\xff")
    with pytest.raises(FileError, match="not a text file in UTF-8"):
        files.read_text(tmp_path / "a")


def test_a_gzip_file_is_unpacked_as_far_as_its_limit() -> None:
    packed = gzip.compress(b"x" * 5_000_000) + gzip.compress(b"y")
    assert files.is_gzip(packed)
    assert files.gunzip(packed, "a.gz") == b"x" * 5_000_000 + b"y"
    with pytest.raises(FileError, match=r"unpacks to more than 3\.81 MiB"):
        files.gunzip(packed, "a.gz", limit=4_000_000)
    for broken in (packed[:-5], packed[:1000], packed[:100] + b"\xff" * 20 + packed[120:], b"\x1f\x8b"):
        with pytest.raises(FileError, match="not a whole gzip file"):
            files.gunzip(broken, "a.gz")
