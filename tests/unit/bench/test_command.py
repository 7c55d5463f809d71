"""Instances that are commands of this host: a door's client, its output and its end. Real commands, without a cage."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from bench.backends import _command
from bench.backends.base import Order, Rootfs
from bench.errors import InstanceError, InstanceTimeout


class Plain(_command.CommandBackend):
    family = "process"
    door = "sh"

    def command(self, order: Order) -> Sequence[str]:
        return ["/bin/sh", "-c", r"printf '\nINIT\n\nREADY\n'; read end"]

    def exec_command(self, instance: _command.CommandInstance, argv: Sequence[str]) -> Sequence[str]:
        return ["/bin/sh", "-c", *argv]


@pytest.fixture
def instance(tmp_path: Path) -> Iterator[_command.CommandInstance]:
    folder = tmp_path / "one"
    folder.mkdir()
    rootfs = Rootfs("sha256:aa", tree=tmp_path, initramfs=tmp_path, ext4=tmp_path, on_disk=False)
    order = Order("tare-one", folder, rootfs, cpus=1, memory=1 << 20, kernel=None)
    made = Plain(tmp_path, None).provision(order, None)
    assert isinstance(made, _command.CommandInstance)
    made.start(time.monotonic() + 10)
    yield made
    made.kill(time.monotonic() + 10)


def test_a_client_that_closes_its_output_before_its_end_is_waited_for_asleep(
    instance: _command.CommandInstance,
) -> None:
    before = time.process_time()
    reply = instance.exec(["echo said; exec >&- 2>&-; sleep 0.4; exit 7"], time.monotonic() + 10)
    assert (reply.output, reply.status) == (b"said\n", 7)
    assert reply.seconds >= 0.4
    assert time.process_time() - before < 0.2


def test_all_that_a_client_prints_is_heard_also_when_it_has_ended(instance: _command.CommandInstance) -> None:
    reply = instance.exec(["head -c 700000 /dev/zero"], time.monotonic() + 10)
    assert len(reply.output) == 700000


def test_a_client_that_floods_is_ended(instance: _command.CommandInstance, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_command, "OUTPUT_LIMIT", 1 << 20)
    with pytest.raises(InstanceError, match="more than 1 MiB of output"):
        instance.exec(["exec cat /dev/zero"], time.monotonic() + 10)


def test_a_client_that_hangs_is_given_up(instance: _command.CommandInstance) -> None:
    for words in ("sleep 30", "exec >&- 2>&-; sleep 30"):
        with pytest.raises(InstanceTimeout, match="through sh did not end"):
            instance.exec([words], time.monotonic() + 0.1)


def test_it_works_in_a_folder_of_its_own(instance: _command.CommandInstance) -> None:
    assert Path(f"/proc/{instance.leader}/cwd").readlink() == instance.order.folder
    assert instance.exec(["pwd"], time.monotonic() + 10).output.decode().strip() == str(instance.order.folder)
