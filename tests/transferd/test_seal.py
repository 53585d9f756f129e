"""Sealing finds a block that changed although conversion did not say so."""

from pathlib import Path

import pytest

from tests import dsl
from transferd import digest
from transferd.digest import Digests
from transferd.extents import Range
from transferd.seal import seal, touched
from transferd.units import MiB

DISK = "ABCDEFGHIJ"  # three digest blocks


@pytest.fixture
def converted(tmp_path: Path):
    """A disk as it was received, and then changed in its second block."""
    path = dsl.write(DISK, tmp_path / "disk")
    received = Digests(len(DISK) * MiB)
    for index, name in enumerate(digest.blocks_of(path, received.size)):
        received[index] = name
    with path.open("r+b") as file:
        file.seek(5 * MiB)
        file.write(b"changed")
    return path, received


def test_a_listed_change_is_no_mismatch(converted):
    path, received = converted
    sealed = seal(path, received, [Range(5 * MiB, 7)], whole=True)

    assert (sealed.checked, sealed.mismatched) == (2, ())
    assert sealed.digest == digest.of_file(path) != received.disk()


@pytest.mark.parametrize("written", [[], [Range(0, MiB)], [Range(8 * MiB, MiB)], [Range(5 * MiB, 0)]])
def test_a_change_that_is_not_listed_is_found(converted, written):
    path, received = converted

    assert seal(path, received, written, whole=True).mismatched == (1,)


def test_only_what_is_listed_is_read_where_no_more_is_asked_for(converted):
    path, received = converted
    sealed = seal(path, received, [Range(5 * MiB, 7)], whole=False)

    assert (sealed.checked, sealed.mismatched) == (0, ())
    assert sealed.digest == digest.of_file(path)


def test_a_range_touches_every_block_that_it_overlaps():
    assert touched([Range(4 * MiB - 1, 2), Range(12 * MiB, 4 * MiB)]) == {0, 1, 3}
