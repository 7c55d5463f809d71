"""What is said of a probe that did not come up."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from bench import crew, state
from bench.backends import base


def test_a_silent_guest_is_told_of_in_one_line_with_its_last_words_and_what_to_do() -> None:
    kvm = base.load("kvm")
    answer = {"status": "timeout", "reason": "no INIT", "console": "SeaBIOS\n\nBooting  from ROM..\n"}
    reason = crew._explain(answer, kvm.remedy, "linux", kvm.probe_limit)
    assert reason == (
        f"a linux guest was started and gave no sign of READY in {kvm.probe_limit:g} s"
        f' (last words: "Booting from ROM.."); {kvm.remedy}'
    )
    assert reason.endswith("nested KVM from its host")


def test_words_that_are_the_reason_are_not_said_twice() -> None:
    answer = {"status": "failed", "reason": "it ended:\n  no such\n  machine", "console": "no such machine\n"}
    reason = crew._explain(answer, base.Backend.remedy, "linux", 20.0)
    assert reason == f"it ended: no such machine; {base.Backend.remedy}"


@pytest.mark.parametrize("end", ["close", "interrupt"])
def test_a_crew_that_ends_gives_back_the_cpus_that_it_kept_off(end: str) -> None:
    before = os.sched_getaffinity(0)
    run = state.Run("0123abcd", Path("/nowhere"), os.getpid(), 0, "a test", "", 0)
    ended = crew.Crew(run, {}, {"cpus": 1}, base.Rootfs("", *[Path()] * 3), {})
    try:
        os.sched_setaffinity(0, {min(before)})
        getattr(ended, end)()
        assert os.sched_getaffinity(0) == before
    finally:
        os.sched_setaffinity(0, before)


def test_a_runtime_that_cannot_be_run_is_not_said_to_be_missing(tmp_path: Path) -> None:
    oci = base.load("oci")
    (tmp_path / "runtime").write_text("#!/bin/sh\n")
    reasons = {
        tmp_path / "runtime": f"{tmp_path}/runtime is not executable: chmod +x {tmp_path}/runtime",
        tmp_path: f"{tmp_path} is a folder: name the program itself",
        tmp_path / "none": f"there is no {tmp_path}/none: the campaign names it",
    }
    for path, reason in reasons.items():
        if oci.needs_root and os.geteuid() != 0:
            reason = "needs root: run as root or with sudo"
        assert crew.static_reason(oci, {"runtime": str(path)}) == reason


def test_what_a_campaign_names_itself_is_looked_at_first() -> None:
    kvm, oci = base.load("kvm"), base.load("oci")
    assert crew._remedy({"options": {"runtime": "/opt/youki"}}, oci, 1 << 30).startswith(
        "the campaign names this runtime (/opt/"
    )
    assert crew._remedy({"options": {}, "kernel": "./bzImage"}, kvm, 1 << 30).startswith(
        "the campaign names this kernel (./bzI"
    )
    assert crew._remedy({"options": {}}, kvm, 1 << 30) == kvm.remedy
    assert "it has 64 MiB of memory" in crew._remedy({"options": {}}, kvm, 64 << 20)


def test_an_error_that_says_what_to_do_needs_no_general_advice() -> None:
    answer = {"status": "failed", "reason": "/dev/shm is full; mount -o remount,size=50% /dev/shm"}
    assert crew._explain(answer, base.Backend.remedy, "linux", 20.0) == answer["reason"]
