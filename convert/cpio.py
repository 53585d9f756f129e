"""The newc cpio archive, as the Linux kernel reads it from an initramfs. Pure: bytes in, bytes out.

An initramfs is a row of archives. The kernel unpacks them in order over one another, skips zero bytes
between them, and wants each uncompressed one to start on a multiple of four bytes. A later entry replaces
an earlier one, so a segment appended to an image adds files without touching what is there.

A header is 110 ASCII bytes: the magic and thirteen numbers of eight hexadecimal digits (kernel:
Documentation/driver-api/early-userspace/buffer-format.rst). Name and data are each padded to four bytes.

Reading is for hostile archives: every length is checked against a limit before anything is allocated, and
data is skipped in slices, never held, except for the few small texts that the caller asks for.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable, Iterator

HEADER = 110
MAGICS = (b"070701", b"070702")
TRAILER = "TRAILER!!!"
# Where a segment starts: sectors, because boot loaders place images by sectors and pad to them.
ALIGNMENT = 512
# PATH_MAX of the kernel, which refuses longer names too.
NAME_LIMIT = 4096
SLICE = 256 * 1024


class Malformed(Exception):  # noqa: N818 (names what the bytes are)
    """The bytes are not an archive that this reader accepts; the text says why."""


@dataclass(frozen=True)
class Entry:
    """One file, folder or link. `mode` is the whole st_mode; a link's target is its data."""

    name: str
    mode: int
    data: bytes = b""


@dataclass(frozen=True)
class Found:
    """One entry of an archive that was read. `text`: a link's target, and content that was asked for."""

    name: str
    mode: int
    size: int
    text: bytes | None


class Reader(Protocol):
    """Exactly `length` bytes or Malformed; `at_end` skips zero bytes first."""

    def take(self, length: int) -> bytes: ...

    def at_end(self) -> bool: ...


def folder(name: str) -> Entry:
    return Entry(name, stat.S_IFDIR | 0o755)


def file(name: str, data: bytes, mode: int = 0o644) -> Entry:
    return Entry(name, stat.S_IFREG | mode, data)


def link(name: str, target: str) -> Entry:
    return Entry(name, stat.S_IFLNK | 0o777, target.encode("utf-8", "surrogateescape"))


def padding(length: int, alignment: int) -> bytes:
    return bytes(-length % alignment)


def segment(entries: Iterable[Entry]) -> bytes:
    """One uncompressed archive, padded to ALIGNMENT. Owned by root, dated 1970: the same in, the same out."""
    parts: list[bytes] = []
    for inode, entry in enumerate([*entries, Entry(TRAILER, 0)], start=1):
        name = entry.name.encode("utf-8", "surrogateescape") + b"\0"
        links = 2 if stat.S_ISDIR(entry.mode) else 1
        numbers = (inode, entry.mode, 0, 0, links, 0, len(entry.data), 0, 0, 0, 0, len(name), 0)
        head = MAGICS[0] + b"".join(b"%08x" % number for number in numbers) + name
        parts += [head, padding(len(head), 4), entry.data, padding(len(entry.data), 4)]
    archive = b"".join(parts)
    return archive + padding(len(archive), ALIGNMENT)


def read(reader: Reader, wanted: Callable[[str], bool], text_limit: int) -> Iterator[Found]:
    """The entries of the archives that follow one another in `reader`, until its end.

    Kept are the targets of links, and the content of regular files for which `wanted(name)` holds when it
    has at most `text_limit` bytes. Raises Malformed.
    """
    while not reader.at_end():
        yield from _archive(reader, wanted, text_limit)


def _archive(reader: Reader, wanted: Callable[[str], bool], text_limit: int) -> Iterator[Found]:
    while True:
        mode, size, name = _header(reader)
        if name == TRAILER:
            return
        keep = (stat.S_ISREG(mode) and size <= text_limit and wanted(name)) or _is_target(mode, size)
        text = reader.take(size) if keep else None
        _skip(reader, -size % 4 if keep else size + -size % 4)
        yield Found(name, mode, size, text)


def _is_target(mode: int, size: int) -> bool:
    return stat.S_ISLNK(mode) and size <= NAME_LIMIT


def _header(reader: Reader) -> tuple[int, int, str]:
    head = reader.take(HEADER)
    if head[:6] not in MAGICS:
        raise Malformed(f"expected a cpio header, found {head[:6]!r}")
    try:
        numbers = [int(head[at : at + 8].decode("ascii"), 16) for at in range(6, HEADER, 8)]
    except ValueError as error:
        raise Malformed("a cpio header holds something other than hexadecimal numbers") from error
    mode, size, name_size = numbers[1], numbers[6], numbers[11]
    if not 1 <= name_size <= NAME_LIMIT:
        raise Malformed(f"a cpio entry claims a name of {name_size} bytes (limit {NAME_LIMIT})")
    raw = reader.take(name_size)
    _skip(reader, -(HEADER + name_size) % 4)
    name = raw.rstrip(b"\0").decode("utf-8", "surrogateescape")
    return mode, size, name.removeprefix("./").lstrip("/")


def _skip(reader: Reader, length: int) -> None:
    while length > 0:
        length -= len(reader.take(min(length, SLICE)))
