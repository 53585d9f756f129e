"""What all loaders have in common: entries, the one of them that starts by itself, and paths into the guest.

A loader names files as it sees them: from the top of the file system that holds them (`/vmlinuz` of a
separate /boot), inside a btrfs subvolume (`/@/boot/vmlinuz`), behind its own name of a disk
(`(hd0,gpt2)/vmlinuz`). `Places` turns such a name into the guest's path of an existing file.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from transferd.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Sequence

    from convert.tree import Tree

# A machine has ten; a guest with thousands would cost a read of the appliance for each.
LIMIT = 512
# Links that one path may lead through, as in the kernel (path_resolution(7)).
LINKS = 40
DEVICE = re.compile(r"^\([^)]*\)")
# Numbers count as numbers and are newer than words; `~` is older than nothing, as in rpm and dpkg.
PARTS = re.compile(r"\d+|[A-Za-z]+|~")


@dataclass(frozen=True)
class Entry:
    """One kernel that a boot loader offers.

    `file` holds the entry; `kernel` and `initrds` are paths in the guest, which need not exist; in a unified
    kernel image all three are the image. `options` are as the kernel gets them, variables expanded. `key`
    is how the loader's own setting for its default names this entry. Of all entries at most one is the
    `default`.
    """

    file: str
    title: str
    kernel: str
    initrds: tuple[str, ...]
    options: str
    default: bool
    key: str = ""


def with_default(entries: Sequence[Entry], key: str | None) -> tuple[Entry, ...]:
    """These entries, with the first one of this key as the default; the first of all where none has it."""
    at = next((at for at, entry in enumerate(entries) if entry.key == key), 0)
    return tuple(replace(entry, default=number == at) for number, entry in enumerate(entries))


def bounded(entries: Sequence[Entry], path: str) -> Sequence[Entry]:
    if len(entries) > LIMIT:
        raise ConversionError(f"{path} has more than {LIMIT} boot entries", operation="inspect")
    return entries


Version = list[tuple[int, int, str]]


def version_key(text: str) -> Version:
    """Sorts versions as rpm does. Numbers are compared by length first: one of a million digits is one."""
    return [*(_part(part) for part in PARTS.findall(text)), (-1, 0, "")]


def _part(part: str) -> tuple[int, int, str]:
    if part == "~":
        return -2, 0, ""
    if part.isdigit():
        number = part.lstrip("0")
        return 1, len(number), number
    return 0, 0, part


class Places:
    """The guest's folders, each listed once."""

    def __init__(self, tree: Tree) -> None:
        self._tree = tree
        self._names: dict[str, frozenset[str]] = {}

    def has(self, path: str) -> bool:
        folder, name = posixpath.split(path)
        if folder not in self._names:
            self._names[folder] = frozenset(self._tree.names(folder))
        return name in self._names[folder]

    def real(self, path: str) -> str:
        """`path` with links in its last part followed."""
        for _ in range(LINKS):
            target = self._tree.link(path) if self.has(path) else None
            if target is None:
                break
            path = posixpath.normpath(posixpath.join(posixpath.dirname(path), target))
        return path

    def file(self, name: str, tops: Sequence[str] = ("/boot",)) -> str:
        """The path of what a loader calls `name`; `tops`: where its file system may be mounted."""
        path = posixpath.normpath("/" + DEVICE.sub("", name).replace("\\", "/").lstrip("/"))
        inside = path.find("/boot/")
        below = path[path.find("/", 1) :] if "/" in path[1:] else path
        candidates = [
            *([path] if inside == 0 else []),
            *(posixpath.normpath(top + path) for top in tops),
            path,
            *([path[inside:]] if inside > 0 else []),
            *(posixpath.normpath(top + below) for top in tops),
        ]
        return next((found for found in candidates if self.has(found)), candidates[0])
