"""Tiers as markers, and the rule of CI that a skipped test is a failed one.

A test's tier is the folder that it lies in, so ``-m "not integration"`` works without a decorator.

TARE_REQUIRE_ALL=1 turns every skip into a failure, so that a backend which this machine can run cannot
quietly go untested. TARE_MAY_SKIP names, separated by commas, the parameter ids that may be skipped
nevertheless: ``kvm`` allows ``test_boots[kvm]`` to be skipped, and not ``test_boots[kvm-firmware]``.
"""

from __future__ import annotations

import os
import re
import resource
import signal
from collections.abc import Generator
from pathlib import Path

import pytest

TIERS = ("unit", "judge", "integration", "lab", "web")
TESTS = Path(__file__).parent


#: Whose handlers a command sets.
SIGNALS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGCONT, signal.SIGALRM)


@pytest.fixture(autouse=True)
def _as_before() -> Generator[None]:
    """What a test, or a command that it runs in this process, changes of the process ends with it."""
    handlers = {number: handler for number in SIGNALS if (handler := signal.getsignal(number)) is not None}
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    environment = dict(os.environ)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in handlers.items():
        signal.signal(number, handler)
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))
    os.environ.clear()
    os.environ.update(environment)


def pytest_configure(config: pytest.Config) -> None:
    for tier in TIERS:
        config.addinivalue_line("markers", f"{tier}: lies in tests/{tier}")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        tier = item.path.relative_to(TESTS).parts[0] if item.path.is_relative_to(TESTS) else ""
        if tier in TIERS:
            item.add_marker(tier)


def _forbid_skip(report: pytest.TestReport | pytest.CollectReport) -> None:
    """Turns ``report`` of a skip into one of a failure, if this run does not allow that skip."""
    if not report.skipped or hasattr(report, "wasxfail") or os.environ.get("TARE_REQUIRE_ALL") != "1":
        return
    parameters = re.search(r"\[(.*)\]$", report.nodeid)
    allowed = os.environ.get("TARE_MAY_SKIP", "").split(",")
    if parameters is None or parameters[1] not in allowed:
        why = report.longrepr[2] if isinstance(report.longrepr, tuple) else report.longrepr
        report.outcome = "failed"
        report.longrepr = f"{report.nodeid} was skipped, and TARE_REQUIRE_ALL=1 forbids that: {why}"


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport() -> Generator[None, pytest.TestReport, pytest.TestReport]:
    report = yield
    _forbid_skip(report)
    return report


@pytest.hookimpl(wrapper=True)
def pytest_make_collect_report() -> Generator[None, pytest.CollectReport, pytest.CollectReport]:
    report = yield
    _forbid_skip(report)
    return report
