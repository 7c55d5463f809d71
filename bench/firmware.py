"""The guest without an operating system: a boot sector that says READY and halts.

It shows what a hypervisor and its firmware cost where no Linux is involved, and it runs under a KVM that
cannot run Linux.
"""

from __future__ import annotations

SECTOR_SIZE = 512
#: Of a disk that every firmware accepts.
IMAGE_SIZE = 1 << 20

_TEXT = b"\nREADY\n\0"

#: 16-bit code for a BIOS machine: offset, machine code, assembly. The ports answer without being set up.
CODE: tuple[tuple[int, str, str], ...] = (
    (0x00, "fa", "cli"),
    (0x01, "fc", "cld"),
    (0x02, "31 c0", "xor ax, ax"),
    (0x04, "8e d8", "mov ds, ax"),
    (0x06, "ba f8 03", "mov dx, 0x3f8      ; COM1, the console: one byte, the `kernel` mark"),
    (0x09, "b0 2e", "mov al, '.'"),
    (0x0B, "ee", "out dx, al"),
    (0x0C, "be 25 7c", "mov si, 0x7c25     ; the text behind this code"),
    (0x0F, "ba fd 02", "mov dx, 0x2fd      ; next: COM2, the channel: its line status"),
    (0x12, "ec", "in al, dx          ; wait:"),
    (0x13, "a8 20", "test al, 0x20      ; may it take a byte?"),
    (0x15, "74 fb", "jz 0x12            ; wait"),
    (0x17, "ac", "lodsb"),
    (0x18, "84 c0", "test al, al"),
    (0x1A, "74 06", "jz 0x22            ; halt"),
    (0x1C, "ba f8 02", "mov dx, 0x2f8"),
    (0x1F, "ee", "out dx, al"),
    (0x20, "eb ed", "jmp 0xf            ; next"),
    (0x22, "f4", "hlt                ; halt: with interrupts off, for ever"),
    (0x23, "eb fd", "jmp 0x22"),
)


def boot_sector() -> bytes:
    """The 512 bytes that a BIOS loads and runs."""
    code = b"".join(bytes.fromhex(machine_code) for _, machine_code, _ in CODE)
    return (code + _TEXT).ljust(SECTOR_SIZE - 2, b"\0") + b"\x55\xaa"


def image() -> bytes:
    """A bootable disk image: the sector and zeros."""
    return boot_sector().ljust(IMAGE_SIZE, b"\0")
