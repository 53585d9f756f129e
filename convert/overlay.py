"""Overlays: every write of a conversion lands in a qcow2 file per disk, and the disk stays as it was.

An overlay is made on the raw disk with both formats forced, so no header that a guest wrote is ever
believed. When the conversion has proven itself, the overlay is flattened to a delta: a sparse raw file that
holds the written clusters in their places and nothing else. `convert.commit` carries deltas to the disks.
"""

from __future__ import annotations

import json
import os
import stat
import subprocess
from dataclasses import dataclass
from typing import TYPE_CHECKING

from transferd.errors import ConversionError, TargetError, UsageError
from transferd.model import DiskRange

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

SECTOR = 512
# An overlay holds tens of megabytes; only a stuck storage system needs longer.
DEADLINE = 600.0


@dataclass(frozen=True)
class Overlay:
    """`position` of the disk in the argument list; `size` of the disk in bytes."""

    position: int
    disk: Path
    size: int
    path: Path


def disk_size(disk: Path) -> int:
    """Bytes of a raw image or block device. Raises UsageError for anything else."""
    try:
        mode = disk.stat().st_mode
        if not (stat.S_ISREG(mode) or stat.S_ISBLK(mode)):
            raise UsageError("is neither a raw disk image nor a block device", disk=str(disk))
        with disk.open("rb") as file:
            size = file.seek(0, os.SEEK_END)
    except OSError as error:
        raise UsageError(f"cannot be opened: {error.strerror}", disk=str(disk)) from error
    if size == 0 or size % SECTOR:
        raise UsageError(
            f"has {size} bytes, which is no whole number of {SECTOR}-byte sectors", disk=str(disk)
        )
    return size


def create(disks: Sequence[Path], folder: Path) -> list[Overlay]:
    overlays = [
        Overlay(at, disk.absolute(), disk_size(disk), folder / f"overlay-{at}.qcow2")
        for at, disk in enumerate(disks)
    ]
    for overlay in overlays:
        _qemu_img(
            "create",
            "-q",
            "-f",
            "qcow2",
            "-F",
            "raw",
            "-b",
            str(overlay.disk),
            str(overlay.path),
            overlay=overlay,
        )
    return overlays


def layer(overlay: Overlay, folder: Path) -> Path:
    """A second overlay, on top of `overlay`: for writes that nobody will keep."""
    path = folder / f"layer-{overlay.position}.qcow2"
    below = str(overlay.path.absolute())
    _qemu_img("create", "-q", "-f", "qcow2", "-F", "qcow2", "-b", below, str(path), overlay=overlay)
    return path


def written(overlay: Overlay) -> list[DiskRange]:
    """What the overlay holds itself, merged and cut to the disk's size, in order."""
    answer = _qemu_img("map", "--output=json", "-f", "qcow2", str(overlay.path), overlay=overlay)
    own = [(entry["start"], entry["length"]) for entry in json.loads(answer) if entry["depth"] == 0]
    return [DiskRange(disk=overlay.position, start=s, length=n) for s, n in merged(own, overlay.size)]


def merged(pieces: Sequence[tuple[int, int]], size: int) -> list[tuple[int, int]]:
    """(start, length) pieces in order, neighbours joined, nothing beyond `size`."""
    result: list[tuple[int, int]] = []
    for start, length in pieces:
        end = min(start + length, size)
        if result and sum(result[-1]) == start:
            result[-1] = (result[-1][0], end - result[-1][0])
        elif end > start:
            result.append((start, end - start))
    return result


def flatten(overlay: Overlay, delta: Path) -> None:
    """Writes the overlay's own clusters to a sparse raw file. The overlay loses its disk by this: what it
    does not hold reads as zeros from then on."""
    _qemu_img("rebase", "-q", "-u", "-f", "qcow2", "-b", "", str(overlay.path), overlay=overlay)
    _qemu_img("convert", "-q", "-f", "qcow2", "-O", "raw", str(overlay.path), str(delta), overlay=overlay)


def _qemu_img(*arguments: str, overlay: Overlay) -> str:
    name = str(overlay.disk)
    operation = f"qemu-img {arguments[0]}"
    try:
        done = subprocess.run(
            ["qemu-img", *arguments], capture_output=True, text=True, timeout=DEADLINE, check=False
        )
    except FileNotFoundError as error:
        raise UsageError("qemu-img is not installed", remedy="install qemu-utils") from error
    except subprocess.TimeoutExpired as error:
        raise ConversionError(f"took longer than {DEADLINE:.0f} s", disk=name, operation=operation) from error
    if done.returncode != 0:
        problem = done.stderr.strip() or f"ended with status {done.returncode}"
        kind = TargetError if "No space left" in problem else ConversionError
        raise kind(problem, disk=name, operation=operation)
    return done.stdout
