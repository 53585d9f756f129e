"""Which file system is the guest's root.

A candidate has an fstab and something that says what system it is. Where several have, these rules are asked
in their order, and each counts only if it leaves one at all:

1. `--root` names it: by UUID, DISK:PARTITION (disks count from 0) or /dev/VG/LV, on btrfs with :SUBVOLUME.
2. Its own fstab mounts it as `/`. A copy's fstab, a snapshot's, an old installation's names another one.
3. It lies on a disk that firmware can start: GRUB in its first sector, or an EFI system partition.

What is then still several is two systems, and the choice is not ours: the error names them and `--root`.
Snapshots of snapper and timeshift are no candidates, unless one is what btrfs mounts by default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from convert.linux import fstab
from convert.subvolumes import TOP, Subvolumes
from convert.tree import text
from transferd.errors import ConversionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from convert.devices import Devices, FileSystem
    from convert.guest import Guest
    from convert.tree import Tree

MOUNTABLE = frozenset({"ext2", "ext3", "ext4", "xfs", "btrfs", "f2fs"})
PLACE = re.compile(r"(\d{1,3}):(\d{1,3})")
# In /etc, beside fstab: a system says by one of them what it is, or at least that it has users.
MARKS = ("-release", "_version", "-version", "passwd")


@dataclass(frozen=True)
class Candidate:
    """`filesystem.subvolume` is set on btrfs. `mounts_itself`: by its own fstab."""

    filesystem: FileSystem
    mounts_itself: bool = False
    on_boot_disk: bool = False


@dataclass(frozen=True)
class Sight:
    """What was found on all disks; `unreadable` is why a file system could not be looked at."""

    roots: tuple[FileSystem, ...]
    unreadable: tuple[str, ...]


RULES: tuple[Callable[[Candidate], bool], ...] = (
    lambda candidate: candidate.mounts_itself,
    lambda candidate: candidate.on_boot_disk,
)


def look(guest: Guest, devices: Devices, wanted: str | None) -> Sight:
    """Every root there is or, if one is wanted, that one."""
    among = devices.filesystems if wanted is None else (meant(devices, wanted)[0],)
    found: list[FileSystem] = []
    unreadable: list[str] = []
    for filesystem in among:
        if filesystem.kind in MOUNTABLE:
            try:
                found += _roots_on(guest, filesystem)
            except ConversionError as error:
                if guest.ended:
                    raise
                unreadable.append(f"{filesystem.title} ({filesystem.kind}) cannot be read: {error.problem}")
    return Sight(tuple(found), tuple(unreadable))


def _roots_on(guest: Guest, filesystem: FileSystem) -> list[FileSystem]:
    """Looks without writing, and leaves nothing mounted."""
    if filesystem.kind != "btrfs":
        with guest.looking(filesystem):
            return [filesystem] if is_root(guest) else []
    with guest.looking(replace(filesystem, subvolume=TOP)):
        paths = guest.subvolumes().candidates()
        return [
            replace(filesystem, subvolume=path) for path in paths if is_root(guest, f"/{path.strip('/')}")
        ]


def is_root(tree: Tree, top: str = "/") -> bool:
    names = tree.names(f"{top.rstrip('/')}/etc")
    return "fstab" in names and any(name.endswith(MARKS) for name in names)


def choose(guest: Guest, devices: Devices, sight: Sight, wanted: str | None) -> FileSystem:
    """The root among several. Raises ConversionError, naming them, if the rules leave more than one."""
    if wanted is not None and (path := meant(devices, wanted)[1]) is not None:
        sight = replace(sight, roots=tuple(root for root in sight.roots if root.subvolume == path))
    if len(sight.roots) == 1:
        return sight.roots[0]
    boot_disks = _boot_disks(guest)
    candidates = [
        Candidate(root, _mounts_itself(guest, devices, root), not boot_disks.isdisjoint(root.disks))
        for root in sight.roots
    ]
    left = narrowed(candidates)
    if len(left) == 1:
        return left[0].filesystem
    names = [_name(candidate.filesystem, sight.roots) for candidate in left]
    raise ConversionError(
        "more than one operating system: "
        + ", ".join(f"{c.filesystem.title} ({name})" for c, name in zip(left, names, strict=True)),
        operation="inspect",
        remedy=f"choose one, for example with --root {names[0]}",
    )


def narrowed(candidates: Sequence[Candidate]) -> list[Candidate]:
    left = list(candidates)
    for rule in RULES:
        left = [candidate for candidate in left if rule(candidate)] or left
    return left


def meant(devices: Devices, wanted: str) -> tuple[FileSystem, str | None]:
    """The file system and, if it was named, the subvolume that `--root` stands for. Raises UsageError."""
    if match := PLACE.fullmatch(wanted):
        found, path = devices.at(int(match[1]), int(match[2])), None
    else:
        spec, _, subvolume = wanted.partition(":")
        tagged = spec if spec.startswith("/") or "=" in spec else f"UUID={spec}"
        found, path = devices.resolve(tagged), subvolume.strip("/") or (TOP if subvolume else None)
    if found is None:
        raise UsageError(
            f"--root {wanted} names no single file system of the given disks",
            remedy="give its UUID, DISK:PARTITION (disks count from 0) or /dev/VG/LV",
        )
    return found, path


def _name(root: FileSystem, roots: Sequence[FileSystem]) -> str:
    """What `--root` takes for it."""
    alone = root.uuid and len({other.device for other in roots if other.uuid == root.uuid}) == 1
    place = f"{root.disk}:{root.partition}" if root.disk is not None else root.device
    if root.subvolume is None:
        return root.uuid if alone and root.uuid else place
    return f"{root.uuid}:{root.subvolume}"


def _mounts_itself(guest: Guest, devices: Devices, root: FileSystem) -> bool:
    with guest.looking(root):
        devices = devices.opened_as(fstab.containers(text(guest, "/etc/crypttab") or ""))
        volumes = guest.subvolumes() if root.kind == "btrfs" else Subvolumes()
        return mounts_itself(fstab.mounts(text(guest, "/etc/fstab") or ""), devices, root, volumes)


def mounts_itself(
    rows: Sequence[fstab.Mount], devices: Devices, root: FileSystem, volumes: Subvolumes
) -> bool:
    row = next((row for row in rows if row.point == "/"), None)
    found = devices.resolve(row.spec) if row else None
    if row is None or found is None or found.device != root.device:
        return False
    return root.subvolume in (None, volumes.named(row.option("subvol"), row.option("subvolid")))


def _boot_disks(guest: Guest) -> set[int]:
    return {
        disk for disk in range(guest.disk_count) if b"GRUB" in guest.first_sector(disk)
    } | guest.esp_disks()
