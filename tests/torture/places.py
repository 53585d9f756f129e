"""A warm migration killed at each of its named steps, and run again: it ends well, and leaves no snapshot."""

from __future__ import annotations

import signal
import tempfile
from pathlib import Path

from tests import dsl
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.line import NAME, Job
from tests.warm_line import DISK, TAIL, judge, run, warm
from transferd import failpoint

PLACES = [f"{name}:{count}" for name in failpoint.NAMES for count in (1, 2, 3)]
FULL = len(PLACES)


def repeat(seed: int) -> None:
    """AssertionError unless the second run ends well; many places are not reached a third time."""
    with tempfile.TemporaryDirectory() as folder:
        image = dsl.write(DISK, Path(folder, "disk.img"), tail=TAIL)
        vm = VM(NAME, disks=[Disk(image)] * 2, powered_on=True)
        with VSphere(Path(folder), [vm], shutdown_delay=0.2) as vsphere:
            precopy = {"rounds": 2, "interval": "1s"}
            job = warm(Job(Path(folder, "job")), vsphere, disks=2, precopy=precopy, manifest=None)
            with vsphere.workload(NAME, disks=(0, 1), seed=seed, writes_per_second=40):
                killed = run(job, **{failpoint.VARIABLE: PLACES[seed % FULL]})
                done = run(job)
            assert killed.returncode in (0, -signal.SIGKILL), killed.stderr
            assert done.returncode == 0, done.stderr
            judge(vsphere, job, disks=2)
