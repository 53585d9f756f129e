"""LZ4 as kernels unpack it: streams one after another, and padding that only newer kernels survive."""

from __future__ import annotations

import io
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from convert import cpio, legacy_lz4
from convert.legacy_lz4 import BLOCK, MAGIC, packed, pieces


@given(st.lists(st.binary(max_size=2000), max_size=4), st.integers(0, 9))
def test_streams_are_read_as_one_up_to_their_padding(parts, padding):
    image = io.BytesIO(b"".join(map(packed, parts)) + bytes(padding))

    assert b"".join(pieces(image)) == b"".join(parts)
    assert image.read() == (bytes(padding) if parts else bytes(max(0, padding - 4)))


@given(st.binary(max_size=200))
def test_any_bytes_are_unpacked_or_refused(data):
    with suppress(cpio.Malformed):
        assert all(len(piece) <= BLOCK for piece in pieces(io.BytesIO(MAGIC + data)))


def test_more_than_one_block_survives_the_round_trip():
    data = bytes(range(256)) * (BLOCK // 256) + b"the rest"

    assert [len(piece) for piece in pieces(io.BytesIO(packed(data)))] == [BLOCK, len(b"the rest")]


def test_a_block_that_the_kernel_would_refuse_is_refused():
    with pytest.raises(cpio.Malformed, match="limit 8421520"):
        list(pieces(io.BytesIO(MAGIC + (legacy_lz4.PACKED_LIMIT + 1).to_bytes(4, "little"))))
