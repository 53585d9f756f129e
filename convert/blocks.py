"""From what lsblk says of the appliance's block devices to file systems, volumes and what holds them. Pure.

One lsblk costs 0.15 s in an appliance without KVM; asking guestfs for partitions, their numbers, their types
and each one's superblock costs ten times that. udev has probed every device when the appliance came up, and
lsblk only reads what udev found.

Its answer is flat: one row for each device and each thing that the device lies on. The appliance's own disk
and whatever else does not lie on a disk of the guest is left out.
"""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from convert.devices import FileSystem
from transferd.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

COLUMNS = (
    "KNAME,PKNAME,PATH,TYPE,FSTYPE,UUID,LABEL,PARTUUID,PARTLABEL,PARTTYPE,PTTYPE,SIZE,SERIAL"  # of lsblk(8)
)
LUKS = "crypto_LUKS"
ARRAY_MEMBER = "linux_raid_member"
VOLUME_GROUP_MEMBER = "LVM2_member"
# GUID partition types (UEFI specification 5.3.3; GRUB manual, BIOS installation).
ESP_TYPE = "C12A7328-F81F-11D2-BA4B-00A0C93EC93B"
BIOS_BOOT_TYPE = "21686148-6449-6E6F-744E-656564454649"


@dataclass(frozen=True)
class Blocks:
    """`types`: GPT partition types, upper case, with their disks. `tables`: the kind of partition table of
    each disk that has one. `held`: devices of containers on which something lies."""

    filesystems: tuple[FileSystem, ...] = ()
    types: frozenset[tuple[int, str]] = frozenset()
    tables: Mapping[int, str] = field(default_factory=dict)
    held: frozenset[str] = frozenset()

    @property
    def kinds(self) -> frozenset[str]:
        return frozenset(filesystem.kind for filesystem in self.filesystems)

    def doubles(self) -> list[FileSystem]:
        """btrfs with one UUID on several devices: one file system, or copies of one."""
        count = Counter(f.uuid for f in self.filesystems if f.kind == "btrfs")
        return [f for f in self.filesystems if f.kind == "btrfs" and count[f.uuid] > 1]

    def merged(self, parts: Mapping[str, str]) -> Blocks:
        """`parts`: the UUID_SUB of each of the `doubles`. Different ones are parts of one file system."""
        whole: dict[str, FileSystem] = {}
        copied = {f.uuid for f in self.doubles() if _is_copied(f, self.doubles(), parts)}
        for found in self.filesystems:
            key = found.uuid if found.device in parts and found.uuid not in copied else None
            first = whole.setdefault(key or found.device, found)
            if first is not found:
                disks = tuple(sorted({*first.disks, *found.disks}))
                whole[key or found.device] = replace(first, disks=disks)
        return replace(self, filesystems=tuple(whole.values()))

    @property
    def closed(self) -> list[FileSystem]:
        """LUKS containers that no key has opened."""
        return [f for f in self.filesystems if f.kind == LUKS and f.device not in self.held]


def _is_copied(filesystem: FileSystem, doubles: Sequence[FileSystem], parts: Mapping[str, str]) -> bool:
    same = [parts.get(f.device) for f in doubles if f.uuid == filesystem.uuid]
    return None in same or len(set(same)) < len(same)


def read(answer: str, count: int) -> Blocks:
    """What `lsblk -J -b -o COLUMNS` said. `count` disks are the guest's: their serials are `drive_label`s."""
    try:
        rows: list[dict[str, Any]] = json.loads(answer)["blockdevices"]
        return _Reading(rows, count).blocks()
    except (ValueError, KeyError, TypeError, AttributeError) as error:
        raise ConversionError("lsblk gave an unreadable answer", operation="list file systems") from error


