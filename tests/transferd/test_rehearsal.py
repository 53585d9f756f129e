"""`transferd migrate` with `rehearse: true`: the converted guest is booted before the source is given up."""

from __future__ import annotations

import json
import signal
from pathlib import Path

import pytest

from tests import dsl, line
from tests.cli import ended, refused, transferd, wait_until
from tests.doubles.vsphere import Disk, VSphere
from tests.guests import debian12
from tests.guests.identity import END
from tests.line import NAME, Job
from tests.warm_line import (
    DISK,
    TAIL,
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

pytestmark = [pytest.mark.guestfs, pytest.mark.boot]

# Conversion and boot take two minutes without KVM on two busy cores.
PATIENCE = 600.0
BOOT = {"rehearse": True, "rehearsal": {"sentinel": END.decode()}}
# A boot sector that hands on to the next device: there is none.
NOTHING_TO_BOOT = b"\xcd\x18"


def rehearsed(job: Job) -> dict:
    return json.loads((job.state / "rehearsal.json").read_text())


def test_a_guest_that_boots_on_what_was_copied_may_be_cut_over(guest, tmp_path: Path):
    """The source runs on meanwhile and has no snapshot; what was copied stays what it was."""
    with VSphere(tmp_path, [line.machine(guest)]) as vsphere:
        wishes = {"convert": "required", "cutover": "signal", "precopy": {"interval": "1h"}, **BOOT}
        job = warm(Job(tmp_path / "job"), vsphere, 2, **wishes)
        with migrating(job) as running:
            wait_for_round(job, 0, 120)
            wait_until((job.state / "rehearsal" / "convert").exists, 60)
            untouched(vsphere)
            assert len(rounds_of(job)) == 1
            wait_until((job.state / "rehearsal.json").exists, PATIENCE)
            wait_for_round(job, 1, 60)
            running.send_signal(signal.SIGTERM)
            first = ended(running)
        with migrating(job) as running:
            wait_for_round(job, 2, 60)
            running.send_signal(signal.SIGTERM)
            second = ended(running)
        untouched(vsphere)
        for number in range(2):
            require_same(vsphere.flat_file(NAME, number), target(job, number))
    boot = rehearsed(job)["result"]["rehearsal"]

    assert (first.returncode, second.returncode) == (8, 8), first.stderr + second.stderr
    assert "rehearsed round 0: sentinel" in first.stderr
    assert "rehears" not in second.stderr
    assert boot["outcome"] == "sentinel"
    assert END in Path(boot["serial_log"]).read_bytes()
    assert Path(boot["screenshot"]).read_bytes().startswith(b"\x89PNG")
    assert not list((job.state / "rehearsal").rglob("*.qcow2"))


def test_a_rehearsal_that_fails_forbids_the_cutover_until_the_operator_says_otherwise(tmp_path: Path):
    image = dsl.write(DISK, tmp_path / "disk.img", tail=TAIL)
    with world(tmp_path, [Disk(image)], {"convert": "auto", "rehearse": True}) as (vsphere, job):
        refused(run(job), 7, NAME, "rehearsal of round 0 failed", "no operating system", "--cutover-anyway")
        untouched(vsphere)
        assert rehearsed(job)["result"]["outcome"] == "failed"
        require_same(vsphere.flat_file(NAME, 0), target(job))

        done = transferd("migrate", job.spec, "--result", job.result, "--cutover-anyway")
        assert done.returncode == 0, done.stderr
        assert "cutting over although the rehearsal failed" in done.stderr
        judge(vsphere, job)


def test_a_cold_migration_of_a_guest_that_does_not_boot_ends_with_its_source_running(guest, tmp_path: Path):
    """Converted and checked, it is booted before anything is committed, and the boot sector leads nowhere."""
    broken = debian12.clone(guest, tmp_path)
    with broken.root_disk.open("rb+") as disk:
        disk.write(NOTHING_TO_BOOT)
    job = Job(tmp_path / "job")
    with VSphere(tmp_path, [line.machine(broken)]) as vsphere:
        refused(job.write(vsphere, **BOOT).run(capture_output=True), 7, "does not boot: no bootable device")
        untouched(vsphere)
        for number in range(2):
            require_same(vsphere.flat_file(NAME, number), target(job, number))
    boot = json.loads((job.state / "conversion" / "result.json").read_text())["rehearsal"]

    assert boot["outcome"] == "failed"
    assert "No bootable device" in boot["last_lines"][-1]


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"convert": "none", "rehearse": True}, ["rehearse", "nothing is converted"]),
        ({"convert": "auto", "rehearse": True, "rehearsal": {"timeout": "soon"}}, ["soon"]),
        ({"convert": "auto", "rehearse": True, "rehearsal": {"sentinel": ""}}, ["rehearsal.sentinel"]),
    ],
)
def test_a_rehearsal_that_cannot_be_meant_is_refused_before_anything_is_copied(tmp_path: Path, spec, words):
    image = dsl.write(DISK, tmp_path / "disk.img", tail=TAIL)
    with world(tmp_path, [Disk(image)], spec) as (vsphere, job):
        refused(run(job), 2, *words)
        untouched(vsphere)
    assert not rounds_of(job)


def test_a_rehearsal_may_be_asked_for_on_the_command_line(tmp_path: Path):
    image = dsl.write(DISK, tmp_path / "disk.img", tail=TAIL)
    with world(tmp_path, [Disk(image)], {"convert": "none"}) as (vsphere, job):
        refused(transferd("migrate", job.spec, "--rehearse"), 2, "rehearse", "nothing is converted")
        untouched(vsphere)
