"""File systems of all disks, and what a guest's device names mean on them. Pure.

A name such as /dev/sdb1 is an order of discovery, not a device: it stood for the second disk that the
guest's kernel found. The disks are given in the order of the source VM, so the second disk is the second
argument, as long as one kind of controller holds them all. Where kinds are mixed the order cannot be known
from outside, and such names stay unresolved: they are reported, not guessed.

What a name stands for is written back as UUID=, which every initramfs and systemd resolves by content.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

# sda, hda, xvda, vda with an optional partition; nvme0n1 and mmcblk0 number theirs after a `p`.
LETTERED = re.compile(r"/dev/(?:sd|hd|xvd|vd)([a-z]{1,3})([1-9][0-9]{0,2})?")
NUMBERED = re.compile(r"/dev/nvme([0-9]{1,2})n1(?:p([1-9][0-9]{0,2}))?")
BY_HARDWARE = ("/dev/disk/by-id/", "/dev/disk/by-path/")
TAGS = {
    "/dev/disk/by-uuid/": "UUID=",
    "/dev/disk/by-label/": "LABEL=",
    "/dev/disk/by-partuuid/": "PARTUUID=",
    "/dev/disk/by-partlabel/": "PARTLABEL=",
}


@dataclass(frozen=True)
class FileSystem:
    """One file system or swap. `disk` and `partition` are None for logical volumes; partition 0 is a
    whole disk. `device` is its name in the appliance and nowhere else."""

    device: str
    kind: str
    disk: int | None = None
    partition: int | None = None
    uuid: str | None = None
    label: str | None = None
    partuuid: str | None = None


@dataclass(frozen=True)
class Devices:
    """All file systems, and whether the order of disks is the guest's order of discovery."""

    filesystems: tuple[FileSystem, ...]
    ordered: bool = True

    def resolve(self, name: str) -> FileSystem | None:
        """What `name` stands for: a device path or a tag as fstab and kernel command lines spell them."""
        for prefix, tag in TAGS.items():
            if name.startswith(prefix):
                name = tag + name.removeprefix(prefix)
        tag, equals, value = name.partition("=")
        if equals:
            return self._tagged(tag, value.strip("\"'"))
        place = disk_and_partition(name)
        if place:
            return self._at(*place) if self.ordered else None
        return self._only([found for found in self.filesystems if _same_volume(found.device, name)])

    def stable_name(self, name: str) -> str | None:
        """`UUID=...` for a name that depends on order or hardware, when exactly one file system has it."""
        found = self.resolve(name)
        if found is None or not found.uuid or self._tagged("UUID", found.uuid) is None:
            return None
        return f"UUID={found.uuid}"

    def _at(self, disk: int, partition: int) -> FileSystem | None:
        return self._only([f for f in self.filesystems if (f.disk, f.partition) == (disk, partition)])

    def _tagged(self, tag: str, value: str) -> FileSystem | None:
        field = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "partuuid"}.get(tag)
        if field is None:
            return None
        return self._only([f for f in self.filesystems if _same_tag(getattr(f, field), value)])

    def _only(self, found: list[FileSystem]) -> FileSystem | None:
        return found[0] if len(found) == 1 else None


def is_unstable(name: str) -> bool:
    """Whether a device name changes its meaning with the hardware below it."""
    return disk_and_partition(name) is not None or name.startswith(BY_HARDWARE)


def disk_and_partition(name: str) -> tuple[int, int] | None:
    """(disk, partition) counted as this module counts, for a kernel's device name; None for other names."""
    if match := LETTERED.fullmatch(name):
        number = 0
        for letter in match[1]:
            number = number * 26 + ord(letter) - ord("a") + 1
        return number - 1, int(match[2] or 0)
    if match := NUMBERED.fullmatch(name):
        return int(match[1]), int(match[2] or 0)
    return None


def _same_tag(have: str | None, want: str) -> bool:
    return have is not None and have.lower() == want.lower()


def _same_volume(device: str, name: str) -> bool:
    """/dev/VG/LV and /dev/mapper/VG-LV are one volume; device mapper doubles the dashes inside names."""
    parts = device.removeprefix("/dev/").split("/")
    mapped = "/dev/mapper/" + "-".join(part.replace("-", "--") for part in parts)
    return name in (device, mapped)
