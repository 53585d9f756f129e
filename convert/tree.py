"""A guest's files as steps see them: one Protocol, so that a step does not know where they lie.

`convert.guest.Guest` is the tree of a libguestfs appliance; `convert.plan.Draft` is a tree with planned
changes laid over another one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

import blake3

if TYPE_CHECKING:
    from pathlib import Path

MIB = 1024 * 1024
# Configuration files are kilobytes; whatever claims more is not one that we should read or edit.
TEXT_LIMIT = MIB


class Tree(Protocol):
    """Paths are absolute; links are followed inside the guest only.

    `read` gives None where there is no regular file, and raises ConversionError above `limit` bytes.
    `link` is the target of a symbolic link, None for anything else. `names` is sorted, empty where there
    is no folder. `fetch` brings a large file to the host. `mode` is the permission bits of a file that
    exists. `free` is in bytes. `tail` is the last `length` bytes of a file of any size, or nothing. `label`
    is the SELinux context of what is there, None where it has none.
    """

    def read(self, path: str, limit: int = TEXT_LIMIT) -> bytes | None: ...

    def tail(self, path: str, length: int) -> bytes: ...

    def exists(self, path: str) -> bool: ...

    def link(self, path: str) -> str | None: ...

    def names(self, folder: str) -> list[str]: ...

    def fetch(self, path: str, limit: int) -> Path: ...

    def mode(self, path: str) -> int: ...

    def free(self, folder: str) -> int: ...

    def label(self, path: str) -> str | None: ...


def text(tree: Tree, path: str) -> str | None:
    """A configuration file as text. Bytes that are not UTF-8 survive: `encoded` brings them back."""
    data = tree.read(path)
    return None if data is None else data.decode("utf-8", "surrogateescape")


def encoded(content: str) -> bytes:
    return content.encode("utf-8", "surrogateescape")


def digest(data: bytes) -> str:
    return f"blake3:{blake3.blake3(data).hexdigest()}"


def file_digest(path: Path) -> str:
    return f"blake3:{blake3.blake3().update_mmap(path).hexdigest()}"
