"""A warm migration of a VM that keeps writing, as the product's own command runs it, and its judge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from tests.cli import ended, started, wait_until
from tests.doubles.vsphere import VM, Disk, Nic, VSphere
from tests.line import MANIFEST, NAME, Job
from transferd.plan import BLOCK
from transferd.units import MiB

DISK = "ABC-DE--F0GH" * 2
TAIL = 7 * 512
SLOW = 20_000  # us for a read: a copy takes long enough to be disturbed
BY_HAND = {"cutover": "signal", "precopy": {"interval": "1h"}}  # rounds end with the first; SIGUSR1 cuts over


@contextmanager
def world(
    folder: Path, disks: Sequence[Disk], spec: dict | None = None, *, tracked: bool = True, **more: object
) -> Iterator[tuple[VSphere, Job]]:
    """A vCenter with a running VM, and its migration: one round and no manifest, unless `spec` says else.

    `more` is for the vCenter.
    """
    quick = {"manifest": None, "precopy": {"rounds": 1}}
    vm = VM(NAME, disks=disks, nics=[Nic("00:50:56:01:02:03")], powered_on=True, change_tracking=tracked)
    with VSphere(folder, [vm], **{"shutdown_delay": 0.1} | more) as vsphere:
        yield vsphere, warm(Job(folder / "job"), vsphere, **quick | (spec or {}))


def warm(job: Job, vsphere: VSphere, disks: int = 1, **spec: object) -> Job:
    """Lay out the migration of a VM with so many disks, without conversion."""
    claims = [f"{NAME}-disk{number}" for number in range(disks)]
    manifest = MANIFEST | {"claims": claims}
    return job.write(vsphere, **{"mode": "warm", "convert": "none", "manifest": manifest} | spec)


def run(job: Job, **environment: str) -> subprocess.CompletedProcess[str]:
    return job.run(capture_output=True, env=os.environ | environment)


def migrating(job: Job) -> subprocess.Popen[str]:
    """A migration that the test interferes with; use as `with`."""
    return started("migrate", job.spec, "--result", job.result)


def cut_over(running: subprocess.Popen[str]) -> None:
    """The operator says that it is time; the migration ends well."""
    running.send_signal(signal.SIGUSR1)
    done = ended(running)
    assert done.returncode == 0, done.stderr


def impatient(job: Job) -> subprocess.Popen[str]:
    """The migration with deadlines of seconds; use as `with`."""
    argv = [sys.executable, "-m", "tests.faults.impatient", "migrate", job.spec, "--result", job.result]
    return subprocess.Popen([*map(str, argv)], stderr=subprocess.PIPE, text=True)


def target(job: Job, number: int = 0) -> Path:
    return job.folder / "targets" / f"disk{number}.img"


def copying(job: Job) -> bool:
    """Something has arrived on the first disk's target."""
    return target(job).exists() and target(job).stat().st_blocks * 512 > BLOCK


def judge(vsphere: VSphere, job: Job, disks: int = 1) -> dict:
    """It ended well: the target is the source, which is off, and nothing of ours is left on it."""
    result = json.loads(job.result.read_text())
    for number in range(disks):
        require_same(vsphere.flat_file(NAME, number), target(job, number))
    assert result["outcome"] == "ok"
    assert vsphere.power_state(NAME) == "off"
    assert vsphere.snapshots(NAME) == []
    return result


def untouched(vsphere: VSphere) -> None:
    """AssertionError unless the source runs and has no snapshot."""
    assert vsphere.power_state(NAME) == "on"
    assert vsphere.snapshots(NAME) == []


def rounds_of(job: Job) -> list[dict]:
    path: Path = job.state / "migration.json"
    return json.loads(path.read_text())["rounds"] if path.exists() else []


def wait_for_round(job: Job, number: int, seconds: float = 30) -> None:
    """Until this round, counted from 0, is over and its snapshot gone."""
    wait_until(lambda: len(rounds_of(job)) > number and rounds_of(job)[number]["removal_s"], seconds)


# --- disks that may be too large to be read whole --------------------------------------------------------


def require_same(one: Path, other: Path) -> None:
    """AssertionError unless the files are equal; holes of both are not read."""
    assert one.stat().st_size == other.stat().st_size
    with one.open("rb") as left, other.open("rb") as right:
        for start, end in (*data_of(left.fileno()), *data_of(right.fileno())):
            for at in range(start, end, MiB):
                length = min(MiB, end - at)
                assert os.pread(left.fileno(), length, at) == os.pread(right.fileno(), length, at), at


def data_of(fd: int) -> Iterator[tuple[int, int]]:
    """(start, end) of what is no hole."""
    end, size = 0, os.fstat(fd).st_size
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError:  # ENXIO: only a hole is left
            return
        end = os.lseek(fd, start, os.SEEK_HOLE)
        yield start, end
