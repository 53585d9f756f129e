from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests import property as prop
from transferd import plan
from transferd.areas import MOST, OVERHANG, Areas, ChangeId, ChangesUnknown, parse_change_id
from transferd.errors import SourceError
from transferd.extents import Extent, Range
from transferd.units import GiB, KiB, MiB

UUID = "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63"


def areas_of(ranges, capacity: int = prop.UNIVERSE) -> Areas:
    """One page."""
    areas = Areas(capacity)
    areas.add([each.start for each in ranges], [each.length for each in ranges])
    return areas


@given(st.lists(prop.any_ranges(), max_size=4), st.randoms(use_true_random=False))
def test_b22_pages_in_any_order_and_overlap_become_ordered_and_apart(pages, dice):
    areas = Areas(prop.UNIVERSE)
    for page in pages:
        dice.shuffle(page)
        areas.add([each.start for each in page], [each.length for each in page])
    everything = [each for page in pages for each in page]

    assert prop.union(everything) == prop.union(areas)
    assert all(before.end < after.start for before, after in pairwise(areas))
    assert len([*areas]) == len(areas)
    assert len(prop.union(everything)) == areas.total


def test_areas_that_touch_across_pages_are_one():
    areas = Areas(8 * MiB)
    areas.add([0], [64 * KiB])
    areas.add([64 * KiB], [64 * KiB])

    assert [*areas] == [Range(0, 128 * KiB)]


def test_nothing_that_changed_is_nothing():
    areas = areas_of([])

    assert not areas
    assert ([*areas], areas.total) == ([], 0)


def test_areas_of_no_length_change_nothing():
    assert not areas_of([Range(0, 0), Range(5 * MiB, 0), Range(8 * MiB, 0)], 8 * MiB)


@pytest.mark.parametrize("tail", [512, 4 * KiB, MiB - 512])
def test_what_hangs_over_the_end_of_the_disk_ends_with_it(tail):
    """A disk need not be a multiple of what its changes are tracked in."""
    capacity = 8 * MiB + tail

    assert [*areas_of([Range(8 * MiB, MiB)], capacity)] == [Range(8 * MiB, tail)]


@pytest.mark.parametrize(
    ("area", "why"),
    [
        (Range(7 * MiB, MiB + OVERHANG + 1), "past the end"),
        (Range(8 * MiB + OVERHANG, 1), "behind the end"),
        (Range(-MiB, 2 * MiB), "before the beginning"),
        (Range(4 * MiB, -MiB), "a negative length"),
        (Range(0, (1 << 63) - 1), "everything there could be"),
        (Range((1 << 63) - 1, (1 << 63) - 1), "start and length that wrap around"),
    ],
    ids=lambda value: value.replace(" ", "-") if isinstance(value, str) else "",
)
def test_b22_an_area_that_no_such_disk_can_have_is_an_error_with_its_place(area, why):
    with pytest.raises(SourceError, match="does not lie in the disk") as raised:
        areas_of([Range(0, MiB), area, Range(2 * MiB, MiB)], 8 * MiB)

    assert raised.value.exit_code == 4, why
    assert area.start == raised.value.offset
    assert not isinstance(raised.value, ChangesUnknown)


def test_more_areas_than_anyone_can_use_are_as_good_as_no_answer():
    areas = Areas(MOST * 4)
    areas.add(range(0, MOST * 2, 2), [1] * MOST)

    with pytest.raises(ChangesUnknown, match="more than 8000000") as raised:
        areas.add([MOST * 3], [1])

    assert raised.value.exit_code == 4


def test_b22_a_million_areas_are_held_in_16_bytes_each_and_planned_one_by_one():
    areas, step = Areas(128 * GiB), 128 * KiB
    for page in range(0, 128 * GiB, 2000 * step):
        starts = range(page, min(page + 2000 * step, 128 * GiB), step)
        areas.add(starts, [64 * KiB] * len(starts))
    extents = [Extent(0, 64 * GiB, zero=True), Extent(64 * GiB, 64 * GiB, zero=False)]
    reads = zeros = 0
    for block in plan.delta(128 * GiB, areas, extents, MiB):
        reads += sum(each.length for each in block.reads)
        zeros += sum(each.length for each in block.zeros)

    assert (len(areas), areas.total) == (1 << 20, 64 * GiB)
    assert (reads, zeros) == (32 * GiB, 32 * GiB)
    assert sum(each.itemsize * len(each) for each in (areas._starts, areas._lengths)) == 16 << 20


@given(prop.disks(), st.data())
def test_a_plan_is_the_same_from_areas_as_from_a_list(disk, data):
    size, extents = disk
    changes = [*areas_of(data.draw(prop.apart(size, prop.SECTOR)), size)]

    assert [*plan.delta(size, areas_of(changes, size), extents, MiB)] == [
        *plan.delta(size, changes, extents, MiB)
    ]


@pytest.mark.parametrize("sequence", [0, 81, (1 << 64) - 1])
def test_a_change_id_is_a_history_and_a_moment_in_it(sequence):
    assert parse_change_id(f"{UUID}/{sequence}") == ChangeId(UUID, sequence)
    assert parse_change_id(f"{UUID.upper()}/{sequence}") == ChangeId(UUID, sequence)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "*",
        "/",
        UUID,
        f"{UUID}/",
        f"/{UUID}/1",
        "/1",
        f"{UUID}1",
        f"{UUID} 64/81",
        f"{UUID[:-1]}/81",
        f"{UUID[:-1]}g/81",
        UUID.replace(" ", "") + "/81",
        UUID.replace("-", " ") + "/81",
        f"{UUID}/-1",
        f"{UUID}/0x1",
        f"{UUID}/1 ",
        f" {UUID}/1",
        f"{UUID}/1\n",
        f"{UUID}/\u0661",
        f"{UUID}/1/1",
        f"{UUID}/{'1' * 21}",
        f"{UUID}/1" * 200,
        "A" * 10_240,
        f"{UUID}/81</changeId><evil/>",
    ],
    ids=lambda text: repr(text[:60]),
)
def test_b20_what_is_no_change_id_is_refused_in_one_short_line(text):
    with pytest.raises(SourceError, match="is not a changeId") as raised:
        parse_change_id(text)

    assert len(str(raised.value)) < 300
    assert "\n" not in str(raised.value)
