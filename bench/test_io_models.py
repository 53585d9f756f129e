"""Who should wait for the socket: `bench/io_models.py` in its two variants, reading 2 GiB, writing nothing.

Whole processes; both import the same modules, so start-up is the same. CPU seconds are the tool's own,
nbdkit's stand beside them.
"""

from collections.abc import Iterator
from pathlib import Path

import pytest

from bench import entrants
from bench.disks import size_of, write_data
from bench.race import race, record
from tests.nbd import NbdServer
from transferd.nbdkit import THREADS
from transferd.units import GiB, KiB, MiB, human

SIZE = 2 * GiB
DEPTH = 16


@pytest.fixture(scope="module")
def server(folder: Path) -> Iterator[NbdServer]:
    disk = folder / "disk.img"
    write_data(disk, size_of(SIZE), holes=False)
    with NbdServer(folder, "--readonly", "--threads", str(THREADS), "file", str(disk)) as running:
        yield running


@pytest.mark.parametrize("connections", [1, 2])
@pytest.mark.parametrize("request_size", [256 * KiB, MiB], ids=["256 KiB", "1 MiB"])
def test_read_with(benchmark, folder: Path, server: NbdServer, connections: int, request_size: int):
    tools = [
        entrants.io_model(server, model, connections=connections, request=request_size, depth=DEPTH)
        for model in ("poll threads", "event loop")
    ]
    laps = race(benchmark, tools, folder, content=None)
    case = f"reading only, {human(request_size)} x {DEPTH}, {connections} connection{'s' * (connections > 1)}"
    record(benchmark, case, size_of(SIZE), laps)
