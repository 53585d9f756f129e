"""c. A scattered delta: 4096 areas of 64 KiB in 1 GiB, 10 ms a read, over the stand-in for VMware's library.

transferd copies a disk that has data in exactly those areas: the reads of a changed-block round, by the same
planner and engine, with extents in the place of the list of changed areas. The peer is `bench/serial.py`,
which is given the list. No two areas touch, so none can be merged without reading what lies between.
"""

import json
from pathlib import Path

from bench import entrants
from bench.disks import size_of, write_areas
from bench.race import content_of, race, record
from tests.doubles.vddk import VddkDisk
from transferd.nbdkit import MAX_REQUEST, THREADS
from transferd.units import GiB

SIZE = 1 * GiB
LATENCY_US = 10_000


def test_scattered_delta(benchmark, folder: Path):
    size, image, areas = size_of(SIZE), folder / "disk.img", folder / "areas.json"
    starts = write_areas(image, size)
    areas.write_text(json.dumps(starts))
    content = content_of(image)
    with VddkDisk(folder, image, latency_us=LATENCY_US) as disk:
        ours = disk.start(filters=["blocksize"], threads=THREADS, extra=[f"maxdata={MAX_REQUEST}"])
        theirs = disk.start(filters=["retry", "cacheextents"], threads=THREADS)
        try:
            tools = [entrants.transferd(ours, "--verify", "none"), entrants.serial(theirs, areas)]
            laps = race(benchmark, tools, folder, content)
        finally:
            ours.stop()
            theirs.stop()
    record(
        benchmark, "scattered delta, 10 ms", size, laps,
        content=content, areas=len(starts), latency_us=LATENCY_US,
    )  # fmt: skip
