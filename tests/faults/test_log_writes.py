"""The log of dm-log-writes is read as the kernel writes it, and replayed as power cuts leave the disk."""

import io
import struct
from random import Random

import pytest

from tests.faults.log_writes import (
    ATOM,
    DISCARD,
    FLUSH,
    FUA,
    HEADER,
    MAGIC,
    MARK,
    Entry,
    Garbled,
    after_flushes,
    ahead,
    read,
    torn,
)

SECTOR = 512


def a_log(*entries: tuple[int, bytes, int]) -> io.BytesIO:
    """`entries`: (sector, data or a mark's name, flags)."""
    parts = [struct.pack("<QQQI", MAGIC, 1, len(entries), SECTOR).ljust(SECTOR, b"\0")]
    for sector, data, flags in entries:
        name = data if flags & MARK else b""
        sectors = 0 if name else len(data) // SECTOR
        parts.append((HEADER.pack(sector, sectors, flags, len(name)) + name).ljust(SECTOR, b"\0"))
        if not flags & (MARK | DISCARD):
            parts.append(data)
    return io.BytesIO(b"".join(parts))


def test_entries_come_in_their_order_with_their_data():
    log = a_log(
        (4, b"a" * SECTOR, 0),
        (0, b"", FLUSH),
        (0, b"done", MARK),
        (1, b"d" * 1024, DISCARD),
        (2, b"b" * 1024, FUA),
    )

    assert [*read(log)] == [
        Entry(4 * SECTOR, SECTOR, 0, b"a" * SECTOR),
        Entry(0, 0, FLUSH),
        Entry(0, 0, MARK, name="done"),
        Entry(SECTOR, 1024, DISCARD),
        Entry(2 * SECTOR, 1024, FUA, b"b" * 1024),
    ]


@pytest.mark.parametrize("cut", [0, 20, SECTOR, SECTOR + 10, 2 * SECTOR + 100])
def test_a_log_that_ends_early_is_garbled(cut: int):
    with pytest.raises(Garbled):
        list(read(io.BytesIO(a_log((4, b"a" * SECTOR, 0)).getvalue()[:cut])))


def test_a_log_of_something_else_is_garbled():
    with pytest.raises(Garbled):
        list(read(io.BytesIO(bytes(4096))))


def test_a_write_outside_the_device_is_garbled():
    with pytest.raises(Garbled):
        list(after_flushes(bytes(SECTOR), [Entry(SECTOR, SECTOR, FUA, b"x" * SECTOR)]))


def test_each_flush_gives_the_writes_before_it_and_no_later_ones():
    entries = [
        Entry(0, SECTOR, 0, b"a" * SECTOR),
        Entry(0, 0, FLUSH),
        Entry(SECTOR, SECTOR, 0, b"b" * SECTOR),
        Entry(0, SECTOR, FUA, b"c" * SECTOR),
        Entry(SECTOR, SECTOR, 0, b"d" * SECTOR),
    ]
    images = [(number, bytes(image)) for number, image in after_flushes(bytes(2 * SECTOR), entries)]

    assert images == [(2, b"a" * SECTOR + bytes(SECTOR)), (4, b"c" * SECTOR + b"b" * SECTOR)]


def test_a_flush_with_nothing_to_flush_gives_no_image():
    entries = [Entry(0, 0, FLUSH), Entry(0, SECTOR, 0, b"a" * SECTOR), Entry(0, 0, FLUSH), Entry(0, 0, FLUSH)]

    assert [number for number, _ in after_flushes(bytes(SECTOR), entries)] == [3]


def test_what_follows_a_flush_is_torn_between_physical_sectors_and_no_further_than_the_next():
    entries = [
        Entry(0, 2 * ATOM, 0, b"a" * 2 * ATOM),
        Entry(0, 0, FLUSH),
        Entry(0, ATOM, 0, b"z" * ATOM),
    ]
    found = {bytes(torn(bytearray(2 * ATOM), entries, Random(seed))) for seed in range(60)}

    assert found == {bytes(2 * ATOM), b"a" * ATOM + bytes(ATOM), b"a" * 2 * ATOM}


def test_a_write_within_a_physical_sector_is_not_torn():
    entries = [Entry(1024, 1024, 0, b"a" * 1024)]
    found = {bytes(torn(bytearray(ATOM), entries, Random(seed)))[1024:2048] for seed in range(60)}

    assert found == {bytes(1024), b"a" * 1024}


def test_one_end_of_the_device_may_be_ahead_of_the_other():
    entries = [
        Entry(0, SECTOR, 0, b"a" * SECTOR),
        Entry(SECTOR, SECTOR, 0, b"b" * SECTOR),
        Entry(0, 0, FLUSH),
    ]

    assert ahead(bytearray(2 * SECTOR), entries, SECTOR) == bytes(SECTOR) + b"b" * SECTOR
