"""What is recorded of the host and its tools."""

from __future__ import annotations

import json
import os
import platform
from pathlib import Path

import pytest

from bench import facts


@pytest.mark.parametrize(
    ("said", "version"),
    [
        ("crun version 1.8.1\ncommit: f8a096be060b22ccd3d5f3ebe44108517fbf6c30\n", "1.8.1"),
        ("runc version 1.1.5+ds1\ncommit: 1.1.5+ds1-1+deb12u1\nspec: 1.0.2-dev\n", "1.1.5+ds1"),
        ("QEMU emulator version 7.2.17 (Debian 1:7.2+dfsg-7+deb12u12)\nCopyright (c) 2003-2022\n", "7.2.17"),
        ("systemd 252 (252.38-1~deb12u1)\n+PAM +AUDIT\n", "252.38-1~deb12u1"),
        ("program 7\n", "7"),
        ("chroot (GNU coreutils) 9.1\n", "9.1"),
        ("nsenter from util-linux 2.38.1\n", "2.38.1"),
        ("5.0.2\n", "5.0.2"),
        ("no idea\n", None),
        ("", None),
    ],
)
def test_version(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, said: str, version: str | None) -> None:
    (tmp_path / "said").write_text(said)
    tool = tmp_path / "some-tool-2.0"
    tool.write_text(f'#!/bin/sh\n[ "$1" = --version ] && cat {tmp_path}/said\n')
    tool.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    assert facts.version("some-tool-2.0") == version
    assert facts.version(str(tool)) == version


def test_a_tool_that_is_not_there_has_no_version() -> None:
    assert facts.version("no-such-tool") is None
    assert facts.version("/nonexistent/tool") is None


@pytest.mark.parametrize(
    ("text", "chosen"),
    [("always [madvise] never", "madvise"), ("[always] madvise", "always"), ("odd", "odd"), (None, None)],
)
def test_the_word_in_brackets(text: str | None, chosen: str | None) -> None:
    assert facts._chosen(text) == chosen


def test_this_host() -> None:
    host = facts.host()
    assert host["kernel"] == platform.release()
    assert host["cores"] == os.cpu_count()
    assert host["memory"] > 1 << 20
    assert len(host["boot_id"]) == 36
    assert host["governor"]
    json.dumps(host, allow_nan=False)


def test_gather() -> None:
    found = facts.gather(facts.here(["chroot", "chroot", "no-such-tool"]) | {"cgroup": "v2"}, notes=["a"])
    assert {"busybox", "chroot", "no-such-tool"} <= set(found["tools"])
    assert found["tools"]["chroot"]
    assert found["tools"]["busybox"]
    assert found["tools"]["no-such-tool"] is None
    assert (found["schema"], found["cgroup"], found["notes"]) == (1, "v2", ["a"])
    assert found["user"] == ("root" if os.geteuid() == 0 else "unprivileged")
    assert found["packages"]["pyperf"]
    json.dumps(found, allow_nan=False)
