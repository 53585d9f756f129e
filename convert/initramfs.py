"""What an initramfs image holds, found out without trusting it.

An image is a row of segments: uncompressed cpio archives (microcode first, our own last) and compressed
ones. The parser runs in a child process that limits itself before it opens the image: memory, processor
time, size of its answer. A compression bomb or a parser fault ends the child, and the parent says that the
image could not be read.

    parent: listing(image) -> python -I -m convert.initramfs < image > answer.json -> Listing

The child answers with names and kinds of entries, and with the text of the few small files that decide
names and resume devices. lz4 and bzip2 are recognised and refused: no decoder for them is at hand.
"""

from __future__ import annotations

import json
import lzma
import resource
import stat
import subprocess
import sys
import tempfile
import zlib
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, BinaryIO, Protocol

import zstandard

from convert import cpio
from transferd.errors import ConversionError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024
# Ten times what the largest distribution images need; the deadline is wall time on a loaded machine.
MEMORY_LIMIT = 768 * MIB
CPU_LIMIT = 60
ANSWER_LIMIT = 64 * MIB
DEADLINE = 180.0
UNPACKED_LIMIT = 2048 * MIB
ENTRY_LIMIT = 200_000
NAMES_LIMIT = 16 * MIB
TEXT_LIMIT = 64 * 1024
TEXTS_LIMIT = 4 * MIB
# The kernel itself refuses larger zstd windows for an initramfs by default (lib/decompress_unzstd.c).
WINDOW_LIMIT = 128 * MIB
# One kibibyte of zstd can unfold to 32 MiB of repeated bytes, so input is fed in small pieces.
PIECE = 1024

TEXT_FOLDERS = ("systemd/network/", "udev/rules.d/", "conf/conf.d/")
REFUSED = {b"\x02\x21\x4c\x18": "lz4", b"\x04\x22\x4d\x18": "lz4", b"BZh": "bzip2", b"\x89LZO": "lzo"}


@dataclass(frozen=True)
class Listing:
    """`kinds`: name -> file, folder, link or other. `texts`: name -> content of small naming files."""

    kinds: dict[str, str]
    texts: dict[str, bytes]


def listing(image: Path) -> Listing:
    """Raises ConversionError naming the image when it cannot be read within the limits."""
    with image.open("rb") as source, tempfile.TemporaryFile(dir=image.parent) as answer:
        argv = [sys.executable, "-I", "-m", "convert.initramfs"]
        try:
            child = subprocess.run(
                argv, stdin=source, stdout=answer, stderr=subprocess.PIPE, timeout=DEADLINE, check=False
            )
        except subprocess.TimeoutExpired as error:
            raise _unreadable(f"it took longer than {DEADLINE:.0f} s to read") from error
        if child.returncode != 0:
            last = child.stderr[-TEXT_LIMIT:].decode("utf-8", "replace").strip().splitlines()
            raise _unreadable(last[-1] if last else f"its reader died with status {child.returncode}")
        answer.seek(0)
        document = json.loads(answer.read(ANSWER_LIMIT))
    texts = {name: text.encode("latin-1") for name, text in document["texts"].items()}
    return Listing(kinds=document["kinds"], texts=texts)


def _unreadable(reason: str) -> ConversionError:
    return ConversionError(f"an initramfs image cannot be read: {reason}", operation="read initramfs")


class Decoder(Protocol):
    """What zlib, lzma and zstandard decompressors have in common."""

    @property
    def eof(self) -> bool: ...

    @property
    def unused_data(self) -> bytes: ...

    def decompress(self, data: bytes, /) -> bytes: ...


