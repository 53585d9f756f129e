"""Initramfs images and a guest's module folders for the tests of both, made here: no tool is needed."""

from __future__ import annotations

import bz2
import gzip
import lzma
import struct
import zlib

import zstandard
from lz4 import frame

from convert import cpio, legacy_lz4, lzo
from tests.convert.memory import KERNEL, Memory

FOLDER = f"usr/lib/modules/{KERNEL.version}"
UDEV = cpio.file("usr/lib/systemd/systemd-udevd", b"\x7fELF", 0o755)
MERGED = (cpio.link("lib", "usr/lib"), cpio.folder("usr"), cpio.folder("usr/lib"))
DEP = """\
kernel/drivers/virtio/virtio.ko:
kernel/drivers/virtio/virtio_ring.ko:
kernel/drivers/virtio/virtio_pci.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/block/virtio_blk.ko: kernel/drivers/virtio/virtio.ko kernel/drivers/virtio/virtio_ring.ko
kernel/drivers/net/virtio_net.ko: kernel/drivers/net/net_failover.ko kernel/drivers/virtio/virtio.ko
kernel/drivers/net/net_failover.ko:
kernel/drivers/scsi/vmw_pvscsi.ko:
"""
VIRTIO = [line.partition(":")[0] for line in DEP.splitlines() if "vmw" not in line]
PVSCSI = "kernel/drivers/scsi/vmw_pvscsi.ko"
NAMES = ["virtio_pci", "virtio_blk", "virtio_net"]


def lzop(data: bytes) -> bytes:
    """An lzop file whose blocks are stored: as large as they were."""
    header = (
        lzo.MAGIC + struct.pack(">3H2B", 0x1040, 0x20A0, 0x0940, 1, 5) + struct.pack(">I", lzo.ADLER_PLAIN)
    )
    header += struct.pack(">3IB", 0o100644, 0, 0, 0) + bytes(4)
    blocks = [data[at : at + lzo.BLOCK_LIMIT] for at in range(0, len(data), lzo.BLOCK_LIMIT)]
    stored = (struct.pack(">3I", len(b), len(b), zlib.adler32(b)) + b for b in blocks)
    return header + b"".join(stored) + bytes(4)


COMPRESSIONS = {
    "none": bytes,
    "gzip": gzip.compress,
    "bzip2": bz2.compress,
    "xz": lambda data: lzma.compress(data, check=lzma.CHECK_CRC32),  # the kernel knows no other check
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zstd": zstandard.ZstdCompressor().compress,
    "lz4": legacy_lz4.packed,
    "lz4 frame": frame.compress,
    "lzo": lzop,
}


def main(
    *extra: cpio.Entry, modules: tuple[str, ...] = (PVSCSI,), folder: str = FOLDER, udev: bool = True
) -> bytes:
    """One archive: a system with a merged /usr, a loader of drivers and these modules."""
    start = [*MERGED] if folder.startswith("usr/") else [cpio.folder("lib")]
    held = [cpio.file(f"{folder}/{module}", b"module") for module in modules]
    return cpio.segment([*start, cpio.folder("conf"), *([UDEV] if udev else []), *held, *extra])


def unified(initrd: bytes, version: str = KERNEL.version) -> bytes:
    """A PE program with the sections of a unified kernel image."""
    parts = {".uname": version.encode(), ".linux": b"MZ kernel", ".initrd": initrd}
    stub = b"MZ" + bytes(0x3C - 2) + struct.pack("<I", 0x40)
    coff = b"PE\0\0" + struct.pack("<HHIIIHH", 0x8664, len(parts), 0, 0, 0, 240, 0x22E) + bytes(240)
    at = len(stub) + len(coff) + 40 * len(parts)
    table, body = b"", b""
    for name, content in parts.items():
        raw = content + bytes(-len(content) % 512)
        header = (name.encode().ljust(8, b"\0"), len(content), 0, len(raw), at + len(body))
        table += struct.pack("<8s4I16x", *header)
        body += raw
    return stub + coff + table + body


def root(
    initrds: dict[str, bytes], *, dep: str = DEP, builtin: str | None = "", **files: str | bytes
) -> Memory:
    """A guest's file tree: images by path, one kernel's modules and indexes, other files."""
    folder = KERNEL.modules
    content: dict[str, str | bytes] = {
        f"{folder}/{line.partition(':')[0]}": f"the module {line}" for line in dep.splitlines()
    }
    content |= {f"{folder}/modules.dep": dep, f"{folder}/modules.alias": "aliases"}
    if builtin is not None:
        content[f"{folder}/modules.builtin"] = builtin
    return Memory({**content, **initrds, **files})
