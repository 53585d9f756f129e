"""Rows F13 to F30 of the fault matrix: what vSphere can do to a warm migration.

Every test ends in the bytes of the targets, the source's power, the snapshots that are left, an exit code and
one line. Rows whose whole story is short are in tests/transferd/test_warm.py.
"""

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import argv, ended, refused, started, wait_until
from tests.doubles.inventory import find_vm, take_snapshot, virtual_disks, wait_for
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.line import NAME, Job
from tests.nbd import our_nbdkits
from tests.warm_line import (
    BY_HAND,
    DISK,
    TAIL,
    impatient,
    judge,
    rounds_of,
    run,
    target,
    untouched,
    wait_for_round,
    warm,
    world,
)
from transferd.plan import BLOCK
from transferd.units import KiB, MiB

SLOW = 20_000  # us for a read: a copy takes long enough to be disturbed
NFC_OF_A_HOST = 48_000_000  # bytes, as the VDDK programming guide says
SOON = 20.0  # s: what is final is not tried again for longer


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return dsl.write(DISK, tmp_path / "disk.img", tail=TAIL)


def migrating(job: Job) -> subprocess.Popen[str]:
    return started("migrate", job.spec, "--result", job.result)


def cut_over(running: subprocess.Popen[str]) -> None:
    """The operator says that it is time; the migration ends well."""
    running.send_signal(signal.SIGUSR1)
    done = ended(running)
    assert done.returncode == 0, done.stderr


def copying(job: Job) -> bool:
    """The first round has brought something onto the target."""
    return target(job).exists() and target(job).stat().st_blocks * 512 > BLOCK


def retries(result: dict) -> int:
    return sum(disk["retries"] for disk in result["disks"])


# --- the host --------------------------------------------------------------------------------------------


def test_f13_a_host_that_is_short_of_memory_slows_its_disks_and_fails_none(tmp_path: Path, image):
    host = {"host": tmp_path / "host", "nfc_memory": 3 * MiB}
    with world(tmp_path, [Disk(image)] * 3, latency_us=2000, vddk=host) as (vsphere, job):
        done = run(job)

        assert done.returncode == 0, done.stderr
        judge(vsphere, job, disks=3)
        first = json.loads((job.state / "migration.json").read_text())["rounds"][0]
        print(first)


