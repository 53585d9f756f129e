"""Disks as an enemy or a dying controller leaves them: tables, volumes and file systems that contradict
themselves, and sound ones to damage.

All are written as bytes or by the tools that make such things in a file; nothing is activated here.
"""

from __future__ import annotations

import struct
import subprocess
import uuid
import zlib
from collections.abc import Callable
from pathlib import Path

from tests.convert import phony
from tests.guests.disk import MIB, SECTOR
from tests.guests.tools import run

SIZE = 8 * MIB
LAST = SIZE // SECTOR - 1
LINUX = uuid.UUID("0fc63daf-8483-4772-8e79-3d69d8477de4")
DISK = uuid.UUID("5a3c9f0e-0000-4000-8000-0000000000d1")
ENTRY = 128


def mbr(*entries: tuple[int, int, int]) -> bytes:
    """A boot record, with entries of (kind, first sector, sectors)."""
    table = b"".join(struct.pack("<4xB3xII", *entry) for entry in entries)
    return bytes(446) + table.ljust(64, b"\0") + b"\x55\xaa"


def gpt(*partitions: tuple[int, int], count: int = 128, damage: int = 0) -> bytes:
    """A GPT disk, with partitions of (first, last) sector. `count` is what its header claims to hold;
    `damage` is added to the checksum of the partitions."""
    entries = b"".join(
        LINUX.bytes_le + uuid.uuid5(DISK, str(at)).bytes_le + struct.pack("<QQQ", *place, 0) + bytes(72)
        for at, place in enumerate(partitions)
    ).ljust(128 * ENTRY, b"\0")
    checksum = (zlib.crc32(entries) + damage) & 0xFFFFFFFF

    def header(own: int, other: int, at: int) -> bytes:
        places = struct.pack("<QQQQ", own, other, 34, LAST - 33)
        rest = DISK.bytes_le + struct.pack("<QIII", at, count, ENTRY, checksum)
        head = b"EFI PART" + struct.pack("<II", 0x10000, 92) + bytes(8) + places + rest
        return (head[:16] + struct.pack("<I", zlib.crc32(head)) + head[20:]).ljust(SECTOR, b"\0")

    front = mbr((0xEE, 1, LAST)) + header(1, LAST, 2) + entries
    back = entries + header(LAST, 1, LAST - 32)
    return front + bytes(SIZE - len(front) - len(back)) + back


def endless_extended() -> bytes:
    """An extended partition whose first link leads to itself, and whose second leads back."""
    image = bytearray(SIZE)
    image[:SECTOR] = mbr((0x05, 2048, 8192))
    for at, onward in ((2048, 512), (2048 + 512, 0)):
        image[at * SECTOR : (at + 1) * SECTOR] = mbr((0x83, 1, 100), (0x05, onward, 512))
    return bytes(image)


def array_member(number: int) -> bytes:
    """One of the two disks of a RAID 1, with metadata 1.2."""
    name = b"phony:0".ljust(32, b"\0")
    sectors = SIZE // SECTOR - 2048
    head = struct.pack("<IIII16s32sQiIQII", 0xA92B4EFC, 1, 0, 0, DISK.bytes, name, 0, 1, 0, sectors, 0, 2)
    head = head.ljust(128, b"\0") + struct.pack("<QQQQII", 2048, sectors, 8, 0, number, 0)
    head += uuid.uuid5(DISK, f"member {number}").bytes
    head = head.ljust(192, b"\0") + struct.pack("<QQQII", 0, 1, 0xFFFFFFFFFFFFFFFF, 0, 2)
    block = bytearray(head.ljust(256, b"\0") + struct.pack("<HH", 0, 1))
    total = sum(struct.unpack(f"<{len(block) // 4}I", block))
    block[216:220] = struct.pack("<I", (total & 0xFFFFFFFF) + (total >> 32))
    return bytes(8 * SECTOR) + bytes(block).ljust(SIZE - 8 * SECTOR, b"\0")


def volume_group(image: Path) -> Path:
    """A disk that is all of a volume group. LVM wants a block device; nothing is activated."""
    image.write_bytes(bytes(SIZE))
    device = run("losetup", "--find", "--show", image, deadline=20).strip()
    try:
        only = f'devices {{ filter = [ "a|^{device}$|", "r|.*|" ] }}'
        for command in (("pvcreate", "-y", device), ("vgcreate", "-y", "vg0", device)):
            run(
                command[0],
                "--config",
                only,
                *command[1:],
                deadline=60,
                environment={"LVM_SUPPRESS_FD_WARNINGS": "1"},
            )
    finally:
        run("losetup", "--detach", device, deadline=20)
    return image


def luks(image: Path) -> Path:
    image.write_bytes(bytes(20 * MIB))
    quick = ("--pbkdf", "pbkdf2", "--pbkdf-force-iterations", "1000")
    subprocess.run(
        ["cryptsetup", "luksFormat", "-q", "--type", "luks2", *quick, "--key-file", "-", image],
        input=b"phony",
        check=True,
        capture_output=True,
        timeout=60,
    )
    return image


def _root(image: Path) -> Path:
    return phony.make(image, phony.debian())


def _xfs(image: Path) -> Path:
    run("mkfs.xfs", "-q", "-d", f"file,name={image},size=300m", deadline=60)
    return image


def _btrfs(image: Path) -> Path:
    with image.open("xb") as file:
        file.truncate(120 * MIB)
    run("mkfs.btrfs", "-q", image, deadline=60)
    return image


def _fat(image: Path) -> Path:
    image.write_bytes(bytes(4 * MIB))
    run("mkfs.vfat", image, deadline=60)
    return image


def _bytes(content: Callable[[], bytes]) -> Callable[[Path], Path]:
    def write(image: Path) -> Path:
        image.write_bytes(content())
        return image

    return write


# Sound disks, and where on each its structure lies: (start, length) in bytes.
SEEDS: dict[str, tuple[Callable[[Path], Path], tuple[tuple[int, int], ...]]] = {
    "mbr": (_root, ((0, 512),)),
    "ext4": (_root, ((MIB + 1024, 1024), (MIB + 4096, 4096), (MIB, 256 * 1024))),
    "gpt": (_bytes(lambda: gpt((2048, 4095), (4096, 8191))), ((0, 1024), (1024, 1024), (SIZE - 1024, 1024))),
    "extended": (_bytes(endless_extended), ((0, 512), (2048 * 512, 512), (2560 * 512, 512))),
    "xfs": (_xfs, ((0, 512), (512, 2048), (65536, 65536))),
    "btrfs": (_btrfs, ((65536, 4096), (1 * MIB, MIB), (13 * MIB, 10 * MIB))),
    "fat": (_fat, ((0, 512), (512, 8192))),
    "lvm": (volume_group, ((512, 512), (4096, 4096))),
    "array": (_bytes(lambda: array_member(0)), ((4096, 260),)),
    "luks": (luks, ((0, 4096), (4096, 12288))),
}
