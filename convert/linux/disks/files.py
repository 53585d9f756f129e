"""Every file in which a guest names disks, with the edit that knows its grammar.

A `*` in a path stands for any name in one folder. Folders are listed rather than files asked for, because
most of these files are on no single guest and each question to an appliance takes its time. A path is
followed through links, so a file with two names is edited once.
"""

from __future__ import annotations

import posixpath
from collections.abc import Callable
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import islice
from typing import TYPE_CHECKING

from convert.linux.disks import (
    command_lines,
    debconf,
    devices_file,
    kdump,
    lvm,
    mdadm,
    reported,
    settings,
    tables,
    units,
)
from convert.linux.disks.names import Names
from convert.linux.stacks.reading import BACKUP
from convert.tree import TEXT_LIMIT

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from convert.tree import Tree

# (content, names, path) -> the new content; None: the file is to go.
Edit = Callable[[str, Names, str], "str | None"]

# Folders of a guest hold dozens of such files; one that shows more does not get to keep us busy.
MATCHES = 500
LINKS = 16

UNITS = ("mount", "swap", "automount")
TABLE: tuple[tuple[str, Edit], ...] = (
    ("/etc/fstab", tables.fstab),
    ("/etc/crypttab", tables.crypttab),
    ("/etc/default/grub", command_lines.grub_defaults),
    ("/etc/default/grub.d/*.cfg", command_lines.grub_defaults),
    ("/etc/initramfs-tools/initramfs.conf", command_lines.command_lines),
    ("/etc/initramfs-tools/conf.d/*", command_lines.command_lines),
    ("/etc/sysconfig/kdump", command_lines.command_lines),
    ("/etc/kdump.conf", kdump.kdump),
    ("/etc/dracut.conf", settings.dracut),
    ("/etc/dracut.conf.d/*.conf", settings.dracut),
    ("/etc/mdadm.conf", mdadm.mdadm),
    ("/etc/mdadm/mdadm.conf", mdadm.mdadm),
    ("/etc/mdadm.conf.d/*.conf", mdadm.mdadm),
    ("/etc/lvm/lvm.conf", lvm.lvm),
    ("/etc/lvm/lvmlocal.conf", lvm.lvm),
    ("/etc/lvm/cache/.cache", settings.lvm_cache),
    (devices_file.PATH, devices_file.devices_file),
    (debconf.PATH, debconf.debconf),
    ("/etc/smartd.conf", settings.smartd),
    ("/etc/smartmontools/smartd.conf", settings.smartd),
    ("/etc/sysconfig/grub", settings.boot_disk),
    ("/etc/auto.*", settings.autofs),
    ("/etc/rc.local", reported.script),
    ("/etc/rc.d/rc.local", reported.script),
    ("/etc/init.d/boot.local", reported.script),
    ("/etc/udev/rules.d/*.rules", reported.rules),
    ("/boot/grub*/device.map", settings.device_map),
    *((f"/etc/systemd/system/*.{kind}", units.unit) for kind in UNITS),
)
# initramfs images have copies of some, and two files of their own; they are read before the root is.
IN_IMAGES: tuple[tuple[str, Edit], ...] = (
    ("conf/conf.d/*", command_lines.command_lines),
    ("etc/conf.d/*", command_lines.command_lines),
    ("etc/cmdline.d/*", command_lines.command_lines),
    ("cryptroot/crypttab", tables.crypttab),
    ("etc/lvm/devices/system.devices", devices_file.in_image),
)
# Of a rule in an image the one in the root has told.
REPORTED = (reported.script, reported.rules)
ENVIRONMENT = "grubenv"


@dataclass(frozen=True)
class Known:
    """A file of this guest, by the path that no link is in, and its edit."""

    path: str
    edit: Edit

    @property
    def limit(self) -> int:
        return debconf.LIMIT if self.edit is debconf.debconf else TEXT_LIMIT


def known(finder: Finder, boot_configs: Iterable[str]) -> list[Known]:
    """The guest's files that may name disks. `boot_configs`: those with kernel command lines."""
    found: dict[str, Edit] = {}
    for pattern, edit in TABLE:
        for path in finder.matches(pattern):
            found.setdefault(path, edit)
    for path in boot_configs:
        is_block = posixpath.basename(path) == ENVIRONMENT
        edit = command_lines.grub_environment if is_block else command_lines.command_lines
        found.setdefault(finder.real(path), edit)
    return [Known(path, edit) for path, edit in found.items()]


def edit_in_image(name: str) -> Edit | None:
    """The edit for a file of an initramfs image, by its name there."""
    originals = ((path.removeprefix("/"), edit) for path, edit in TABLE if edit not in REPORTED)
    return next((edit for path, edit in (*IN_IMAGES, *originals) if fnmatchcase(name, path)), None)


class Finder:
    """Paths by pattern; each folder of the guest is listed once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._names: dict[str, frozenset[str]] = {}
        self._targets: dict[str, str | None] = {}

    def matches(self, pattern: str) -> Iterator[str]:
        """Real paths. What editors and package managers leave behind matches no `*`."""
        return islice((self.real(path) for path in self._walk("", pattern.split("/")[1:])), MATCHES)

    def _walk(self, folder: str, parts: list[str]) -> Iterator[str]:
        part, *rest = parts
        listed = self._listed(folder)
        names = [part] if part in listed else []
        if "*" in part:
            names = sorted(n for n in listed if fnmatchcase(n, part) and not BACKUP.fullmatch(n))
        for name in names:
            path = f"{folder}/{name}"
            if rest:
                yield from self._walk(path, rest)
            else:
                yield path

    def _listed(self, folder: str) -> frozenset[str]:
        if folder not in self._names:
            self._names[folder] = frozenset(self._tree.names(folder or "/"))
        return self._names[folder]

    def real(self, path: str) -> str:
        """`path` with its links followed; a loop ends somewhere in itself, where there is no file."""
        done, waiting, links = "", [part for part in path.split("/") if part], 0
        while waiting:
            part = waiting.pop(0)
            if part in (".", ".."):
                done = posixpath.dirname(done).rstrip("/") if part == ".." else done
                continue
            target = self._target(f"{done}/{part}")
            if target is None or links == LINKS:
                done = f"{done}/{part}"
                continue
            links += 1
            done = "" if target.startswith("/") else done
            waiting = [*(p for p in target.split("/") if p), *waiting]
        return done

    def _target(self, path: str) -> str | None:
        if path not in self._targets:
            self._targets[path] = self._tree.link(path)
        return self._targets[path]
