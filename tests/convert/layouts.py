"""Disks with every kind of storage, and on each a system of a few files: made by one appliance in one go.

layouts.sh, which runs inside it, says what is what. Each system writes its own name into /etc/hostname.
"""

from __future__ import annotations

import os
import shlex
from pathlib import Path
from typing import Literal

from convert import accel
from convert.blocks import drive_label
from convert.guest import Guest

MIB = 1 << 20
SCRIPT = Path(__file__).with_suffix(".sh")
# As cryptsetup reads it: bytes. No string could carry this one.
KEY = b"\x00newline\nand \xff\xfe\n"
# MiB of each disk. XFS wants 300 and btrfs 109 for the least.
SIZES: dict[str, tuple[int, ...]] = {
    "parts": (64,),
    "lvm": (352,),
    "lvm_on_luks": (80,),
    "luks_on_lvm": (64,),
    "mirror": (32, 32),
    "half_a_mirror": (32,),
    "btrfs_by_fstab": (128,),
    "btrfs_by_default": (128,),
    "half_a_stripe": (16, 16),
    "half_a_group": (16, 16),
    "twin_groups": (16, 16),
    "dirty": (24, 24),
    "dirty_data": (24, 24),
}
SIZE = 32


def make(folder: Path, names: list[str]) -> dict[str, list[Path]]:
    """The disks of each layout, in the order of `names`."""
    disks = {name: [folder / f"{name}-{at}" for at, _ in enumerate(_sizes(name))] for name in names}
    for name, paths in disks.items():
        for path, size in zip(paths, _sizes(name), strict=True):
            path.touch()
            os.truncate(path, size * MIB)
    (folder / "key").write_bytes(KEY)
    (folder / "other").write_bytes(b"another key\n")
    every = [path for paths in disks.values() for path in paths]
    with opened(every, folder, read_only=False) as guest:
        for upload in (SCRIPT, folder / "key", folder / "other"):
            guest._handle.debug_upload(str(upload), f"/run/{upload.name}", 0o600)
        for name, paths in disks.items():
            places = [f"/dev/disk/guestfs/{drive_label(every.index(path))}" for path in paths]
            guest._handle.debug("sh", [shlex.join(["sh", f"/run/{SCRIPT.name}", name, *places])])
    return disks


def _sizes(name: str) -> tuple[int, ...]:
    return SIZES.get(name, (SIZE,))


def opened(
    disks: list[Path], folder: Path, *, read_only: bool, disk_format: Literal["raw", "qcow2"] = "raw"
) -> Guest:
    return Guest(
        disks,
        folder,
        disk_format=disk_format,
        read_only=read_only,
        backend_settings=accel.backend_settings(),
    )
