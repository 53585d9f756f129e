"""The subvolumes of a btrfs, by their paths from its top, and which of them are snapshots. Pure.

A system on btrfs keeps many trees that look like roots: snapper makes one before and after each update,
timeshift one a day. What is mounted as `/` is the subvolume that fstab or the kernel command line names or,
where none does, the default one. On SUSE that default is itself a snapper snapshot, a writable one: so being
a snapshot speaks against a subvolume only if it is not the default.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Mapping

TOP = "/"
TOP_ID = 5
# What `btrfs subvolume` prints; `read` takes the three answers, each after a line of its own.
SCRIPT = (
    "echo @default; btrfs subvolume get-default /sysroot; "
    "echo @all; btrfs subvolume list /sysroot; echo @read-only; btrfs subvolume list -r /sysroot"
)
LINE = re.compile(r"ID (\d+) .*?top level \d+ path (.+)")
SNAPSHOT = re.compile(r"(^|/)\.snapshots/\d+/snapshot(/|$)|^timeshift-btrfs/|(^|/)\.snapshots?/")
# Container engines keep one subvolume for each layer of each image.
IMAGES = re.compile(r"(^|/)(docker|containers|containerd|lxc|lxd|machines|portables)(/|$)")
# A system has a dozen. Looking at one costs milliseconds, at thousands minutes.
LOOKED_AT = 64


@dataclass(frozen=True)
class Subvolumes:
    """`paths` by number. The top of the file system is `/`."""

    default: str = TOP
    paths: Mapping[int, str] = field(default_factory=dict)
    read_only: frozenset[str] = frozenset()

    def candidates(self) -> list[str]:
        """Those that may hold a system: the default first, then the shallow ones before the deep."""
        fit = [path for path in self.paths.values() if not self.is_set_aside(path)]
        fit.sort(key=lambda path: (path.count("/"), path))
        return list(dict.fromkeys((self.default, TOP, *fit)))[:LOOKED_AT]

    def is_set_aside(self, path: str) -> bool:
        """Snapshots and images, and what no mount option can name."""
        return path in self.read_only or bool(SNAPSHOT.search(path) or IMAGES.search(path)) or "," in path

    def named(self, subvol: str | None, subvolid: str | None) -> str:
        """The path that mount options choose."""
        if subvol:
            return subvol.strip("/") or TOP
        if subvolid and subvolid.isdecimal():
            return self.paths.get(int(subvolid), self.default)
        return self.default


def read(said: str) -> Subvolumes:
    parts = dict(re.findall(r"^@([a-z-]+)\n(.*?)(?=^@|\Z)", said, re.MULTILINE | re.DOTALL))
    default = _paths(parts.get("default", ""))
    paths = _paths(parts.get("all", ""))
    return Subvolumes(
        default=next(iter(default.values()), TOP),
        paths={TOP_ID: TOP, **paths},
        read_only=frozenset(_paths(parts.get("read-only", "")).values()),
    )


def _paths(lines: str) -> dict[int, str]:
    return {int(number): path for number, path in LINE.findall(lines)}
