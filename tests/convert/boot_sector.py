"""Guests of 512 bytes: boot sectors that say something by the BIOS and then do one thing.

What a whole operating system can do to a rehearsal, each of these does within a second.
"""

from __future__ import annotations

from pathlib import Path

MIB = 1 << 20

SETUP = bytes.fromhex("31c0 8ed8 8ec0")  # xor ax,ax; mov ds,ax; mov es,ax
# mov si,MESSAGE; 1: lodsb; test al,al; jz 2f; mov ah,0x0e; mov bx,7; int 0x10; jmp 1b; 2:
SAY = bytes.fromhex("be 0000 ac 84c0 7409 b40e bb0700 cd10 ebf2")
# mov ax,0x0301; mov bx,0x7c00; mov cx,2; mov dx,0x80; int 0x13
WRITE_SECTOR = bytes.fromhex("b80103 bb007c b90200 ba8000 cd13")

HALT = bytes.fromhex("f4 ebfd")  # 1: hlt; jmp 1b
RESTART = bytes.fromhex("baf90c b006 ee f4")  # the reset register of the chip set
SWITCH_OFF = bytes.fromhex(
    "ba0406 b80020 ef f4"
)  # sleep state 5 in the ACPI registers, where SeaBIOS puts them
NEXT_DEVICE = bytes.fromhex("cd18")  # int 0x18: nothing to boot here


def guest(disk: Path, says: bytes, then: bytes, *, writes: bool = False, size: int = MIB) -> Path:
    """A disk that boots: it `says` something, and `then` ends it."""
    code = SETUP + (WRITE_SECTOR if writes else b"") + SAY + then
    place = 0x7C00 + len(code)
    code = code.replace(b"\xbe\0\0\xac", b"\xbe" + place.to_bytes(2, "little") + b"\xac")
    sector = (code + says + b"\0").ljust(510, b"\0") + b"\x55\xaa"
    assert len(sector) == 512
    disk.write_bytes(sector)
    with disk.open("rb+") as file:
        file.truncate(size)
    return disk


def endless(disk: Path, says: bytes) -> Path:
    """A disk that boots and says the same for ever."""
    back = (0x100 - len(SAY) - 2).to_bytes(1, "little")
    return guest(disk, says, b"\xeb" + back)
