"""The process that unpacks what a guest has packed: initramfs images and kernel modules.

It limits itself before it reads the first byte: memory, processor time, size of its answer. A compression
bomb or a fault of a decoder ends this process and nothing else; its last line says why.

    list:   an image (or a unified kernel image) on stdin -> a JSON document of what it holds
    unpack: a cpio archive of packed files on stdin       -> the same archive with the files unpacked

An image is a row of segments: uncompressed cpio archives (microcode first, our own last) and compressed
ones. Answers hold names and kinds of entries, link targets, and the text of the few small files that decide
names of interfaces and disks.
"""

from __future__ import annotations

import io
import json
import resource
import stat
import sys
from typing import TYPE_CHECKING, Any, BinaryIO

from convert import compression, cpio, pe

if TYPE_CHECKING:
    from collections.abc import Iterator

MIB = 1024 * 1024
# Ten times what the largest distribution images need; a unified image's initramfs is held in memory.
MEMORY_LIMIT = 768 * MIB
CPU_LIMIT = 60
ANSWER_LIMIT = 128 * MIB
UNPACKED_LIMIT = 2048 * MIB
SECTION_LIMIT = 256 * MIB
MODULE_LIMIT = 64 * MIB
ENTRY_LIMIT = 200_000
NAMES_LIMIT = 16 * MIB
# A commented lvm.conf has 100 KiB.
TEXT_LIMIT = 256 * 1024
TEXTS_LIMIT = 4 * MIB

# What decides names of interfaces, wherever it lies, what names disks (convert.linux.disks.files), and what
# keeps modules from loading (convert.linux.modprobe).
NAMING = ("systemd/network/", "udev/rules.d/")
TABLES = (
    *("conf/conf.d/", "cryptroot/", "etc/cmdline.d/", "etc/conf.d/"),
    *("etc/crypttab", "etc/fstab", "etc/lvm/", "etc/mdadm", "etc/modprobe"),
)
KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "folder", stat.S_IFLNK: "link"}


class Stream:
    """A cpio.Reader over pieces of bytes, with one budget for all that comes out of them."""

    def __init__(self, pieces: Iterator[bytes]) -> None:
        self._pieces = pieces
        self._held = b""
        self._at = 0
        self._taken = 0

    def take(self, length: int) -> bytes:
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
        if piece is None:
            return False
        self._taken += len(piece)
        if self._taken > UNPACKED_LIMIT:
            raise cpio.Malformed(f"it unpacks to more than {UNPACKED_LIMIT // MIB} MiB")
        self._held, self._at = self._held[self._at :] + piece, 0
        return True


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


def segments(image: BinaryIO) -> Iterator[tuple[str, Iterator[cpio.Found]]]:
    """How each segment of a seekable image is packed, and its entries, to be taken before the next one's."""
    while head := _next_magic(image):
        if head[:6] in cpio.MAGICS:
            packing, reader = "cpio", Plain(image)
            yield packing, cpio.read(reader, _is_wanted, TEXT_LIMIT)
            continue
        name = compression.named(head)
        if name is None:
            raise cpio.Malformed(f"it holds something that is neither cpio nor a known compression: {head!r}")
        stream = Stream(compression.unpacked(name, image))
        yield name, cpio.read(stream, _is_wanted, TEXT_LIMIT)


def contents(image: BinaryIO) -> Iterator[cpio.Found]:
    """Every entry of every segment, in the order in which the kernel unpacks them."""
    for _, found in segments(image):
        yield from found


def _is_wanted(name: str) -> bool:
    return name.startswith(TABLES) or any(folder in name for folder in NAMING)


def _next_magic(image: BinaryIO) -> bytes:
    """Skips zero bytes; the next bytes, or nothing at the end. The position is left before them."""
    while piece := image.read(cpio.SLICE):
        rest = piece.lstrip(b"\0")
        if rest:
            image.seek(-len(rest), 1)
            head = image.read(compression.LONGEST_MAGIC)
            image.seek(-len(head), 1)
            return head
    return b""