class _Reading:
    """The rows by kernel name, and what each lies on."""

    def __init__(self, rows: list[dict[str, Any]], count: int) -> None:
        self._rows = {row["kname"]: row for row in rows}
        self._below: dict[str, list[str]] = {name: [] for name in self._rows}
        for row in rows:
            if row["pkname"]:
                self._below[row["kname"]].append(row["pkname"])
        serials = {drive_label(disk): disk for disk in range(count)}
        self._disks = {
            name: serials[row["serial"]]
            for name, row in self._rows.items()
            if row["type"] == "disk" and row["serial"] in serials
        }

    def blocks(self) -> Blocks:
        """Disks in their order, their partitions, then volumes as the kernel lists them."""
        ours = [name for name in self._rows if self._under(name)]
        ours.sort(key=self._place)
        rows = [(self._under(name), self._rows[name]) for name in ours]
        held = {
            self._device(under)
            for name in ours
            if self._rows[name]["type"] != "part"
            for under in self._below[name]
        }
        return Blocks(
            filesystems=tuple(self._filesystem(name) for name in ours if self._rows[name]["fstype"]),
            types=frozenset((d, row["parttype"].upper()) for (d, *_), row in rows if row["parttype"]),
            tables={d: row["pttype"] for (d, *_), row in rows if row["type"] == "disk" and row["pttype"]},
            held=frozenset(held),
        )

    def _under(self, name: str) -> tuple[int, ...]:
        """The guest's disks below a device."""
        if name in self._disks:
            return (self._disks[name],)
        return tuple(sorted({disk for under in self._below.get(name, ()) for disk in self._under(under)}))

    def _place(self, name: str) -> tuple[int, int]:
        disk, partition = self._at(name)
        return (len(self._disks), 0) if disk is None else (disk, partition or 0)

    def _at(self, name: str) -> tuple[int | None, int | None]:
        """(disk, partition) of a disk or partition."""
        if name in self._disks:
            return self._disks[name], 0
        parent = next(iter(self._below[name]), "")
        if self._rows[name]["type"] == "part" and parent in self._disks:
            return self._disks[parent], int(name.removeprefix(parent).lstrip("p"))
        return None, None

    def _device(self, name: str) -> str:
        """guestfs calls the disks /dev/sda and so on in the order given, whatever the kernel calls them."""
        disk, partition = self._at(name)
        if disk is not None:
            return f"/dev/sd{_letters(disk)}{partition or ''}"
        path: str = self._rows[name]["path"]
        return volume_path(path) if self._rows[name]["type"] == "lvm" else path

    def _container(self, name: str) -> FileSystem | None:
        for under in self._below[name]:
            if self._rows[under]["fstype"] == LUKS:
                return self._filesystem(under)
            if found := self._container(under):
                return found
        return None

    def _filesystem(self, name: str) -> FileSystem:
        row = self._rows[name]
        disk, partition = self._at(name)
        return FileSystem(
            device=self._device(name),
            kind=row["fstype"],
            disk=disk,
            partition=partition,
            uuid=row["uuid"],
            label=row["label"],
            partuuid=row["partuuid"],
            partlabel=row["partlabel"],
            size=row["size"],
            container=self._container(name),
            disks=self._under(name),
            aliases=self._aliases(name),
        )

    def _aliases(self, name: str) -> tuple[str, ...]:
        """What the guest may call a volume, as far as the volume itself tells."""
        row = self._rows[name]
        below = [self._rows[under] for under in self._below[name]]
        if row["type"] == "lvm":
            return (row["path"],)
        if row["type"] == "crypt":  # systemd's name where no crypttab gives one
            return tuple(f"/dev/mapper/luks-{under['uuid']}" for under in below)
        if row["type"].startswith("raid") or row["type"] == "linear":
            return array_names(next((under["label"] for under in below if under["label"]), ""))
        return ()


def array_names(label: str) -> tuple[str, ...]:
    """Paths of an array whose superblock says `host:0` or `host:root`, as mdadm(8) makes them."""
    name = label.rpartition(":")[2]
    if not name:
        return ()
    plain = (f"/dev/md{name}",) if name.isdigit() else ()
    return (*plain, f"/dev/md/{name}", f"/dev/md/{label}")


def volume_path(mapped: str) -> str:
    """/dev/VG/LV of /dev/mapper/VG-LV: device mapper doubles the dashes inside names."""
    group, _, volume = mapped.removeprefix("/dev/mapper/").replace("--", "\0").partition("-")
    return f"/dev/{group}/{volume}".replace("\0", "-")


def drive_label(disk: int) -> str:
    """A drive label of letters alone, as guestfs' add_drive demands: `diska`, `diskb`, ..."""
    return "disk" + "".join(chr(ord("a") + int(digit)) for digit in str(disk))


def _letters(disk: int) -> str:
    """a to z, then aa: as the kernel counts SCSI disks."""
    head, last = divmod(disk, 26)
    return (_letters(head - 1) if head else "") + chr(ord("a") + last)
