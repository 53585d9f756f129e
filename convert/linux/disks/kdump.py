"""kdump.conf: where crash dumps go. `TYPE DEVICE` mounts, `raw DEVICE` overwrites (kdump.conf(5)). Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert.linux.disks.lines import lines
from convert.linux.disks.names import Use

if TYPE_CHECKING:
    from convert.linux.disks.names import Names

TARGET = re.compile(r"(?P<kind>raw|ext[234]|xfs|btrfs|minix)(?P<blank>[ \t]+)(?P<name>/dev/\S+)")


def kdump(content: str, names: Names, where: str) -> str:
    return "".join(_line(line, names, where) for line in lines(content))


def _line(line: str, names: Names, where: str) -> str:
    """A raw target is dumped to without a file system, so it needs a path."""
    match = TARGET.match(line)
    if match is None:
        return line
    raw = match["kind"] == "raw"
    use = Use(link=True) if raw else Use(kind=match["kind"], telling=True)
    return f"{match['kind']}{match['blank']}{names.lasting(match['name'], where, use)}{line[match.end() :]}"
