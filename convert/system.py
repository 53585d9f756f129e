"""From disks to a mounted system: opened, found, checked, mounted; or refused in one line that says why.

    keys -> LUKS opened -> all file systems -- look at each --> roots -- rules --> the root
      -> mounted as its fstab says -- journals replayed --> unmounted -> checked -> mounted again

A checker can only judge a file system whose journal has been replayed, and only while it is not mounted. So
the system is mounted twice, and nothing has been written to it in between. Data file systems are not even
replayed: there the superblock's word counts.
"""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

from convert import mounts, roots
from convert.blocks import LUKS
from convert.devices import Devices
from convert.mounts import System
from transferd.errors import ConversionError
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence
    from pathlib import Path

    from convert.guest import Guest
    from transferd.model import SourceVM

GIVE_KEY = "give its key with --key FILE: the file counts byte for byte, a newline at its end too"
GIVE_DISKS = "give all disks of the VM in their order, or migrate it without conversion"
REPAIR = "repair it in the source VM with its own fsck, then copy the disks again"
# The protective MBR stands and no GPT behind it can be read.
DAMAGED_GPT = "PMBR"


def find(
    guest: Guest,
    disks: Sequence[str],
    *,
    source: SourceVM | None,
    root: str | None,
    keys: Sequence[Path],
    check: bool,
) -> System:
    """Leaves the system mounted. `disks` are names for messages.

    Raises ConversionError if there is no system, more than one, or one that is damaged.
    """
    closed = guest.unlock(keys)
    devices = Devices(tuple(guest.filesystems()), tuple(source.disks) if source else ())
    ailments = guest.ailments()
    sight = roots.look(guest, devices, root)
    if not sight.roots:
        raise _nothing(guest, disks, devices, closed, (*ailments, *sight.unreadable))
    chosen = roots.choose(guest, devices, sight, root)
    system = mounts.mount(guest, devices, chosen)
    told = [
        *_warnings("encrypted-disk", closed, GIVE_KEY),
        *_warnings("storage-incomplete", ailments, "give the missing disks too, or mend it in the guest"),
        *_warnings("file-system-unreadable", sight.unreadable, "check it in the guest"),
    ]
    if check:
        guest.unmount_all()
        told += _checked(guest, system)
        system = mounts.mount(guest, devices, chosen)
    return replace(system, warnings=(*told, *system.warnings))


def _checked(guest: Guest, system: System) -> list[Warning_]:
    """Warnings of what can be lived with. Raises ConversionError for what cannot."""
    findings = guest.check(system.mounted)
    damaged = [str(finding) for finding in findings if finding.harmful]
    if damaged:
        raise ConversionError("; ".join(damaged), operation="check before conversion", remedy=REPAIR)
    devices = {filesystem.device for filesystem in system.mounted}
    data = [filesystem for filesystem in guest.filesystems() if filesystem.device not in devices]
    unsure = [str(finding) for finding in findings]
    others = [str(finding) for finding in guest.check(data, thorough=False)]
    return [
        *_warnings("file-system-doubtful", unsure, "check it in the guest with its own fsck"),
        *_warnings("file-system-damaged", others, "it stays as it is; repair it in the guest"),
    ]


def _warnings(code: str, messages: Iterable[str], remedy: str) -> list[Warning_]:
    return [Warning_(code=code, message=message, remedy=remedy) for message in messages]


def _nothing(
    guest: Guest, disks: Sequence[str], devices: Devices, closed: Sequence[str], others: Sequence[str]
) -> ConversionError:
    seen = [_seen(name, disk, devices, guest.blocks().tables.get(disk)) for disk, name in enumerate(disks)]
    volumes = [f"{f.device} {_kind(f.kind)}" for f in devices.filesystems if f.disk is None]
    seen += [f"volumes: {', '.join(volumes)}"] if volumes else []
    return ConversionError(
        f"no operating system found: {'; '.join([*closed, *others, *seen])}",
        operation="inspect",
        remedy=GIVE_KEY if closed else GIVE_DISKS,
    )


def _seen(name: str, disk: int, devices: Devices, table: str | None) -> str:
    parts = [f for f in devices.filesystems if f.disk == disk]
    if table == DAMAGED_GPT:
        return f"{name}: its GPT cannot be read"
    if not parts:
        return f"{name}: no file system"
    return f"{name}: " + ", ".join(
        f"partition {f.partition} {_kind(f.kind)}" if f.partition else f"whole disk {_kind(f.kind)}"
        for f in parts
    )


def _kind(kind: str) -> str:
    return "encrypted (LUKS)" if kind == LUKS else kind
