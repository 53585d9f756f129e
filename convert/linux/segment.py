"""The cpio segment that is appended to one initramfs, and what the image lacks of it.

In it: the modules with all that they depend on; the root's complete module indexes, because udev loads by
alias and the image's own indexes know only the image's modules; the naming files, because the first renaming
happens in there; the image's own tables and settings with names of disks that last.

The root's indexes name modules as the root has them. What the image holds under another name (unpacked,
where the root has `.ko.xz`) becomes reachable by a link. A compression that no module of the image has is
taken off the modules that are added, and their names stay: modprobe and udev look at a file's first bytes,
not at its suffix (kmod, libkmod-file.c; busybox, open_transformer.c).

Folders are made only where the image has none: a folder entry named like a link (`lib` on a system with a
merged /usr) would replace the link and hide everything behind it (kernel, init/initramfs.c, clean_path).
"""

from __future__ import annotations

import posixpath
from dataclasses import dataclass
from functools import cached_property
from typing import TYPE_CHECKING

from convert import cpio, initramfs, legacy_lz4
from convert.linux.network import naming_files
from convert.modules import is_module, name_of, packing
from convert.tree import MIB, file_digest
from transferd.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

    from convert.initramfs import Listing
    from convert.inspection import Kernel
    from convert.modules import Modules
    from convert.tree import Tree

IMAGE_LIMIT = 1024 * MIB
# Distributions' largest index (modules.alias) has 2 MiB; a module with debug symbols can have 20 MiB.
MODULE_LIMIT = 64 * MIB
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
    """An initramfs image as it lies in the guest; `size` in bytes."""

    listing: Listing
    size: int
    digest: str


@dataclass(frozen=True)
class Drivers:
    """What one image holds for one kernel. `folder`: where its modules are, or belong. `held`: name of each
    module -> its path in the folder."""

    image: Image
    folder: str
    held: dict[str, str]

    @classmethod
    def of(cls, image: Image, version: str) -> Drivers:
        folder = image.listing.real(f"lib/modules/{version}")
        start = f"{folder}/"
        inside = sorted(name for name in image.listing.kinds if name.startswith(start) and is_module(name))
        return cls(image, folder, {name_of(name): name.removeprefix(start) for name in inside})

    @cached_property
    def packings(self) -> frozenset[str]:
        return frozenset(packing(path) for path in self.held.values())

    def missing(self, modules: Modules, wanted: tuple[str, ...]) -> tuple[str, ...]:
        """Files of the root's that the image needs so that `wanted` load."""
        return tuple(path for path in modules.closure(wanted) if name_of(path) not in self.held)


def read_image(tree: Tree, path: str) -> Image:
    """Raises ConversionError if the image cannot be read within the limits."""
    local = tree.fetch(path, IMAGE_LIMIT)
    try:
        return Image(initramfs.listing(local), local.stat().st_size, file_digest(local))
    finally:
        local.unlink()


def data(found: list[cpio.Entry], image: Image) -> bytes:
    """The bytes to append: on a sector, or as one more stream of an LZ4 image (convert.legacy_lz4)."""
    if image.listing.tail != "lz4":
        return cpio.padding(image.size, cpio.ALIGNMENT) + cpio.segment(found)
    if image.listing.padding:
        raise ConversionError(
            "its initramfs ends in zero bytes behind LZ4 data, where some kernels stop unpacking"
        )
    return legacy_lz4.packed(cpio.segment(found))


def whole(image: Image, files: Iterable[cpio.Entry]) -> list[cpio.Entry]:
    """The files under their real names, each once, and the folders above them that the image lacks."""
    named = {name: cpio.Entry(name, file.mode, file.data) for file in files for name in [_real(image, file)]}
    needed: dict[str, None] = {}
    for name in named:
        parts = name.split("/")[:-1]
        for depth in range(1, len(parts) + 1):
            needed["/".join(parts[:depth])] = None
    new = [cpio.folder(name) for name in sorted(needed) if name not in image.listing.kinds]
    return [*new, *named.values()]


def _real(image: Image, file: cpio.Entry) -> str:
    """The folder is followed, the file itself is not: it replaces what is there."""
    folder, name = posixpath.split(file.name)
    return posixpath.join(image.listing.real(folder), name)


def modules(
    tree: Tree, kernel: Kernel, drivers: Drivers, known: Modules, missing: tuple[str, ...]
) -> list[cpio.Entry]:
    """`missing`, the indexes of the root, and links to what these name differently. Nothing for nothing."""
    if not missing:
        return []
    found = [cpio.file(path, _module(tree, kernel, path)) for path in missing]
    packed = [file for file in found if packing(file.name) and packing(file.name) not in drivers.packings]
    plain = {file.name: file for file in initramfs.unpacked(packed)} if packed else {}
    files = [plain.get(file.name, file) for file in found]
    for index in INDEXES:
        content = tree.read(f"{kernel.modules}/{index}", MODULE_LIMIT)
        if content is not None:
            files.append(cpio.file(index, content))
    files += _links(drivers, known)
    return [cpio.Entry(f"{drivers.folder}/{file.name}", file.mode, file.data) for file in files]


def _module(tree: Tree, kernel: Kernel, path: str) -> bytes:
    content = tree.read(f"{kernel.modules}/{path}", MODULE_LIMIT)
    if content is None:
        raise ConversionError(f"modules.dep of kernel {kernel.version} names {path}, which does not exist")
    return content


def _links(drivers: Drivers, known: Modules) -> Iterator[cpio.Entry]:
    for path in known.needs:
        held = drivers.held.get(name_of(path), path)
        if held != path and f"{drivers.folder}/{path}" not in drivers.image.listing.kinds:
            yield cpio.link(path, posixpath.relpath(held, posixpath.dirname(path)))


def naming(tree: Tree, image: Image) -> list[cpio.Entry]:
    """Our naming files that the image has not, or has otherwise."""
    return [
        cpio.file(path.removeprefix("/"), content)
        for path, content in naming_files(tree).items()
        if naming_text(image, path) != content
    ]


def naming_text(image: Image, path: str) -> bytes | None:
    """A naming file of the image by its path in the root; initramfs-tools moves it from /etc to /lib."""
    own = path.removeprefix("/")
    moved = own.removeprefix("etc/")
    places = [image.listing.real(place) for place in (own, f"lib/{moved}", f"usr/lib/{moved}")]
    return next((image.listing.texts[place] for place in places if place in image.listing.texts), None)


def settings(image: Image, edit: Callable[[str, bytes], bytes]) -> list[cpio.Entry]:
    """The image's own tables and settings that name disks: waiting for a name that is gone takes minutes."""
    edited = {name: edit(name, content) for name, content in image.listing.texts.items()}
    return [cpio.file(name, new) for name, new in edited.items() if new != image.listing.texts[name]]
