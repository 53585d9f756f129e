"""systemd's own units for mounts, swaps and devices. Pure.

A mount is named after where it is mounted, so only its What= changes. A swap is named after its device, and
systemd refuses one whose What= is another (systemd.swap(5)), so it moves to the name that fits, with the
links that enable it. Units that wait for a device name it as `dev-sdb1.device` (systemd.unit(5), escaping).
"""

from __future__ import annotations

import posixpath
import re
from typing import TYPE_CHECKING

from convert.linux.disks.lines import lines
from convert.linux.disks.names import Use

if TYPE_CHECKING:
    from convert.linux.disks.names import Names

WHAT = re.compile(r"(\s*What\s*=\s*)(/dev/\S+)")
KIND = re.compile(r"^[ \t]*Type[ \t]*=[ \t]*(\S+)", re.MULTILINE)
# The unit of a device in the value of a dependency.
DEVICE = re.compile(r"(?<=[=\s])(dev-(?:[A-Za-z0-9:_.-]|\\x[0-9a-f]{2})+?)\.(device|swap)(?=\s|$)")
PLAIN = re.compile(r"[A-Za-z0-9:_.]")
ESCAPED = re.compile(r"\\x([0-9a-f]{2})")


def unit(content: str, names: Names, where: str) -> str:
    kind = KIND.search(content)
    use = Use(kind="swap" if where.endswith(".swap") else kind[1] if kind else None, link=True)
    return "".join(_line(line, names, where, use) for line in lines(content))


def proper_path(path: str, content: str) -> str:
    """The path that this unit must have: another one than `path` for a swap whose device got another name."""
    what = next((match[2] for line in lines(content) if (match := WHAT.match(line))), None)
    if not path.endswith(".swap") or what is None:
        return path
    return posixpath.join(posixpath.dirname(path), f"{escaped(what)}.swap")


def escaped(path: str) -> str:
    """A path as a unit's name: what is no plain character becomes \\xNN, slashes become dashes."""
    parts = path.strip("/").split("/")
    return "-".join("".join(c if PLAIN.match(c) else f"\\x{ord(c):02x}" for c in part) for part in parts)


def unescaped(name: str) -> str:
    return "/" + ESCAPED.sub(lambda match: chr(int(match[1], 16)), name.replace("-", "/"))


def _line(line: str, names: Names, where: str, use: Use) -> str:
    if line.lstrip().startswith(("#", ";")):
        return line
    if match := WHAT.match(line):
        return match[1] + names.lasting(match[2], where, use) + line[match.end() :]
    return DEVICE.sub(lambda match: _device(match, names, where), line)


def _device(match: re.Match[str], names: Names, where: str) -> str:
    name = unescaped(match[1])
    kind = "swap" if match[2] == "swap" else None
    new = names.lasting(name, where, Use(kind=kind, link=True))
    return match[0] if new == name else f"{escaped(new)}.{match[2]}"
