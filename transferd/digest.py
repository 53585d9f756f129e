"""The digest that names a disk's content: BLAKE3-256 over the BLAKE3-256 of each 4 MiB block.

Printed `blake3-4m:HEX`. The last block is hashed at its own length; exactly `size` bytes are covered. A
two-level digest lets a copy hash blocks in whatever order they arrive, lets a verify name the block that
differs, and lets a later round replace one block's digest without reading the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from functools import lru_cache
from pathlib import Path

from blake3 import blake3

from transferd.blocks import Blocks
from transferd.errors import SourceError, UsageError
from transferd.plan import BLOCK, block_count, extent_of_block

PREFIX = "blake3-4m:"
WIDTH = 32  # bytes of one block digest
PAGE = 4096  # digests allocated together: a sparse disk of 62 TiB must not cost 512 MiB

UNKNOWN, DATA, ZERO = range(3)
KNOWN = bytes(min(state, 1) for state in range(256))


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
        self._state = bytearray(block_count(size))
        self._pages: dict[int, bytearray] = {}

    def __len__(self) -> int:
        return len(self._state)

    def __getitem__(self, index: int) -> bytes:
        match self._state[index]:
            case state if state == DATA:
                at = index % PAGE * WIDTH
                return bytes(self._pages[index // PAGE][at : at + WIDTH])
            case state if state == ZERO:
                return of_zeros(extent_of_block(index, self.size).length)
        raise LookupError(f"block {index} has no digest")

    def __setitem__(self, index: int, digest: bytes) -> None:
        if digest == of_zeros(extent_of_block(index, self.size).length):
            self.set_zero(index)
            return
        page = self._pages.get(index // PAGE)
        if page is None:
            page = self._pages.setdefault(index // PAGE, bytearray(PAGE * WIDTH))
        at = index % PAGE * WIDTH
        page[at : at + WIDTH] = digest
        self._state[index] = DATA

    def __contains__(self, index: int) -> bool:
        return self._state[index] != UNKNOWN

    def set_zero(self, first: int, count: int = 1) -> None:
        """`count` blocks from `first` are zero."""
        self._state[first : first + count] = bytes([ZERO]) * count

    def is_zero(self, index: int) -> bool:
        """True if the block is zero throughout, be it that it was read or only called so."""
        return self._state[index] == ZERO

    def are_zero(self, indexes: range) -> bool:
        """True if all these blocks, neighbours, are."""
        states = self._state[indexes.start : indexes.stop]
        return states.count(ZERO) == len(states)

    def forget(self, first: int, count: int = 1) -> None:
        self._state[first : first + count] = bytes(count)

    def copy(self) -> Digests:
        """Another one with the same content; what one is told then, the other does not know."""
        twin = Digests(0)
        twin.size, twin._state = self.size, self._state[:]
        twin._pages = {number: page[:] for number, page in self._pages.items()}
        return twin

    def known(self) -> list[int]:
        """Numbers of the blocks that have a digest, in order."""
        return [index for index, state in enumerate(self._state) if state != UNKNOWN]

    def blocks(self) -> Blocks:
        """Those that have a digest."""
        return Blocks(len(self), bytes(self._state.translate(KNOWN)))

    def any_known(self) -> bool:
        return any(self._state)

    def all_known(self) -> bool:
        return UNKNOWN not in self._state

    def disk(self) -> str:
        """The disk digest, `blake3-4m:HEX`."""
        total = blake3()
        empty = bytes([ZERO]) * PAGE
        page_of_zeros = of_zeros(BLOCK) * PAGE
        for first in range(0, len(self), PAGE):
            last = min(first + PAGE, len(self))
            if last < len(self) and self._state[first:last] == empty:
                total.update(page_of_zeros)
                continue
            for index in range(first, last):
                total.update(self[index])
        return PREFIX + total.hexdigest()


def blocks_of(path: Path, size: int, indexes: Iterable[int] | None = None) -> Iterator[bytes]:
    """Block digests of the first `size` bytes of `path`, of all blocks or of these, in order.

    SourceError if it is shorter.
    """
    with path.open("rb", buffering=0) as file:
        buffer = bytearray(BLOCK)
        for index in range(block_count(size)) if indexes is None else indexes:
            view = memoryview(buffer)[: extent_of_block(index, size).length]
            file.seek(index * BLOCK)
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
        with path.open("rb") as file:
            held = file.seek(0, os.SEEK_END)
        size = held if size is None else size
        if size > held:
            raise SourceError(f"has {held} bytes, {size} were asked for", disk=str(path), operation="read")
        if size == 0:
            raise UsageError("is empty: a disk of 0 bytes has no digest", disk=str(path))
        digests = Digests(size)
        for index, digest in enumerate(blocks_of(path, size)):
            digests[index] = digest
    except OSError as error:
        raise SourceError(error.strerror or str(error), disk=str(path), operation="read") from error
    return digests.disk()
