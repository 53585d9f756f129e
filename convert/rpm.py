"""An RPM package as a file of this machine: what its header says, and nothing of its payload.

A package is a lead of 96 bytes, a header with signatures, a header with facts, and the payload. A header is
a table of (tag, type, offset, count) and a store of bytes that the offsets lead into (rpm.org, RPM v4
package format). The operator gave the file; its numbers are checked all the same.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import TYPE_CHECKING, BinaryIO

from transferd.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Iterator
    from pathlib import Path

MIB = 1024 * 1024
LEAD = 96
LEAD_MAGIC = b"\xed\xab\xee\xdb"
MAGIC = b"\x8e\xad\xe8\x01"
PREAMBLE = struct.Struct(">4s4xII")
INDEX = struct.Struct(">IIII")
# Ten times what a package of this kind has.
INDEX_LIMIT = 10_000
STORE_LIMIT = 16 * MIB
NAME, VERSION, RELEASE, ARCHITECTURE, REQUIRES = 1000, 1001, 1002, 1022, 1049
STRING, STRINGS = 6, 8
REMEDY = "take the package out of the folder, or download it again"


@dataclass(frozen=True)
class Header:
    """`requires`: names alone, without the versions that some of them demand."""

    name: str
    version: str
    release: str
    architecture: str
    requires: tuple[str, ...]


def header(path: Path) -> Header:
    """Raises UsageError for what is no RPM package."""
    try:
        with path.open("rb") as file:
            if file.read(LEAD)[:4] != LEAD_MAGIC:
                raise _malformed(path, "it has no lead")
            signatures = _section(path, file)
            file.seek(-len(signatures.store) % 8, 1)
            facts = _section(path, file)
    except OSError as error:
        raise UsageError(f"{path}: {error.strerror}", remedy=REMEDY) from error
    texts = {tag: tuple(facts.strings(tag)) for tag in (NAME, VERSION, RELEASE, ARCHITECTURE, REQUIRES)}
    if not all(len(texts[tag]) == 1 for tag in (NAME, VERSION, RELEASE, ARCHITECTURE)):
        raise _malformed(path, "its header lacks a name, a version, a release or an architecture")
    name, version, release, architecture = (texts[tag][0] for tag in (NAME, VERSION, RELEASE, ARCHITECTURE))
    return Header(name, version, release, architecture, texts[REQUIRES])


@dataclass(frozen=True)
class _Section:
    """One header. `index`: tag -> type, offset, count."""

    index: dict[int, tuple[int, int, int]]
    store: bytes

    def strings(self, tag: int) -> Iterator[str]:
        kind, at, count = self.index.get(tag, (STRINGS, 0, 0))
        for _ in range(min(count, INDEX_LIMIT) if kind in (STRING, STRINGS) else 0):
            end = self.store.find(b"\0", at)
            if end < 0:
                return
            yield self.store[at:end].decode("utf-8", "replace")
            at = end + 1


def _section(path: Path, file: BinaryIO) -> _Section:
    preamble = file.read(PREAMBLE.size)
    if len(preamble) < PREAMBLE.size:
        raise _malformed(path, "it is truncated")
    magic, entries, size = PREAMBLE.unpack(preamble)
    if magic != MAGIC or entries > INDEX_LIMIT or size > STORE_LIMIT:
        raise _malformed(path, "its header is damaged")
    table, store = file.read(entries * INDEX.size), file.read(size)
    if len(table) < entries * INDEX.size or len(store) < size:
        raise _malformed(path, "it is truncated")
    index = {tag: (kind, at, count) for tag, kind, at, count in INDEX.iter_unpack(table)}
    return _Section(index, store)


def _malformed(path: Path, problem: str) -> UsageError:
    return UsageError(f"{path} is no RPM package: {problem}", remedy=REMEDY)
