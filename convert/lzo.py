"""The lzop container and LZO1X, the compression inside it, read as a kernel reads them. Pure.

A few old and embedded distributions pack their initramfs so, and no well-kept library reads it. A stream of
LZO1X is a row of instructions: copy literals, or copy from what has been unpacked so far (kernel:
Documentation/staging/lzo.rst). `state` is the number of literals that the last instruction brought along,
4 for a long run, and decides what an opcode below 16 means.

The bytes are hostile: every index is checked, and no block may grow over the size that its header tells.
"""

from __future__ import annotations

import struct
import zlib
from typing import TYPE_CHECKING

from convert.cpio import Malformed

if TYPE_CHECKING:
    from collections.abc import Iterator
    from typing import BinaryIO

MAGIC = b"\x89LZO\x00\r\n\x1a\n"
# The kernel's decoder refuses larger blocks (lib/decompress_unlzo.c).
BLOCK_LIMIT = 256 * 1024
# From this version on the header has a level, the version that is needed, and the upper half of a time.
LONG_HEADER = 0x0940
ADLER_PLAIN, ADLER_PACKED, CRC_PLAIN, CRC_PACKED, FILTER = 0x1, 0x2, 0x100, 0x200, 0x800
# Opcodes by their first value: below FAR literals or a short match, then ever nearer and shorter matches.
FAR, NEAR, SHORT, SHORTEST = 16, 32, 64, 128
LITERAL_RUN = 4
END_DISTANCE = 16384
# A stream's first opcode above it is a number of literals, with this added.
LITERALS = 17


def pieces(image: BinaryIO) -> Iterator[bytes]:
    """The blocks of one lzop file; afterwards `image` stands behind it. Raises Malformed."""
    flags = _flags(image)
    while size := _number(image):
        packed = _number(image)
        if size > BLOCK_LIMIT or not 0 < packed <= size:
            raise Malformed(f"its lzo data has a block of {packed} bytes for {size}")
        checksum = _number(image) if flags & ADLER_PLAIN else None
        _take(image, 4 * bool(flags & CRC_PLAIN))
        if packed < size:
            _take(image, 4 * bool(flags & ADLER_PACKED) + 4 * bool(flags & CRC_PACKED))
        block = _take(image, packed)
        plain = block if packed == size else decompress(block, size)
        if checksum not in (None, zlib.adler32(plain)):
            raise Malformed("a block of its lzo data has another checksum than it should")
        yield plain


def _flags(image: BinaryIO) -> int:
    _take(image, len(MAGIC))
    (version,) = struct.unpack(">H", _take(image, 2))
    long = version >= LONG_HEADER
    _take(image, 6 if long else 3)
    flags = _number(image)
    _take(image, (4 if flags & FILTER else 0) + (12 if long else 8))
    (name,) = _take(image, 1)
    _take(image, name + 4)
    return flags


def _number(image: BinaryIO) -> int:
    (number,) = struct.unpack(">I", _take(image, 4))
    return int(number)


def _take(image: BinaryIO, length: int) -> bytes:
    data = image.read(length)
    if len(data) < length:
        raise Malformed("its compressed data is truncated")
    return data


def decompress(packed: bytes, size: int) -> bytes:
    """One LZO1X stream that unpacks to exactly `size` bytes. Raises Malformed."""
    try:
        plain = _Decoder(packed, size).run()
    except IndexError as error:
        raise Malformed("its lzo data ends inside an instruction") from error
    if len(plain) != size:
        raise Malformed(f"a block of its lzo data unpacks to {len(plain)} bytes instead of {size}")
    return plain


class _Decoder:
    """One stream: `packed` from position `at`, unpacked into `plain`."""

    def __init__(self, packed: bytes, size: int) -> None:
        self._packed = packed
        self._size = size
        self._at = 0
        self._plain = bytearray()

    def run(self) -> bytes:
        state = self._first()
        while True:
            code = self._byte()
            if code < FAR and state == 0:
                self._literals(3 + self._length(code, 15))
                state = LITERAL_RUN
                continue
            length, distance, trailing = self._match(code, state)
            if distance == END_DISTANCE and FAR <= code < NEAR:
                return bytes(self._plain)
            self._copy(length, distance)
            self._literals(trailing)
            state = trailing

    def _first(self) -> int:
        """A stream may begin with literals under a code of their own."""
        if self._packed[0] <= LITERALS:
            return 0
        count = self._byte() - LITERALS
        self._literals(count)
        return min(count, LITERAL_RUN)

    def _match(self, code: int, state: int) -> tuple[int, int, int]:
        """Length, distance, and the literals that follow."""
        if code < FAR:
            after_run = state == LITERAL_RUN
            distance = (self._byte() << 2) + (code >> 2) + (2049 if after_run else 1)
            return (3 if after_run else 2), distance, code & 3
        if code < SHORT:
            small = code >= NEAR
            bits = 31 if small else 7
            length = 2 + self._length(code & bits, bits)
            offset = self._byte() | self._byte() << 8
            start = 1 if small else END_DISTANCE + ((code & 8) << 11)
            return length, start + (offset >> 2), offset & 3
        length = (3 + (code >> 5 & 1)) if code < SHORTEST else 5 + (code >> 5 & 3)
        return length, (self._byte() << 3) + (code >> 2 & 7) + 1, code & 3

    def _length(self, bits: int, most: int) -> int:
        """A length that does not fit into its bits goes on in the bytes that follow: zeros count 255."""
        if bits:
            return bits
        length = most
        while (byte := self._byte()) == 0:
            length += 255
        return length + byte

    def _byte(self) -> int:
        self._at += 1
        return self._packed[self._at - 1]

    def _literals(self, count: int) -> None:
        if self._at + count > len(self._packed):
            raise IndexError
        self._demand(count)
        self._plain += self._packed[self._at : self._at + count]
        self._at += count

    def _copy(self, length: int, distance: int) -> None:
        """Source and target may overlap: then what is copied repeats."""
        start = len(self._plain) - distance
        if start < 0:
            raise Malformed("its lzo data copies from before its beginning")
        self._demand(length)
        found = bytes(self._plain[start : start + length])
        if distance < length:
            found = (found * (length // distance + 1))[:length]
        self._plain += found

    def _demand(self, more: int) -> None:
        if len(self._plain) + more > self._size:
            raise Malformed(f"a block of its lzo data unpacks to more than {self._size} bytes")
