"""Debian's busybox-static, its applets as links, and nothing else."""

from __future__ import annotations

from pathlib import Path

from bench import process
from bench.rootfs import Tell, add_init

_FOLDERS = ("bin", "data", "dev", "etc", "proc", "root", "run", "sbin", "sys", "tmp", "usr", "usr/bin", "var")


def make(tree: Path, tell: Tell) -> None:
    for folder in ("", *_FOLDERS):
        (tree / folder).mkdir(parents=True)
    add_init(tree)
    for applet in process.run([tree / "bin/busybox", "--list"]).stdout.decode().split():
        if applet != "busybox":
            (tree / "bin" / applet).symlink_to("busybox")
    (tree / "etc/os-release").write_text('ID=tare\nNAME="Tare tiny"\n')
