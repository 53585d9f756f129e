"""What a writer does with a received block, on a target in memory."""

import mmap
import random
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from transferd import digest
from transferd.backends.memory import MemoryTarget
from transferd.digest import Digests
from transferd.errors import IntegrityError
from transferd.extents import Range
from transferd.plan import BLOCK, Block, Run, whole
from transferd.settle import ZERO_GRAIN, Compare, ExtentsLiedError, Refresh, Update, Write, is_zero, zero_runs
from transferd.stats import Stats
from transferd.units import KiB, MiB

SIZE = 2 * BLOCK + 512


def received(content: bytes) -> memoryview:
    """A page-aligned buffer, as the ring gives it, that holds `content`."""
    slot = memoryview(mmap.mmap(-1, BLOCK))
    slot[: len(content)] = content
    return slot[: len(content)]


def noise(length: int, seed: int = 1) -> bytes:
    return random.Random(seed).randbytes(length)


@st.composite
def buffers(draw) -> bytes:
    """Grains of zeros, of ones, and of zeros with a single byte somewhere; the last one shorter."""
    parts = []
    for _ in range(draw(st.integers(1, 6))):
        grain = bytearray(ZERO_GRAIN)
        match draw(st.sampled_from(["zeros", "ones", "speck"])):
            case "ones":
                grain[:] = b"\x01" * ZERO_GRAIN
            case "speck":
                grain[draw(st.integers(0, ZERO_GRAIN - 1))] = 7
        parts.append(bytes(grain))
    content = b"".join(parts)
    return content[: len(content) - draw(st.integers(0, ZERO_GRAIN - 1))]


