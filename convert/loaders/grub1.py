"""grub 1 ("legacy"): menu.lst or grub.conf, a flat list of titles (GRUB 0.97 manual, "Configuration").

`default` counts the titles from zero, or says `saved`; then the number is the first line of the file
`default` beside the menu. Without `default` it is the first.
"""

from __future__ import annotations

import posixpath
from typing import TYPE_CHECKING

from convert.loaders.menu import Entry, Places, bounded, with_default
from convert.tree import text

if TYPE_CHECKING:
    from convert.tree import Tree

SAVED = "saved"


def setting(line: str) -> tuple[str, str]:
    """A line's command and its value: `default 0`, `default=0` and `kernel /vmlinuz ro` alike."""
    words = line.strip().split(maxsplit=1)
    if not words or words[0].startswith("#"):
        return "", ""
    command, equals, joined = words[0].partition("=")
    rest = words[1] if len(words) > 1 else ""
    return command.lower(), f"{joined} {rest}".strip() if equals else rest.removeprefix("=").strip()


def read(tree: Tree, config: str, places: Places) -> tuple[Entry, ...]:
    default = "0"
    entries: list[Entry] = []
    found: dict[str, str] = {}
    count = 0

    def finish() -> None:
        if "kernel" in found:
            entries.append(_entry(config, found, places))

    for line in (text(tree, config) or "").splitlines():
        command, value = setting(line)
        if command == "title":
            finish()
            found = {"title": value, "key": str(count)}
            count += 1
        elif command == "default" and "title" not in found:
            default = value
        elif command in ("kernel", "initrd"):
            found[command] = value
    finish()
    if default == SAVED:
        default = next(iter((text(tree, f"{posixpath.dirname(config)}/default") or "").split()), "0")
    return with_default(bounded(entries, config), default)


def _entry(config: str, found: dict[str, str], places: Places) -> Entry:
    words = [word for word in found["kernel"].split() if not word.startswith("--")]
    return Entry(
        file=config,
        title=found.get("title", ""),
        kernel=places.file(words[0]) if words else "",
        initrds=tuple(places.file(name) for name in found.get("initrd", "").split()),
        options=" ".join(words[1:]),
        default=False,
        key=found.get("key", "0"),
    )
