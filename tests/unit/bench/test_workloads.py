"""Workloads' parsers on what the real programs print, and on what they do not."""

from __future__ import annotations

import hashlib
import subprocess

import pytest

from bench import process, workloads
from bench.errors import InputError

ZEROS = 16 << 20


def test_sha256_of_what_it_hashes() -> None:
    """The right answer, worked out by another program."""
    digest = hashlib.sha256(bytes(ZEROS)).hexdigest()
    assert workloads.load("sha256").parse(f"{digest}  -\n") == []


def test_sha256_as_this_hosts_busybox_prints_it() -> None:
    workload = workloads.load("sha256")
    assert str(ZEROS) in workload.argv[2]
    words = [process.require("busybox", "busybox-static"), "sh", *workload.argv[1:]]
    ran = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=True, timeout=30)
    assert workload.parse(ran.stdout) == []


@pytest.mark.parametrize(
    "output",
    ["", "sha256sum: not found\n", f"{'0' * 64}  -\n", hashlib.sha256(bytes(ZEROS)).hexdigest()[:60], "\ufffd"],
    ids=["nothing", "an error", "a wrong answer", "cut off", "garbage"],
)
def test_sha256_on_garbage(output: str) -> None:
    with pytest.raises(ValueError, match="is not the digest"):
        workloads.load("sha256").parse(output)


def test_true_reads_nothing() -> None:
    assert workloads.load("true").parse("anything") == []


@pytest.mark.parametrize("name", workloads.names())
def test_every_workload_is_a_command_in_the_rootfs(name: str) -> None:
    workload = workloads.load(name)
    assert workload.name == name
    assert workload.argv[0].startswith("/bin/")
    assert all("\n" not in word for word in workload.argv)


def test_an_unknown_workload_is_told_the_known_ones() -> None:
    with pytest.raises(InputError, match=r"no workload 'fio'.*sha256, true"):
        workloads.load("fio")
