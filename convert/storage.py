"""The storage half of an appliance: what lies on the disks, opened, checked and mounted.

    disks -> lsblk -> Blocks -- keys --> LUKS opened, volume groups active -> lsblk again -> Blocks
      -- check (nothing mounted, nothing repaired) --> Findings -- mount --> the guest's tree

Arrays and volume groups are started by the appliance itself when it comes up; what lies inside LUKS is
started here, until no container is left that a key opens. LUKS on LVM, LVM on LUKS and both at once are the
same loop.

guestfs has no call for much of this, or one that costs seconds, so the appliance's own programs run through
its `debug sh`. That is a shell inside the appliance, fed with the constants of this module and with quoted
device names; nothing of it touches the host. What such programs print may quote the guest, so it comes back
as clean UTF-8 and is only ever shown.

Looking at a file system must not write it: a journal is replayed by the kernel even when it mounts
read-only. So `looking` mounts without replay; only what belongs to the system is mounted for good.
"""

from __future__ import annotations

import shlex
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from convert import blocks, health, subvolumes
from convert.blocks import ARRAY_MEMBER, COLUMNS, ESP_TYPE, VOLUME_GROUP_MEMBER, Blocks, drive_label
from convert.tree import MIB
from transferd.errors import Cancelled, ConversionError, UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence
    from pathlib import Path

    from convert.devices import FileSystem
    from convert.health import Finding
    from convert.lifeline import Lifeline
    from convert.subvolumes import Subvolumes

TEST = "run libguestfs-test-tool on this machine"
# cryptsetup reads no more of a key file (cryptsetup(8), --keyfile-size).
KEY_LIMIT = 8 * MIB
# A tmpfs of the appliance: a key never reaches a disk.
KEY_FOLDER = "/run"
WRONG_KEY = 2  # exit status of cryptsetup: no permission
# Mount options that leave a journal or log alone.
WITHOUT_REPLAY = {
    "ext3": ",noload",
    "ext4": ",noload",
    "xfs": ",norecovery",
    "btrfs": ",rescue=nologreplay",
    "f2fs": ",norecovery",
}


