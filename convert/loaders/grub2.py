"""grub 2: the menu of grub.cfg, with the entry files that its `blscfg` takes in.

Which entry starts is in `default`: an index, a title or an id; `submenu>entry` for one further down; mostly
the value that grubenv holds as saved_entry.
"""

from __future__ import annotations

import posixpath
import re
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert.loaders import bls, grubenv
from convert.loaders.menu import Entry, Places, with_default
from convert.loaders.script import Item, Script
from convert.tree import text
from transferd.model import Firmware

if TYPE_CHECKING:
    from collections.abc import Iterator

    from convert.tree import Tree

NAME = "grub.cfg"
SEPARATOR = ">"
SAVED = re.compile(r"\bset\s+default=[\"']?\$\{?saved_entry\b")
ENVIRONMENT = "grubenv"


@dataclass(frozen=True)
class Menu:
    """What one grub.cfg offers. `saved`: its default is what grubenv remembers; `bls`: entries are files."""

    config: str
    entries: tuple[Entry, ...]
    default: str
    saved: bool
    bls: bool


def read(tree: Tree, config: str, firmware: Firmware, places: Places) -> Menu:
    """The menu of `config`; without entries it is a stub, which hands on to another grub.cfg."""
    snippets: list[Entry] = []

    def menu(variables: dict[str, str]) -> list[Item]:
        snippets[:] = bls.for_grub(bls.snippets(tree, "/boot"), places, variables)
        return [Item(e.title, e.key, e.kernel, e.options, list(e.initrds), snippet=True) for e in snippets]

    def environment(name: str | None) -> dict[str, str]:
        path = f"{posixpath.dirname(config)}/{ENVIRONMENT}" if name is None else places.file(name)
        return grubenv.parse(text(tree, places.real(path)) or "")

    script = Script(
        _variables(config, firmware),
        lambda name: text(tree, places.real(places.file(name))),
        environment,
        menu,
    )
    content = text(tree, places.real(config)) or ""
    script.run(content)
    files = {entry.key: entry.file for entry in snippets}
    default = script.variables.get("default", "0") or "0"
    found = list(_entries(script.items, places, places.real(config), files))
    return Menu(
        config=config,
        entries=with_default(found, _chosen(script.items, default)),
        default=default,
        saved=SAVED.search(content) is not None,
        bls=bool(snippets),
    )


def _variables(config: str, firmware: Firmware) -> dict[str, str]:
    """What grub itself sets before it reads its configuration."""
    folder = posixpath.dirname(config)
    efi = firmware is Firmware.EFI
    return {
        "prefix": folder,
        "config_directory": folder,
        "config_file": config,
        "grub_platform": "efi" if efi else "pc",
        "grub_cpu": "x86_64" if efi else "i386",
        "feature_menuentry_id": "y",
        "feature_menuentry_options": "y",
    }


def _entries(
    items: list[Item], places: Places, config: str, files: dict[str, str], above: str = ""
) -> Iterator[Entry]:
    for item in items:
        key = above + (item.name or item.title)
        if item.kernel:
            yield Entry(
                file=files[item.name] if item.snippet else config,
                title=item.title,
                kernel=places.file(item.kernel),
                initrds=tuple(places.file(name) for name in item.initrds),
                options=item.options,
                default=False,
                key=key,
            )
        yield from _entries(item.items, places, config, files, key + SEPARATOR)


def _chosen(items: list[Item], default: str) -> str | None:
    """The key of the entry that `default` means; a submenu stands for its first entry."""
    keys: list[str] = []
    for part in default.split(SEPARATOR):
        item = _named(items, part)
        if item is None:
            break
        keys.append(item.name or item.title)
        items = item.items
    while items and keys:
        keys.append(items[0].name or items[0].title)
        items = items[0].items
    return SEPARATOR.join(keys) or None


def _named(items: list[Item], wanted: str) -> Item | None:
    for item in items:
        if wanted in (item.name, item.title):
            return item
    if wanted.isdecimal() and len(wanted) <= len(str(len(items))) and int(wanted) < len(items):
        return items[int(wanted)]
    return items[0] if items else None
