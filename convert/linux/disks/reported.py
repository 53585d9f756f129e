"""Programs and rules that know a disk by the old hardware: reported, never edited. Pure."""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert import hardware
from convert.linux.disks.lines import is_comment, lines

if TYPE_CHECKING:
    from collections.abc import Iterable

    from convert.linux.disks.names import Names

NAME = re.compile(r"/dev/[\w./:-]+")
# What rules for raw devices and Oracle's ASM match: VMware's identity of a disk, or the kernel's name of it.
IN_RULES = re.compile(r"3?6000c29[0-9a-f]{25}|KERNEL==\"sd[^\"\n]{0,80}\"")


def script(content: str, names: Names, where: str) -> str:
    for line in lines(content):
        if not is_comment(line):
            _report((name for name in NAME.findall(line) if hardware.parsed(name)), names, where)
    return content


def rules(content: str, names: Names, where: str) -> str:
    for line in lines(content):
        if not is_comment(line):
            _report(IN_RULES.findall(line), names, where)
    return content


def _report(found: Iterable[str], names: Names, where: str) -> None:
    for name in found:
        names.warn(
            where, name, "it may mean another disk now, and what a program or a rule wants is not known"
        )
