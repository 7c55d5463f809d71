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
    reason = crew._explain(answer, kvm, "linux", kvm.probe_limit)
    assert reason == (
        f"a linux guest was started and gave no sign of READY in {kvm.probe_limit:g} s"
        f' (last words: "Booting from ROM.."); {kvm.remedy}'
    )
    assert reason.endswith("nested KVM from its host")


def test_words_that_are_the_reason_are_not_said_twice() -> None:
    answer = {"status": "failed", "reason": "it ended:\n  no such\n  machine", "console": "no such machine\n"}
    reason = crew._explain(answer, base.load("crun"), "linux", 20.0)
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