class _Description:
    """What `list` answers, within its limits."""

    def __init__(self) -> None:
        self.kinds: dict[str, str] = {}
        self.links: dict[str, str] = {}
        self.texts: dict[str, str] = {}
        self._count = self._names = self._texts = 0

    def add(self, found: cpio.Found) -> None:
        self._count += 1
        self._names += len(found.name)
        self._texts += len(found.text or b"")
        if self._count > ENTRY_LIMIT or self._names > NAMES_LIMIT or self._texts > TEXTS_LIMIT:
            raise cpio.Malformed(
                f"it holds more than {ENTRY_LIMIT} entries, {NAMES_LIMIT // MIB} MiB of names "
                f"or {TEXTS_LIMIT // MIB} MiB of settings"
            )
        kind = KINDS.get(stat.S_IFMT(found.mode), "other")
        self.kinds[found.name] = kind
        self.links.pop(found.name, None)
        self.texts.pop(found.name, None)
        if found.text is not None and kind == "link":
            self.links[found.name] = found.text.decode("utf-8", "surrogateescape")
        elif found.text is not None:
            self.texts[found.name] = found.text.decode("latin-1")


def describe(image: BinaryIO) -> dict[str, Any]:
    """The answer to `list`. Raises cpio.Malformed."""
    archive, version = _unified(image) if image.read(len(pe.MAGIC)) == pe.MAGIC else (image, None)
    archive.seek(0)
    described = _Description()
    tail, end = "cpio", 0
    for tail, entries in segments(archive):  # noqa: B007 (how the last one is packed)
        for found in entries:
            described.add(found)
        end = archive.tell()
    return {
        "kinds": described.kinds,
        "links": described.links,
        "texts": described.texts,
        "tail": tail,
        "padding": archive.seek(0, io.SEEK_END) - end,
        "unified": version,
    }


def _unified(image: BinaryIO) -> tuple[BinaryIO, str]:
    """The initramfs inside a unified kernel image, and the version of its kernel."""
    sections = pe.sections(image)
    if ".initrd" not in sections:
        raise cpio.Malformed("it is a program without an initramfs inside")
    version = pe.content(image, sections[".uname"], TEXT_LIMIT) if ".uname" in sections else b""
    archive = io.BytesIO(pe.content(image, sections[".initrd"], SECTION_LIMIT))
    return archive, version.rstrip(b"\0\n").decode("latin-1")


def unpack(archive: BinaryIO) -> bytes:
    """The answer to `unpack`. A file that is not packed stays as it is. Raises cpio.Malformed."""
    files = cpio.read(Stream(iter(lambda: archive.read(cpio.SLICE), b"")), lambda _: True, MODULE_LIMIT)
    return cpio.segment(cpio.file(each.name, _plain(each.name, each.text or b"")) for each in files)


def _plain(name: str, data: bytes) -> bytes:
    packing = compression.named(data)
    if packing is None:
        return data
    whole = bytearray()
    for piece in compression.unpacked(packing, io.BytesIO(data)):
        whole += piece
        if len(whole) > MODULE_LIMIT:
            raise cpio.Malformed(f"{name} unpacks to more than {MODULE_LIMIT // MIB} MiB")
    return bytes(whole)


def main(command: str) -> int:
    """The limits, then the work; one line on stderr where it cannot be done."""
    resource.setrlimit(resource.RLIMIT_AS, (MEMORY_LIMIT, MEMORY_LIMIT))
    resource.setrlimit(resource.RLIMIT_CPU, (CPU_LIMIT, CPU_LIMIT))
    resource.setrlimit(resource.RLIMIT_FSIZE, (ANSWER_LIMIT, ANSWER_LIMIT))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    try:
        if command == "list":
            json.dump(describe(sys.stdin.buffer), sys.stdout)
        else:
            sys.stdout.buffer.write(unpack(sys.stdin.buffer))
    except cpio.Malformed as error:
        print(error, file=sys.stderr)
        return 1
    except MemoryError:
        print(f"it needs more than {MEMORY_LIMIT // MIB} MiB of memory to unpack", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
