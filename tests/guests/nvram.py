"""UEFI variables with one boot entry: what an installer leaves in the firmware and no disk takes along.

A firmware volume with one variable store (UEFI Platform Initialization Specification, volume 3, 3.2;
EDK2 MdeModulePkg/Include/Guid/VariableFormat.h, AUTHENTICATED_VARIABLE_HEADER); the entry is an
EFI_LOAD_OPTION (UEFI specification 2.10, 3.1.3) with a hard drive and a file path node (10.3.5).
"""

from __future__ import annotations

import struct
import uuid
from pathlib import Path

from tests.guests.layouts import SECTOR, Partition
from transferd.errors import IntegrityError

EMPTY = Path("/usr/share/OVMF/OVMF_VARS_4M.fd")
GLOBAL = uuid.UUID("8be4df61-93ca-11d2-aa0d-00e098032b8c")
STORE = uuid.UUID("aaf32c78-947b-439a-a180-2e144ec37792")  # gEfiAuthenticatedVariableGuid

STORE_HEADER = 28
VARIABLE_HEADER = struct.Struct("<HBxIQ16sIII16s")
START, ADDED = 0x55AA, 0x3F
KEPT_AND_SEEN_ALWAYS = 7  # non-volatile, boot service access, runtime access


def with_boot_entry(title: str, esp: Partition, partition_id: str, loader: str) -> bytes:
    """The content of a variable store whose first choice is `loader`, a path with backslashes."""
    option = _load_option(title, esp, partition_id, loader)
    return _filled(EMPTY.read_bytes(), {"Boot0000": option, "BootOrder": struct.pack("<H", 0)})


def _filled(empty: bytes, variables: dict[str, bytes]) -> bytes:
    header_length = struct.unpack_from("<H", empty, 48)[0]
    at = header_length + STORE_HEADER
    if empty[header_length : header_length + 16] != STORE.bytes_le or empty[at : at + 2] != b"\xff\xff":
        raise IntegrityError(f"{EMPTY} is not an empty store of authenticated variables")
    content = bytearray(empty)
    for name, value in variables.items():
        record = _variable(name, value)
        content[at : at + len(record)] = record
        at += len(record) + -len(record) % 4
    return bytes(content)


def _variable(name: str, value: bytes) -> bytes:
    wide = _wide(name)
    sizes = (len(wide), len(value))
    header = VARIABLE_HEADER.pack(
        START, ADDED, KEPT_AND_SEEN_ALWAYS, 0, bytes(16), 0, *sizes, GLOBAL.bytes_le
    )
    return header + wide + value


def _load_option(title: str, esp: Partition, partition_id: str, loader: str) -> bytes:
    gpt, by_guid = 2, 2
    place = struct.pack("<IQQ", esp.number, esp.start // SECTOR, esp.size // SECTOR)
    drive = _node(4, 1, place + uuid.UUID(partition_id).bytes_le + bytes([gpt, by_guid]))
    path = drive + _node(4, 4, _wide(loader)) + _node(0x7F, 0xFF, b"")
    active = 1
    return struct.pack("<IH", active, len(path)) + _wide(title) + path


def _node(kind: int, subkind: int, content: bytes) -> bytes:
    return struct.pack("<BBH", kind, subkind, len(content) + 4) + content


def _wide(text: str) -> bytes:
    return text.encode("utf-16-le") + b"\0\0"
