"""Names that follow the order or the model of disks: they mean something else, or nothing, on VirtIO. Pure.

/dev/sdb1 is an order of discovery; /dev/disk/by-path/pci-0000:03:00.0-scsi-0:0:1:0-part1 is a place on
VMware's PCI bus; /dev/disk/by-id/scsi-36000c29... is the identity that VMware gives to a disk. Links that are
made from what lies on the disk (by-uuid, by-id/dm-*, by-id/lvm-pv-uuid-*) stay what they are.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

PREFIX = re.compile(r"/dev/(?:sd|hd|xvd|vd)")
LETTERED = re.compile(r"(/dev/(?:sd|hd|xvd|vd)[a-z]{1,3})([1-9][0-9]{0,2})?")
NVME = re.compile(r"/dev/nvme([0-9]{1,3})n([1-9][0-9]{0,2})")
NUMBERED = re.compile(r"(/dev/nvme[0-9]{1,3}n[1-9][0-9]{0,2})(?:p([1-9][0-9]{0,2}))?")
# /dev/block/8:1 is a kernel's device number: as good as /dev/sda1, and no more telling.
LINKED = re.compile(r"(/dev/(?:disk/by-(?:id|path|diskseq)|block)/\S+?)(?:-part([1-9][0-9]{0,2}))?")
BY_CONTENT = re.compile(r"/dev/disk/by-id/(?:dm-|md-|lvm-pv-uuid-)\S+")


@dataclass(frozen=True)
class HardwareName:
    """`disk` is the name without its partition; partition 0 is the whole disk."""

    disk: str
    partition: int


def parsed(name: str) -> HardwareName | None:
    """None for every name that the hardware has no part in."""
    if BY_CONTENT.fullmatch(name):
        return None
    for form in (LETTERED, NUMBERED, LINKED):
        if match := form.fullmatch(name):
            return HardwareName(match[1], int(match[2] or 0))
    return None


def prefix(disk: str) -> str:
    """`/dev/sd` of `/dev/sdb`: kernels count the disks of each prefix by themselves."""
    match = PREFIX.match(disk)
    return match[0] if match else ""


def position(disk: str) -> int:
    """Which one `/dev/sdX` is, from 0; of NVMe disks controllers count as namespaces do."""
    if match := NVME.fullmatch(disk):
        return int(match[1]) + int(match[2]) - 1
    number = 0
    for letter in disk.removeprefix(prefix(disk)):
        number = number * 26 + ord(letter) - ord("a") + 1
    return number - 1


def lettered(start: str, at: int) -> str:
    """The name of the disk at this position, from 0: the inverse of `position`."""
    letters = ""
    at += 1
    while at:
        at, rest = divmod(at - 1, 26)
        letters = chr(ord("a") + rest) + letters
    return start + letters
