"""Whether a name leads to something on the given disks: tags, volumes, containers that the guest opens. Pure.

A mapper name must come from LVM, an array or a container that crypttab or the command line opens. What lies
in a container without a key here is not seen, so then nothing can be said of names that may be in it.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert import hardware
from convert.devices import TAG_FIELDS, TAGS
from convert.linux.disks.lines import is_comment, lines
from convert.linux.fstab import unescaped

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convert.devices import Devices

# What the command line calls the containers that it opens: dracut, systemd, mkinitcpio, mkinitfs, cryptroot.
OPENED = re.compile(
    r"(?:(?:rd\.)?luks\.name=[0-9A-Fa-f-]{1,64}=|cryptdevice=[^\s\"']{1,200}?:(?=[A-Za-z_])|cryptdm=|target=)([\w.-]+)"
)
BY_UUID = re.compile(r"/dev/mapper/luks-([0-9a-fA-F-]{36})(?:[_-].*)?")
VOLUME = re.compile(
    r"/dev/(?!(?:disk|block|mapper|md|zvol|loop|cciss|ida|rd|shm|pts|input|fd|char|dri|net|bus)/)[^/]+/[^/]+"
)
ARRAY = re.compile(r"/dev/md(?:_?d?[0-9]+(?:p[0-9]+)?|/\S+)")
# udev writes what is no plain character of a label as \xNN.
ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


@dataclass(frozen=True)
class Volumes:
    """`opened`: names below /dev/mapper that the guest makes by itself when it comes up."""

    devices: Devices
    opened: frozenset[str]

    def is_lost(self, name: str) -> bool:
        """Whether nothing on the disks can be meant. False where that cannot be known."""
        if hardware.parsed(name):
            return True
        if name.startswith("/dev/mapper/") or VOLUME.fullmatch(name):
            return not (self._is_volume(name) or self._has_closed())
        if ARRAY.fullmatch(name):
            return not (self._is_volume(name) or self._has("linux_raid_member"))
        tag, value = _tag(name)
        return tag in TAG_FIELDS and not (self._is_tagged(TAG_FIELDS[tag], value) or self._has_closed())

    def _is_volume(self, name: str) -> bool:
        by_uuid = BY_UUID.fullmatch(name)
        if by_uuid and self._is_tagged("uuid", by_uuid[1]):
            return True
        return name.removeprefix("/dev/mapper/") in self.opened or self.devices.resolve(name) is not None

    def _is_tagged(self, field: str, value: str) -> bool:
        have = (getattr(filesystem, field) for filesystem in self.devices.filesystems)
        return any(tag is not None and tag.lower() == value.lower() for tag in have)

    def _has(self, kind: str) -> bool:
        return any(filesystem.kind == kind for filesystem in self.devices.filesystems)

    def _has_closed(self) -> bool:
        """Whether a container stayed closed, here or inside one that did."""
        seen = {filesystem.container for filesystem in self.devices.filesystems}
        return any(f.kind == "crypto_LUKS" and f not in seen for f in self.devices.filesystems)


def opened(crypttab: str, command_lines: Iterable[str]) -> frozenset[str]:
    targets = {line.split()[0] for line in lines(crypttab) if not is_comment(line)}
    return frozenset(targets.union(*(OPENED.findall(text) for text in command_lines)))


def _tag(name: str) -> tuple[str, str]:
    for prefix, tag in TAGS.items():
        if name.startswith(prefix):
            value = name.removeprefix(prefix)
            return tag.rstrip("="), ESCAPED.sub(lambda match: chr(int(match[1], 16)), value)
    tag, _, value = unescaped(name).partition("=")
    return tag, value.strip("\"'")
