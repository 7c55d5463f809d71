"""What an instance sees against what the envelope promises."""

from __future__ import annotations

from typing import Any

import pytest

from bench import equivalence

MEMORY = 128 << 20
HOST = {"kernel": "6.1.0", "clocksource": "tsc", "mitigations": {"meltdown": "Mitigation: PTI", "mds": "Not affected"}}
EXPECTED = equivalence.reference({"cpus": 1, "memory": MEMORY, "rootfs": "tiny"}, HOST, "sha256:aa")


def seen(**changes: Any) -> dict[str, Any]:
    same = {"mitigations": dict(HOST["mitigations"]), "rootfs": "sha256:aa", "kernel": "6.1.0", "clocksource": "tsc"}
    return {**same, "cpus": 1, "memory": MEMORY, "seccomp": 0, "mounts": ["proc on /proc"], **changes}


def compare(caged: bool = True, memory_by_cage: bool = True, **changes: Any) -> dict[str, Any]:
    limit = MEMORY if caged and memory_by_cage else None
    return equivalence.compare(
        EXPECTED, seen(**changes), memory_by_cage=memory_by_cage, caged=caged, memory_limit=limit
    )


def test_the_same_world_is_equal() -> None:
    assert compare() == {"badge": "equal", "caged": True, "differs": {}}


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("kernel", "6.1.176"),
        ("cpus", 2),
        ("rootfs", "sha256:bb"),
        ("clocksource", "kvm-clock"),
        ("seccomp", 2),
        ("cpus", None),
    ],
)
def test_each_difference_is_named_with_both_sides(key: str, value: Any) -> None:
    assert compare(**{key: value}) == {"badge": "differs", "caged": True, "differs": {key: [EXPECTED[key], value]}}


def test_a_container_that_sees_all_of_the_hosts_memory_is_held_by_its_cage() -> None:
    assert compare(memory=8 << 30)["badge"] == "equal"


def test_a_cage_with_another_limit_is_no_equal() -> None:
    found = equivalence.compare(EXPECTED, seen(), memory_by_cage=True, caged=True, memory_limit=2 * MEMORY)
    assert found["differs"] == {"memory": [MEMORY, 2 * MEMORY]}


@pytest.mark.parametrize(
    ("share", "badge"),
    [(1.0, "equal"), (0.86, "equal"), (0.84, "differs"), (1.14, "equal"), (1.16, "differs"), (8, "differs")],
)
def test_a_guest_is_held_to_what_it_sees(share: float, badge: str) -> None:
    assert compare(memory_by_cage=False, memory=int(MEMORY * share))["badge"] == badge


def test_a_guest_that_does_not_say_its_memory_differs() -> None:
    assert compare(memory_by_cage=False, memory=None)["differs"] == {"memory": [MEMORY, None]}


def test_without_a_cage_nothing_holds_a_container() -> None:
    found = compare(caged=False)
    assert found["badge"] == "differs"
    assert found["caged"] is False
    assert found["differs"] == {"memory": [MEMORY, None], "cage": ["one cgroup", None]}


def test_only_the_odd_mitigations_are_shown() -> None:
    found = compare(mitigations={"meltdown": "Vulnerable", "mds": "Not affected", "new": "x"})
    assert found["differs"] == {
        "mitigations": [{"meltdown": "Mitigation: PTI", "new": None}, {"meltdown": "Vulnerable", "new": "x"}]
    }


def test_an_instance_that_told_nothing_equals_nothing() -> None:
    assert set(equivalence.compare(EXPECTED, {}, memory_by_cage=False, caged=True)["differs"]) == set(EXPECTED)


def test_a_disk_must_be_mounted_as_everywhere() -> None:
    expected = equivalence.reference(
        {"cpus": 1, "memory": MEMORY, "rootfs": "tiny", "disk": 64 << 20}, HOST, "sha256:aa"
    )
    assert "disk" not in EXPECTED

    def differs(disk: str | None) -> Any:
        told = equivalence.compare(expected, seen(disk=disk), memory_by_cage=True, caged=True, memory_limit=MEMORY)
        return told["differs"]

    assert differs(equivalence.DISK) == {}
    assert differs("ext4 rw,nobarrier") == {"disk": [equivalence.DISK, "ext4 rw,nobarrier"]}
    assert differs(None) == {"disk": [equivalence.DISK, None]}
