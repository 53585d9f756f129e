import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import property as prop
from transferd import plan
from transferd.extents import Extent, Range, merge
from transferd.plan import BLOCK, RUN, Block, Run
from transferd.units import GiB, KiB, MiB

TiB = 1024 * GiB
REQUESTS = st.sampled_from([64 * KiB, MiB, 4 * MiB])
GAPS = st.sampled_from([0, 512, 64 * KiB, BLOCK])


def extents_of(disk: str) -> list[Extent]:
    return [*merge(Extent(number * MiB, MiB, kind == "-") for number, kind in enumerate(disk))]


def picture(ranges, size) -> bytearray:
    return prop.painted(ranges, size, prop.SECTOR)


def of_kind(extents, *, zero) -> list[Extent]:
    return [each for each in extents if each.zero is zero]


def within(outer: bytearray, inner: bytearray) -> bool:
    return all(o or not i for o, i in zip(outer, inner, strict=True))


def check_blocks(blocks, size, extents, request_size) -> None:
    """What holds of every block of any plan."""
    zero = picture(of_kind(extents, zero=True), size)
    for block in blocks:
        assert plan.extent_of_block(block.index, size) == Range(block.start, block.length)
        assert all(read.length <= request_size for read in block.reads)
        for each in (*block.reads, *block.zeros, *block.promised):
            assert block.start <= each.start < each.end <= block.end
        assert all(before.end <= after.start for before, after in pairwise(block.reads))
    reads = picture((read for block in blocks for read in block.reads), size)
    zeros = picture((each for block in blocks for each in block.zeros), size)
    promised = picture((each for block in blocks for each in block.promised), size)
    assert within(zero, zeros)
    assert all(not (r and z) for r, z in zip(reads, zeros, strict=True))
    assert within(zero, promised)
    assert within(reads, promised)


def test_a_block_without_data_is_a_run_of_one():
    first, second = plan.full(8 * MiB, extents_of("----AAAA"), MiB)

    assert first == Run(0, BLOCK, 0, 1)
    assert tuple(Range(start * MiB, MiB) for start in range(4, 8)) == second.reads


def test_reads_stop_at_block_borders_and_at_the_request_size():
    extents = [Extent(0, 3 * MiB, zero=True), Extent(3 * MiB, 2 * MiB, zero=False)]
    first, second = plan.full(5 * MiB, extents, 4 * MiB)

    assert first == Block(0, BLOCK, 0, (Range(3 * MiB, MiB),), (Range(0, 3 * MiB),))
    assert (Range(4 * MiB, MiB),) == second.reads


def test_the_last_block_is_as_short_as_the_disk():
    *_, last = plan.full(4 * MiB + 512, [Extent(0, 4 * MiB + 512, zero=False)], MiB)

    assert Block(4 * MiB, 512, 1, (Range(4 * MiB, 512),)) == last


def test_a_gap_that_costs_more_to_skip_is_read_along_and_must_be_empty():
    (block,) = plan.full(4 * MiB, extents_of("A-B-"), 4 * MiB, gap=lambda: MiB)

    assert block.reads == (Range(0, 3 * MiB),)
    assert block.promised == (Range(MiB, MiB),)
    assert block.zeros == (Range(3 * MiB, MiB),)


def test_the_gap_is_asked_anew_for_every_block():
    gaps = iter([0, MiB])
    first, second = plan.full(8 * MiB, extents_of("A-B-" * 2), 4 * MiB, gap=lambda: next(gaps))

    assert [read.length for read in first.reads] == [MiB, MiB]
    assert [read.length for read in second.reads] == [3 * MiB]


@given(prop.disks(), REQUESTS, GAPS, st.data())
def test_a_full_plan_covers_the_disk_once_and_reads_all_data(disk, request_size, gap, data):
    size, extents = disk
    count = plan.block_count(size)
    audited = sorted(data.draw(st.sets(st.integers(0, count - 1), max_size=count)))
    work = [*plan.full(size, extents, request_size, audited=audited, gap=lambda: gap)]
    blocks = [item for item in work if isinstance(item, Block)]
    runs = [item for item in work if isinstance(item, Run)]

    assert work[0].start == 0
    assert all(before.end == after.start for before, after in pairwise(work))
    assert work[-1].end == size
    assert [index for item in work for index in numbers(item)] == [*range(count)]
    check_blocks(blocks, size, extents, request_size)
    assert all(block.kept == 0 for block in blocks)
    reads = picture((read for block in blocks for read in block.reads), size)
    assert within(reads, picture(of_kind(extents, zero=False), size))
    assert within(picture(of_kind(extents, zero=True), size), picture(runs, size))
    assert all(1 <= run.count <= RUN for run in runs)
    whole = {block.index for block in blocks if sum(read.length for read in block.reads) == block.length}
    assert whole >= {*audited}


@given(prop.disks(), REQUESTS)
def test_without_gaps_and_audit_not_one_byte_more_than_the_data_is_read(disk, request_size):
    size, extents = disk
    work = plan.full(size, extents, request_size)
    reads = (read for item in work if isinstance(item, Block) for read in item.reads)

    assert picture(of_kind(extents, zero=False), size) == picture(reads, size)


def numbers(item: plan.Work) -> range:
    return range(item.index, item.index + (item.count if isinstance(item, Run) else 1))


