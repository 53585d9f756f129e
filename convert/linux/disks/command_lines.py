"""Kernel command lines, wherever they are kept: loaders' menus, what these are made from, and images. Pure.

Changed are the values of arguments that name a device; never grub's own `set root='hd0,msdos1'`, which is a
hint that `search --fs-uuid` overrides, and never a comment, but for `# kopt=`, which Debian's update-grub of
GRUB Legacy takes its arguments from. A grubenv keeps its 1024 bytes (GRUB manual, Environment block).
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING

from convert.linux.disks.lines import lines
from convert.linux.disks.names import Use
from convert.tree import encoded

if TYPE_CHECKING:
    from convert.linux.disks.names import Names

# The argument and what it says of its device. `cryptdevice=` and `cryptkey=` go on after a colon.
USES = {
    "root": Use(root=True, needed=True, telling=True),
    "real_root": Use(root=True, needed=True, telling=True),
    "rootpartition": Use(root=True, needed=True, telling=True),
    "mount.usr": Use(needed=True, telling=True),
    "resume": Use(kind="swap", telling=True),
    "real_resume": Use(kind="swap", telling=True),
    "cryptdevice": Use(kind="crypto_LUKS", needed=True, telling=True),
    "cryptroot": Use(kind="crypto_LUKS", needed=True, telling=True),
    "crypt_root": Use(kind="crypto_LUKS", needed=True, telling=True),
    "cryptkey": Use(link=True),
    "rd.luks.data": Use(link=True),
    "rd.luks.key": Use(link=True),
}
# initramfs-tools' `cryptopts=source=...,target=...`, and never a `source=` of its own.
KEYS = "|".join([*map(re.escape, USES), "RESUME", "(?<=[=,])source"])
DEVICE = r"/dev/[^\s\"',;\\)]+|[A-Z]+=[^\s\"',;:\\)]+"
ARGUMENT = re.compile(rf"(?<![\w.-])({KEYS})(=[\"']?(?:block:)?)({DEVICE})")
# After these a colon ends the device. Names of places on a bus have colons of their own.
LISTS = frozenset({"cryptdevice", "cryptkey", "rd.luks.data", "rd.luks.key"})
BEFORE_COLON = re.compile(
    r"(?:/dev/disk/by-path/pci-[0-9a-f:.]+-(?:scsi-[0-9:]+|[^:\s]+)(?:-part[0-9]+)?|[^:]+)(?=:|$)"
)
KOPT = re.compile(r"#\s*(?:kopt|defoptions|altoptions)\w*=")
LOADS_KERNEL = re.compile(r"^[ \t]*(?:linux(?:16|efi)?|kernel)\b", re.MULTILINE | re.IGNORECASE)
LOADS_IMAGE = re.compile(r"initrd|initramfs", re.IGNORECASE)
# The next `update-grub` must not undo it.
UUID_OFF = re.compile(r"^([ \t]*GRUB_DISABLE_(?:LINUX_)?UUID=)[\"']?true[\"']?", re.MULTILINE)


def command_lines(content: str, names: Names, where: str) -> str:
    bare = LOADS_KERNEL.search(content) is not None and LOADS_IMAGE.search(content) is None
    return "".join(_line(line, names, where, bare=bare) for line in lines(content))


def grub_defaults(content: str, names: Names, where: str) -> str:
    return UUID_OFF.sub(r"\1false", command_lines(content, names, where))


def grub_environment(content: str, names: Names, where: str) -> str:
    """Padded with `#`; what does not fit any more is left as it was, and reported."""
    new = command_lines(content, names, where).rstrip("#")
    room = len(encoded(content)) - len(encoded(new))
    if new == content.rstrip("#"):
        return content
    if room < 0:
        names.warn(where, "a device", "the lasting name does not fit into grub's environment block")
        return content
    return new + "#" * room


def _line(line: str, names: Names, where: str, *, bare: bool) -> str:
    if line.lstrip().startswith("#") and not KOPT.match(line.lstrip()):
        return line
    return ARGUMENT.sub(lambda match: match[1] + match[2] + _value(match, names, where, bare=bare), line)


def _value(match: re.Match[str], names: Names, where: str, *, bare: bool) -> str:
    key, value = match[1], match[3]
    use = USES["cryptdevice" if key == "source" else key.lower()]
    if bare and use.root:
        use = replace(use, kernel=True)
    device = BEFORE_COLON.match(value) if key in LISTS else None
    end = device.end() if device else len(value)
    return names.lasting(value[:end], where, use) + value[end:]
