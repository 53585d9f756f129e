"""a. A local disk to a new file: nbdkit `file` with its pages in the cache, 4 GiB, three quarters of it data.

Nothing is slow here but the machine itself: this is what a copy costs. `transferd` hashes every block, its
peers do not; `transferd, verified` also reads the target back, as users get it. `raw write` is no copy but
the disk's own limit: what writing the same amount of ready data with O_DIRECT takes.
"""

from pathlib import Path

from bench import entrants
from bench.disks import size_of, write_data
from bench.race import content_of, race, record
from tests.nbd import NbdServer
from transferd.nbdkit import THREADS
from transferd.units import GiB

SIZE = 4 * GiB


def test_copy_to_a_file(benchmark, folder: Path):
    size, disk = size_of(SIZE), folder / "disk.img"
    write_data(disk, size, holes=True)
    content = content_of(disk)
    with NbdServer(folder, "--readonly", "--threads", str(THREADS), "file", str(disk)) as server:
        copies = [
            entrants.transferd(server, "--verify", "none"),
            entrants.transferd(server, "--verify", "target", name="transferd, verified"),
            entrants.nbdcopy(server),
            entrants.qemu_img(server, size),
        ]
        ceiling = entrants.direct(size)
        laps = race(benchmark, [*copies, ceiling], folder, content)
    record(benchmark, "local file", size, laps, content=content)
