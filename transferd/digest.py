"""The digest that names a disk's content: BLAKE3-256 over the BLAKE3-256 of each 4 MiB block.

Printed `blake3-4m:HEX`. The last block is hashed at its own length; exactly `size` bytes are covered. A
two-level digest lets a copy hash blocks in whatever order they arrive, lets a verify name the block that
differs, and lets a later round replace one block's digest without reading the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from functools import lru_cache
from pathlib import Path

from blake3 import blake3

from transferd.errors import SourceError, UsageError
from transferd.plan import BLOCK, block_count

PREFIX = "blake3-4m:"
WIDTH = 32  # bytes of one block digest


def of_block(view: bytes | bytearray | memoryview) -> bytes:
    """Digest of one block's bytes. Releases the GIL."""
    return blake3(view).digest()


@lru_cache(maxsize=8)  # a disk has at most two lengths of zero block: whole, and the tail
def of_zeros(length: int) -> bytes:
    """Digest of `length` zero bytes: known without reading them."""
    return of_block(bytes(length))


class Digests:
    """The block digests of one disk, filled in any order. `disk()` refuses to name a disk with gaps."""

    def __init__(self, size: int) -> None:
        self.size = size
        self._table: list[bytes | None] = [None] * block_count(size)

    def __len__(self) -> int:
        return len(self._table)

    def __getitem__(self, index: int) -> bytes:
        digest = self._table[index]
        if digest is None:
            raise LookupError(f"block {index} has no digest")
        return digest

    def __setitem__(self, index: int, digest: bytes) -> None:
        self._table[index] = digest

    def disk(self) -> str:
        """The disk digest, `blake3-4m:HEX`."""
        total = blake3()
        for index in range(len(self)):
            total.update(self[index])
        return PREFIX + total.hexdigest()


def blocks_of(path: Path, size: int) -> Iterator[bytes]:
    """Block digests of the first `size` bytes of `path`, in order. SourceError if it is shorter."""
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(BLOCK)
        for index in range(block_count(size)):
            view = memoryview(buffer)[: min(BLOCK, size - index * BLOCK)]
            filled = 0
            while filled < len(view):
                count = file.readinto(view[filled:])
                if not count:
                    raise SourceError(
                        f"ends at {index * BLOCK + filled}, {size} bytes were asked for",
                        disk=str(path),
                        operation="read",
                    )
                filled += count
            yield of_block(view)


def of_file(path: Path, size: int | None = None) -> str:
    """The disk digest of a file or block device, recomputed from scratch."""
    try:
        if size is None:
            with path.open("rb") as file:
                size = file.seek(0, os.SEEK_END)
        if size == 0:
            raise UsageError("is empty: a disk of 0 bytes has no digest", disk=str(path))
        digests = Digests(size)
        for index, digest in enumerate(blocks_of(path, size)):
            digests[index] = digest
    except OSError as error:
        raise SourceError(error.strerror or str(error), disk=str(path), operation="read") from error
    return digests.disk()
