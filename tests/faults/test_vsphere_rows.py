"""Rows F13 to F24 of the fault matrix: what vSphere and its hosts can do to a migration.

Every test ends in the bytes of the targets, the source's power, the snapshots that are left, an exit code and
one line. Snapshots have a file of their own; rows that are told in a few lines are in
tests/transferd/test_warm.py.
"""

import json
import os
import signal
import time
from pathlib import Path
from urllib.parse import urlsplit

import pytest

from tests import dsl
from tests.cli import ended, refused, wait_until
from tests.doubles.inventory import find_vm, wait_for
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.faults.detour import Detour
from tests.line import NAME, Job
from tests.warm_line import (
    BY_HAND,
    DISK,
    SLOW,
    TAIL,
    copying,
    cut_over,
    impatient,
    judge,
    migrating,
    require_same,
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

NFC_OF_A_HOST = 48_000_000  # bytes, as the VDDK programming guide says
SOON = 20.0  # s: what is final is not tried again for longer


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return dsl.write(DISK, tmp_path / "disk.img", tail=TAIL)


def retries(result: dict) -> int:
    """Of a cold migration: a warm one's result tells of the last round's disks."""
    return sum(disk["retries"] for disk in result["disks"])


# --- the host --------------------------------------------------------------------------------------------


def test_f13_a_host_that_is_short_of_memory_slows_its_disks_and_fails_none(tmp_path: Path, image):
    host = {"host": tmp_path / "host", "nfc_memory": 3 * MiB}
    disks = [Disk(image)] * 3
    with world(tmp_path, disks, {"mode": "cold"}, latency_us=2000, vddk=host) as (vsphere, job):
        done = run(job)

        assert done.returncode == 0, done.stderr
        assert retries(judge(vsphere, job, disks=3)) > 0


def test_f13_two_migrations_keep_within_the_memory_of_the_host_that_they_share(tmp_path: Path, monkeypatch):
    """Alone, each takes more than half of it. While the guests shut down they learn of each other."""
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    image = dsl.write("A" * 48, tmp_path / "disk.img")
    names, host = ("one", "two"), {"host": tmp_path / "host", "nfc_memory": NFC_OF_A_HOST}
    vms = [VM(name, disks=[Disk(image)] * 2, powered_on=True) for name in names]
    with VSphere(tmp_path, vms, latency_us=100_000, vddk=host, shutdown_delay=2.0) as vsphere:
        jobs = [
            warm(Job(tmp_path / name), vsphere, disks=2, mode="cold", vm={"name": name}, manifest=None)
            for name in names
        ]
        with migrating(jobs[0]) as one, migrating(jobs[1]) as two:
            ends = [ended(one), ended(two)]

        assert [end.returncode for end in ends] == [0, 0], ends
        for name, job in zip(names, jobs, strict=True):
            for number in range(2):
                require_same(vsphere.flat_file(name, number), target(job, number))
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


def test_f16_a_server_that_is_not_the_one_that_was_named_gets_no_password(tmp_path: Path, image):
    wrong = ":".join(["AB"] * 20)
    with world(tmp_path, [Disk(image)]) as (vsphere, job):
        vsphere.write_vcenter_yaml(job.folder / "vcenter.yaml", thumbprint=wrong)
        refused(run(job), 3, wrong, vsphere.thumbprint)

        assert "Login" not in vsphere.calls()
        untouched(vsphere)


def tell_vddk(vsphere: VSphere, **changed: object) -> None:
    """Where the stand-in finds the server, and which certificate that shows."""
    file = vsphere.state / "registry" / "server"
    lines = [line.split(" ", 1) for line in file.read_text().splitlines()]
    file.write_text("".join(f"{key} {changed.get(key, value)}\n" for key, value in lines))


def test_f16_a_certificate_that_is_swapped_between_rounds_ends_the_migration(tmp_path: Path, image):
    """The session goes on over the connection that it has; VDDK makes a new one, and is not told why not."""
    (tmp_path / "impostor").mkdir()
    with (
        world(tmp_path, [Disk(image)], BY_HAND) as (vsphere, job),
        VSphere(tmp_path / "impostor", []) as impostor,
        Detour(urlsplit(vsphere.url).port) as detour,
    ):
        tell_vddk(vsphere, port=detour.port)
        url = f"https://127.0.0.1:{detour.port}/sdk"
        vsphere.write_vcenter_yaml(job.folder / "vcenter.yaml", url=url)
        with migrating(job) as running:
            wait_for_round(job, 0)
            vsphere.write(NAME, 0, 0, b"a change")
            detour.to = urlsplit(impostor.url).port
            tell_vddk(vsphere, thumbprint=impostor.thumbprint)
            running.send_signal(signal.SIGUSR1)
            refused(ended(running), 3, NAME, vsphere.thumbprint, impostor.thumbprint)

        assert "Login" not in impostor.calls()
        untouched(vsphere)


# --- the network, the hosts ------------------------------------------------------------------------------


def test_f17_disks_are_copied_while_vcenter_is_away(tmp_path: Path, image):
    away = 5.0
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
        vsphere.fault("RetrievePropertiesEx", "refuse", times=1)
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
        assert vsphere.calls()["CreateSnapshot_Task"] == len(rounds_of(job))


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
    image.write_bytes(b"A" * BLOCK)
    os.truncate(image, size)
    with world(tmp_path, [Disk(image)], BY_HAND) as (vsphere, job), migrating(job) as running:
        wait_for_round(job, 0)
        for number in range(count):
            vsphere.write(NAME, 0, number * stride + 512, number.to_bytes(8, "big") * 64)
        vsphere.write(NAME, 0, size - 512, b"\xee" * 512)
        vsphere.reset_calls()
        cut_over(running)

        judge(vsphere, job)
        assert vsphere.calls()["QueryChangedDiskAreas"] == 2 + 1
