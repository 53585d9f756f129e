"""A sample of each sweep, with a new seed every day; `make torture` runs them whole."""

from datetime import UTC, datetime

import pytest

from tests.conftest import require
from tests.torture import copies, kills

SEED = datetime.now(tz=UTC).date().toordinal() * 100_000


@pytest.mark.parametrize("number", range(copies.SAMPLE))
def test_a_random_disk_is_copied_exactly(number):
    require("nbdkit", "losetup")
    print(f"seed {SEED + number}: {copies.case(SEED + number)}")

    copies.repeat(SEED + number)


@pytest.mark.parametrize("number", range(kills.SAMPLE))
def test_a_copy_outlives_its_server(number):
    require("nbdkit")
    print(f"seed {SEED + number}")

    kills.repeat(SEED + number)
