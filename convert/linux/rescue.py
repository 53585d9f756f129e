"""The rescue image of dracut: a kernel and an initramfs of a version that only the image itself tells.

`initramfs-0-rescue-MACHINE.img` is made once, at installation, for any hardware, so it mostly has VirtIO. It
is never changed: it is looked into, and where VirtIO is not in it, the user is told before he needs it.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

from convert.linux import segment
from convert.linux.segment import Drivers
from convert.modules import name_of
from transferd.errors import ConversionError, printable
from transferd.model import Warning_

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from convert.tree import Tree

NAME = re.compile(r"initramfs-0-rescue-[0-9a-zA-Z-]+\.img")
FOLDER = re.compile(r"(?:usr/)?lib/modules/([^/]+)/")


def warnings(tree: Tree, names: Sequence[str]) -> Iterator[Warning_]:
    for image in tree.names("/boot"):
        if NAME.fullmatch(image) and (problem := _problem(tree, f"/boot/{image}", names)):
            yield Warning_(
                code="rescue-without-virtio",
                message=f"the rescue entry of the boot menu cannot drive VirtIO: /boot/{image}: {problem}",
                remedy="make it anew in the running guest, where it is needed",
            )


def _problem(tree: Tree, path: str, names: Sequence[str]) -> str | None:
    try:
        image = segment.read_image(tree, path)
    except ConversionError as error:
        return error.problem
    versions = {match[1] for name in image.listing.kinds if (match := FOLDER.match(name))}
    held = {name for version in versions for name in Drivers.of(image, version).held}
    builtin = {name for version in versions for name in _builtin(tree, version)}
    missing = [name for name in dict.fromkeys(names) if name not in held | builtin]
    return printable(f"it has no {', '.join(missing)}") if missing else None


def _builtin(tree: Tree, version: str) -> Iterator[str]:
    """By the root's index, where that kernel is still installed."""
    for folder in (f"/usr/lib/modules/{version}", f"/lib/modules/{version}"):
        index = tree.read(f"{folder}/modules.builtin", segment.MODULE_LIMIT)
        yield from (name_of(line) for line in (index or b"").decode("utf-8", "replace").split())
