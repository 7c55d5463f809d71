"""Exit codes and the one line that people see."""

from __future__ import annotations

import pytest

from bench import errors


@pytest.mark.parametrize(
    ("kind", "code"),
    [
        (errors.TareError, 5),
        (errors.InputError, 2),
        (errors.HostError, 4),
        (errors.CommandError, 5),
        (errors.InstanceError, 5),
        (errors.InstanceTimeout, 5),
        (errors.RecordError, 5),
    ],
)
def test_exit_codes(kind: type[errors.TareError], code: int) -> None:
    assert kind("x").exit_code == code
    assert issubclass(kind, errors.TareError)


def test_the_hint_is_part_of_the_line_and_the_detail_is_not() -> None:
    error = errors.HostError("crun is not installed", detail="PATH=/bin", hint="apt-get install crun")
    assert str(error) == "crun is not installed; apt-get install crun"
    assert error.detail == "PATH=/bin"
    assert str(errors.HostError("held")) == "held"


def test_a_timeout_can_be_told_from_a_failure() -> None:
    assert issubclass(errors.InstanceTimeout, errors.InstanceError)
    assert not issubclass(errors.HostError, errors.InstanceError)
