"""The cpio segment that is appended to one kernel's initramfs, and what the image lacks of it.

In it: the modules with all that they depend on, as the guest stores them; the root's complete module
indexes, because udev loads by alias and the image's own indexes know only the image's modules; the naming
files, because the first renaming happens in there; the image's own settings with stable device names.

Folders are made only where the image has none: a folder entry named like a link (`lib` on a system with a
merged /usr) would replace the link and hide everything behind it (kernel, init/initramfs.c, clean_path).
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from typing import TYPE_CHECKING

from convert import cpio, initramfs
from convert.linux.devices import Names
from convert.linux.network import naming_files
from convert.modules import name_of
from convert.tree import MIB, encoded, file_digest
from transferd.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator

    from convert.initramfs import Listing
    from convert.inspection import Inspection, Kernel
    from convert.modules import Modules
    from convert.tree import Tree

IMAGE_LIMIT = 1024 * MIB
# Distributions' largest index (modules.alias) has 2 MiB; a module with debug symbols can have 20 MiB.
MODULE_LIMIT = 64 * MIB
SETTINGS = "conf/conf.d/"
INDEXES = (
    "modules.dep",
    "modules.dep.bin",
    "modules.alias",
    "modules.alias.bin",
    "modules.softdep",
    "modules.symbols",
    "modules.symbols.bin",
    "modules.order",
    "modules.builtin",
    "modules.builtin.bin",
    "modules.builtin.alias.bin",
    "modules.builtin.modinfo",
)


@dataclass(frozen=True)
class Image:
    """One initramfs image. `folder`: where it keeps this kernel's modules; `modules`: those it holds, by
    path relative to that folder; `size` in bytes."""

    listing: Listing
    folder: str
    modules: frozenset[str]
    size: int
    digest: str


def read_image(tree: Tree, path: str, version: str) -> Image:
    """Raises ConversionError if the image cannot be read within the limits."""
    local = tree.fetch(path, IMAGE_LIMIT)
    try:
        listing = initramfs.listing(local)
        size, digest = local.stat().st_size, file_digest(local)
    finally:
        local.unlink()
    folder = _modules_folder(listing, version)
    places = (f"lib/modules/{version}/", f"usr/lib/modules/{version}/")
    held = frozenset(name.removeprefix(p) for name in listing.kinds for p in places if name.startswith(p))
    return Image(listing, folder, held, size, digest)


def _modules_folder(listing: Listing, version: str) -> str:
    """With a merged /usr the image's /lib is a link, and only /usr/lib is a folder."""
    merged = listing.kinds.get("lib") == "link"
    return f"{'usr/' if merged else ''}lib/modules/{version}"


def missing_modules(image: Image, modules: Modules, wanted: tuple[str, ...]) -> list[str]:
    """Files that must be added so that `wanted` load.

    If any is missing, also those that the image holds under another spelling (unpacked, where the root
    has `.ko.xz`): they would be lost, because the root's indexes, which come along, do not know them.
    """
    missing = [path for path in modules.closure(wanted) if path not in image.modules]
    if not missing:
        return []
    held = {name_of(path) for path in image.modules if ".ko" in posixpath.basename(path)}
    respelled = {path for path in modules.needs if name_of(path) in held and path not in image.modules}
    return sorted(respelled.union(missing))


def entries(
    tree: Tree, inspection: Inspection, kernel: Kernel, image: Image, missing: Iterable[str]
) -> list[cpio.Entry]:
    """What the image lacks; empty if it has everything."""
    files = [*_naming(tree, image), *_settings(inspection, image)]
    if missing:
        files += _modules(tree, kernel, image, missing)
    return [*_folders(image, files), *files]


def data(found: list[cpio.Entry], image_size: int) -> bytes:
    """The bytes to append to an image of this size: the segment must start on a sector."""
    return cpio.padding(image_size, cpio.ALIGNMENT) + cpio.segment(found)


def _modules(tree: Tree, kernel: Kernel, image: Image, missing: Iterable[str]) -> Iterator[cpio.Entry]:
    for name in (*missing, *INDEXES):
        content = tree.read(f"{kernel.modules}/{name}", MODULE_LIMIT)
        if content is not None:
            yield cpio.file(f"{image.folder}/{name}", content)
        elif name not in INDEXES:
            raise ConversionError(
                f"modules.dep of kernel {kernel.version} names {name}, which does not exist"
            )


def _naming(tree: Tree, image: Image) -> Iterator[cpio.Entry]:
    for path, content in naming_files(tree).items():
        if naming_text(image, path) != content:
            yield cpio.file(path.removeprefix("/"), content)


def naming_text(image: Image, path: str) -> bytes | None:
    """A naming file of the image by its path in the root; initramfs-tools moves it from /etc to /lib."""
    own = path.removeprefix("/")
    moved = own.removeprefix("etc/")
    places = (own, f"lib/{moved}", f"usr/lib/{moved}")
    return next((image.listing.texts[place] for place in places if place in image.listing.texts), None)


def _settings(inspection: Inspection, image: Image) -> Iterator[cpio.Entry]:
    """initramfs-tools keeps RESUME= in the image; waiting for a name that is gone takes half a minute."""
    names = Names(inspection.devices)
    for name, content in image.listing.texts.items():
        if name.startswith(SETTINGS):
            new = encoded(names.in_arguments(content.decode("utf-8", "surrogateescape"), name))
            if new != content:
                yield cpio.file(name, new)


def _folders(image: Image, files: list[cpio.Entry]) -> list[cpio.Entry]:
    """Parents that the image does not have, outermost first."""
    needed: dict[str, None] = {}
    for file in files:
        parts = file.name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            needed["/".join(parts[:depth])] = None
    return [cpio.folder(name) for name in sorted(needed) if name not in image.listing.kinds]
