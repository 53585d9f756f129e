"""Device mapper, inside the machine: block devices that fail as their table says.

Targets (kernel: Documentation/admin-guide/device-mapper/): linear, error, flakey, delay, log-writes. Numbers
in tables are sectors of 512 bytes; the functions here take bytes. There is no udev in the machine: dmsetup is
told so and makes the nodes itself.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Self

SECTOR = 512
DEADLINE = 60.0  # s
WITHOUT_UDEV = {**os.environ, "DM_DISABLE_UDEV": "1"}


@dataclass(frozen=True)
class Segment:
    """`length` bytes of a device, and what stands behind them."""

    length: int
    target: str


def linear(length: int, device: Path, start: int = 0) -> Segment:
    return Segment(length, f"linear {device} {start // SECTOR}")


def error(length: int) -> Segment:
    """Every read and write is EIO."""
    return Segment(length, "error")


def dropping(length: int, device: Path, start: int = 0) -> Segment:
    """Every write succeeds, and nothing is written."""
    return Segment(length, f"flakey {device} {start // SECTOR} 0 1 1 drop_writes")


def delayed(length: int, device: Path, milliseconds: int) -> Segment:
    """Every read, write and flush."""
    return Segment(length, f"delay {device} 0 {milliseconds}")


def logged(length: int, device: Path, log: Path) -> Segment:
    """What is written to `device` is also written to `log` (see log_writes)."""
    return Segment(length, f"log-writes {device} {log}")


class Mapped:
    """The device /dev/mapper/`name`, always with the same number, while used as `with`."""

    def __init__(self, name: str, minor: int, *segments: Segment) -> None:
        self._name = name
        self._minor = minor
        self._segments = segments
        self.path = Path("/dev/mapper", name)

    def __enter__(self) -> Self:
        number = ("--major", str(_major()), "--minor", str(self._minor))
        _dmsetup("create", self._name, *number, table=self._segments)
        return self

    def __exit__(self, *_exc: object) -> None:
        _dmsetup("remove", "--retry", self._name)

    def become(self, *segments: Segment) -> None:
        """Another table from now on; what is in flight ends first, what is in the page cache stays there."""
        _dmsetup("load", self._name, table=segments)
        _dmsetup("suspend", "--nolockfs", self._name)
        _dmsetup("resume", self._name)


def _major() -> int:
    lines = Path("/proc/devices").read_text().splitlines()
    return next(int(line.split()[0]) for line in lines if line.endswith(" device-mapper"))


def _dmsetup(*arguments: str, table: Sequence[Segment] = ()) -> None:
    lines, start = [], 0
    for segment in table:
        lines.append(f"{start // SECTOR} {segment.length // SECTOR} {segment.target}\n")
        start += segment.length
    done = subprocess.run(
        ["dmsetup", "--noudevsync", *arguments],
        input="".join(lines), capture_output=True, text=True, timeout=DEADLINE, check=False, env=WITHOUT_UDEV,
    )  # fmt: skip
    if done.returncode:
        raise OSError(f"dmsetup {' '.join(arguments)}: {done.stderr.strip()}")
