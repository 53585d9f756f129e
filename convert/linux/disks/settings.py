"""Small settings that know disks by the old hardware, each in one line of its file. Pure.

An edit that answers None wants its file removed: a list of devices that its reader makes anew.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert import hardware
from convert.linux.disks.command_lines import command_lines
from convert.linux.disks.lines import is_comment, lines
from convert.linux.disks.names import Use

if TYPE_CHECKING:
    from convert.linux.disks.names import Names

DEVICE = re.compile(r"/dev/[^\s\"',;]+")
ADDED = re.compile(r"^([ \t]*(?:add_device|filesystems|fscks)\+?=)([^\n]*)", re.MULTILINE)
POLICY = re.compile(r"^([ \t]*persistent_policy=[\"']?)(?:by-id|by-path)\b", re.MULTILINE)
WATCHED = re.compile(r"(/dev/\S+)(.*)")
ON_DEMAND = re.compile(r"(?<=[ \t]:)(/dev/\S+)")
BOOT_DISK = re.compile(r"^([ \t]*)(boot=[\"']?/dev/)", re.MULTILINE)


def dracut(content: str, names: Names, where: str) -> str:
    """dracut.conf(5): devices to add, the kind of names that it writes into images, arguments."""
    policy = POLICY.sub(r"\1by-uuid", content)
    if policy != content:
        names.note(where, "dracut writes names of disks into its images: UUIDs from now on")
    added = ADDED.sub(lambda match: match[1] + _devices(match[2], names, where), policy)
    return command_lines(added, names, where)


def _devices(value: str, names: Names, where: str) -> str:
    return DEVICE.sub(lambda match: names.lasting(match[0], where, Use(link=True)), value)


def smartd(content: str, names: Names, where: str) -> str:
    """smartd ends when a disk that it is to watch is not there, unless it is removable (smartd.conf(5))."""
    return "".join(_watched(line, names, where) for line in lines(content))


def _watched(line: str, names: Names, where: str) -> str:
    match = WATCHED.match(line)
    if match is None or hardware.parsed(match[1]) is None or "-d removable" in line:
        return line
    names.note(where, "smartd may not end because a disk is gone")
    return f"{match[1]} -d removable{line[match.end(1) :]}"


def boot_disk(content: str, names: Names, where: str) -> str:
    """GRUB Legacy's `boot=/dev/sda` for whoever installs it anew: no name of a whole disk lasts."""
    new = BOOT_DISK.sub(r"\1#\2", content)
    if new != content:
        names.note(where, "no name of a whole disk lasts, and this one may come to mean another disk")
    return new


def device_map(content: str, names: Names, where: str) -> str | None:
    """grub-install looks at the disks that there are when it has no map (GRUB manual, Device map)."""
    rows = [line.split() for line in lines(content) if not is_comment(line)]
    if not any(len(row) > 1 and hardware.parsed(row[1]) for row in rows):
        return content
    names.note(where, "it maps BIOS drives to disks by their old names; grub finds them itself without it")
    return None


def autofs(content: str, names: Names, where: str) -> str:
    """A local device in a map of the automounter stands behind a colon (autofs(5))."""
    return ON_DEMAND.sub(lambda match: names.lasting(match[1], where, Use(link=True)), content)


def lvm_cache(content: str, names: Names, where: str) -> str | None:
    """The devices that LVM of 2012 and before found last; it makes the list anew."""
    if not any(map(hardware.parsed, DEVICE.findall(content))):
        return content
    names.note(where, "it lists devices by their old names; LVM makes it anew")
    return None