@given(buffers())
def test_runs_of_zeros_are_found_at_the_grain(content):
    runs = [*zero_runs(received(content))]
    grains = [content[at : at + ZERO_GRAIN] for at in range(0, len(content), ZERO_GRAIN)]
    told = [kind for run, kind in runs for _ in range(-(-run.length // ZERO_GRAIN))]

    assert [not any(grain) for grain in grains] == told
    assert [run.start for run, _ in runs] == [0, *(run.end for run, _ in runs)][:-1]
    assert runs[-1][0].end == len(content)
    assert all(before != after for (_, before), (_, after) in pairwise(runs))


@given(buffers())
def test_zero_means_every_byte_of_it(content):
    assert is_zero(received(content)) is not any(content)


@pytest.mark.parametrize("length", [1, 7, 8, 9, 511, 512, ZERO_GRAIN - 1, ZERO_GRAIN + 1])
def test_the_last_byte_counts(length):
    view = received(bytes(length))
    assert [kind for _, kind in zero_runs(view)] == [True]
    view[-1] = 1

    assert not is_zero(view)
    assert [*zero_runs(view)][-1][1] is False


def differing() -> tuple[list[int], Digests, Stats]:
    return [], Digests(SIZE), Stats()


@pytest.mark.parametrize("old", [None, b"\xa5" * SIZE], ids=["fresh", "reused"])
def test_a_block_arrives_whole_whatever_was_there_before(old):
    target = MemoryTarget(SIZE, content=old)
    content = noise(MiB) + bytes(MiB) + noise(2 * MiB)
    found, digests, stats = differing()
    settled = Write(target, digests, stats).block(whole(1, SIZE, MiB), received(content))

    assert settled is not None
    assert settled.digest == digest.of_block(content)
    assert target.content[BLOCK : 2 * BLOCK] == content
    assert target.content[:BLOCK] == (old or bytes(SIZE))[:BLOCK]
    assert found == []


def test_zeros_are_left_out_only_where_the_target_reads_zero_before():
    view = received(bytes(BLOCK))
    for target, written in ((MemoryTarget(SIZE), 0), (MemoryTarget(SIZE, content=b"\xa5" * SIZE), 1)):
        _found, digests, stats = differing()
        Write(target, digests, stats).block(whole(0, SIZE, MiB), view)

        assert target.faults.counts.get("zero", 0) == written
        assert not any(target.content[:BLOCK])
        assert stats.sample().zero == BLOCK


def test_what_an_older_block_left_in_the_buffer_does_not_show():
    """Ranges that were not read are zero by the extents; the slot holds another block's bytes there."""
    block = Block(0, BLOCK, 0, (Range(MiB, MiB),), (Range(0, MiB), Range(2 * MiB, 2 * MiB)))
    view = received(b"\xee" * BLOCK)
    view[MiB : 2 * MiB] = noise(MiB)
    target = MemoryTarget(SIZE, content=b"\xa5" * SIZE)
    _found, digests, stats = differing()
    Write(target, digests, stats).block(block, view)

    assert target.content[:BLOCK] == bytes(MiB) + noise(MiB) + bytes(2 * MiB)


@pytest.mark.parametrize("at", [MiB, MiB + 12345, 2 * MiB - 1])
def test_f04_a_range_that_was_called_empty_and_is_not_is_a_lie_with_its_place(at):
    block = Block(0, BLOCK, 0, (Range(0, BLOCK),), promised=(Range(MiB, MiB),))
    view = received(noise(MiB) + bytes(MiB) + noise(2 * MiB))
    view[at] = 1
    target = MemoryTarget(SIZE)
    _found, digests, stats = differing()

    with pytest.raises(ExtentsLiedError) as raised:
        Write(target, digests, stats).block(block, view)
    assert isinstance(raised.value, IntegrityError)
    assert raised.value.offset == MiB
    assert not any(target.content)


def test_a_kept_promise_is_counted_as_audited():
    block = Block(0, BLOCK, 0, (Range(0, BLOCK),), promised=(Range(MiB, MiB),))
    _found, digests, stats = differing()
    Write(MemoryTarget(SIZE), digests, stats).block(block, received(bytes(BLOCK)))

    assert stats.sample().audited == MiB


def test_a_run_of_zeros_costs_nothing_on_a_fresh_target_and_is_made_on_another():
    run = Run(0, SIZE, 0, 3)
    for target in (MemoryTarget(SIZE), MemoryTarget(SIZE, content=b"\xa5" * SIZE)):
        _found, digests, stats = differing()
        settled = Write(target, digests, stats).run(run)

        assert settled.digest is None
        assert not any(target.content)
        assert stats.sample().settled == SIZE


def test_a_refresh_writes_only_what_differs():
    content = noise(SIZE)
    old = bytearray(content)
    old[BLOCK + 5] ^= 1
    target = MemoryTarget(SIZE, content=bytes(old))
    _found, digests, stats = differing()
    refresh = Refresh(target, digests, stats)
    for index in range(3):
        place = slice(index * BLOCK, min((index + 1) * BLOCK, SIZE))
        settled = refresh.block(whole(index, SIZE, MiB), received(content[place]))

        assert settled.digest == digest.of_block(content[place])
    assert target.content == content
    assert stats.sample().written == BLOCK
    assert stats.sample().skipped == SIZE - BLOCK


def test_a_refresh_makes_zeros_where_the_target_has_something_else():
    target = MemoryTarget(SIZE, content=b"\xa5" * SIZE)
    _found, digests, stats = differing()
    Refresh(target, digests, stats).run(Run(0, SIZE, 0, 3))

    assert not any(target.content)


def delta_of(base: bytes) -> tuple[Block, memoryview]:
    """A block of which one MiB was read, one became zero, and two stay as they are."""
    block = Block(0, BLOCK, 0, (Range(MiB, MiB),), (Range(3 * MiB, 64 * KiB),))
    view = received(b"\xee" * len(base))
    view[MiB : 2 * MiB] = noise(MiB, 2)
    return block, view


def test_a_delta_keeps_what_did_not_change():
    base = noise(BLOCK)
    target = MemoryTarget(SIZE, content=base + bytes(SIZE - BLOCK))
    found, digests, stats = differing()
    digests[0] = digest.of_block(base)
    settled = Update(target, digests, stats, found.append).block(*delta_of(base))
    wanted = bytearray(base)
    wanted[MiB : 2 * MiB] = noise(MiB, 2)
    wanted[3 * MiB : 3 * MiB + 64 * KiB] = bytes(64 * KiB)

    assert target.content[:BLOCK] == wanted
    assert settled is not None
    assert settled.digest == digest.of_block(bytes(wanted))


def test_a_delta_is_not_built_on_a_block_that_the_target_no_longer_holds():
    base = noise(BLOCK)
    damaged = bytearray(base + bytes(SIZE - BLOCK))
    damaged[7] ^= 1
    target = MemoryTarget(SIZE, content=bytes(damaged))
    found, digests, stats = differing()
    digests[0] = digest.of_block(base)

    assert Update(target, digests, stats, found.append).block(*delta_of(base)) is None
    assert found == [0]
    assert target.content == damaged


def test_a_change_that_is_none_is_not_written():
    base = noise(BLOCK)
    target = MemoryTarget(SIZE, content=base + bytes(SIZE - BLOCK))
    lost, digests, stats = differing()
    digests[0] = digest.of_block(base)
    for block in (whole(0, SIZE, MiB), Block(0, BLOCK, 0, (Range(MiB, MiB),))):
        settled = Update(target, digests, stats, lost.append).block(block, received(base))

        assert settled is not None
        assert settled.digest == digest.of_block(base)
    assert "write" not in target.faults.counts
    assert stats.sample().skipped == 2 * BLOCK


def test_what_an_earlier_attempt_half_wrote_is_written_even_if_the_source_has_gone_back():
    base = noise(BLOCK)
    torn = noise(MiB, 2) + base[MiB:]
    target = MemoryTarget(SIZE, content=torn + bytes(SIZE - BLOCK))
    lost, digests, stats = differing()
    digests[0] = digest.of_block(base)
    Update(target, digests, stats, lost.append).block(whole(0, SIZE, MiB), received(base))

    assert target.content[:BLOCK] == base
    assert lost == []


def test_a_comparison_names_blocks_that_differ_and_writes_nothing():
    content = noise(SIZE)
    found, digests, stats = differing()
    for index in range(3):
        digests[index] = digest.of_block(content[index * BLOCK : (index + 1) * BLOCK])
    compare = Compare(digests, stats, found.append)
    compare.block(whole(0, SIZE, MiB), received(content[:BLOCK]))
    compare.block(whole(1, SIZE, MiB), received(noise(BLOCK, 3)))

    assert found == [1]
