"""Whose home folder it is, and what is said where there is none."""

from __future__ import annotations

import os
import pwd
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench import home
from bench.errors import HostError


@pytest.fixture(autouse=True)
def no_other_places(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HOME", "XDG_CACHE_HOME", "XDG_CONFIG_HOME"):
        monkeypatch.delenv(name, raising=False)


def account(monkeypatch: pytest.MonkeyPatch, folder: Path | None) -> None:
    """What the system's accounts say of this user."""

    def getpwuid(uid: int) -> SimpleNamespace:
        if folder is None:
            raise KeyError(uid)
        return SimpleNamespace(pw_dir=str(folder))

    monkeypatch.setattr(pwd, "getpwuid", getpwuid)


def belongs_to(monkeypatch: pytest.MonkeyPatch, uid: int) -> None:
    """This process is another user, to whom the folders of this test are another's."""
    monkeypatch.setattr(os, "geteuid", lambda: uid)


def test_home_is_what_it_names(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account(monkeypatch, None)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert home.cache() == tmp_path / ".cache/tare"
    assert home.configuration() == tmp_path / ".config/tare"
    monkeypatch.setenv("HOME", str(tmp_path / "not/yet/there"))
    assert home.folder() == tmp_path / "not/yet/there"
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", "not")
    assert home.folder() == tmp_path / "not"


@pytest.mark.parametrize("named", [None, "", "/proc/none", "/dev/null", "x" * 300])
def test_without_one_it_is_the_accounts(named: str | None, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account(monkeypatch, tmp_path)
    belongs_to(monkeypatch, tmp_path.stat().st_uid)
    if named is not None:
        monkeypatch.setenv("HOME", named)
    monkeypatch.setattr(os, "access", lambda path, mode: str(path).startswith(str(tmp_path)))
    assert home.folder() == tmp_path


@pytest.mark.parametrize("uid", [0, 12345])
def test_another_users_home_is_not_taken(uid: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As sudo -E, sudo -u and su leave it."""
    theirs, ours = tmp_path / "theirs", tmp_path / "ours"
    theirs.mkdir(mode=0o700)
    owners = {theirs: 54321, ours: uid}
    real = Path.stat

    def stat(self: Path, **how: bool) -> os.stat_result:
        found = real(self, **how)
        return os.stat_result((*found[:4], owners.get(self, found.st_uid), *found[5:10]))

    monkeypatch.setattr(Path, "stat", stat)
    monkeypatch.setattr(os, "access", lambda path, mode: uid == 0 or Path(path) != theirs)
    belongs_to(monkeypatch, uid)
    monkeypatch.setenv("HOME", str(theirs))
    account(monkeypatch, None)
    said = rf"no home folder for uid {uid}: HOME is {theirs}.*; set HOME to .*XDG_CACHE_HOME"
    with pytest.raises(HostError, match=said):
        home.cache()
    ours.mkdir()
    account(monkeypatch, ours)
    assert home.folder() == ours


def test_a_groups_folder_is_a_home_and_one_for_all_where_others_put_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    account(monkeypatch, None)
    belongs_to(monkeypatch, os.getuid() + 1)
    monkeypatch.setattr(os, "access", lambda path, mode: True)
    monkeypatch.setenv("HOME", str(tmp_path))
    for mode in (0o770, 0o1777):
        tmp_path.chmod(mode)
        assert home.folder() == tmp_path
    (tmp_path / ".cache").mkdir()
    with pytest.raises(HostError, match="no home folder"):
        home.folder()
    tmp_path.chmod(0o770)
    assert home.folder() == tmp_path


def test_what_the_user_says_needs_no_home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    account(monkeypatch, None)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "c"))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "d"))
    assert (home.cache(), home.configuration()) == (tmp_path / "c/tare", tmp_path / "d/tare")


@pytest.mark.parametrize(
    ("number", "hint"),
    [(28, "make room, or set XDG"), (30, "set XDG_CACHE_HOME to"), (27, ".*ulimit -f"), (13, "set XDG_CACHE_HOME to")],
)
def test_a_cache_that_cannot_be_kept(number: int, hint: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    wanted = rf"the cache /somewhere/tare cannot be written: {os.strerror(number)}; {hint}"
    with pytest.raises(HostError, match=wanted), home.keeping():
        raise OSError(number, os.strerror(number))
