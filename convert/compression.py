"""Every compression that an initramfs or a kernel module comes in, as a row of unpacked pieces.

Input is fed in small pieces, because a kibibyte can unfold to megabytes: whoever takes the output decides
when it is too much. What is broken is Malformed, with the name of the compression.
"""

from __future__ import annotations

import bz2
import lzma
import zlib
from typing import TYPE_CHECKING, Any, Protocol

import zstandard
from lz4 import frame

from convert import legacy_lz4, lzo
from convert.cpio import Malformed

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from typing import BinaryIO

# The kernel itself refuses larger zstd windows for an initramfs by default (lib/decompress_unzstd.c).
WINDOW_LIMIT = 128 * 1024 * 1024
# One kibibyte of zstd can unfold to 32 MiB of repeated bytes.
PIECE = 1024
# By magic, as the kernel tells them apart (lib/decompress.c); the LZ4 frame is what `lz4` writes by default.
MAGICS = {
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ\x00": "xz",
    b"\x5d\x00\x00": "lzma",
    b"\x28\xb5\x2f\xfd": "zstd",
    b"BZh": "bzip2",
    legacy_lz4.MAGIC: "lz4",
    b"\x04\x22\x4d\x18": "lz4 frame",
    lzo.MAGIC: "lzo",
}
LONGEST_MAGIC = max(map(len, MAGICS))
# What the libraries raise for broken data: bz2 an OSError, lz4.frame a RuntimeError.
BROKEN = (zlib.error, lzma.LZMAError, zstandard.ZstdError, OSError, EOFError, RuntimeError)


class Decoder(Protocol):
    """What the decompressors of the libraries have in common. lz4.frame has None for no unused data."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes | None: ...

    def decompress(self, data: bytes, /) -> bytes: ...


def _zstd() -> Any:
    return zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT).decompressobj()


DECODERS: dict[str, Callable[[], Decoder]] = {
    "gzip": lambda: zlib.decompressobj(wbits=31),
    "xz": lambda: lzma.LZMADecompressor(memlimit=WINDOW_LIMIT),
    "lzma": lambda: lzma.LZMADecompressor(memlimit=WINDOW_LIMIT),
    "zstd": _zstd,
    "bzip2": bz2.BZ2Decompressor,
    "lz4 frame": frame.LZ4FrameDecompressor,
}
BLOCKS: dict[str, Callable[[BinaryIO], Iterator[bytes]]] = {"lz4": legacy_lz4.pieces, "lzo": lzo.pieces}


def named(head: bytes) -> str | None:
    """The compression of a stream that begins with these bytes."""
    return next((name for magic, name in MAGICS.items() if head.startswith(magic)), None)


def unpacked(name: str, image: BinaryIO) -> Iterator[bytes]:
    """The unpacked bytes of the stream at the position of `image`, which afterwards stands behind it."""
    if name in BLOCKS:
        yield from BLOCKS[name](image)
        return
    try:
        yield from _decoded(DECODERS[name](), image)
    except BROKEN as error:
        raise Malformed(f"its {name} data is broken: {error}") from error


def _decoded(decoder: Decoder, image: BinaryIO) -> Iterator[bytes]:
    while not decoder.eof:
        piece = image.read(PIECE)
        if not piece:
            raise Malformed("its compressed data is truncated")
        if data := decoder.decompress(piece):
            yield data
    image.seek(-len(decoder.unused_data or b""), 1)
