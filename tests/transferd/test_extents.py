from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from tests import property as prop
from transferd.extents import Extent, data_bytes, intersect, joined, merge, subtract
from transferd.units import MiB


def ordered_and_apart(ranges) -> bool:
    return all(before.end <= after.start for before, after in pairwise(ranges))


@given(prop.any_ranges(), st.integers(0, 10))
def test_joining_covers_the_ranges_and_the_gaps_between_them_that_are_small_enough(ranges, gap):
    ranges.sort(key=lambda each: each.start)
    covered = prop.union(ranges)
    found = joined(ranges, gap)

    assert covered <= prop.union(found)
    assert all(after.start - before.end > gap for before, after in pairwise(found))
    for place in prop.union(found) - covered:
        before = max(other for other in covered if other < place)
        after = min(other for other in covered if other > place)
        assert after - before - 1 <= gap


@given(prop.apart(), prop.apart())
def test_an_intersection_is_what_both_have(left, right):
    found = intersect(left, right)

    assert prop.union(left) & prop.union(right) == prop.union(found)
    assert ordered_and_apart(found)


@given(prop.apart(), prop.apart())
def test_a_difference_is_what_only_the_left_has(left, right):
    found = subtract(left, right)

    assert prop.union(left) - prop.union(right) == prop.union(found)
    assert ordered_and_apart(found)


@given(prop.disks())
def test_merged_extents_say_the_same_with_fewer_words(disk):
    size, extents = disk
    found = [*merge(extents)]

    assert all(before.zero != after.zero for before, after in pairwise(found))
    assert all(before.end == after.start for before, after in pairwise(found))
    assert (0, size) == (found[0].start, found[-1].end)
    assert data_bytes(extents) == data_bytes(found)
    for kind in (True, False):
        before, after = (
            prop.painted((each for each in some if each.zero is kind), size, prop.SECTOR)
            for some in (extents, found)
        )
        assert before == after


def test_no_extents_merge_into_none():
    assert [*merge([])] == []


def test_an_extent_ends_where_the_next_begins():
    assert Extent(MiB, MiB, zero=True).end == 2 * MiB
