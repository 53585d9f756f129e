"""The file systems that a running guest would have mounted, as far as conversion touches them.

The guest's fstab decides, and no option of it but the subvolume is heeded: how a file system is mounted here
is our affair. Data disks are not mounted at all.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convert.linux import fstab
from convert.subvolumes import Subvolumes
from convert.tree import text
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convert.devices import Devices, FileSystem
    from convert.guest import Guest

# The only file systems, beside the root, that conversion reads or writes.
SYSTEM = frozenset({"/boot", "/boot/efi", "/efi", "/usr", "/var", "/var/lib", "/var/log"})


@dataclass(frozen=True)
class System:
    """A guest whose file systems are mounted: `mounted` has the root first."""

    devices: Devices
    root: FileSystem
    mounted: tuple[FileSystem, ...]
    warnings: tuple[Warning_, ...] = ()


@dataclass(frozen=True)
class Part:
    """What belongs on `point`: None if no file system of the given disks is what fstab's `spec` says."""

    point: str
    spec: str
    filesystem: FileSystem | None


def mount(guest: Guest, devices: Devices, root: FileSystem) -> System:
    """Mounts the system, parents first. What cannot be mounted beside the root is a warning."""
    guest.mount(root, "/")
    devices = devices.opened_as(fstab.containers(text(guest, "/etc/crypttab") or ""))
    rows = fstab.mounts(text(guest, "/etc/fstab") or "")
    volumes = guest.subvolumes() if root.kind == "btrfs" else Subvolumes()
    mounted, warnings = [root], []
    for part in parts(rows, devices, root, volumes):
        problem = _mount(guest, part)
        if part.filesystem and problem is None:
            mounted.append(part.filesystem)
        elif problem:
            warnings.append(Warning_(code="mount-failed", message=problem, remedy="check it in the guest"))
    return System(devices, root, tuple(mounted), tuple(warnings))


def _mount(guest: Guest, part: Part) -> str | None:
    if part.filesystem is None:
        return f"/etc/fstab has {part.spec} for {part.point}, which is no file system of the given disks"
    try:
        guest.mount(part.filesystem, part.point)
    except ConversionError as error:
        if guest.ended:
            raise
        return f"{part.spec} cannot be mounted on {part.point}: {error.problem}"
    return None


def parts(rows: Sequence[fstab.Mount], devices: Devices, root: FileSystem, volumes: Subvolumes) -> list[Part]:
    """What to mount below the root, shallow before deep; of two lines for one point the first."""
    wanted: dict[str, Part] = {}
    for row in rows:
        point = posixpath.normpath(row.point)
        if point in SYSTEM and point not in wanted and "bind" not in row.options and row.kind != "none":
            wanted[point] = Part(point, row.spec, _found(row, devices, root, volumes))
    return sorted(
        (part for part in wanted.values() if not _is(part.filesystem, root)),
        key=lambda part: (part.point.count("/"), part.point),
    )


def _found(row: fstab.Mount, devices: Devices, root: FileSystem, volumes: Subvolumes) -> FileSystem | None:
    found = devices.resolve(row.spec)
    if found is None or found.kind != "btrfs":
        return found
    known = volumes if found.device == root.device else Subvolumes()
    subvol, number = row.option("subvol"), row.option("subvolid")
    return replace(found, subvolume=known.named(subvol, number) if subvol or number else None)


def _is(found: FileSystem | None, root: FileSystem) -> bool:
    return found is not None and (found.device, found.subvolume) == (root.device, root.subvolume)
