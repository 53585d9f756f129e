"""fstab and crypttab: the edits of tables in columns. Pure.

fstab(5): specification, mount point, type, options. crypttab(5): target, source, key, options.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert.linux.disks.lines import is_comment, lines, replaced
from convert.linux.disks.names import Use

if TYPE_CHECKING:
    from convert.linux.disks.names import Names

# What a guest comes up without. Swap and remote file systems only cost time.
OPTIONAL = frozenset({"nofail", "noauto", "_netdev", "swap"})
# `x-systemd.requires=/dev/sdb1`, xfs' `logdev=`, btrfs' `device=`, crypttab's `header=`: paths all of them.
IN_OPTIONS = re.compile(r"(?<==)(/dev/[^,:\s]+(?::[^,:\s]+)*)")
# A key file on another file system: `/key:/dev/sdb1`.
KEY_ON = re.compile(r"(?<=:)(/dev/\S+)")
# What crypttab's options say of the source; without any it is LUKS (crypttab(5)).
NOT_LUKS = frozenset({"plain", "swap", "tmp", "tcrypt", "bitlk", "loop"})


def fstab(content: str, names: Names, where: str) -> str:
    return "".join(_mount(line, names, where) for line in lines(content))


def crypttab(content: str, names: Names, where: str) -> str:
    return "".join(_container(line, names, where) for line in lines(content))


def _mount(line: str, names: Names, where: str) -> str:
    if is_comment(line):
        return line
    spec, point, kind, options = _columns(line)
    given = {*options.split(","), kind}
    use = Use(
        kind=None if "," in kind else kind or None,
        root=point == "/",
        needed=bool(point) and not OPTIONAL & given,
        telling=bool(point) and not {"noauto", "nofail"} & given,
    )
    return replaced(line, {0: names.lasting(spec, where, use), 3: _in_options(options, names, where)})


def _container(line: str, names: Names, where: str) -> str:
    target, source, key, options = _columns(line)
    if is_comment(line) or not (target and source):
        return line
    given = {option.partition("=")[0] for option in options.split(",")}
    luks, needed = not NOT_LUKS & given, not OPTIONAL & given
    use = Use(kind="crypto_LUKS" if luks else None, needed=needed, telling=luks and needed)
    new_key = KEY_ON.sub(lambda match: names.lasting(match[1], where, Use(link=True)), key)
    new = {1: names.lasting(source, where, use), 2: new_key, 3: _in_options(options, names, where)}
    return replaced(line, new)


def _columns(line: str) -> list[str]:
    """The first four words, empty where there are fewer."""
    return (line.split(maxsplit=4) + [""] * 4)[:4]


def _in_options(options: str, names: Names, where: str) -> str:
    return IN_OPTIONS.sub(lambda match: names.lasting(match[1], where, Use(link=True)), options)
