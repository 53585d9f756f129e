"""Images are listed by a child that a hostile image can end, and nothing more."""

from __future__ import annotations

import struct
import time
import zlib

import lz4.block
import pytest
import zstandard

from convert import cpio, initramfs
from convert.legacy_lz4 import MAGIC as LZ4
from convert.lzo import MAGIC as LZO
from tests.convert.images import COMPRESSIONS, lzop, unified
from transferd.errors import ConversionError

MIB = 1024 * 1024
MICROCODE = cpio.segment([cpio.folder("kernel"), cpio.file("kernel/microcode", b"m" * 1000)])
MAIN = cpio.segment(
    [cpio.folder("conf"), cpio.folder("conf/conf.d"), cpio.file("conf/conf.d/resume", b"RESUME=/dev/sda2\n")]
)
OURS = cpio.segment([cpio.file("virtio_blk.ko", b"v" * 5000)])
FRAMES = {"two zstd frames": lambda data: b"".join(map(zstandard.compress, (data[:512], data[512:])))}
gzip = COMPRESSIONS["gzip"]


@pytest.fixture
def image(tmp_path):
    def write(*parts: bytes):
        path = tmp_path / "initrd.img"
        path.write_bytes(b"".join(parts))
        return path

    return write


def refusal(path) -> str:
    """The one line that is said of an image that cannot be read."""
    started = time.monotonic()
    with pytest.raises(ConversionError) as refused:
        initramfs.listing(path)
    assert time.monotonic() - started < 90
    assert len(str(refused.value).splitlines()) == 1
    return str(refused.value)


@pytest.mark.parametrize("name", COMPRESSIONS)
def test_every_segment_of_an_image_is_listed(image, name):
    between = b"" if name == "lz4" else bytes(300)  # older kernels find nothing behind padded lz4
    ours = COMPRESSIONS["lz4"](OURS) if name == "lz4" else OURS
    listing = initramfs.listing(image(MICROCODE, COMPRESSIONS[name](MAIN), between, ours))

    assert {"kernel/microcode", "conf/conf.d/resume", "virtio_blk.ko"} <= set(listing.kinds)
    assert listing.kinds["conf/conf.d"] == "folder"
    assert listing.texts == {"conf/conf.d/resume": b"RESUME=/dev/sda2\n"}


@pytest.mark.parametrize("name", [name for name in COMPRESSIONS if name != "none"])
def test_how_an_image_ends_is_told(image, name):
    listing = initramfs.listing(image(MICROCODE, COMPRESSIONS[name](MAIN), bytes(44)))

    assert (listing.tail, listing.padding, listing.unified) == (name, 44, None)


def test_a_later_entry_replaces_an_earlier_one(image):
    newer = cpio.segment([cpio.file("conf/conf.d/resume", b"RESUME=UUID=1\n")])

    assert initramfs.listing(image(gzip(MAIN), newer)).texts["conf/conf.d/resume"] == b"RESUME=UUID=1\n"


def test_the_initramfs_inside_a_unified_kernel_image_is_listed(image):
    listing = initramfs.listing(image(unified(MICROCODE + gzip(MAIN), "6.12.1")))

    assert "conf/conf.d/resume" in listing.kinds
    assert listing.unified == "6.12.1"


def test_names_are_followed_through_the_links_of_the_image(image):
    entries = [
        cpio.folder("usr"),
        cpio.link("lib", "usr/lib"),
        cpio.link("usr/lib/modules", "/store/modules"),
        cpio.link("store", "./nix/../var"),
        cpio.link("round", "round"),
    ]
    listing = initramfs.listing(image(cpio.segment(entries)))

    assert listing.real("lib/modules/6.1/x.ko") == "var/modules/6.1/x.ko"
    assert listing.real("lib/../../etc") == "etc"
    assert listing.real("round/a").endswith("a")


