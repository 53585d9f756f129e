"""Which disk a name meant, and how that is known. Pure.

From the strongest evidence to the weakest:

    identity   the name has VMware's UUID of the disk, or its place on a controller (unit, namespace)
    sightings  the guest has once written down what lay on the disk of this name (linux/disks/sightings.py)
    order      kernels count disks as they find them, and one kind of controller finds its own in order
    fit        only one disk has the partitions that the files expect under this name

Order counts alone where there is no sighting; where a sighting contradicts it, neither counts. With several
kinds of controllers nobody can know from outside which one the kernel asked first, so order does not count.
Two names of one family never mean one disk. What is left open is reported, not guessed.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from convert import hardware

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Mapping, Sequence

    from transferd.model import SourceDisk

SCSI = frozenset({"pvscsi", "lsilogic", "lsisas", "buslogic"})
ATA = frozenset({"ahci", "ide"})
# SCSI identifiers of VMware's disks are NAA type 6 with VMware's own number, 00:0c:29 (vSphere: diskUuid).
IDENTITY = re.compile(r"6000c29[0-9a-f]{25}")
# udev's names of VMware's virtual disks. The serial of an ATA disk starts with its unit in two digits, the
# one of an NVMe disk is its controller's number, and newer udev adds the namespace, which is unit + 1.
ATA_SERIAL = re.compile(r"ata-VMware_Virtual_(?:SATA|IDE)_Hard_Drive_([0-9]{2})[0-9]{18}")
NVME_SERIAL = re.compile(r"nvme-VMware_Virtual_NVMe_Disk_VMware_NVME_([0-9]{4})(?:_([0-9]{1,3}))?")
# Host, channel, target, unit: a disk's vSphere unit is its SCSI target. SAS adapters say phy for it.
SCSI_PATH = re.compile(r"pci-[0-9a-f:.]+-scsi-[0-9]+:[0-9]+:([0-9]+):[0-9]+")
SAS_PATH = re.compile(r"pci-[0-9a-f:.]+-sas-phy([0-9]+)-lun-[0-9]+")
ATA_PATH = re.compile(r"pci-[0-9a-f:.]+-ata-([0-9]+)(?:\.[0-9]+)?")
NVME_PATH = re.compile(r"pci-[0-9a-f:.]+-nvme-([0-9]+)")


@dataclass(frozen=True)
class Place:
    """The disk, by its position among the given ones, or None; and the evidence, or what is missing. In
    messages disks count from 0 too, as in documents."""

    disk: int | None
    reason: str


@dataclass(frozen=True)
class Candidates:
    """Disks that a name can mean, and the one that it means if disks are counted in order."""

    disks: tuple[int, ...]
    reason: str
    by_order: int | None = None


@dataclass(frozen=True)
class Evidence:
    """`sightings`: name of a disk -> disks that it was seen to be, with where. `fits`: whether the partitions
    of a disk are what the files expect under a name."""

    disks: Sequence[SourceDisk]
    sightings: Mapping[str, Mapping[int, str]] = field(default_factory=dict)
    fits: Callable[[str, int], bool] = lambda _name, _disk: True


def placed(names: Iterable[str], evidence: Evidence) -> dict[str, Place]:
    """The place of each name of a disk."""
    open_ = {name: candidates(name, evidence.disks) for name in sorted(set(names))}
    places = {name: _decided(name, found, evidence) for name, found in open_.items()}
    undecided = True
    while undecided:  # each turn settles at least one name
        taken = {(_family(name), place.disk) for name, place in places.items() if place.disk is not None}
        undecided = False
        for name, place in places.items():
            if place.disk is None and not evidence.sightings.get(name):
                free = [disk for disk in open_[name].disks if (_family(name), disk) not in taken]
                found = _only(name, free, evidence)
                if found is not None:
                    places[name], undecided = found, True
                    break
    return places


def known(name: str, disks: Sequence[SourceDisk]) -> int | None:
    """The disk by what the source alone tells; without a source document kernels' names count in order."""
    if disks:
        return placed([name], Evidence(disks))[name].disk
    counted = hardware.LETTERED.fullmatch(name) or hardware.NUMBERED.fullmatch(name)
    return hardware.position(name) if counted else None


def _decided(name: str, found: Candidates, evidence: Evidence) -> Place:
    seen = evidence.sightings.get(name, {})
    if len(found.disks) == 1 and found.by_order is None:
        return Place(found.disks[0], found.reason)
    if len(seen) > 1:
        return Place(None, f"it was seen as different disks: {', '.join(seen.values())}")
    order = found.by_order
    for disk, where in seen.items():
        if order is None or order == disk or not evidence.fits(name, order):
            return Place(disk, where)
        return Place(None, f"{where} says disk {disk}, the order of disks says {order}")
    return Place(order, found.reason)


