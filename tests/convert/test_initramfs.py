"""Images are listed by a child that a hostile image can end, and nothing more."""

from __future__ import annotations

import gzip
import lzma
import time
import zlib

import pytest
import zstandard

from convert import cpio, initramfs
from transferd.errors import ConversionError

MIB = 1024 * 1024
MICROCODE = cpio.segment([cpio.folder("kernel"), cpio.file("kernel/microcode", b"m" * 1000)])
MAIN = cpio.segment(
    [cpio.folder("conf"), cpio.folder("conf/conf.d"), cpio.file("conf/conf.d/resume", b"RESUME=/dev/sda2\n")]
)
OURS = cpio.segment([cpio.file("virtio_blk.ko", b"v" * 5000)])
COMPRESSIONS = {
    "nothing": bytes,
    "gzip": gzip.compress,
    "xz": lzma.compress,
    "lzma": lambda data: lzma.compress(data, format=lzma.FORMAT_ALONE),
    "zstd": zstandard.ZstdCompressor().compress,
    "two zstd frames": lambda data: b"".join(
        zstandard.compress(data[at : at + 512]) for at in range(0, len(data), 512)
    ),
}


@pytest.fixture
def image(tmp_path):
    def write(*parts: bytes):
        path = tmp_path / "initrd.img"
        path.write_bytes(b"".join(parts))
        return path

    return write


def refusal(path) -> str:
    started = time.monotonic()
    with pytest.raises(ConversionError) as refused:
        initramfs.listing(path)
    assert time.monotonic() - started < 90
    return str(refused.value)


@pytest.mark.parametrize(
    "compress",
    [c for n, c in COMPRESSIONS.items() if n != "two zstd frames"],
    ids=[n for n in COMPRESSIONS if n != "two zstd frames"],
)
def test_every_segment_of_an_image_is_listed(image, compress):
    listing = initramfs.listing(image(MICROCODE, compress(MAIN), bytes(300), OURS))

    assert {"kernel/microcode", "conf/conf.d/resume", "virtio_blk.ko"} <= set(listing.kinds)
    assert listing.kinds["conf/conf.d"] == "folder"
    assert listing.texts == {"conf/conf.d/resume": b"RESUME=/dev/sda2\n"}


def test_a_later_entry_replaces_an_earlier_one(image):
    newer = cpio.segment([cpio.file("conf/conf.d/resume", b"RESUME=UUID=1\n")])

    assert (
        initramfs.listing(image(gzip.compress(MAIN), newer)).texts["conf/conf.d/resume"] == b"RESUME=UUID=1\n"
    )


@pytest.mark.parametrize(
    ("parts", "reason"),
    [
        ([MAIN[:200]], "truncated"),
        ([gzip.compress(MAIN)[:-20]], "truncated"),
        ([b"070701" + b"f" * 104], "name of 4294967295 bytes"),
        ([b"070701" + b"0" * 104], "name of 0 bytes"),
        ([b"070701" + b"z" * 104], "other than hexadecimal"),
        ([MAIN.replace(b"0000000b", b"00001fff", 1)], "cpio"),
        ([b"\x02\x21\x4c\x18" + bytes(100)], "lz4"),
        ([b"MZ" + bytes(100)], "neither cpio nor a known compression"),
        ([gzip.compress(b"not an archive" * 100)], "expected a cpio header"),
        ([b"\x28\xb5\x2f\xfd" + b"\xff" * 100], ""),
    ],
    ids=["cut archive", "cut stream", "absurd name", "no name", "no numbers", "wrong name size", "lz4",
         "a program", "no archive inside", "broken zstd"],
)  # fmt: skip
def test_a_broken_image_is_refused_with_the_reason(image, parts, reason):
    assert reason in refusal(image(*parts))


def test_a_file_that_unpacks_for_ever_is_refused(image):
    """Gigabytes of zeros inside one file, in a few hundred kilobytes of zstd."""
    header = b"070701" + b"".join(
        b"%08x" % n for n in (1, 0o100644, 0, 0, 1, 0, 0xFFFFFFFF, 0, 0, 0, 0, 4, 0)
    )
    compressor = zstandard.ZstdCompressor(level=1).compressobj()
    bomb = [compressor.compress(header + b"bmb\0" + bytes(2))]
    bomb += [compressor.compress(bytes(16 * MIB)) for _ in range(140)]

    assert "more than 2048 MiB" in refusal(image(*bomb, compressor.flush()))


def test_more_entries_than_any_image_has_are_refused(image):
    one = cpio.segment([cpio.file("f" * 200, b"")])[:312]
    packer = zlib.compressobj(1, wbits=31)

    assert "more than 200000 entries" in refusal(image(packer.compress(one * 210_000), packer.flush()))


def test_a_window_larger_than_the_kernel_accepts_is_refused(image):
    parameters = zstandard.ZstdCompressionParameters(window_log=30)
    big = zstandard.ZstdCompressor(compression_params=parameters).compressobj()

    assert refusal(image(big.compress(MAIN), big.flush()))
