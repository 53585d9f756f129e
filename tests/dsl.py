"""A disk in a string: `A0-` is a MiB of 0x41, a MiB of allocated zeros, a MiB of hole."""

from __future__ import annotations

from pathlib import Path

from transferd.units import MiB


def content(disk: str) -> bytes:
    """The bytes that the disk reads as."""
    return b"".join((b"\0" if kind in "0-" else kind.encode()) * MiB for kind in disk)


def write(disk: str, path: Path, *, tail: int = 0) -> Path:
    """A sparse file that holds the disk, and `tail` more bytes of 0xEE."""
    with path.open("wb") as file:
        for number, kind in enumerate(disk):
            if kind != "-":
                file.seek(number * MiB)
                file.write(content(kind))
        file.seek(len(disk) * MiB)
        file.write(b"\xee" * tail)
        file.truncate(len(disk) * MiB + tail)
    return path
