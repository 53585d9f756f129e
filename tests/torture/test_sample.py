"""A sample of each sweep, with a new seed every day; `make torture` runs them whole."""

from datetime import UTC, datetime

import pytest

from tests.conftest import require
from tests.torture import sweep

SAMPLE = 24
SEED = datetime.now(tz=UTC).date().toordinal() * 100_000


@pytest.mark.parametrize("number", range(SAMPLE))
def test_a_random_disk_is_copied_exactly(number):
    require("nbdkit", "losetup")
    print(f"seed {SEED + number}: {sweep.case(SEED + number)}")

    sweep.repeat(SEED + number)
