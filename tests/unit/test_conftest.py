"""What a command changes of the process that runs it is as before for the next test."""

from __future__ import annotations

import os
import resource
import signal
from collections.abc import Generator

import pytest

from bench import cli


def _state() -> object:
    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT)]
    return handlers, resource.getrlimit(resource.RLIMIT_NOFILE), os.environ.get("MPLBACKEND")


@pytest.fixture(scope="module")
def before() -> Generator[object]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(soft, 1000), hard))
    yield _state()
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize("time", ["first", "second"])
def test_each_test_begins_as_the_one_before(before: object, time: str) -> None:
    assert _state() == before
    assert cli.main(["setup"]) == 2
    assert _state() != before
