"""debconf's answers of grub-pc: which disks the next upgrade of the package writes its boot code to. Pure.

The answer names disks by VMware's identity. Where one does not exist, grub-pc's postinst asks anew, and fails
where nobody can be asked (grub2 2.06, debian/postinst.in). No name of a whole disk lasts on VirtIO. So the
answer becomes: none, and that is intended. The boot code and the modules that it loads then stay as they
are, which is what boots now. The EFI partitions of grub-efi on Ubuntu do have lasting names.

config.dat is stanzas of `Field: value`, with indented lines below `Variables:` (debconf, Format/822.pm).
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert import hardware
from convert.linux.disks.lines import lines
from convert.linux.disks.names import Use

if TYPE_CHECKING:
    from convert.linux.disks.names import Names

PATH = "/var/cache/debconf/config.dat"
# Servers with many packages have megabytes of answers.
LIMIT = 16 * 1024 * 1024
DISKS = "grub-pc/install_devices"
NONE_IS_RIGHT = "grub-pc/install_devices_empty"
PARTITIONS = "grub-efi/install_devices"
NEW = "\n\nName: {name}\nTemplate: {name}\nValue: true\nOwners: grub-pc\nFlags: seen"
NAME = re.compile(r"[^,\s]+")


def debconf(content: str, names: Names, where: str) -> str:
    stanzas = re.split(r"(\n\n+)", content)
    at = {_field(stanza, "Name"): place for place, stanza in enumerate(stanzas)}
    if (place := at.get(PARTITIONS)) is not None:
        stanzas[place] = _partitions(stanzas[place], names, where)
    place = at.get(DISKS)
    if place is not None and any(map(hardware.parsed, NAME.findall(_field(stanzas[place], "Value")))):
        names.note(where, "grub-pc would write its boot code to disks that do not exist any more")
        stanzas[place] = _answered(stanzas[place], "")
        if (empty := at.get(NONE_IS_RIGHT)) is not None:
            stanzas[empty] = _answered(stanzas[empty], "true")
        else:
            end = "\n" if stanzas[place].endswith("\n") else ""
            stanzas[place] = stanzas[place].removesuffix("\n") + NEW.format(name=NONE_IS_RIGHT) + end
    return "".join(stanzas)


def _partitions(stanza: str, names: Names, where: str) -> str:
    use = Use(kind="vfat", link=True)
    value = NAME.sub(lambda match: names.lasting(match[0], where, use), _field(stanza, "Value"))
    return _with(stanza, "Value", value)


def _answered(stanza: str, value: str) -> str:
    """The answer, and that it was given: debconf asks only what was not seen."""
    flags = {flag.strip() for flag in _field(stanza, "Flags").split(",")} - {""}
    return _with(_with(stanza, "Value", value), "Flags", ", ".join(sorted(flags | {"seen"})))


def _field(stanza: str, field: str) -> str:
    start = f"{field}:"
    found = (line for line in lines(stanza) if line.startswith(start))
    return next(found, start).removeprefix(start).strip()


def _with(stanza: str, field: str, value: str) -> str:
    """`stanza` with one field set; a new one goes before `Variables`, which takes all lines below it."""
    if _field(stanza, field) == value:
        return stanza
    new = f"{field}: {value}"
    kept = stanza.split("\n")
    for at, line in enumerate(kept):
        if line.startswith(f"{field}:"):
            return "\n".join([*kept[:at], new, *kept[at + 1 :]])
    before = next((at for at, line in enumerate(kept) if line.startswith("Variables:")), len(kept))
    while before and not kept[before - 1]:
        before -= 1  # the end of the file
    return "\n".join([*kept[:before], new, *kept[before:]])
