"""From a name that follows the hardware to one that lasts, and a record of every name that was asked. Pure.

An edit (files.py) asks for each name that it finds in its file and says how the file uses it. It is asked
twice: a first `Names` without places only records, so that the uses of all files can tell the disks apart;
the second one answers. What has no answer stays as it is and becomes a warning with the reason.

The lasting name is UUID=, which every initramfs and mount resolves by content; where one UUID is on several
partitions PARTUUID=; where the file takes paths only, or had a link of udev, the link of the same meaning.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import islice
from typing import TYPE_CHECKING

from convert import hardware, placement
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from convert.devices import Devices, FileSystem
    from convert.placement import Place
    from transferd.model import SourceDisk

LINKS = {"UUID": "/dev/disk/by-uuid/", "PARTUUID": "/dev/disk/by-partuuid/"}
# Kinds of file systems that mount as each other.
SAME = ({"ext2", "ext3", "ext4"}, {"vfat", "msdos", "fat"}, {"ntfs", "ntfs3", "ntfs-3g", "fuseblk"})
SHOWN = 8
REMEDY = "use a UUID in the guest, or check the order of the disks"
WARNED = 100  # unresolved names that are told one by one


@dataclass(frozen=True)
class Use:
    """How a file uses a name.

    `kind`: what it expects there, as blkid spells it. `root`: it says that the root is there. `needed`: the
    guest does not come up without it. `telling`: the entry is certainly in use, so it is evidence. `link`:
    the file takes paths of devices only. `kernel`: the kernel itself reads the name, without an initramfs,
    and knows no UUIDs of file systems.
    """

    kind: str | None = None
    root: bool = False
    needed: bool = False
    telling: bool = False
    link: bool = False
    kernel: bool = False


@dataclass(frozen=True)
class Asked:
    where: str
    name: str
    use: Use


PLAIN = Use()


class Names:
    """The answers for one guest. `places` is None while uses are only recorded. `links`: spell all names as
    links of udev."""

    def __init__(
        self,
        devices: Devices,
        disks: Sequence[SourceDisk] = (),
        places: Mapping[str, Place] | None = None,
        *,
        links: bool = False,
    ) -> None:
        self.devices = devices
        self._disks = disks
        self.asked: list[Asked] = []
        self._problems: dict[str, dict[str, str]] = {}
        self._warned: set[str] = set()
        self._places = places
        self._links = links
        self._reasons: dict[str, dict[str, None]] = {}

    def lasting(self, name: str, where: str, use: Use = PLAIN) -> str:
        """The name to write instead; `name` itself if it lasts, or if what it means is not known."""
        found = self.found(name, where, use)
        if found is None:
            return name
        new = self._spelled(found, name, use)
        if new is None:
            self.warn(where, name, "what is there has no UUID that is its own")
            return name
        place = self._place(name)
        self.note(where, f"{name} is {new} by {place.reason if place else 'its content'}")
        return new

    def found(self, name: str, where: str, use: Use = PLAIN) -> FileSystem | None:
        """What a name of hardware stood for; None for lasting names too."""
        self.asked.append(Asked(where, name, use))
        place, parsed = self._place(name), hardware.parsed(name)
        if place is None or parsed is None:
            return None
        found = None if place.disk is None else self.devices.at(place.disk, parsed.partition)
        problem = self._misfit(found, place, parsed.partition, use)
        if problem is not None:
            self.warn(where, name, problem)
            return None
        return found

    def _place(self, name: str) -> Place | None:
        parsed = hardware.parsed(name)
        return self._places.get(parsed.disk) if self._places is not None and parsed else None

    def note(self, where: str, reason: str) -> None:
        """One reason for the change of a file."""
        self._reasons.setdefault(where, {})[reason] = None

    def old_paths(self, disk: int) -> tuple[list[str], list[str]]:
        """What the source's kernel may have called a disk, and what its udev did."""
        if disk >= len(self._disks):
            return [], []
        return placement.kernel_names(self._disks, disk), placement.links(self._disks[disk])

    def warn(self, where: str, name: str, problem: str) -> None:
        self._problems.setdefault(where, {}).setdefault(name, problem)

    @property
    def warnings(self) -> list[Warning_]:
        """Of each file no more than a reader bears."""
        told = []
        for where, problems in self._problems.items():
            told += [f"{where} names {name}: {why}" for name, why in islice(problems.items(), SHOWN)]
            if len(problems) > SHOWN:
                told.append(f"{where} has {len(problems) - SHOWN} more names that lead to nothing known")
        return [Warning_(code="device-unresolved", message=message, remedy=REMEDY) for message in told]

    def reason(self, where: str) -> str:
        """Why a file is changed: name by name, as far as a reader bears it."""
        reasons = list(self._reasons.get(where, {}))
        more = [f"and {len(reasons) - SHOWN} more"] if len(reasons) > SHOWN else []
        return "; ".join(["disks get other names on VirtIO", *reasons[:SHOWN], *more])

    def _misfit(self, found: FileSystem | None, place: Place, partition: int, use: Use) -> str | None:
        if place.disk is None:
            return place.reason
        where = f"{f'partition {partition} of ' if partition else ''}disk {place.disk}, by {place.reason},"
        if found is None:
            return f"{where} has no file system"
        return None if is_kind(found, use.kind) else f"{where} has {found.kind}, not {use.kind}"

    def _spelled(self, found: FileSystem, name: str, use: Use) -> str | None:
        tag = self._tag(found, use)
        if tag is None:
            return None
        kind, value = tag
        as_link = use.link or self._links or name.startswith("/dev/disk/")
        return f"{LINKS[kind]}{value}" if as_link else f"{kind}={value}"

    def _tag(self, found: FileSystem, use: Use) -> tuple[str, str] | None:
        with_uuid = [f for f in self.devices.filesystems if f.uuid and f.uuid == found.uuid]
        # The members of one btrfs share its UUID, and any of them mounts all of it.
        if (
            found.uuid
            and not use.kernel
            and (len(with_uuid) == 1 or {f.kind for f in with_uuid} == {"btrfs"})
        ):
            return "UUID", found.uuid
        with_part = [f for f in self.devices.filesystems if f.partuuid and f.partuuid == found.partuuid]
        return ("PARTUUID", str(found.partuuid)) if len(with_part) == 1 else None


def fits(found: FileSystem, use: Use, root: FileSystem) -> bool:
    """Whether a file that uses a name so can have meant this."""
    is_root = (found.disk, found.partition) == (root.disk, root.partition)
    return is_kind(found, use.kind) and (is_root or not use.root)


def is_kind(found: FileSystem, kind: str | None) -> bool:
    if kind in (None, "auto") or found.kind == kind:
        return True
    if kind == "swap":
        return found.kind in ("swap", "swsuspend")
    return any(kind in same and found.kind in same for same in SAME)
