"""A sample of each sweep, with a new seed every day; `make torture` runs them whole."""

import pytest

from tests.conftest import require
from tests.torture import copies, kills
from tests.torture.seed import TODAY


@pytest.mark.parametrize("number", range(copies.SAMPLE))
def test_a_random_disk_is_copied_exactly(number):
    require("nbdkit", "losetup")
    copies.repeat(TODAY + number)


@pytest.mark.parametrize("number", range(kills.SAMPLE))
def test_a_copy_outlives_its_server(number):
    require("nbdkit")
    kills.repeat(TODAY + number)
