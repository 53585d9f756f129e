"""mdadm.conf: arrays are found by what their members say, not by members' names. Pure.

mdadm.conf(5): `DEVICE` lists where to look (`partitions` and `containers` unless told otherwise), `ARRAY`
says which array a name belongs to. A `devices=` list must match too, so it goes where the array has its UUID;
where it has none, the members' own UUID takes its place. A line that starts with a blank goes on with the one
before.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert import hardware
from convert.linux.disks.lines import is_comment, lines
from convert.linux.disks.names import Use

if TYPE_CHECKING:
    from convert.linux.disks.names import Names

EVERYWHERE = ("partitions", "containers")
MEMBERS = re.compile(r"([ \t]{0,40})(?<!\S)devices=(\S+)", re.IGNORECASE)
IDENTITY = re.compile(r"(?<!\S)uuid=", re.IGNORECASE)
LISTED = re.compile(r"([ \t]{1,40})(/dev/\S+)")
PATTERN = re.compile(r"/dev/(?:[shxv]*d|nvme|disk/by-(?:id|path)|\[)[^\s]*[*?\[]")


def mdadm(content: str, names: Names, where: str) -> str:
    return "".join(_statement(statement, names, where) for statement in _statements(content))


def _statements(content: str) -> list[str]:
    """Each with the lines that go on with it."""
    found: list[list[str]] = []
    for line in lines(content):
        if found and line[:1] in (" ", "\t") and not is_comment(line) and not is_comment(found[-1][0]):
            found[-1].append(line)
        else:
            found.append([line])
    return ["".join(parts) for parts in found]


def _statement(statement: str, names: Names, where: str) -> str:
    if is_comment(statement):
        return statement
    match statement.split(maxsplit=1)[0].upper():
        case "DEVICE" | "DEV":
            return _devices(statement, names, where)
        case "ARRAY":
            known = IDENTITY.search(statement) is not None
            return MEMBERS.sub(lambda match: _members(match, names, where, known=known), statement)
    return statement


def _devices(statement: str, names: Names, where: str) -> str:
    """Where to look: everywhere, if the line knows disks by their old names. Also when it is a pattern."""
    listed = [match[2] for match in LISTED.finditer(statement)]
    if not any(hardware.parsed(name) or PATTERN.match(name) for name in listed):
        return statement
    names.note(where, "arrays are looked for on every disk")
    places = iter([" ".join(word for word in EVERYWHERE if word not in statement.split())])
    return LISTED.sub(lambda match: match[1] + word if (word := next(places, "")) else "", statement)


def _members(match: re.Match[str], names: Names, where: str, *, known: bool) -> str:
    members = match[2].split(",")
    if not any(hardware.parsed(name) or PATTERN.match(name) for name in members):
        return match[0]
    if known:
        names.note(where, "the array is known by its UUID")
        return ""
    found = [names.found(name, where, Use(kind="linux_raid_member", telling=True)) for name in members]
    arrays = {_uuid(member.uuid) for member in found if member and member.uuid}
    if None in found or len(arrays) != 1:
        names.warn(where, match[2], "these are not members of one array of the given disks")
        return match[0]
    names.note(where, "the members' own UUID of the array finds them")
    return f"{match[1]}UUID={arrays.pop()}"


def _uuid(uuid: str) -> str:
    """blkid's spelling to mdadm's, of superblocks of version 1: four groups of eight digits."""
    digits = uuid.replace("-", "")
    return ":".join(digits[at : at + 8] for at in range(0, 32, 8))
