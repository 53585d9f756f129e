"""Unified kernel images: kernel, initramfs and command line as sections of one EFI program (convert.pe).

Only looked at: a change would break the signature that such an image exists for. The sections are those of
uapi-group.org/specifications/specs/unified_kernel_image.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from convert import pe
from convert.cpio import Malformed
from convert.loaders.menu import Entry
from convert.tree import MIB

if TYPE_CHECKING:
    from convert.tree import Tree

FOLDER = "EFI/Linux"
# An image with an initramfs of everything has 200 MiB.
IMAGE_LIMIT = 512 * MIB
TEXTS = (".cmdline", ".uname", ".osrel")
TEXT_LIMIT = 64 * 1024


def texts(tree: Tree, path: str) -> dict[str, str]:
    """The text sections of an image that there are; nothing of what is no such image."""
    local = tree.fetch(path, IMAGE_LIMIT)
    try:
        with local.open("rb") as image:
            found = pe.sections(image)
            return {
                name: _text(pe.content(image, found[name], TEXT_LIMIT)) for name in TEXTS if name in found
            }
    except Malformed:
        return {}
    finally:
        local.unlink()


def _text(content: bytes) -> str:
    return content.rstrip(b"\0").decode("utf-8", "replace").strip()


def version(tree: Tree, path: str) -> str | None:
    return texts(tree, path).get(".uname")


def entries(tree: Tree, top: str) -> list[Entry]:
    """The images on the EFI system partition, or the extended boot partition, that is mounted on `top`."""
    folder = f"{top}/{FOLDER}"
    names = [name for name in tree.names(folder) if name.lower().endswith(".efi")]
    return [entry for name in names if (entry := _entry(tree, f"{folder}/{name}", name))]


def _entry(tree: Tree, path: str, name: str) -> Entry | None:
    found = texts(tree, path)
    if not found:
        return None
    release = dict(line.partition("=")[::2] for line in found.get(".osrel", "").splitlines())
    title = release.get("PRETTY_NAME", name).strip("\"'")
    return Entry(path, title, path, (path,), found.get(".cmdline", ""), default=False, key=name)
