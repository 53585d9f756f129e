from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from transferd import plan
from transferd.extents import Extent, Range, data_bytes, merge
from transferd.units import MiB

SECTOR = 512


def extents_of(disk: str) -> list[Extent]:
    return [*merge(Extent(number * MiB, MiB, kind == "-") for number, kind in enumerate(disk))]


@st.composite
def disks(draw):
    """A size and extents that cover it, in sectors: never a multiple of anything convenient."""
    lengths = draw(st.lists(st.integers(1, 40_000), min_size=1, max_size=12))
    extents, start = [], 0
    for length in lengths:
        extents.append(Extent(start, length * SECTOR, draw(st.booleans())))
        start += length * SECTOR
    return start, extents


def test_neighbours_of_one_kind_are_merged():
    assert [Extent(0, 2 * MiB, zero=False), Extent(2 * MiB, MiB, zero=True)] == extents_of("AA-")


def test_a_block_without_data_has_no_reads():
    first, second = plan.full(8 * MiB, extents_of("----AAAA"), MiB)

    assert first.reads == ()
    assert tuple(Range(start * MiB, MiB) for start in range(4, 8)) == second.reads


def test_reads_stop_at_block_borders_and_at_the_request_size():
    first, second = plan.full(5 * MiB, [Extent(3 * MiB, 2 * MiB, zero=False)], 4 * MiB)

    assert (Range(3 * MiB, MiB),) == first.reads
    assert (Range(4 * MiB, MiB),) == second.reads


def test_the_last_block_is_as_short_as_the_disk():
    *_, last = plan.full(4 * MiB + SECTOR, [Extent(0, 4 * MiB + SECTOR, zero=False)], MiB)

    assert plan.Block(4 * MiB, SECTOR, 1, (Range(4 * MiB, SECTOR),)) == last


@given(disks(), st.sampled_from([64 << 10, 1 << 20, 4 << 20]))
def test_reads_cover_exactly_the_data_once_and_in_order(disk, request_size):
    size, extents = disk
    blocks = [*plan.full(size, extents, request_size)]
    reads = [read for block in blocks for read in block.reads]
    data = [Range(e.start, e.length) for e in extents if not e.zero]

    assert plan.block_count(size) == len(blocks)
    assert size == sum(block.length for block in blocks)
    assert data_bytes(extents) == sum(read.length for read in reads)
    assert all(read.length <= request_size for read in reads)
    assert all(before.end <= after.start for before, after in pairwise(reads))
    assert all(any(d.start <= r.start and r.end <= d.end for d in data) for r in reads)
    assert all(b.start <= r.start and r.end <= b.end for b in blocks for r in b.reads)
