"""What the guest has written down of its disks: at some time, under this name, there was this content. Pure.

    fstab            installers leave `# / was on /dev/sda1 during installation` above the UUID
    blkid.tab        libblkid's cache of older systems
    LVM              metadata backups name the device of each physical volume, and so does the devices file
    kernel log       ext4 and xfs say the UUID of what they mount, the disk driver says how large a disk is

A UUID is found on the given disks, so a sighting says which of them had the name. Old sightings may be
outdated: placement.py weighs them against the order of disks.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert import hardware
from convert.linux.stacks.reading import FILE_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

    from convert.devices import Devices
    from convert.linux.stacks.reading import Reader
    from transferd.model import SourceDisk

NAME = r"/dev/(?:sd|hd)[a-z]{1,3}[0-9]{0,3}"
INSTALLED = re.compile(rf"#[ \t]*\S+ was on ({NAME}) during installation[ \t]*\n[ \t]*UUID=([\w-]+)")
CACHED = re.compile(rf"<device\b[^>\n]*\bUUID=\"([\w-]+)\"[^>\n]*>({NAME})</device>")
VOLUME = re.compile(rf"\bid = \"([\w-]{{32,40}})\"[ \t]*\n[ \t]*device = \"({NAME})\"")
LISTED = re.compile(rf"\bDEVNAME=({NAME})\s+PVID=(\w{{32}})")
UUID = r"[0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12}"
MOUNTED = re.compile(rf"(?:EXT4-fs|XFS) \(((?:sd|hd)[a-z]{{1,3}}[0-9]{{0,3}})\): .*?\b({UUID})\b")
SIZED = re.compile(r"\[(sd[a-z]{1,3})\] ([0-9]{4,15}) (512|4096)-byte logical blocks")
LINE_LIMIT = 1000
BLKID = ("/etc/blkid.tab", "/etc/blkid/blkid.tab")
BACKUPS = "/etc/lvm/backup"
DEVICES_FILE = "/etc/lvm/devices/system.devices"
LOGS = ("/var/log/dmesg", "/var/log/kern.log", "/var/log/messages", "/var/log/syslog")


@dataclass(frozen=True)
class Sighting:
    """`disk`: the kernel's name of a whole disk. `content`: a UUID on it; `size` in bytes: its length."""

    disk: str
    where: str
    content: str | None = None
    size: int | None = None


def sightings(reader: Reader) -> list[Sighting]:
    found = [*_uuids("/etc/fstab", INSTALLED, reader, name_first=True)]
    for path in BLKID:
        found += _uuids(path, CACHED, reader, name_first=False)
    for path in reader.paths(BACKUPS):
        found += _uuids(path, VOLUME, reader, name_first=False)
    found += _uuids(DEVICES_FILE, LISTED, reader, name_first=True)
    return found or [*_logged(reader)]


def _uuids(path: str, form: re.Pattern[str], reader: Reader, *, name_first: bool) -> Iterator[Sighting]:
    for match in form.finditer(_shortened(reader.text(path))):
        name, uuid = (match[1], match[2]) if name_first else (match[2], match[1])
        if (parsed := hardware.parsed(name)) is not None:
            yield Sighting(parsed.disk, path, content=uuid)


def _logged(reader: Reader) -> Iterator[Sighting]:
    """Of the end of each log only: what the last boots said."""
    for path in LOGS:
        log = _shortened(reader.end(path, FILE_LIMIT).decode("utf-8", "replace"))
        for name, uuid in dict(MOUNTED.findall(log)).items():
            if (parsed := hardware.parsed(f"/dev/{name}")) is not None:
                yield Sighting(parsed.disk, path, content=uuid)
        sizes = {name: int(count) * int(block) for name, count, block in SIZED.findall(log)}
        for name, size in sizes.items():
            yield Sighting(f"/dev/{name}", path, size=size)


def _shortened(content: str) -> str:
    """The patterns above look at a line for as long as it is, squared."""
    return "\n".join(line[:LINE_LIMIT] for line in content.split("\n"))


def located(
    found: Iterable[Sighting], devices: Devices, disks: Sequence[SourceDisk]
) -> dict[str, dict[int, str]]:
    """For each name the disks that it was seen as, and where. What is on no disk, or on two, says nothing."""
    known: dict[str, dict[int, str]] = {}
    for sighting in found:
        at = _disks_with(sighting, devices, disks)
        if len(at) == 1:
            known.setdefault(sighting.disk, {}).setdefault(at.pop(), sighting.where)
    return known


def _disks_with(sighting: Sighting, devices: Devices, disks: Sequence[SourceDisk]) -> set[int]:
    if sighting.size is not None:
        return {at for at, disk in enumerate(disks) if disk.capacity == sighting.size}
    wanted = _plain(sighting.content)
    return {f.disk for f in devices.filesystems if f.disk is not None and _plain(f.uuid) == wanted}


def _plain(uuid: str | None) -> str:
    """LVM writes its identifiers with dashes and without."""
    return (uuid or "none").replace("-", "").lower()