def _only(name: str, free: Sequence[int], evidence: Evidence) -> Place | None:
    fitting = [disk for disk in free if evidence.fits(name, disk)]
    if len(fitting) != 1:
        return None
    return Place(fitting[0], f"what the files expect: only disk {fitting[0]} has such partitions")


def _family(name: str) -> str:
    """Names of one family are given once each; links are only other names of the same disks."""
    return hardware.prefix(name) if hardware.LETTERED.fullmatch(name) else name


def candidates(name: str, disks: Sequence[SourceDisk]) -> Candidates:
    link = name.rpartition("/")[2]
    if match := IDENTITY.search(link.lower()):
        found = [at for at, disk in enumerate(disks) if identity_of(disk) == match[0]]
        return _listed(found, "VMware's UUID of the disk")
    for form, kinds, base in _PLACES:
        if match := form.fullmatch(link):
            unit = int(match[1]) - base
            found = [at for at, disk in enumerate(disks) if disk.controller in kinds and disk.unit == unit]
            return _listed(found, f"unit {unit} of its controller")
    if match := NVME_SERIAL.fullmatch(link):
        return _nvme(disks, int(match[1]), int(match[2]) if match[2] else None)
    if match := hardware.NVME.fullmatch(name):
        return _nvme(disks, int(match[1]), int(match[2]))
    if hardware.LETTERED.fullmatch(name):
        return _counted(name, disks)
    return Candidates((), "this name says nothing of the disk")


_PLACES = (
    (ATA_SERIAL, ATA, 0),
    (SCSI_PATH, SCSI | ATA, 0),
    (SAS_PATH, SCSI, 0),
    (ATA_PATH, ATA, 1),
    (NVME_PATH, frozenset({"nvme"}), 1),
)


def _nvme(disks: Sequence[SourceDisk], bus: int, namespace: int | None) -> Candidates:
    """VMware's NVMe controller shows its disks as namespaces; the kernel numbers controllers from 0."""
    buses = sorted({disk.bus for disk in disks if disk.controller == "nvme"})
    mine = [
        at
        for at, disk in enumerate(disks)
        if disk.controller == "nvme" and bus < len(buses) and disk.bus == buses[bus]
    ]
    mine.sort(key=lambda at: disks[at].unit)
    if namespace is not None:
        mine = mine[namespace - 1 : namespace]
    return _listed(mine, f"namespace {namespace or 1} of NVMe controller {bus}")


def _counted(name: str, disks: Sequence[SourceDisk]) -> Candidates:
    at = hardware.position(name)
    counted = [place for place, disk in enumerate(disks) if disk.controller != "nvme"] or list(
        range(len(disks))
    )
    kinds = {disks[place].controller for place in counted}
    if name.startswith("/dev/hd") and kinds & {"ide"}:
        # Master and slave of two cables (IDE: hda to hdd), whatever is connected.
        found = [n for n, d in enumerate(disks) if d.controller == "ide" and (d.bus * 2 + d.unit) == at]
        return _listed(found, "its place on the IDE controller")
    if len(kinds) > 1:
        reason = f"its place in the order of {' and '.join(sorted(kinds))} disks is not known"
        return Candidates(tuple(counted), reason)
    if at >= len(counted):
        return Candidates((), f"the VM has {len(counted)} such disks")
    return Candidates(tuple(counted), "the order of disks", counted[at])


def kernel_names(disks: Sequence[SourceDisk], at: int) -> list[str]:
    """What the source's kernel may have called a disk."""
    disk = disks[at]
    if disk.controller == "nvme":
        buses = sorted({other.bus for other in disks if other.controller == "nvme"})
        units = sorted(other.unit for other in disks if (other.controller, other.bus) == ("nvme", disk.bus))
        return [f"/dev/nvme{buses.index(disk.bus)}n{units.index(disk.unit) + 1}"]
    counted = [place for place, other in enumerate(disks) if other.controller != "nvme"]
    ordered = len({disks[place].controller for place in counted}) == 1
    positions = [counted.index(at)] if ordered else range(len(counted))
    return [hardware.lettered("/dev/sd", position) for position in positions]


def links(disk: SourceDisk) -> list[str]:
    """The links that udev made from VMware's identity of a disk."""
    identity = identity_of(disk)
    return [f"/dev/disk/by-id/{kind}{identity}" for kind in ("scsi-3", "wwn-0x") if identity]


def _listed(found: Sequence[int], reason: str) -> Candidates:
    if not found:
        return Candidates((), "no disk of the VM has this identity")
    return Candidates(tuple(found), reason if len(found) == 1 else f"several disks have {reason}")


def identity_of(disk: SourceDisk) -> str:
    """Hexadecimal digits of the UUID, as SCSI says them."""
    return (disk.uuid or "").replace("-", "").replace(" ", "").lower()