class Stream:
    """A cpio.Reader over pieces of bytes, with one budget for the whole image."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._at = 0
        self._taken = 0

    def take(self, length: int) -> bytes:
        self._taken += length
        if self._taken > UNPACKED_LIMIT:
            raise cpio.Malformed(f"it unpacks to more than {UNPACKED_LIMIT // MIB} MiB")
        while len(self._held) - self._at < length:
            if not self._more():
                raise cpio.Malformed("the archive is truncated")
        self._at += length
        return self._held[self._at - length : self._at]

    def at_end(self) -> bool:
        while True:
            rest = self._held[self._at :].lstrip(b"\0")
            self._held, self._at = rest, 0
            if rest or not self._more():
                return not rest

    def _more(self) -> bool:
        piece = next(self._pieces, None)
        if piece is not None:
            self._held, self._at = self._held[self._at :] + piece, 0
        return piece is not None


class Plain:
    """A cpio.Reader over an uncompressed archive inside the image file."""

    def __init__(self, image: BinaryIO) -> None:
        self._image = image

    def take(self, length: int) -> bytes:
        data = self._image.read(length)
        if len(data) < length:
            raise cpio.Malformed("the archive is truncated")
        return data

    def at_end(self) -> bool:
        """True at the end of the row of uncompressed archives: the end of the file or another magic."""
        head = _next_magic(self._image)
        return head[:6] not in cpio.MAGICS


def contents(image: BinaryIO) -> Iterator[cpio.Found]:
    """Every entry of every segment of a seekable image, in the order in which the kernel unpacks them."""
    while head := _next_magic(image):
        plain = head[:6] in cpio.MAGICS
        reader = Plain(image) if plain else Stream(_unpacked(image, _decoder(head)))
        yield from cpio.read(reader, _is_naming_text, TEXT_LIMIT)


def _is_naming_text(name: str) -> bool:
    return any(folder in name for folder in TEXT_FOLDERS)


def _next_magic(image: BinaryIO) -> bytes:
    """Skips zero bytes; the next eight bytes, or nothing at the end. The position is left before them."""
    while piece := image.read(cpio.SLICE):
        rest = piece.lstrip(b"\0")
        if rest:
            image.seek(-len(rest), 1)
            head = image.read(8)
            image.seek(-len(head), 1)
            return head
    return b""


def _decoder(head: bytes) -> Decoder:
    if head[:2] == b"\x1f\x8b":
        return zlib.decompressobj(wbits=31)
    if head[:6] == b"\xfd7zXZ\x00" or head[:3] == b"\x5d\x00\x00":
        return lzma.LZMADecompressor(memlimit=WINDOW_LIMIT)
    if head[:4] == b"\x28\xb5\x2f\xfd":
        unpacker: Any = zstandard.ZstdDecompressor(max_window_size=WINDOW_LIMIT).decompressobj()
        decoder: Decoder = unpacker
        return decoder
    name = next((name for magic, name in REFUSED.items() if head.startswith(magic)), None)
    if name:
        raise cpio.Malformed(f"it is compressed with {name}, which transferd cannot read")
    raise cpio.Malformed(f"it holds something that is neither cpio nor a known compression: {head!r}")


def _unpacked(image: BinaryIO, decoder: Decoder) -> Iterator[bytes]:
    """The decompressed bytes of one stream; afterwards `image` stands behind the stream's last byte."""
    while not decoder.eof:
        piece = image.read(PIECE)
        if not piece:
            raise cpio.Malformed("its compressed data is truncated")
        if data := decoder.decompress(piece):
            yield data
    image.seek(-len(decoder.unused_data), 1)


def _kind(mode: int) -> str:
    kinds = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}
    return kinds.get(stat.S_IFMT(mode), "other")


def describe(image: BinaryIO) -> dict[str, Any]:
    """The child's answer. Raises cpio.Malformed."""
    kinds: dict[str, str] = {}
    texts: dict[str, str] = {}
    names = held = 0
    for count, found in enumerate(contents(image)):
        names += len(found.name)
        held += len(found.text or b"")
        if count >= ENTRY_LIMIT or names > NAMES_LIMIT or held > TEXTS_LIMIT:
            raise cpio.Malformed(
                f"it holds more than {ENTRY_LIMIT} entries or {NAMES_LIMIT // MIB} MiB of names"
            )
        kinds[found.name] = _kind(found.mode)
        if found.text is not None:
            texts[found.name] = found.text.decode("latin-1")
    return {"kinds": kinds, "texts": texts}


def _child() -> int:
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
    resource.setrlimit(resource.RLIMIT_FSIZE, (ANSWER_LIMIT, ANSWER_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        json.dump(describe(sys.stdin.buffer), sys.stdout)
    except (cpio.Malformed, zlib.error, lzma.LZMAError, zstandard.ZstdError) as error:
        print(error, file=sys.stderr)
        return 1
    except MemoryError:
        print(f"it needs more than {MEMORY_LIMIT // MIB} MiB of memory to unpack", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(_child())
