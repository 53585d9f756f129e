"""The sections of a PE program, as far as they tell what a unified kernel image (UKI) holds. Pure.

A UKI is systemd's EFI stub with the kernel (.linux), its initramfs (.initrd), its version (.uname) and its
command line as sections of one file, which may be signed (UAPI group, "Unified Kernel Image"). It is read
here and never changed. The file is hostile: its numbers are limits to check, not sizes to allocate.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING

from convert.cpio import Malformed

if TYPE_CHECKING:
    from typing import BinaryIO

MAGIC = b"MZ"
SIGNATURE = b"PE\0\0"
# Where the DOS header names the offset of the PE header.
POINTER = 0x3C
COFF_HEADER = 20
SECTION_HEADER = 40
# The format's own limit (PE format, COFF file header).
SECTION_LIMIT = 96


def sections(image: BinaryIO) -> dict[str, tuple[int, int]]:
    """Name of each section -> where its bytes are in the file, and how many. The first of a name counts."""
    (start,) = struct.unpack("<I", _at(image, POINTER, 4))
    header = _at(image, start, len(SIGNATURE) + COFF_HEADER)
    if not header.startswith(SIGNATURE):
        raise Malformed("it is a program, but no EFI one")
    count, optional = struct.unpack_from("<H12xH", header, 6)
    if count > SECTION_LIMIT:
        raise Malformed(f"its program header claims {count} sections (limit {SECTION_LIMIT})")
    table = _at(image, start + len(header) + optional, count * SECTION_HEADER)
    found: dict[str, tuple[int, int]] = {}
    for name, virtual, _, raw, offset in struct.iter_unpack("<8s4I16x", table):
        found.setdefault(name.rstrip(b"\0").decode("latin-1"), (offset, min(virtual, raw)))
    return found


def content(image: BinaryIO, section: tuple[int, int], limit: int) -> bytes:
    offset, length = section
    if length > limit:
        raise Malformed(f"a section of its program claims {length} bytes (limit {limit})")
    return _at(image, offset, length)


def _at(image: BinaryIO, offset: int, length: int) -> bytes:
    image.seek(offset)
    data = image.read(length)
    if len(data) < length:
        raise Malformed("its program header points behind the end of the file")
    return data
