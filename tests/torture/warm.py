"""A VM that writes at random all the time, five rounds and the cutover's: the last moment's disk arrives.

No full comparison is made: what changed-block tracking says, and what the journals hold, must be enough.
"""

from __future__ import annotations

import random
import tempfile
from pathlib import Path

from tests import dsl
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.line import NAME, Job
from tests.warm_line import DISK, TAIL, judge, run, warm

FULL = 50  # cases of a whole sweep
ROUNDS = 5


def repeat(seed: int) -> dict:
    """The result of the migration; AssertionError unless the target is the source."""
    draw = random.Random(seed)
    with tempfile.TemporaryDirectory() as folder:
        image = dsl.write(DISK, Path(folder, "disk.img"), tail=TAIL)
        vm = VM(NAME, disks=[Disk(image)] * 2, powered_on=True)
        with VSphere(Path(folder), [vm], shutdown_delay=draw.uniform(0, 0.5)) as vsphere:
            precopy = {"rounds": ROUNDS, "interval": "1s"}
            job = warm(Job(Path(folder, "job")), vsphere, disks=2, precopy=precopy, manifest=None)
            vsphere.over_report(NAME, 0, draw.choice([0, 0, 0.02]))
            with vsphere.workload(
                NAME, disks=(0, 1), seed=seed, writes_per_second=draw.uniform(20, 150),
                sizes=(512, draw.choice([4096, 65536, 1 << 20])),
            ):  # fmt: skip
                done = run(job)
            assert done.returncode == 0, done.stderr
            return judge(vsphere, job, disks=2)