def test_f13_two_migrations_keep_within_the_memory_of_the_host_that_they_share(tmp_path: Path, monkeypatch):
    """Each alone would have more in flight than half of it. They know of each other before they read."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    image = dsl.write("A" * 48, tmp_path / "disk.img")
    names, host = ("one", "two"), {"host": tmp_path / "host", "nfc_memory": NFC_OF_A_HOST}
    vms = [VM(name, disks=[Disk(image)] * 2, powered_on=True, change_tracking=True) for name in names]
    with VSphere(tmp_path, vms, latency_us=100_000, vddk=host, shutdown_delay=0.1) as vsphere:
        vsphere.delay("CreateSnapshot_Task", 1.5)
        jobs = [
            warm(Job(tmp_path / name), vsphere, disks=2, vm={"name": name}, manifest=None) for name in names
        ]
        with migrating(jobs[0]) as one, migrating(jobs[1]) as two:
            ends = [ended(one), ended(two)]

        assert [end.returncode for end in ends] == [0, 0], ends
        for name, job in zip(names, jobs, strict=True):
            flat = [vsphere.flat_file(name, number).read_bytes() for number in range(2)]
            assert flat == [target(job, number).read_bytes() for number in range(2)]
            assert retries(json.loads(job.result.read_text())) == 0


# --- trust -----------------------------------------------------------------------------------------------


def test_f15_a_password_that_changes_in_its_file_too_changes_nothing_else(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)], BY_HAND) as (vsphere, job), migrating(job) as running:
        wait_for_round(job, 0)
        vsphere.password = "the next one"
        vsphere.set_password(vsphere.password)
        vsphere.password_file.write_text(vsphere.password)
        vsphere.expire_sessions()
        cut_over(running)

        judge(vsphere, job)
        assert vsphere.failed_logins() == 0


def test_f15_a_password_that_is_changed_later_in_its_file_is_waited_for(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)], BY_HAND) as (vsphere, job), migrating(job) as running:
        wait_for_round(job, 0)
        vsphere.password = "the next one"
        vsphere.set_password(vsphere.password)
        vsphere.expire_sessions()
        running.send_signal(signal.SIGUSR1)
        wait_until(vsphere.failed_logins)
        vsphere.password_file.write_text(vsphere.password)
        done = ended(running)

        assert done.returncode == 0, done.stderr
        judge(vsphere, job)
        assert vsphere.failed_logins() == 1


def test_f15_a_password_that_is_not_changed_ends_the_migration_before_the_account_is_locked(
    tmp_path: Path, image
):
    disks = [Disk(image)] * 4
    with world(tmp_path, disks, BY_HAND, lock_after=4) as (vsphere, job), impatient(job) as running:
        wait_for_round(job, 0)
        vsphere.password = "the next one"
        vsphere.set_password(vsphere.password)
        vsphere.expire_sessions()
        running.send_signal(signal.SIGUSR1)
        refused(ended(running), 3, "password", "passwordFile")

        assert vsphere.failed_logins() <= 3
        untouched(vsphere)


# --- the network, the hosts ------------------------------------------------------------------------------


def test_f17_disks_are_copied_while_vcenter_is_away(tmp_path: Path, image):
    away = 6.0
    with world(tmp_path, [Disk(image)], latency_us=SLOW) as (vsphere, job), migrating(job) as running:
        wait_until(lambda: copying(job))
        back = time.monotonic() + away
        vsphere.freeze_server(away)
        wait_until(lambda: rounds_of(job)[0]["copied"])
        assert time.monotonic() < back
        done = ended(running)

        assert done.returncode == 0, done.stderr
        judge(vsphere, job)


def test_f17_a_call_that_vcenter_does_not_take_is_made_again(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)], BY_HAND) as (vsphere, job), migrating(job) as running:
        wait_for_round(job, 0)
        vsphere.fault("RetrievePropertiesEx", "refuse", times=2)
        vsphere.fault("ShutdownGuest", "refuse", times=1)
        vsphere.fault("RemoveSnapshot_Task", "drop", times=1)
        cut_over(running)

        judge(vsphere, job)


def test_f18_a_vm_that_moves_to_another_host_is_read_on_from_the_same_snapshot(tmp_path: Path, image):
    lost = {"fault_read": "number=20,exit", "faults": tmp_path / "faults"}
    disks = [Disk(image)]
    with world(tmp_path, disks, latency_us=SLOW, vddk=lost) as (vsphere, job), migrating(job) as running:
        wait_until(lambda: copying(job))
        vsphere.move(NAME)
        done = ended(running)

        assert done.returncode == 0, done.stderr
        judge(vsphere, job)
        assert vsphere.calls()["CreateSnapshot_Task"] == 2  # the first round's and the last one's


def test_f19_a_vm_that_is_removed_ends_its_migration_soon(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)], latency_us=SLOW) as (vsphere, job), migrating(job) as running:
        wait_until(lambda: copying(job))
        vsphere.power(NAME, "off")
        with vsphere.connect() as service:
            wait_for(find_vm(service, NAME).Destroy_Task())
        refused(ended(running, SOON), 4, NAME, "gone")


def test_f19_a_disk_that_is_removed_ends_the_migration_and_leaves_the_source_running(tmp_path: Path, image):
    disks = [Disk(image)] * 2
    with world(tmp_path, disks, BY_HAND) as (vsphere, job), migrating(job) as running:
        wait_for_round(job, 0)
        vsphere.remove_disk(NAME, 1)
        running.send_signal(signal.SIGUSR1)
        refused(ended(running, SOON), 4, NAME, "Hard disk 2", "removed meanwhile")

        untouched(vsphere)


# --- changed areas ---------------------------------------------------------------------------------------


def test_f24_the_changes_of_all_pages_arrive_and_none_is_asked_for_at_the_very_end(tmp_path: Path):
    """A page holds 2000 areas. The last one lies at the end of the disk, in less than a whole block."""
    count, stride = 2100, 128 * KiB
    size = count * stride + 3 * 512
    image = tmp_path / "disk.img"
    image.touch()
    os.truncate(image, size)
    with world(tmp_path, [Disk(image)], BY_HAND) as (vsphere, job), migrating(job) as running:
        wait_for_round(job, 0)
        for number in range(count):
            vsphere.write(NAME, 0, number * stride + 512, number.to_bytes(8, "big") * 64)
        vsphere.write(NAME, 0, size - 512, b"\xee" * 512)
        vsphere.reset_calls()
        cut_over(running)

        judge(vsphere, job)
        assert vsphere.calls()["QueryChangedDiskAreas"] == 2


# --- snapshots -------------------------------------------------------------------------------------------


@contextmanager
def an_administrator_who_deletes(vsphere: VSphere, count: int) -> Iterator[None]:
    """The first `count` snapshots that appear and are read."""
    stop = threading.Event()

    def delete() -> None:
        seen: set[str] = set()
        while len(seen) < count and not stop.wait(0.05):
            new = {*vsphere.snapshots(NAME)} - seen
            if new and our_nbdkits():
                vsphere.snapshot_removed_by_admin(NAME)
                seen |= new

    thread = threading.Thread(target=delete)
    thread.start()
    try:
        yield
    finally:
        stop.set()
        thread.join()


def every_session_is_lost(tmp_path: Path, every: int) -> dict[str, object]:
    """A session that was open goes on reading what was deleted; one that is opened anew finds out."""
    return {"fault_read": f"every={every},exit", "faults": tmp_path / "faults"}


def test_f26_a_round_goes_on_when_its_snapshot_is_deleted_twice(tmp_path: Path, image):
    lost = every_session_is_lost(tmp_path, 9)
    with world(tmp_path, [Disk(image)], latency_us=SLOW, vddk=lost) as (vsphere, job):
        with an_administrator_who_deletes(vsphere, 2):
            done = run(job)

        assert done.returncode == 0, done.stderr
        assert done.stderr.count("the snapshot is gone") == 2
        judge(vsphere, job)


def test_f26_snapshots_that_are_deleted_again_and_again_end_the_migration(tmp_path: Path, image):
    lost = every_session_is_lost(tmp_path, 9)
    with world(tmp_path, [Disk(image)], latency_us=SLOW, vddk=lost) as (vsphere, job):
        with an_administrator_who_deletes(vsphere, 99):
            done = run(job)
        refused(done, 4, NAME, "gone")
        untouched(vsphere)

        assert run(job).returncode == 0
        judge(vsphere, job)


def test_f27_a_snapshot_that_takes_its_time_is_waited_for(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)]) as (vsphere, job):
        vsphere.snapshot_delay(NAME, 2.0)

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
    with world(tmp_path, [Disk(image)], BY_HAND) as (vsphere, job), migrating(job) as running:
        wait_for_round(job, 0)
        vsphere.snapshot_delay(NAME, fail=1)
        running.send_signal(signal.SIGUSR1)
        refused(ended(running), 4, NAME, "take snapshot")

        untouched(vsphere)


def test_f27_a_snapshot_that_comes_too_late_is_not_left_behind_for_good(tmp_path: Path, image):
    with world(tmp_path, [Disk(image)]) as (vsphere, job):
        vsphere.snapshot_delay(NAME, 4.0)
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