BROKEN = {
    "cut archive": ([MAIN[:200]], "truncated"),
    "cut stream": ([gzip(MAIN)[:-20]], "truncated"),
    "absurd name": ([b"070701" + b"f" * 104], "name of 4294967295 bytes"),
    "no name": ([b"070701" + b"0" * 104], "name of 0 bytes"),
    "no numbers": ([b"070701" + b"z" * 104], "other than hexadecimal"),
    "wrong name size": ([MAIN.replace(b"0000000b", b"00001fff", 1)], "cpio"),
    "text": ([b"#!/bin/sh" + bytes(100)], "neither cpio nor a known compression"),
    "no archive inside": ([gzip(b"not an archive" * 100)], "expected a cpio header"),
    "broken zstd": ([b"\x28\xb5\x2f\xfd" + b"\xff" * 100], "zstd data is broken"),
    "broken gzip": ([gzip(MAIN)[:20] + b"\xff" * 100], "gzip data is broken"),
    "broken bzip2": ([COMPRESSIONS["bzip2"](MAIN)[:20] + b"\xff" * 100], "bzip2 data is broken"),
    "broken xz": ([COMPRESSIONS["xz"](MAIN)[:20] + b"\xff" * 100], "xz data is broken"),
    "broken lz4 frame": ([COMPRESSIONS["lz4 frame"](MAIN)[:9] + b"\xff" * 100], "lz4 frame data is broken"),
    "broken lz4": ([LZ4, struct.pack("<I", 64), b"\xff" * 64], "lz4 data is broken"),
    "cut lz4": ([COMPRESSIONS["lz4"](MAIN)[:-5]], "truncated"),
    "plain archive behind lz4": ([COMPRESSIONS["lz4"](MAIN), OURS], "block of 925906736 bytes"),
    "cut lzo header": ([LZO, bytes(3)], "truncated"),
    "cut lzo": ([lzop(MAIN)[:-200]], "truncated"),
    "lzo that grows": ([lzop(b"")[:-4], struct.pack(">2I", 10, 4000)], "block of 4000 bytes for 10"),
    "lzo beyond the kernel's block": ([lzop(b"")[:-4], struct.pack(">2I", 1 << 31, 10)], "for 2147483648"),
    "lzo with a wrong checksum": ([lzop(MAIN).replace(b"sda2", b"sdb2")], "checksum"),
    "two zstd frames": ([FRAMES["two zstd frames"](MAIN[:600])], "truncated"),
    "a program": ([b"MZ" + bytes(100)], "no EFI one"),
    "a kernel": ([unified(MAIN).replace(b".initrd", b".nothin")], "without an initramfs inside"),
    "a program cut in its header": ([unified(MAIN)[:300]], "behind the end of the file"),
    "a section behind the end": ([unified(MAIN)[:-600]], "behind the end of the file"),
    "sections without end": (
        [unified(MAIN).replace(b"PE\0\0\x64\x86\3\0", b"PE\0\0\x64\x86\xff\xff")],
        "65535",
    ),
}


@pytest.mark.parametrize(("parts", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_image_is_refused_with_the_reason(image, parts, reason):
    assert reason in refusal(image(*parts))


def endless_file() -> bytes:
    """The header of a file of nearly 4 GiB."""
    numbers = (1, 0o100644, 0, 0, 1, 0, 0xFFFFFFFC, 0, 0, 0, 0, 4, 0)
    return b"070701" + b"".join(b"%08x" % number for number in numbers) + b"bmb\0" + bytes(2)


def zstd_bomb() -> bytes:
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    parts = [compressor.compress(endless_file())]
    parts += [compressor.compress(bytes(16 * MIB)) for _ in range(140)]
    return b"".join([*parts, compressor.flush()])


def lz4_bomb() -> bytes:
    zeros = lz4.block.compress(bytes(8 * MIB), store_size=False)
    head = lz4.block.compress(endless_file(), store_size=False)
    blocks = [head, *[zeros] * 300]
    return LZ4 + b"".join(struct.pack("<I", len(block)) + block for block in blocks)


@pytest.mark.parametrize("bomb", [zstd_bomb, lz4_bomb])
def test_a_file_that_unpacks_for_ever_is_refused(image, bomb):
    packed = bomb()

    assert len(packed) < 12 * MIB
    assert "more than 2048 MiB" in refusal(image(packed))


def test_zeros_between_archives_count_too(image):
    """Gigabytes of padding are no entries, and cost as much."""
    zeros = lz4.block.compress(bytes(8 * MIB), store_size=False)
    blocks = b"".join(struct.pack("<I", len(zeros)) + zeros for _ in range(300))

    assert "more than 2048 MiB" in refusal(image(LZ4, blocks))


def test_more_entries_than_any_image_has_are_refused(image):
    one = cpio.segment([cpio.file("f" * 200, b"")])[:312]
    packer = zlib.compressobj(1, wbits=31)

    assert "more than 200000 entries" in refusal(image(packer.compress(one * 1_000_000), packer.flush()))


def test_a_window_larger_than_the_kernel_accepts_is_refused(image):
    parameters = zstandard.ZstdCompressionParameters(window_log=30)
    big = zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    assert refusal(image(big.compress(MAIN), big.flush()))


def test_a_module_that_unpacks_for_ever_is_refused():
    bomb = zstandard.compress(bytes(100 * MIB))

    with pytest.raises(ConversionError, match=r"bomb\.ko\.zst unpacks to more than 64 MiB"):
        initramfs.unpacked([cpio.file("bomb.ko.zst", bomb)])


def test_modules_are_unpacked_by_their_content_whatever_their_names_say():
    files = {
        "a.ko.gz": gzip(b"\x7fELF a"),
        "b.ko.xz": COMPRESSIONS["xz"](b"\x7fELF b"),
        "c.ko.zst": b"\x7fELF c",
    }

    plain = initramfs.unpacked([cpio.file(name, data) for name, data in files.items()])

    assert {file.name: file.data for file in plain} == {
        "a.ko.gz": b"\x7fELF a", "b.ko.xz": b"\x7fELF b", "c.ko.zst": b"\x7fELF c"
    }  # fmt: skip
