from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import property as prop
from transferd.errors import SourceError
from transferd.extents import Extent, Range, changed, data_bytes, intersect, joined, merge, subtract
from transferd.units import GiB, KiB, MiB


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


@given(prop.any_ranges(), st.randoms(use_true_random=False))
def test_b22_changed_areas_in_any_order_and_overlap_become_ordered_and_joined(areas, dice):
    areas += [Range(area.end, 0) for area in areas]
    dice.shuffle(areas)
    found = changed(areas, prop.UNIVERSE)

    assert prop.union(area for area in areas if area.length) == prop.union(found)
    assert all(before.end < after.start for before, after in pairwise(found))


@pytest.mark.parametrize(
    ("area", "why"),
    [
        (Range(7 * MiB, 2 * MiB), "past the end"),
        (Range(8 * MiB, 1), "behind the end"),
        (Range(1 << 64, 1), "behind every end"),
        (Range(0, 1 << 64), "a length beyond 64 bits"),
        (Range((1 << 63) - 1, (1 << 63) + 1), "start and length that wrap around"),
        (Range(-MiB, 2 * MiB), "before the beginning"),
        (Range(4 * MiB, -MiB), "a negative length"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_b22_an_area_that_no_such_disk_can_have_is_an_error_with_its_place(area, why):
    with pytest.raises(SourceError, match="does not lie in the disk") as raised:
        changed([Range(0, MiB), area, Range(2 * MiB, MiB)], 8 * MiB)

    assert raised.value.exit_code == 4, why
    assert area.start == raised.value.offset


def test_b22_areas_of_no_length_change_nothing():
    assert changed([Range(0, 0), Range(5 * MiB, 0), Range(8 * MiB, 0)], 8 * MiB) == []


def test_b22_a_million_areas_are_one_pass():
    areas = [Range(number * 128 * KiB, 64 * KiB) for number in range(1_000_000)]

    assert changed(reversed(areas), 128 * GiB) == areas


def test_an_extent_ends_where_the_next_begins():
    assert Extent(MiB, MiB, zero=True).end == 2 * MiB
