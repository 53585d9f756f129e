"""Rows F26 to F30 of the fault matrix: what becomes of our snapshots, and of those that are not ours.

Every test ends in the bytes of the target, the source's power, the snapshots that are left, and one line.
F25, and the short beginnings of F26, F28 and F29, are in tests/transferd/test_warm.py.
"""

import json
import os
import signal
import subprocess
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import ended, refused, wait_until
from tests.doubles.inventory import find_vm, take_snapshot
from tests.doubles.vsphere import Disk, VSphere
from tests.line import NAME, Job
from tests.nbd import nbdkits_of
from tests.warm_line import (
    BY_HAND,
    DISK,
    SLOW,
    TAIL,
    copying,
    impatient,
    judge,
    migrating,
    require_same,
    rounds_of,
    run,
    target,
    untouched,
    wait_for_round,
    world,
)

SLOWER = 400_000  # us for a read: nothing arrives before the snapshot is gone


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return dsl.write(DISK, tmp_path / "disk.img", tail=TAIL)


def delete_while_it_is_read(vsphere: VSphere, job: Job, running: subprocess.Popen[str], times: int) -> None:
    """A session that is open goes on reading what was deleted: it is lost, too."""
    gone: set[str] = set()
    while len(gone) < times:
        wait_until(lambda: (rounds_of(job) or [{}])[-1].get("snapshot") not in {None, *gone})
        wait_until(lambda: nbdkits_of(running))
        gone.add(rounds_of(job)[-1]["snapshot"])
        vsphere.snapshot_removed_by_admin(NAME)
        for session in nbdkits_of(running):
            os.kill(session, signal.SIGKILL)


def test_f26_a_round_goes_on_when_its_snapshot_is_deleted_twice(tmp_path: Path, image):
    disks = [Disk(image)]
    with world(tmp_path, disks, latency_us=SLOWER) as (vsphere, job), migrating(job) as running:
        delete_while_it_is_read(vsphere, job, running, 2)
        done = ended(running)

        assert done.returncode == 0, done.stderr
        assert done.stderr.count("the snapshot is gone") == 2
        judge(vsphere, job)


def test_f26_snapshots_that_are_deleted_again_and_again_end_the_migration(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)], latency_us=SLOWER) as (vsphere, job):
        with migrating(job) as running:
            delete_while_it_is_read(vsphere, job, running, 3)
            refused(ended(running), 4, NAME, "deleted by somebody else")
        untouched(vsphere)

        vsphere.write(NAME, 0, 0, b"a change")
        assert run(job).returncode == 0
        judge(vsphere, job)


def test_f27_a_snapshot_that_takes_its_time_is_waited_for(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)]) as (vsphere, job):
        vsphere.snapshot_delay(NAME, 1.0)

        assert run(job).returncode == 0
        judge(vsphere, job)


def test_f27_a_snapshot_that_fails_leaves_the_source_as_it_was(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)]) as (vsphere, job):
        vsphere.snapshot_delay(NAME, fail=1)
        refused(run(job), 4, NAME, "take snapshot", "ApplicationQuiesceFault")
        untouched(vsphere)

        assert run(job).returncode == 0
        judge(vsphere, job)


def test_f27_a_snapshot_that_fails_after_the_shutdown_gives_the_source_its_power_back(tmp_path: Path, image):
    disks = [Disk(image)]
    with world(tmp_path, disks, BY_HAND, shutdown_delay=1.0) as (vsphere, job), migrating(job) as running:
        wait_for_round(job, 0)
        running.send_signal(signal.SIGUSR1)
        wait_for_round(job, 1)
        vsphere.snapshot_delay(NAME, fail=1)
        refused(ended(running), 4, NAME, "take snapshot")

        untouched(vsphere)


def test_f27_a_snapshot_that_comes_too_late_is_not_left_behind_for_good(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)]) as (vsphere, job):
        vsphere.snapshot_delay(NAME, 3.0)
        with impatient(job) as running:
            refused(ended(running), 10, NAME, "take snapshot")
        wait_until(lambda: vsphere.snapshots(NAME))
        vsphere.snapshot_delay(NAME)

        assert run(job).returncode == 0
        judge(vsphere, job)


def test_f28_a_snapshot_that_cannot_be_removed_is_named_and_removed_by_the_next_run(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)], latency_us=SLOW) as (vsphere, job):
        vsphere.consolidation(NAME, fail=1000, leaves_needed=False)
        with impatient(job) as running:
            wait_until(lambda: copying(job))
            running.send_signal(signal.SIGTERM)
            done = ended(running)
        refused(done, 8)
        (left,) = vsphere.snapshots(NAME)
        assert "left behind" in done.stderr
        assert left in done.stderr

        vsphere.consolidation(NAME)
        assert run(job).returncode == 0
        judge(vsphere, job)


def test_f28_a_last_snapshot_that_cannot_be_removed_spoils_nothing_and_is_reported(tmp_path: Path, image):
    disks = [Disk(image)]
    with world(tmp_path, disks, BY_HAND, shutdown_delay=1.0) as (vsphere, job), impatient(job) as running:
        wait_for_round(job, 0)
        running.send_signal(signal.SIGUSR1)
        wait_for_round(job, 1)
        vsphere.consolidation(NAME, fail=1000, leaves_needed=False)
        done = ended(running)

        assert done.returncode == 0, done.stderr
        (left,) = vsphere.snapshots(NAME)
        warnings = json.loads(job.result.read_text())["warnings"]
        assert [left in each["message"] for each in warnings if each["code"] == "snapshot-left"] == [True]
        require_same(vsphere.flat_file(NAME), target(job))
        assert vsphere.power_state(NAME) == "off"


def test_f30_a_vm_with_no_room_for_a_snapshot_is_refused_before_anything_is_changed(tmp_path: Path):
    image = dsl.write("A", tmp_path / "disk.img")
    with world(tmp_path, [Disk(image)], tracked=False) as (vsphere, job):
        with vsphere.connect() as service:
            for number in range(32):
                take_snapshot(find_vm(service, NAME), f"theirs {number}")
        refused(run(job), 2, NAME, "32 snapshots")

        assert vsphere.power_state(NAME) == "on"
        assert len(vsphere.snapshots(NAME)) == 32
        with vsphere.connect() as service:
            assert not find_vm(service, NAME).config.changeTrackingEnabled
