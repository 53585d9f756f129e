"""What kind of EFI program a file is, by marks that its makers leave in it."""

from __future__ import annotations

import mmap
from typing import TYPE_CHECKING

from convert.loaders.uki import IMAGE_LIMIT

if TYPE_CHECKING:
    from convert.tree import Tree

# By which `bootctl update` knows it.
SYSTEMD_BOOT = b"#### LoaderInfo: systemd-boot"
# The certificate that shim carries has a section of its own, in every release.
SHIM = b".vendor_"


def holds(tree: Tree, path: str, mark: bytes) -> bool:
    """Whether the file has these bytes. It may be a unified kernel image, too large to hold in memory."""
    local = tree.fetch(path, IMAGE_LIMIT)
    try:
        if local.stat().st_size == 0:
            return False
        with local.open("rb") as file, mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) as content:
            return content.find(mark) >= 0
    finally:
        local.unlink()
