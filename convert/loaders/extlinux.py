"""extlinux, syslinux and isolinux: labels with a kernel, its APPEND line and perhaps an INITRD.

`DEFAULT` names a label, or the menu program, where `MENU DEFAULT` inside a label or the first one decides
(SYSLINUX wiki, "Config"). File names are relative to the folder of the configuration.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from convert.loaders.menu import Entry, Places, bounded, with_default
from convert.tree import text

if TYPE_CHECKING:
    from convert.tree import Tree

CONFIGS = (
    "/boot/extlinux.conf",
    "/boot/extlinux/extlinux.conf",
    "/boot/syslinux/extlinux.conf",
    "/boot/syslinux/syslinux.cfg",
    "/extlinux.conf",
)
IMAGE = "initrd="


def setting(line: str) -> tuple[str, str]:
    """A line's command, lower case, and its value."""
    words = line.split(maxsplit=1)
    return (words[0].lower(), words[1].strip() if len(words) > 1 else "") if words else ("", "")


def read(tree: Tree, config: str, places: Places) -> tuple[Entry, ...]:
    default, marked = "", ""
    common = ""
    labels: list[dict[str, str]] = []
    for line in (text(tree, config) or "").splitlines():
        command, value = setting(line)
        if command == "default" and not labels:
            default = value
        elif command == "label":
            labels.append({"label": value})
        elif command == "append" and not labels:
            common = value
        elif command in ("linux", "kernel", "append", "initrd", "menu") and labels:
            marked = labels[-1]["label"] if command == "menu" and value.lower() == "default" else marked
            _take(labels[-1], command, value)
    entries = [_entry(config, found, common, places) for found in labels if found.get("linux")]
    keys = {entry.key for entry in entries}
    return with_default(bounded(entries, config), default if default in keys else marked)


def _take(found: dict[str, str], command: str, value: str) -> None:
    if command == "menu":
        kind, _, title = value.partition(" ")
        if kind.lower() == "label":
            found["title"] = title.strip().replace("^", "")
    else:
        found["linux" if command == "kernel" else command] = value


def _entry(config: str, found: dict[str, str], common: str, places: Places) -> Entry:
    folder = posixpath.dirname(config)

    def file(name: str) -> str:
        near = posixpath.normpath(posixpath.join(folder, name))
        return near if places.has(near) else places.file(name)

    words = found.get("append", common).split()
    inside = [word.removeprefix(IMAGE) for word in words if word.startswith(IMAGE)]
    images = [name for name in ",".join([*inside, found.get("initrd", "")]).split(",") if name]
    return Entry(
        file=config,
        title=found.get("title") or found["label"],
        kernel=file(found["linux"]),
        initrds=tuple(file(name) for name in images),
        options=" ".join(word for word in words if not word.startswith(IMAGE)),
        default=False,
        key=found["label"],
    )
