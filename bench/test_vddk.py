"""b. A VMware disk to a new file: nbdkit's real vddk plugin over the stand-in for VMware's library.

The stand-in answers each read after a delay and, where a window is on, splits it as VDDK does into buffers of
which a session has only so many. Latency is simulated: ratios are meant, no claim is made about a real ESXi.

Every tool has the nbdkit that its own users would start, except that all have as many threads as transferd's:

    transferd            blocksize
    nbdcopy, virt-v2v    multi-conn=disable, cow, blocksize, retry (virt-v2v input/input_vddk.ml:359-402)
    nbdcopy, no retry    the same without retry, the filter that serves one request at a time
    CDI model            retry, cacheextents (CDI pkg/image/nbdkit.go:195-196); `bench/cdi.py`

The disk is as large as the slowest tool allows: its 256 KiB reads, one at a time, are 82 s at most.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from bench import entrants
from bench.disks import size_of, write_data
from bench.race import Entrant, content_of, race, record
from tests.doubles.vddk import Server, VddkDisk
from transferd.nbdkit import MAX_REQUEST, THREADS
from transferd.units import GiB, MiB

VIRT_V2V = ("multi-conn", "cow", "blocksize", "retry")
VIRT_V2V_SETTINGS = ("multi-conn-mode=disable", "cow-block-size=4096", "minblock=512", "maxdata=2M")
CASES = [
    ("VDDK, 0 ms", 2 * GiB, {"latency_us": 0}),
    ("VDDK, 2 ms", 2 * GiB, {"latency_us": 2_000}),
    ("VDDK, 5 ms", 2 * GiB, {"latency_us": 5_000}),
    ("VDDK, 10 ms", 1 * GiB, {"latency_us": 10_000}),
    ("VDDK, 5 ms, window 64 KiB x 4", 512 * MiB,
     {"latency_us": 5_000, "window": "on", "buf_size_64k": 1, "buf_count": 4}),
    ("VDDK, 5 ms, window 1 MiB x 4", 1 * GiB,
     {"latency_us": 5_000, "window": "on", "buf_size_64k": 16, "buf_count": 4}),
]  # fmt: skip


@pytest.mark.parametrize(("case", "usual", "settings"), CASES, ids=[case for case, _, _ in CASES])
def test_copy_through_vddk(benchmark, folder: Path, case: str, usual: int, settings):
    size, image = size_of(usual), folder / "disk.img"
    write_data(image, size, holes=False)
    content = content_of(image)
    with VddkDisk(folder, image, **settings) as disk, served(disk) as copies:
        laps = race(benchmark, copies, folder, content)
    record(benchmark, case, size, laps, content=content, **settings)


@contextmanager
def served(disk: VddkDisk) -> Iterator[list[Entrant]]:
    """Every tool with an nbdkit of its own, all of the same disk."""
    servers: list[Server] = []

    def serve(filters: tuple[str, ...], *settings: str) -> Server:
        servers.append(disk.start(filters=filters, threads=THREADS, extra=settings))
        return servers[-1]

    try:
        yield [
            entrants.transferd(serve(("blocksize",), f"maxdata={MAX_REQUEST}"), "--verify", "none"),
            entrants.nbdcopy(serve(VIRT_V2V, *VIRT_V2V_SETTINGS), "nbdcopy, virt-v2v's filters"),
            entrants.nbdcopy(serve(VIRT_V2V[:-1], *VIRT_V2V_SETTINGS), "nbdcopy, no retry filter"),
            entrants.cdi(serve(("retry", "cacheextents"))),
        ]
    finally:
        for server in servers:
            server.stop()
