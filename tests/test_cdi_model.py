"""What the benchmarks call CDI's algorithm asks of the server: every request, in order, one at a time.

The behaviour and its source lines are in bench/cdi.py; this pins that the model has it.
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

import pytest

from tests.conftest import require
from tests.nbd import NbdServer
from transferd.units import GiB, KiB, MiB

REQUEST = re.compile(r"(\.\.\.)?(Read|Extents) id=(\d+)(?: offset=(\S+) count=(\S+)(?: req_one=(\d))?)?")
# Data in both windows of 2 GiB, cut at no multiple of 2 MiB, and once up to the end of a window.
SIZE = 2 * GiB + 8 * MiB
DATA = [(MiB, 5 * MiB), (2 * GiB - MiB, 2 * MiB), (2 * GiB + 4 * MiB, 64 * KiB)]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("cdi")


@pytest.fixture(scope="module")
def disk(folder: Path) -> Path:
    path = folder / "disk.img"
    with path.open("wb") as file:
        file.truncate(SIZE)
        for start, length in DATA:
            file.seek(start)
            file.write(b"\x5a" * length)
    return path


@pytest.fixture(scope="module")
def target(folder: Path) -> Path:
    return folder / "target.img"


@pytest.fixture(scope="module")
def log(folder: Path, disk: Path, target: Path) -> list[str]:
    """nbdkit's log of one run of the model over the disk."""
    require("nbdkit")
    logged = folder / "nbdkit.log"
    with NbdServer(folder, "--readonly", "--filter=log", "file", str(disk), f"logfile={logged}") as server:
        model = [sys.executable, "-m", "bench.cdi", server.uri, str(target)]
        subprocess.run(model, check=True, timeout=60)
    return logged.read_text().splitlines()


def test_its_requests_are_exactly_these(log):
    asked = [found.groups() for line in log if (found := REQUEST.search(line)) and not found[1]]
    requests = [(kind, int(start, 16), int(count, 16), one) for _, kind, _, start, count, one in asked]

    assert requests == [
        ("Extents", 0, 2 * GiB, "1"),  # a window of 2 GiB, one extent a time
        ("Extents", MiB, 2 * GiB - MiB, "1"),
        ("Extents", 6 * MiB, 2 * GiB - 6 * MiB, "1"),
        ("Extents", 2 * GiB - MiB, MiB, "1"),
        ("Read", MiB, 2 * MiB, None),  # 2 MiB each, from where the data starts
        ("Read", 3 * MiB, 2 * MiB, None),
        ("Read", 5 * MiB, MiB, None),
        ("Read", 2 * GiB - MiB, MiB, None),
        ("Extents", 2 * GiB, 8 * MiB, "1"),  # the next window, only after the first is copied
        ("Extents", 2 * GiB + MiB, 7 * MiB, "1"),
        ("Extents", 2 * GiB + 4 * MiB, 4 * MiB, "1"),
        ("Extents", 2 * GiB + 4 * MiB + 64 * KiB, 4 * MiB - 64 * KiB, "1"),
        ("Read", 2 * GiB, MiB, None),
        ("Read", 2 * GiB + 4 * MiB, 64 * KiB, None),
    ]


def test_never_are_two_requests_in_flight(log):
    steps = [(bool(found[1]), found[3]) for line in log if (found := REQUEST.search(line))]

    assert steps
    for (answered, number), (answer, of) in zip(steps[::2], steps[1::2], strict=True):
        assert (answered, answer) == (False, True)
        assert number == of


def test_it_copies_the_data_and_nothing_else(log, target):  # noqa: ARG001 (the run that made the target)
    with target.open("rb") as file:
        for start, length in DATA:
            file.seek(start)
            assert file.read(length) == b"\x5a" * length

    facts = target.stat()
    assert facts.st_size == SIZE
    assert facts.st_blocks * 512 == sum(length for _, length in DATA)