@given(prop.disks(), st.data())
def test_a_plan_without_what_is_done_is_the_rest_of_it(disk, data):
    size, extents = disk
    done = data.draw(st.sets(st.integers(0, plan.block_count(size) - 1)))
    everything = [*plan.full(size, extents, MiB)]
    left = [*plan.without(everything, done.__contains__)]
    blocks = {item.index: item for item in everything if isinstance(item, Block)}

    assert {*range(plan.block_count(size))} - done == {index for item in left for index in numbers(item)}
    for item in left:
        if isinstance(item, Block):
            assert blocks[item.index] == item
        else:
            assert not {*numbers(item)} & {*blocks}
            assert (item.start, item.end) == (item.index * BLOCK, min(numbers(item).stop * BLOCK, size))


@given(prop.disks(), REQUESTS, GAPS, st.data())
def test_a_delta_reads_or_zeroes_what_changed_and_keeps_the_rest(disk, request_size, gap, data):
    size, extents = disk
    changes = data.draw(prop.apart(size, prop.SECTOR))
    blocks = [*plan.delta(size, changes, extents, request_size, gap=lambda: gap)]

    check_blocks(blocks, size, extents, request_size)
    assert [block.index for block in blocks] == sorted(
        {index for each in changes for index in range(each.start // BLOCK, -(-each.end // BLOCK))}
    )
    reads = picture((read for block in blocks for read in block.reads), size)
    zeros = picture((each for block in blocks for each in block.zeros), size)
    both = bytearray(r + z for r, z in zip(reads, zeros, strict=True))
    assert within(both, picture(changes, size))
    assert max(both, default=0) <= 1
    if gap == 0:
        assert picture(changes, size) == both
        assert within(picture(of_kind(extents, zero=False), size), reads)


@given(prop.disks(), st.sampled_from([512, 4 * KiB, 64 * KiB]), st.data())
def test_reads_keep_to_the_grain_of_a_server_that_insists_on_one(disk, grain, data):
    size, extents = disk
    changes = data.draw(prop.apart(size, prop.SECTOR))
    for work in (
        [*plan.full(size, extents, MiB, grain=grain)],
        [*plan.delta(size, changes, extents, MiB, grain=grain)],
    ):
        blocks = [item for item in work if isinstance(item, Block)]
        check_blocks(blocks, size, extents, MiB)
        assert all(read.start % grain == 0 for block in blocks for read in block.reads)
        assert all(read.end % grain == 0 or read.end == size for block in blocks for read in block.reads)


def test_a_delta_joins_neighbouring_changes_of_one_block():
    changes = [Range(0, 64 * KiB), Range(128 * KiB, 64 * KiB), Range(3 * MiB, 64 * KiB)]
    (block,) = plan.delta(4 * MiB, changes, extents_of("AAAA"), MiB, gap=lambda: 64 * KiB)

    assert block.reads == (Range(0, 192 * KiB), Range(3 * MiB, 64 * KiB))
    assert block.kept == 4 * MiB - 256 * KiB


@given(prop.disks(), st.sampled_from([0.01, 0.3, 1.0]), st.integers())
def test_the_audit_reads_its_share_of_the_blocks_with_holes(disk, share, seed):
    size, extents = disk
    with_holes = {
        index
        for each in of_kind(extents, zero=True)
        for index in range(each.start // BLOCK, -(-each.end // BLOCK))
    }
    chosen = plan.audit(size, extents, random.Random(seed), share)

    assert sorted({*chosen}) == chosen
    assert {*chosen} <= with_holes
    assert len(chosen) >= share * len(with_holes)
    assert len(chosen) <= share * len(with_holes) + 2


@pytest.mark.parametrize("tail", [0, 512, BLOCK - 512])
def test_b21_an_empty_disk_of_62_tib_is_a_short_plan(tail):
    size = 62 * TiB + tail
    work = [*plan.full(size, [Extent(0, size, zero=True)], MiB)]

    assert len(work) == -(-plan.block_count(size) // RUN)
    assert work[-1].end == size


def test_b21_an_audited_disk_of_62_tib_is_planned_in_items_not_in_blocks():
    size = 62 * TiB
    extents = [Extent(0, size, zero=True)]
    audited = plan.audit(size, extents, random.Random(62))
    items = sum(1 for _ in plan.full(size, extents, MiB, audited=audited))

    assert len(audited) == plan.MOST_AUDITED
    assert items < plan.block_count(size) // RUN + 2 * len(audited) + 1


@pytest.mark.parametrize("size", [1, 511, 512, 513, BLOCK - 1, BLOCK, BLOCK + 1])
@pytest.mark.parametrize("zero", [True, False])
def test_b21_a_disk_of_any_size_is_covered(size, zero):
    work = [*plan.full(size, [Extent(0, size, zero)], MiB)]

    assert sum(item.length for item in work) == size


def test_b22_many_small_changes_are_planned_in_one_pass():
    size = 32 * GiB
    changes = [Range(start, 64 * KiB) for start in range(0, size, 256 * KiB)]
    extents = [Extent(start, 2 * MiB, zero=start % BLOCK > 0) for start in range(0, size, 2 * MiB)]
    blocks = [*plan.delta(size, changes, extents, MiB)]

    assert len(blocks) == size // BLOCK
    assert sum(len(block.reads) for block in blocks) == len(changes) / 2
    assert sum(len(block.zeros) for block in blocks) == len(changes) / 2
