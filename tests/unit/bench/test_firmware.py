"""The boot sector's bytes fit together: a table kept by hand is easily off by one."""

from __future__ import annotations

from bench import firmware

_JUMPS = {0x74, 0xEB}


def test_sector_is_what_a_bios_loads() -> None:
    sector = firmware.boot_sector()
    assert len(sector) == 512
    assert sector[510:] == b"\x55\xaa"
    assert firmware.image().startswith(sector)
    assert len(firmware.image()) % 512 == 0


def test_offsets_follow_from_the_code() -> None:
    place = 0
    for offset, code, _ in firmware.CODE:
        assert offset == place
        place += len(bytes.fromhex(code))


def test_jumps_land_where_their_comment_says() -> None:
    starts = {offset for offset, _, _ in firmware.CODE}
    jumps = 0
    for offset, code, assembly in firmware.CODE:
        data = bytes.fromhex(code)
        if data[0] in _JUMPS:
            target = offset + 2 + int.from_bytes(data[1:2], "little", signed=True)
            assert target in starts
            assert target == int(assembly.split(";")[0].split()[1], 16)
            jumps += 1
    assert jumps == 4


def test_text_is_where_the_code_looks_for_it() -> None:
    (load,) = (bytes.fromhex(code) for _, code, assembly in firmware.CODE if assembly.startswith("mov si"))
    at = int.from_bytes(load[1:3], "little") - 0x7C00
    assert firmware.boot_sector()[at:].startswith(b"\nREADY\n\0")
