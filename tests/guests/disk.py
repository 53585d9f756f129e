"""A raw disk image with an MBR, its partitions filled from folders, without mounting or loop devices.

`mke2fs -d` and `debugfs` work on a file at an offset, so nothing here needs privileges beyond reading the
folders, and nothing can be left mounted.
"""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from tests.guests.tools import run
from transferd.errors import IntegrityError

SECTOR = 512
MIB = 1 << 20


@dataclass(frozen=True)
class Partition:
    """`start` and `size` in bytes; `kind` is the MBR type."""

    start: int
    size: int
    kind: str
    active: bool = False

    def __str__(self) -> str:
        """One line of sfdisk's script language."""
        flag = ", bootable" if self.active else ""
        return f"start={self.start // SECTOR}, size={self.size // SECTOR}, type={self.kind}{flag}"


def create(disk: Path, size: int, partitions: Sequence[Partition], *, disk_id: str) -> None:
    with disk.open("xb") as image:
        image.truncate(size)
    script = "\n".join(["label: dos", f"label-id: {disk_id}", *map(str, partitions)])
    run("sfdisk", "--quiet", "--no-reread", "--no-tell-kernel", disk, stdin=script + "\n", deadline=30)


def fill(disk: Path, partition: Partition, folder: Path, *, uuid: str) -> None:
    """An ext4 file system with the content, owners, modes and attributes of `folder`."""
    # Tables are written now: otherwise the guest's kernel would write them in the background of every boot.
    offset = f"offset={partition.start},lazy_itable_init=0,lazy_journal_init=0"
    size = f"{partition.size // 1024}k"
    run("mke2fs", "-q", "-F", "-t", "ext4", "-U", uuid, "-d", folder, "-E", offset, disk, size, deadline=300)


def read(disk: Path, partition: Partition, path: str) -> bytes:
    with tempfile.NamedTemporaryFile() as copy:
        _debugfs(disk, partition, f'dump "{path}" "{copy.name}"')
        return Path(copy.name).read_bytes()


def replace(disk: Path, partition: Partition, path: str, content: bytes) -> None:
    """Give the file at `path` other bytes, and prove it: debugfs says nothing when it fails."""
    with tempfile.NamedTemporaryFile() as new:
        new.write(content)
        new.flush()
        _debugfs(disk, partition, f'rm "{path}"', f'write "{new.name}" "{path}"')
    run("e2fsck", "-f", "-n", _at(disk, partition), deadline=120)
    if read(disk, partition, path) != content:
        raise IntegrityError(f"{path} could not be replaced", disk=str(disk), operation="debugfs")


def clone(disk: Path, copy: Path) -> Path:
    """A sparse copy that shares its blocks where the file system can."""
    run("cp", "--sparse=always", "--reflink=auto", disk, copy, deadline=300)
    return copy


def _debugfs(disk: Path, partition: Partition, *commands: str) -> None:
    # debugfs exits 0 whatever happens: callers look at the result.
    lines = "\n".join(commands) + "\n"
    run("debugfs", "-w", "-f", "-", _at(disk, partition), stdin=lines, deadline=120)


def _at(disk: Path, partition: Partition) -> str:
    return f"{disk}?offset={partition.start}"
