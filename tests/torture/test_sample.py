"""A sample of each sweep, with a new seed every day; `make torture` runs them whole."""

from concurrent.futures import ThreadPoolExecutor

import pytest

from tests.conftest import require
from tests.torture import copies, crashes, images, kills
from tests.torture.seed import TODAY


@pytest.mark.parametrize("number", range(copies.SAMPLE))
def test_a_random_disk_is_copied_exactly(number):
    require("nbdkit", "losetup")
    copies.repeat(TODAY + number)


@pytest.mark.parametrize("number", range(kills.SAMPLE))
def test_a_copy_outlives_its_server(number):
    require("nbdkit")
    kills.repeat(TODAY + number)


def test_f48_a_killed_copy_goes_on_from_what_it_recorded():
    """Two at a time: most of a case is waiting."""
    require("nbdkit", "strace", "losetup", "fallocate")
    with ThreadPoolExecutor(2) as pool:
        cases = {
            TODAY + number: pool.submit(crashes.repeat, TODAY + number) for number in range(crashes.SAMPLE)
        }

    assert {seed: str(failure) for seed, case in cases.items() if (failure := case.exception())} == {}


@pytest.mark.parametrize("call", ["pwritev2", "write", "fdatasync"])
def test_f48_every_write_boundary_of_a_copy_can_be_its_last(call):
    require("nbdkit", "strace")

    assert crashes.every_call(call, "file", "new file") > 1


@pytest.mark.guestfs
@pytest.mark.parametrize("number", range(images.SAMPLE))
def test_b38_a_malformed_image_is_refused_or_understood_in_order(number):
    require("sfdisk", "mke2fs", "mkfs.xfs", "mkfs.btrfs", "mkfs.vfat", "losetup", "vgcreate", "cryptsetup")
    images.repeat(TODAY + number)
