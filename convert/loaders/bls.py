"""Boot Loader Specification entries (uapi-group.org/specifications/specs/boot_loader_specification, type 1).

One small file a kernel, in the folder `loader/entries` of /boot or of the EFI system partition. grub of the
Fedora family and systemd-boot both read them, and differ in the order and in variables, which only grub has.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from fnmatch import fnmatchcase
from typing import TYPE_CHECKING

from convert.loaders.menu import LIMIT, Entry, Places, Version, bounded, version_key, with_default
from convert.tree import text

if TYPE_CHECKING:
    from collections.abc import Mapping

    from convert.tree import Tree

FOLDER = "loader/entries"
VARIABLE = re.compile(r"\$(?:\{(\w+)\}|(\w+))")


@dataclass(frozen=True)
class Snippet:
    """One file. `name` is the file's without its suffix, which is what grub calls an entry."""

    path: str
    name: str
    values: tuple[tuple[str, str], ...]

    def last(self, key: str) -> str:
        return next((value for found, value in reversed(self.values) if found == key), "")

    def all(self, key: str) -> str:
        return " ".join(value for found, value in self.values if found == key)


def snippets(tree: Tree, top: str) -> list[Snippet]:
    """The entries below `top`, in the order of their file names."""
    folder = posixpath.join(top, FOLDER)
    names = [name for name in tree.names(folder) if name.endswith(".conf")]
    found = [(f"{folder}/{name}", name) for name in bounded_names(names, folder)]
    return [
        Snippet(path, name.removesuffix(".conf"), _values(text(tree, path) or "")) for path, name in found
    ]


def bounded_names(names: list[str], folder: str) -> list[str]:
    if len(names) > LIMIT:
        bounded([Entry(folder, "", "", (), "", default=False)] * (LIMIT + 1), folder)
    return names


def _values(content: str) -> tuple[tuple[str, str], ...]:
    lines = [line.split(maxsplit=1) for line in content.splitlines() if not line.lstrip().startswith("#")]
    return tuple((line[0], line[1].strip()) for line in lines if len(line) > 1)


def for_grub(found: list[Snippet], places: Places, variables: Mapping[str, str]) -> list[Entry]:
    """Newest first: grub's blscfg compares the file names as rpm compares versions."""
    ordered = sorted(found, key=lambda snippet: version_key(snippet.name), reverse=True)
    return [_entry(snippet, places, ("/boot",), variables, snippet.name) for snippet in ordered]


def _entry(
    snippet: Snippet, places: Places, tops: tuple[str, ...], variables: Mapping[str, str] | None, key: str
) -> Entry:
    def expanded(value: str) -> str:
        if variables is None:
            return value
        return " ".join(VARIABLE.sub(lambda name: variables.get(name[1] or name[2], ""), value).split())

    image = snippet.last("linux") or snippet.last("efi") or snippet.last("uki")
    return Entry(
        file=snippet.path,
        title=snippet.last("title") or snippet.name,
        kernel=places.file(expanded(image), tops) if image else "",
        initrds=tuple(places.file(name, tops) for name in expanded(snippet.all("initrd")).split()),
        options=expanded(snippet.all("options")),
        default=False,
        key=key,
    )


def systemd_boot(tree: Tree, places: Places, tops: tuple[str, ...], images: list[Entry]) -> tuple[Entry, ...]:
    """The menu of systemd-boot: entry files and unified kernel images, sorted, with `default` of loader.conf.

    `tops` are the mount points of the EFI system partition and of the extended boot partition; loader.conf is
    read from the first that has one. The order is that of systemd-boot(7): entries with a sort-key, by it and
    then newest first; then the others, by file name, newest first.
    """
    found = [
        (snippet, _entry(snippet, places, (top,), None, f"{snippet.name}.conf"))
        for top in tops
        for snippet in snippets(tree, top)
    ]
    ordered: list[tuple[tuple[int, str], Version, Entry]] = [
        (*_order(snippet), entry) for snippet, entry in found
    ]
    ordered += [((1, ""), version_key(entry.key), entry) for entry in images]
    ordered.sort(key=lambda one: one[1], reverse=True)
    ordered.sort(key=lambda one: one[0])
    entries = [entry for _, _, entry in ordered if entry.kernel]
    settings = next((content for top in tops if (content := text(tree, f"{top}/loader/loader.conf"))), "")
    wanted = next((value for key, value in reversed(_values(settings)) if key == "default"), "")
    patterns = (wanted, f"{wanted}.conf")
    chosen = next((e.key for e in entries if wanted and any(fnmatchcase(e.key, p) for p in patterns)), None)
    return with_default(entries, chosen)


def _order(snippet: Snippet) -> tuple[tuple[int, str], Version]:
    if key := snippet.last("sort-key"):
        return (0, key), version_key(snippet.last("version"))
    return (1, ""), version_key(snippet.name)
