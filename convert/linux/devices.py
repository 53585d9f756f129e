"""Device names that depend on the old hardware become UUIDs, wherever the guest boots or mounts by them.

Touched: fstab, crypttab, kernel command lines in grub.cfg and in the files it is made from, the resume
device of initramfs-tools. The next `update-grub` must not undo it, so GRUB_DISABLE_LINUX_UUID goes too.
What a name stood for is known by the order of disks (convert.devices); what is not known stays as it is
and is reported.
"""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING

from convert.devices import is_unstable
from convert.linux import fstab
from convert.plan import Change, Contribution, write
from convert.tree import text
from transferd.model import Warning_

if TYPE_CHECKING:
    from convert.devices import Devices
    from convert.inspection import Inspection
    from convert.tree import Tree
    from convert.wishes import Wishes

STEP = "devices"
# `root=` and `resume=` of a kernel command line, `RESUME=` of initramfs-tools; never grub's own
# `set root='hd0,msdos1'`, which is a hint that `search --fs-uuid` overrides.
ARGUMENT = re.compile(r"(?<![\w.-])((?:root|resume|ROOT|RESUME)=[\"']?)(/dev/[^\s\"']+)")
UUID_OFF = re.compile(r"^(\s*GRUB_DISABLE_LINUX_UUID=)[\"']?true[\"']?", re.MULTILINE)
ROOT = re.compile(r"(?<![\w.-])root=[\"']?((?:/dev/|[A-Z]+=)[^\s\"']+)")
BY_CONTENT = ("UUID=", "LABEL=", "PARTUUID=", "/dev/disk/by-uuid/", "/dev/disk/by-label/")
OPTIONAL = frozenset({"nofail", "noauto", "swap"})
TABLES = {"/etc/fstab": 0, "/etc/crypttab": 1}
CMDLINES = ("/etc/default/grub", "/etc/kernel/cmdline", "/etc/initramfs-tools/conf.d/resume")


def use_uuids(tree: Tree, inspection: Inspection, wishes: Wishes) -> Contribution:  # noqa: ARG001 (a step)
    """Name disks by their UUIDs."""
    names = Names(inspection.devices)
    changes: list[Change] = []
    for path, column in TABLES.items():
        if (old := text(tree, path)) is not None:
            new = fstab.edited(old, column, partial(names.stable, where=path))
            changes += _change(tree, path, new)
    for path in _command_lines(tree, inspection):
        if (old := text(tree, path)) is not None:
            new = UUID_OFF.sub(r"\1false", names.in_arguments(old, path))
            changes += _change(tree, path, new)
    return Contribution(tuple(changes), tuple(names.warnings))


def _change(tree: Tree, path: str, content: str) -> tuple[Change, ...]:
    reason = "disks get other names on VirtIO; a UUID stays"
    return write(tree, path, content, step=STEP, reason=reason)


def _command_lines(tree: Tree, inspection: Inspection) -> list[str]:
    folder = "/etc/default/grub.d"
    drop_ins = [f"{folder}/{name}" for name in tree.names(folder) if name.endswith(".cfg")]
    made = [inspection.grub_config] if inspection.grub_config else []
    return [*CMDLINES, *drop_ins, *made]


class Names:
    """Replaces unstable names and remembers those that it could not resolve."""

    def __init__(self, devices: Devices) -> None:
        self._devices = devices
        self.warnings: list[Warning_] = []

    def stable(self, name: str, where: str) -> str:
        if not is_unstable(name):
            return name
        new = self._devices.stable_name(name)
        if new is None:
            self._warn(name, where)
        return new or name

    def in_arguments(self, content: str, where: str) -> str:
        """`content` with root= and resume= made stable; comment lines are left alone."""
        lines = content.splitlines(keepends=True)
        return "".join(
            line if line.lstrip().startswith("#") else self._in_line(line, where) for line in lines
        )

    def _in_line(self, line: str, where: str) -> str:
        return ARGUMENT.sub(lambda match: match[1] + self.stable(match[2], where), line)

    def _warn(self, name: str, where: str) -> None:
        warning = Warning_(
            code="device-unresolved",
            message=f"{where} names {name}, which is no single file system of the given disks",
            remedy="check the order of the disks, or use a UUID in the guest",
        )
        if warning not in self.warnings:
            self.warnings.append(warning)


def lost_names(tree: Tree, inspection: Inspection) -> list[str]:
    """`PATH: NAME` for each name that the guest needs to come up and that is no lasting one.

    Swap, resume and what may fail (nofail, noauto) only cost time: the step's warnings speak of them.
    """
    left = []
    for path, column in TABLES.items():
        rows = [
            row for row in fstab.rows(text(tree, path) or "") if not OPTIONAL & set(",".join(row).split(","))
        ]
        left += [
            f"{path}: {row[column]}"
            for row in rows
            if len(row) > column and _is_lost(row[column], inspection)
        ]
    for path in _command_lines(tree, inspection):
        for line in (text(tree, path) or "").splitlines():
            roots = [] if line.lstrip().startswith("#") else ROOT.findall(line)
            left += [f"{path}: {name}" for name in roots if _is_lost(name, inspection)]
    return left


def _is_lost(name: str, inspection: Inspection) -> bool:
    return is_unstable(name) or (name.startswith(BY_CONTENT) and inspection.devices.resolve(name) is None)