class Storage:
    """Base of `convert.guest.Guest`, which owns the handle. Errors are ConversionError."""

    def __init__(self, disks: Sequence[Path], lifeline: Lifeline, *, read_only: bool) -> None:
        self._disks = disks
        self._lifeline = lifeline
        self._read_only = read_only
        self._handle: Any = None
        self._blocks: Blocks | None = None
        self._points: list[str] = []

    @contextmanager
    def _translated(self, operation: str) -> Iterator[None]:
        """Python's bindings of guestfs know no strings but UTF-8; what a guest wrote may be anything."""
        try:
            yield
        except RuntimeError as error:
            self._raise_if_cancelled(operation)
            if self._lifeline.ended_by:
                problem = "the libguestfs appliance did not answer before its deadline and was ended"
                raise ConversionError(problem, operation=operation, remedy=TEST) from error
            raise ConversionError(" ".join(str(error).split()), operation=operation) from error
        except ValueError as error:  # UnicodeError is one, and so is a NUL inside a string
            raise ConversionError("the guest uses a name that is not UTF-8", operation=operation) from error

    def _raise_if_cancelled(self, operation: str) -> None:
        if self._lifeline.ended_by == "signal":
            raise Cancelled("stopped by a signal", operation=operation)

    @property
    def ended(self) -> bool:
        """Whether the appliance was ended from outside: then no error tells anything of the guest."""
        return self._lifeline.ended_by is not None

    def _shell(self, script: str) -> str:
        """What `script` printed inside the appliance, errors too, whatever its status."""
        said: str = self._handle.debug("sh", [f"{{ {script}; }} 2>&1 | iconv -c -f UTF-8 -t UTF-8 || :"])
        return said

    # --- what lies on the disks ------------------------------------------------------------------------

    def blocks(self) -> Blocks:
        """File systems, swaps and containers of every disk and volume; empty space is left out."""
        if self._blocks is None:
            with self._translated("list file systems"):
                answer = self._shell(f"lsblk -J -b -o {COLUMNS}")
                found = blocks.read(answer, len(self._disks))
                parts = {f.device: self._part(f) for f in found.doubles()}
            self._blocks = found.merged(parts)
        return self._blocks

    def _part(self, filesystem: FileSystem) -> str:
        """Which part of a btrfs on several devices this one is."""
        return self._shell(f"blkid -p -s UUID_SUB -o value {self._inside(filesystem)}").strip()

    def filesystems(self) -> list[FileSystem]:
        return list(self.blocks().filesystems)

    def partition_types(self) -> set[str]:
        """Type GUIDs of all GPT partitions, upper case."""
        return {kind for _, kind in self.blocks().types}

    def esp_disks(self) -> set[int]:
        """Disks with an EFI system partition."""
        return {disk for disk, kind in self.blocks().types if kind == ESP_TYPE}

    @property
    def disk_count(self) -> int:
        return len(self._disks)

    def first_sector(self, disk: int) -> bytes:
        with self._translated("read boot sectors"):
            sector: bytes = self._handle.pread_device(f"/dev/disk/guestfs/{drive_label(disk)}", 512, 0)
        return sector

    def ailments(self) -> list[str]:
        """What is wrong with arrays and volume groups: members missing, volumes that do not start."""
        kinds, said = self.blocks().kinds, []
        with self._translated("look at arrays and volume groups"):
            if ARRAY_MEMBER in kinds:
                said += health.arrays(self._shell(health.ARRAY_REPORT))
            if VOLUME_GROUP_MEMBER in kinds:
                said += health.volumes(self._shell(f"lvs {health.VOLUME_REPORT} 2>/dev/null"))
        return said + health.members(self.blocks().filesystems, self.blocks().held)

    # --- LUKS ------------------------------------------------------------------------------------------

    def unlock(self, keys: Sequence[Path]) -> list[str]:
        """Opens every LUKS container that a key fits, and starts what lies inside. Says what stays closed."""
        places = [self._bring_key(number, key) for number, key in enumerate(keys)]
        tried: dict[str, str | None] = {}
        while closed := [f for f in self.blocks().closed if f.device not in tried]:
            tried |= {f.device: self._open(f, places) for f in closed}
            if None not in tried.values():
                break
            with self._translated("start what LUKS holds"):
                self._shell("udevadm settle; mdadm -As --auto=yes --run; vgchange -ay; udevadm settle")
            self._blocks = None
        return [problem for problem in tried.values() if problem]

    def _bring_key(self, number: int, key: Path) -> str:
        try:
            with key.open("rb") as file:
                size = len(file.read(KEY_LIMIT + 1))
        except OSError as error:
            raise UsageError(f"the key file {key} cannot be read: {error.strerror}") from error
        if not 0 < size <= KEY_LIMIT:
            raise UsageError(f"the key file {key} has {size or 'no'} bytes, and a key has 1 to {KEY_LIMIT}")
        place = f"{KEY_FOLDER}/key-{number}"
        with self._translated(f"read the key file {key}"):
            self._handle.debug_upload(str(key), place, 0o600)
        return place

    def _open(self, container: FileSystem, keys: Sequence[str]) -> str | None:
        """None once a key fits, else why it stays closed."""
        device = self._inside(container)
        name = shlex.quote(f"opened{container.device.removeprefix('/dev').replace('/', '-')}")
        for key in keys:
            with self._translated(f"open {container.device}"):
                said = self._shell(
                    f"cryptsetup open --type luks --tries 1 --key-file {key} {device} {name}; echo $?"
                )
            *words, status = said.split()
            if status == "0":
                return None
            if status != str(WRONG_KEY):
                return f"{container.device} (LUKS) cannot be opened: {' '.join(words)[:300]}"
        return health.locked(container, len(keys))

    # --- checks ----------------------------------------------------------------------------------------

    def check(self, filesystems: Sequence[FileSystem], *, thorough: bool = True) -> list[Finding]:
        """What the checkers say of file systems that are not mounted; clean ones say nothing.

        Nothing is repaired: guestfs' own e2fsck call would (libguestfs 1.48, daemon/ext2.c). Not thorough
        is to believe the superblock, which costs the same on any size.
        """
        findings = []
        for filesystem in {found.device: found for found in filesystems}.values():
            script = health.script(filesystem, self._inside(filesystem), thorough=thorough)
            if script:
                with self._translated(f"check {filesystem.device}"):
                    said = self._shell(f"{{ {script}; echo status $?; }} 2>&1 | tail -c 20000")
                finding = health.judge(filesystem, said)
                findings += [finding] if finding else []
        return findings

    # --- mounts ----------------------------------------------------------------------------------------

    @contextmanager
    def looking(self, filesystem: FileSystem) -> Iterator[None]:
        """Mounts it at the root, for a while, without writing a bit of it: not even its journal's replay."""
        self._mount(filesystem, "/", "ro" + WITHOUT_REPLAY.get(filesystem.kind, ""))
        try:
            yield
        finally:
            self.unmount_all()

    def mount(self, filesystem: FileSystem, mountpoint: str) -> None:
        self._mount(filesystem, mountpoint, "ro" if self._read_only else "rw")

    def _mount(self, filesystem: FileSystem, mountpoint: str, access: str) -> None:
        part = f",subvol={filesystem.subvolume}" if filesystem.subvolume else ""
        with self._translated(f"mount {filesystem.device} on {mountpoint}"):
            self._handle.mount_options(f"{access},nodev,nosuid,noexec{part}", filesystem.device, mountpoint)
        self._points.append(mountpoint)

    def unmount_all(self) -> None:
        with self._translated("unmount"):
            self._handle.umount_all()
        self._points = []

    def reread(self) -> None:
        """From here on everything comes from the disks again, and nothing is written any more."""
        self.unmount_all()
        with self._translated("flush"):
            self._handle.sync()
            self._handle.drop_caches(3)
        self._read_only = True
        self._blocks = None

    def _allow_programs(self) -> None:
        """Lets programs of the guest run from here on: file systems are mounted noexec."""
        for point in self._points:
            self._shell(f"mount -o remount,exec {shlex.quote('/sysroot' + point)}")

    def subvolumes(self) -> Subvolumes:
        """Those of the btrfs that is mounted at the root."""
        with self._translated("list subvolumes"):
            return subvolumes.read(self._shell(subvolumes.SCRIPT))

    def _inside(self, filesystem: FileSystem) -> str:
        """The device's name for programs inside the appliance, quoted.

        Its kernel may find the disks in any order; guestfs translates /dev/sdX in its calls, but not here.
        """
        if filesystem.disk is None:
            return shlex.quote(filesystem.device)
        return f"/dev/disk/guestfs/{drive_label(filesystem.disk)}{filesystem.partition or ''}"
