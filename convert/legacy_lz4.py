"""The one form of LZ4 that a kernel unpacks an initramfs from: `lz4 -l`, blocks of 8 MiB behind a magic.

The format has no end. The kernel (lib/decompress_unlz4.c) reads block after block until its input is used
up, and takes a second magic for the next stream of the same archive. Since 2021 it also ends at a block of
no bytes, which is what padding looks like; before, padding or an uncompressed archive behind an LZ4 stream
ended the unpacking with an error. So what is appended to such an image is packed the same way and follows
without padding (`packed`): every kernel that can unpack the image unpacks it too.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from lz4 import block

from convert.cpio import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MAGIC = b"\x02\x21\x4c\x18"
BLOCK = 8 * 1024 * 1024
# The most that LZ4 makes of a block (LZ4_compressBound); the kernel refuses more.
PACKED_LIMIT = BLOCK + BLOCK // 255 + 16


def pieces(image: BinaryIO) -> Iterator[bytes]:
    """The blocks of the streams that follow one another; afterwards `image` stands behind the last one."""
    image.read(len(MAGIC))
    while True:
        head = image.read(4)
        if len(head) < 4 or head == bytes(4):  # noqa: PLR2004 (a number of 32 bits)
            image.seek(-len(head), 1)
            return
        if head == MAGIC:
            continue
        (length,) = struct.unpack("<I", head)
        if length > PACKED_LIMIT:
            raise Malformed(f"its lz4 data goes on with a block of {length} bytes (limit {PACKED_LIMIT})")
        data = image.read(length)
        if len(data) < length:
            raise Malformed("its compressed data is truncated")
        try:
            yield block.decompress(data, uncompressed_size=BLOCK)
        except block.LZ4BlockError as error:
            raise Malformed(f"its lz4 data is broken: {error}") from error


def packed(data: bytes) -> bytes:
    """One stream. The same in, the same out."""
    parts = [MAGIC]
    for start in range(0, len(data), BLOCK):
        piece = block.compress(data[start : start + BLOCK], store_size=False)
        parts += [struct.pack("<I", len(piece)), piece]
    return b"".join(parts)
