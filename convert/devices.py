"""File systems of all disks, and what a guest's device names mean on them. Pure.

Tags and names of volumes are what lies on the disks. A name such as /dev/sdb1 is an order of discovery, and
/dev/disk/by-path/... a place on VMware's hardware: what the source VM tells of its disks decides
(placement.py), and where that is not enough such a name stays unresolved.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convert import hardware, placement

if TYPE_CHECKING:
    from collections.abc import Iterable

    from transferd.model import SourceDisk

TAGS = {
    "/dev/disk/by-uuid/": "UUID=",
    "/dev/disk/by-label/": "LABEL=",
    "/dev/disk/by-partuuid/": "PARTUUID=",
    "/dev/disk/by-partlabel/": "PARTLABEL=",
}
TAG_FIELDS = {"UUID": "uuid", "LABEL": "label", "PARTUUID": "partuuid", "PARTLABEL": "partlabel"}


@dataclass(frozen=True)
class FileSystem:
    """One file system, swap or container (crypto_LUKS, LVM2_member, linux_raid_member).

    `disk` and `partition` are None for volumes; partition 0 is a whole disk. `disks` are all those that it
    lies on. `device` is its name in the appliance and nowhere else; `aliases` are the guest's own names of a
    volume. `size` is in bytes. `subvolume` is the path, from the top of a btrfs, of what is mounted of it.
    `container` is the crypto_LUKS that it was opened from, however deep below.
    """

    device: str
    kind: str
    disk: int | None = None
    partition: int | None = None
    uuid: str | None = None
    label: str | None = None
    partuuid: str | None = None
    partlabel: str | None = None
    size: int | None = None
    subvolume: str | None = None
    container: FileSystem | None = None
    disks: tuple[int, ...] = ()
    aliases: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """For messages; disks count from 0, as they do in documents."""
        if self.disk is None:
            return self.device
        return f"partition {self.partition} of disk {self.disk}" if self.partition else f"disk {self.disk}"


@dataclass(frozen=True)
class Devices:
    """All file systems, and what the source says of the disks that they are on, in the same order."""

    filesystems: tuple[FileSystem, ...]
    disks: tuple[SourceDisk, ...] = ()

    def resolve(self, name: str) -> FileSystem | None:
        """What `name` stands for: a device path or a tag as fstab and kernel command lines spell them."""
        for prefix, tag in TAGS.items():
            if name.startswith(prefix):
                name = tag + name.removeprefix(prefix)
        tag, equals, value = name.partition("=")
        if equals:
            return self._tagged(tag, value.strip("\"'"))
        if parsed := hardware.parsed(name):
            disk = placement.known(parsed.disk, self.disks)
            return None if disk is None else self.at(disk, parsed.partition)
        return self._only([found for found in self.filesystems if _is_called(found, name)])

    def opened_as(self, crypttab: Iterable[tuple[str, str]]) -> Devices:
        """These, where what LUKS holds is also known by its name in the guest: (name, container) pairs."""
        names = {
            container.device: f"/dev/mapper/{name}"
            for name, spec in crypttab
            if (container := self.resolve(spec)) is not None
        }
        return replace(self, filesystems=tuple(_renamed(found, names) for found in self.filesystems))

    def at(self, disk: int, partition: int) -> FileSystem | None:
        return self._only([f for f in self.filesystems if (f.disk, f.partition) == (disk, partition)])

    def _tagged(self, tag: str, value: str) -> FileSystem | None:
        field = TAG_FIELDS.get(tag)
        if field is None:
            return None
        return self._only([f for f in self.filesystems if _same_tag(getattr(f, field), value)])

    def _only(self, found: list[FileSystem]) -> FileSystem | None:
        return found[0] if len(found) == 1 else None


def _renamed(filesystem: FileSystem, names: dict[str, str]) -> FileSystem:
    """With the name that its container gives: a volume group's volumes in that container keep theirs."""
    container = filesystem.container
    if container is None or container.device not in names or not filesystem.device.startswith("/dev/mapper/"):
        return filesystem
    return replace(filesystem, aliases=(*filesystem.aliases, names[container.device]))


def _same_tag(have: str | None, want: str) -> bool:
    return have is not None and have.lower() == want.lower()


def _is_called(filesystem: FileSystem, name: str) -> bool:
    """/dev/VG/LV and /dev/mapper/VG-LV are one volume; device mapper doubles the dashes inside names."""
    parts = filesystem.device.removeprefix("/dev/").split("/")
    mapped = "/dev/mapper/" + "-".join(part.replace("-", "--") for part in parts)
    return name in (filesystem.device, mapped, *filesystem.aliases)
