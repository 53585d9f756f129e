"""Whether udev gives this guest's NICs predictable names, so that a PCI slot makes a name.

`net.ifnames=0` on the kernel's command line switches them off; so does an empty or masked file in the place
of udev's rule or of the default .link; so does mdev, which names nothing. Command lines that disagree leave
it unclear; without any it is unknown, and a name like ens192 that the guest configures shows that the names
are predictable. biosdevname is of no interest: in a virtual machine it names nothing.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.linux.interfaces import Naming
from convert.linux.stacks.reading import first, options

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.linux.stacks.reading import Reader

# Where boot loaders keep command lines, and what such a line begins with in each.
BOOT_LINES = {
    "/boot/grub/grub.cfg": r"linux(16|efi)?\s",
    "/boot/grub2/grub.cfg": r"linux(16|efi)?\s",
    "/boot/grub/menu.lst": r"kernel\s",
    "/boot/grub/grub.conf": r"kernel\s",
    "/boot/extlinux.conf": r"append\s",
    "/boot/extlinux/extlinux.conf": r"append\s",
    "/etc/kernel/cmdline": r"",
}
ENTRIES = ("/boot/loader/entries", "/boot/efi/loader/entries", "/efi/loader/entries")
ENTRY_LINE = r"options\s"
# Variables that those lines hand on to the kernel.
VARIABLES = {
    "/boot/grub/grubenv": r"kernelopts=",
    "/boot/grub2/grubenv": r"kernelopts=",
    "/boot/photon.cfg": r"photon_cmdline=",
    "/boot/systemd.cfg": r"systemd_cmdline=",
}
VARIABLE = re.compile(r"\$\{?(kernelopts|photon_cmdline|systemd_cmdline)\b")
SETTINGS = {"/etc/default/grub": r"GRUB_CMDLINE_LINUX(_DEFAULT)?="}
# Entries for emergencies, and images that are not Linux, do not show how the guest usually runs.
UNUSUAL = re.compile(r"\b(recovery|single|rescue|memtest\w*)\b")
NO_NAMES = re.compile(r"(?<![\w.])net\.ifnames=0(?!\d)")
RULES = "/etc/udev/rules.d"
OLD_AND_NEW_RULE = ("80-net-name-slot.rules", "80-net-setup-link.rules")
LINKS = "/etc/systemd/network"
DEFAULT_LINK = "99-default.link"
MDEV = "mdev.conf"


@dataclass(frozen=True)
class CommandLines:
    """Kernel command lines, each with its file: as boot loaders have them, and what they are made of."""

    boots: tuple[tuple[str, str], ...]
    parts: tuple[tuple[str, str], ...]

    @property
    def all(self) -> tuple[tuple[str, str], ...]:
        return self.boots + self.parts


def command_lines(reader: Reader) -> CommandLines:
    entries = {path: ENTRY_LINE for folder in ENTRIES for path in reader.paths(folder, ".conf")}
    boots = tuple(_lines(reader, BOOT_LINES | entries))
    parts = tuple(_lines(reader, VARIABLES))
    return CommandLines(boots, parts if boots else (*parts, *_lines(reader, SETTINGS)))


def _lines(reader: Reader, places: dict[str, str]) -> Iterator[tuple[str, str]]:
    for path, begins in places.items():
        pattern = re.compile(rf"\s*{begins}", re.IGNORECASE)
        for line in reader.text(path).splitlines():
            if line.strip() and pattern.match(line) and not UNUSUAL.search(line):
                yield path, line


def policy(reader: Reader, lines: CommandLines) -> Naming:
    if _masked(reader):
        return Naming.KERNEL
    part_off = any(NO_NAMES.search(line) for _, line in lines.parts)
    off = [
        bool(NO_NAMES.search(line) or (part_off and VARIABLE.search(line))) for _, line in lines.boots
    ] or [part_off]
    if not lines.all:
        return Naming.UNKNOWN
    if not any(off):
        return Naming.PREDICTABLE
    return Naming.KERNEL if all(off) else Naming.UNCLEAR


def _masked(reader: Reader) -> bool:
    rules = reader.names(RULES)
    links = reader.names(LINKS)
    if any(name in rules and not reader.text(f"{RULES}/{name}").strip() for name in OLD_AND_NEW_RULE):
        return True
    if DEFAULT_LINK in links:
        chosen = first(options(reader.text(f"{LINKS}/{DEFAULT_LINK}")), "link", "namepolicy").split()
        return "slot" not in chosen
    return MDEV in reader.names("/etc")
