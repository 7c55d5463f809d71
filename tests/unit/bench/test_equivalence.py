"""What an instance sees against what the envelope promises."""

from __future__ import annotations

from typing import Any

import pytest

from bench import confine, equivalence

MEMORY = 128 << 20
HOST = {
    "kernel": "6.1.0",
    "clocksource": "tsc",
    "mitigations": {"meltdown": "Mitigation: PTI", "mds": "Not affected"},
    "read_only": ["/proc/sys"],
}
EXPECTED = equivalence.reference({"cpus": 1, "memory": MEMORY, "rootfs": "tiny"}, HOST, "sha256:aa")


def seen(**changes: Any) -> dict[str, Any]:
    same = {"mitigations": dict(HOST["mitigations"]), "rootfs": "sha256:aa", "kernel": "6.1.0", "clocksource": "tsc"}
    held = {**equivalence.CONFINED, "seccomp": 0, "read_only": ["/proc/sys", "/sys"]}
    return {**same, **held, "cpus": 1, "memory": MEMORY, "mounts": ["proc on /proc"], **changes}


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
        ("no_new_privs", 0),
        ("apparmor", "docker-default (enforce)"),
        ("capabilities", [*confine.CAPABILITIES, "sys_admin"]),
        ("bounding", confine.CAPABILITIES[1:]),
        ("capabilities", None),
        ("open_files", "20000:20000"),
        ("read_only", ["/sys"]),
        ("masked", ["/proc/kcore"]),
        ("cpus", None),
    ],
)
def test_each_difference_is_named_with_both_sides(key: str, value: Any) -> None:
    assert compare(**{key: value}) == {"badge": "differs", "caged": True, "differs": {key: [EXPECTED[key], value]}}


def test_what_a_guests_own_kernel_lets_its_root_do_is_of_no_matter() -> None:
    """It lets it do all, and masks nothing; what it has not told is not held against it either."""
    for changes in (
        {"capabilities": [*confine.CAPABILITIES, "sys_admin"], "no_new_privs": 0, "read_only": []},
        dict.fromkeys([*equivalence.CONFINED, "read_only"]),
    ):
        guest = seen(memory=MEMORY, **changes)
        told = equivalence.compare(EXPECTED, guest, memory_by_cage=False, caged=True, own_kernel=True)
        assert told == {"badge": "equal", "caged": True, "differs": {}}
        shared = equivalence.compare(EXPECTED, guest, memory_by_cage=False, caged=True)
        assert set(shared["differs"]) >= set(changes) - {"apparmor"}


def test_a_host_that_does_not_say_what_it_has_has_all() -> None:
    host = {key: value for key, value in HOST.items() if key != "read_only"}
    told = equivalence.reference({"cpus": 1, "memory": MEMORY}, host, "sha256:aa")
    assert told["read_only"] == sorted(["/sys", *confine.READ_ONLY])


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
