"""Where the guest has its EFI system partition, if its disks have one.

Its fstab says it; or, where fstab is silent, the guest mounts it by its partition type on the first empty
folder that it has for that (systemd-gpt-auto-generator(8)), and so do we. What only looks like one, the
folder that grub's packages leave under /boot/efi of a BIOS guest, is on no FAT file system.
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convert.blocks import ESP_TYPE
from convert.linux import fstab
from convert.tree import text
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Set as AbstractSet

    from convert.guest import Guest
    from convert.mounts import System

FAT = "vfat"
POINTS = ("/boot/efi", "/efi", "/boot")
# /boot last: on most guests it is a folder with kernels.
AUTOMATIC = ("/efi", "/boot/efi", "/boot")


@dataclass(frozen=True)
class Found:
    """`point`: where it is mounted now, None if there is none or it has no place."""

    system: System
    point: str | None = None


def mount(guest: Guest, system: System, types: AbstractSet[str]) -> Found:
    """Mounts it unless it is. `types` are those of all partitions."""
    for row in fstab.mounts(text(guest, "/etc/fstab") or ""):
        point, filesystem = posixpath.normpath(row.point), system.devices.resolve(row.spec)
        if point in POINTS and filesystem in system.mounted and filesystem and filesystem.kind == FAT:
            return Found(system, point)
    loose = [f for f in system.devices.filesystems if f.kind == FAT and f not in system.mounted]
    place = next((point for point in AUTOMATIC if guest.exists(point) and not guest.names(point)), None)
    if ESP_TYPE not in types or len(loose) != 1 or place is None:
        return Found(system)
    try:
        guest.mount(loose[0], place)
    except ConversionError as error:
        message = f"the EFI system partition cannot be mounted on {place}: {error.problem}"
        warning = Warning_(code="mount-failed", message=message, remedy="check it in the guest")
        return Found(replace(system, warnings=(*system.warnings, warning)))
    return Found(replace(system, mounted=(*system.mounted, loose[0])), place)
