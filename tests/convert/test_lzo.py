"""LZO1X is unpacked as its inventor's library does it, and whatever else comes is refused."""

from __future__ import annotations

import ctypes
import ctypes.util
import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert import cpio, lzo
from tests.conftest import demand
from tests.convert.images import lzop

END = b"\x11\0\0"
# Work memory that the two compressors of the library want, in bytes (lzo1x.h).
COMPRESSORS = {"lzo1x_1_compress": 1 << 18, "lzo1x_999_compress": 1 << 20}
# By the kernel's description (Documentation/staging/lzo.rst): one row for each kind of instruction.
STREAMS = {
    "nothing": (END, b""),
    "short literals first": (bytes([17 + 3]) + b"abc" + END, b"abc"),
    "many literals first": (bytes([17 + 5]) + b"abcde" + END, b"abcde"),
    "a run of literals": (b"\x03" + b"abcdef" + END, b"abcdef"),
    "a long run of literals": (b"\x00\x00\x02" + b"x" * 275 + END, b"x" * 275),
    "two bytes from near": (bytes([17 + 2]) + b"ab" + b"\x04\x00" + END, b"abab"),
    "three to four bytes within 2 KiB": (bytes([17 + 4]) + b"abcd" + b"\x6c\x00" + END, b"abcdabcd"),
    "five to eight bytes within 2 KiB": (bytes([17 + 4]) + b"abcd" + b"\xec\x00" + END, b"abcdabcdabcd"),
    "a block within 16 KiB": (bytes([17 + 4]) + b"abcd" + b"\x22\x0c\x00" + END, b"abcdabcd"),
    "a long block": (bytes([17 + 4]) + b"abcd" + b"\x20\x01\x00\x00" + END, b"abcd" + b"d" * 34),
    "literals behind a block": (bytes([17 + 4]) + b"abcd" + b"\x22\x0e\x00" + b"yz" + END, b"abcdabcdyz"),
}
BROKEN = {
    "nothing at all": (b"", 0, "ends inside an instruction"),
    "no end": (b"\x03abcdef", 6, "ends inside an instruction"),
    "literals behind the end": (b"\xff" + b"abc", 300, "ends inside an instruction"),
    "a copy from before the beginning": (
        bytes([17 + 4]) + b"abcd" + b"\x6c\x01" + END,
        9,
        "before its beginning",
    ),
    "more than was said": (b"\x03" + b"abcdef" + END, 5, "more than 5 bytes"),
    "less than was said": (b"\x03" + b"abcdef" + END, 7, "6 bytes instead of 7"),
    "a length without end": (b"\x00" + bytes(200_000), 10, "ends inside an instruction"),
    "a bomb": (bytes([18]) + b"a" + b"\x20" + bytes(5000) + b"\x01\0\0" + END, 4096, "more than 4096 bytes"),
}


@pytest.fixture(scope="module")
def library():
    found = ctypes.util.find_library("lzo2")
    demand(None if found else "liblzo2 is not installed")
    return ctypes.CDLL(found)


def packed(library, compressor: str, data: bytes) -> bytes:
    out = ctypes.create_string_buffer(len(data) + len(data) // 16 + 128)
    length = ctypes.c_size_t(len(out))
    work = ctypes.create_string_buffer(COMPRESSORS[compressor])
    assert getattr(library, compressor)(data, len(data), out, ctypes.byref(length), work) == 0
    return out.raw[: length.value]


@pytest.mark.parametrize(("stream", "plain"), STREAMS.values(), ids=STREAMS)
def test_each_instruction_does_what_the_kernel_says(stream, plain):
    assert lzo.decompress(stream, len(plain)) == plain


@pytest.mark.parametrize(("stream", "size", "reason"), BROKEN.values(), ids=BROKEN)
def test_a_broken_stream_is_refused_with_the_reason(stream, size, reason):
    with pytest.raises(cpio.Malformed, match=reason):
        lzo.decompress(stream, size)


REPETITIVE = st.lists(st.tuples(st.binary(min_size=1, max_size=40), st.integers(1, 200)), max_size=30).map(
    lambda parts: b"".join(data * times for data, times in parts)
)


@pytest.mark.parametrize("compressor", COMPRESSORS)
@given(data=REPETITIVE | st.binary(max_size=4000))
def test_what_the_library_packs_is_unpacked(library, compressor, data):
    assert lzo.decompress(packed(library, compressor, data), len(data)) == data


@given(st.binary(max_size=300), st.integers(0, 5000))
def test_any_bytes_are_unpacked_to_their_size_or_refused(stream, size):
    with suppress(cpio.Malformed):
        assert len(lzo.decompress(stream, size)) == size


def test_a_file_is_read_up_to_its_end_and_not_further():
    data = bytes(range(256)) * 3000
    image = io.BytesIO(lzop(data) + b"next")

    assert b"".join(lzo.pieces(image)) == data
    assert image.read() == b"next"
