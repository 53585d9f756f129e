"""`transferd migrate` of a VM that keeps running: rounds, cutover, and what is left of it whatever happens.

The VM is written to while it is copied; judged is the disk as it was when the VM was off for good, byte by
byte, the snapshots that are left (none), the source's power, and what the result says of it.
"""

import os
import random
import signal
import subprocess
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import ended, refused, started, transferd, wait_until
from tests.doubles.inventory import find_vm
from tests.doubles.vsphere import VM, Disk, Nic, VSphere
from tests.line import NAME, Job
from tests.torture import places
from tests.torture import warm as torture
from tests.torture.seed import TODAY
from tests.warm_line import DISK, TAIL, judge, rounds_of, run, warm
from transferd import failpoint
from transferd.plan import BLOCK
from transferd.units import KiB, MiB


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return dsl.write(DISK, tmp_path / "disk.img", tail=TAIL)


@pytest.fixture
def world(tmp_path: Path, image: Path) -> Iterator[Callable[..., tuple[VSphere, Job]]]:
    """Start a vCenter with a running VM, and lay out its warm migration."""
    with ExitStack() as running:

        def start(*, disks: int = 1, spec: dict | None = None, **more) -> tuple[VSphere, Job]:
            vm = VM(NAME, disks=[Disk(image)] * disks, nics=[Nic("00:50:56:01:02:03")], powered_on=True)
            vsphere = running.enter_context(VSphere(tmp_path, [vm], shutdown_delay=0.2, **more))
            return vsphere, warm(Job(tmp_path / "job"), vsphere, disks, **(spec or {}))

        yield start


# --- rounds ----------------------------------------------------------------------------------------------


def at_once(count: int, case: Callable[[int], object]) -> list[object]:
    """`case` for so many seeds, two at a time: most of it is waiting. The first failure is raised."""
    with ThreadPoolExecutor(2) as pool:
        return [*pool.map(case, range(TODAY, TODAY + count))]


def test_a_vm_that_writes_all_the_time_arrives_as_it_was_when_it_was_switched_off():
    """Five seeds, without a full comparison. Fifty: make torture."""
    for result in at_once(5, torture.repeat):
        assert [each["final"] for each in result["rounds"]] == [False] * torture.ROUNDS + [True]
        size = sum(disk["size"] for disk in result["disks"])
        assert all(each["read_bytes"] < size for each in result["rounds"][1:])
        assert result["downtime_s"] > 0
        assert {"shutdown", "last round", "seal"} <= {each["step"] for each in result["downtime"]}


def test_a_round_reads_what_was_written_and_no_more(world):
    vsphere, job = world(disks=2, spec={"cutover": "signal", "precopy": {"interval": "1s"}})
    with started_job(job) as running:
        wait_until(lambda: len(rounds_of(job)) == 2)
        vsphere.write(NAME, 0, 3 * BLOCK + 5, os.urandom(100 * KiB))
        running.send_signal(signal.SIGUSR1)
        assert ended(running).returncode == 0
    result = judge(vsphere, job, disks=2)

    changed = [each["read_bytes"] for each in result["rounds"][1:]]
    assert sum(changed) <= 5 * 64 * KiB + 2 * 64 * KiB * 2


def started_job(job: Job, **environment: str) -> subprocess.Popen[str]:
    return started("migrate", job.spec, "--result", job.result, **environment)


def test_changed_block_tracking_is_switched_on_where_it_is_off(world):
    vsphere, job = world()

    assert run(job).returncode == 0
    judge(vsphere, job)
    with vsphere.connect() as service:
        assert find_vm(service, NAME).config.changeTrackingEnabled


def test_the_cutover_waits_until_the_predicted_downtime_is_short_enough(world):
    vsphere, job = world(spec={"precopy": {"interval": "1s", "downtimeTarget": "40s"}})
    done = run(job)

    assert done.returncode == 0, done.stderr
    assert "predicted downtime" in done.stderr
    judge(vsphere, job)


def test_the_command_line_has_the_last_word(world):
    vsphere, job = world(spec={"cutover": "signal", "precopy": {"interval": "1s"}})
    options = ("--cutover", "now", "--downtime-target", "10m")
    done = transferd("migrate", job.spec, "--result", job.result, *options)

    assert done.returncode == 0, done.stderr
    judge(vsphere, job)


def test_the_cutover_waits_for_its_time(world):
    at = time.time() + 8
    moment = time.strftime("%Y-%m-%dT%H:%M:%S+00:00", time.gmtime(at))
    vsphere, job = world(spec={"cutover": moment, "precopy": {"interval": "2s"}})
    with started_job(job) as running:
        wait_until(lambda: len(rounds_of(job)) >= 2)
        assert time.time() > at - 1 or vsphere.power_state(NAME) == "on"
        assert ended(running).returncode == 0
    assert time.time() >= at - 1
    judge(vsphere, job)


@pytest.mark.parametrize(
    ("spec", "words"),
    [
        ({"cutover": "tomorrow"}, ["cutover", "tomorrow"]),
        ({"cutover": "2026-12-01T02:00:00"}, ["zone"]),
        ({"precopy": {"interval": "0s"}}, ["interval"]),
        ({"precopy": {"downtimeTarget": "soon"}}, ["soon"]),
        ({"precopy": {"rounds": 0}}, ["rounds"]),
        ({"verify": "perhaps"}, ["perhaps"]),
    ],
)
def test_a_schedule_that_cannot_be_meant_is_refused_before_anything_is_touched(world, spec, words):
    vsphere, job = world(spec=spec)

    refused(run(job), 2, *words)
    assert vsphere.snapshots(NAME) == []
    assert vsphere.power_state(NAME) == "on"


# --- what vSphere does -----------------------------------------------------------------------------------


def test_f20_a_disk_that_grows_between_rounds_arrives_whole(world, image):
    vsphere, job = world(spec={"cutover": "signal", "precopy": {"interval": "3s"}})
    with started_job(job) as running:
        wait_until(lambda: len(rounds_of(job)) == 2 and rounds_of(job)[-1]["removal_s"])
        vsphere.grow(NAME, 0, image.stat().st_size // MiB * MiB + 9 * MiB)
        vsphere.write(NAME, 0, image.stat().st_size + MiB, b"behind the old end")
        wait_until(lambda: len(rounds_of(job)) >= 4)
        running.send_signal(signal.SIGUSR1)
        assert ended(running).returncode == 0
    judge(vsphere, job)


def test_f21_a_disk_that_is_added_ends_the_migration_before_the_source_is_touched(world, image):
    vsphere, job = world(spec={"cutover": "signal", "precopy": {"interval": "1s"}})
    with started_job(job) as running:
        wait_until(lambda: len(rounds_of(job)) == 2)
        vsphere.add_disk(NAME, image)
        refused(ended(running), 2, "added", "targets")
    assert vsphere.power_state(NAME) == "on"
    assert vsphere.snapshots(NAME) == []


def test_f22_after_a_reset_of_the_tracking_nothing_is_taken_for_unchanged(world):
    vsphere, job = world(spec={"cutover": "signal", "precopy": {"interval": "1s"}})
    with started_job(job) as running:
        wait_until(lambda: len(rounds_of(job)) == 2)
        vsphere.write(NAME, 0, 5 * BLOCK, os.urandom(MiB))
        vsphere.reset_cbt(NAME, 0)
        wait_until(lambda: len(rounds_of(job)) >= 4)
        running.send_signal(signal.SIGUSR1)
        assert ended(running).returncode == 0
    judge(vsphere, job)


def test_f23_an_area_that_the_tracking_leaves_out_is_found_by_verify_full(world):
    vsphere, job = world(spec={"cutover": "signal", "verify": "full", "precopy": {"interval": "1s"}})
    with started_job(job) as running:
        wait_until(lambda: len(rounds_of(job)) == 2)
        vsphere.omit(NAME, 0, 4 * BLOCK, 64 * KiB)
        vsphere.write(NAME, 0, 4 * BLOCK, os.urandom(64 * KiB))
        running.send_signal(signal.SIGUSR1)
        refused(ended(running), 6, "differ", NAME)
    assert vsphere.power_state(NAME) == "on"
    assert vsphere.snapshots(NAME) == []

    vsphere.omit(NAME, 0, 0, 0)
    job = warm(job, vsphere, verify="full")
    assert run(job).returncode == 0
    judge(vsphere, job)


def test_f25_a_new_snapshot_waits_for_the_merge_of_the_last_one(world):
    vsphere, job = world(spec={"precopy": {"rounds": 3, "interval": "1s"}})
    vsphere.consolidation(NAME, seconds=1.5)
    with vsphere.workload(NAME, seed=1, writes_per_second=50):
        done = run(job)

    assert done.returncode == 0, done.stderr
    judge(vsphere, job)


def test_f26_a_snapshot_that_an_administrator_deletes_is_replaced(world):
    vsphere, job = world(latency_us=20_000)
    with started_job(job) as running:
        wait_until(lambda: job.targets[0].exists() and job.targets[0].stat().st_blocks * 512 > BLOCK)
        vsphere.snapshot_removed_by_admin(NAME)
        done = ended(running)

    assert done.returncode == 0, done.stderr
    judge(vsphere, job)


def test_f28_a_removal_that_fails_is_tried_again(world):
    vsphere, job = world()
    vsphere.consolidation(NAME, fail=2)
    done = run(job)

    assert done.returncode == 0, done.stderr
    judge(vsphere, job)


def test_f14_a_session_that_expires_between_rounds_is_renewed(world):
    vsphere, job = world(spec={"cutover": "signal", "precopy": {"interval": "1s"}})
    with started_job(job) as running:
        wait_until(lambda: len(rounds_of(job)) == 2)
        vsphere.expire_sessions()
        wait_until(lambda: len(rounds_of(job)) >= 3)
        running.send_signal(signal.SIGUSR1)
        assert ended(running).returncode == 0
    judge(vsphere, job)


def test_f29_an_answer_that_is_lost_does_not_take_a_second_snapshot(world):
    vsphere, job = world(spec={"precopy": {"rounds": 1}})
    vsphere.fault("CreateSnapshot_Task", "drop", times=1)
    done = run(job)

    assert done.returncode == 0, done.stderr
    judge(vsphere, job)


# --- power -----------------------------------------------------------------------------------------------


def test_a_guest_that_refuses_to_shut_down_keeps_running(world):
    vsphere, job = world(spec={"shutdown": {"policy": "fail", "timeout": "2s"}})
    vsphere.shutdown(NAME, refuse="ignore")

    refused(run(job), 4, NAME, "policy: hard")
    assert vsphere.power_state(NAME) == "on"
    assert vsphere.snapshots(NAME) == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_leaves_no_snapshot_and_the_source_running(world, number):
    vsphere, job = world(latency_us=20_000)
    with started_job(job) as running:
        wait_until(lambda: job.targets[0].exists() and job.targets[0].stat().st_blocks * 512 > BLOCK)
        running.send_signal(number)
        refused(ended(running), 8)
    assert vsphere.snapshots(NAME) == []
    assert vsphere.power_state(NAME) == "on"
    job.spec.write_text(job.spec.read_text())
    assert run(job).returncode == 0
    judge(vsphere, job)


# --- killed ----------------------------------------------------------------------------------------------


def test_f29_killed_at_any_step_the_same_command_ends_well():
    """Twenty steps of today's; all of them: make torture."""
    chosen = random.Random(TODAY).sample(range(places.FULL), 20)
    at_once(len(chosen), lambda seed: places.repeat(chosen[seed - TODAY]))


@pytest.mark.parametrize("place", ["conversion.begun", "sealed", "result.written"])
def test_a_source_that_ran_after_its_last_round_was_done_is_copied_again(world, place):
    """Somebody switches it on, it writes, and is switched off: what was copied is no longer what it is."""
    vsphere, job = world(spec={"precopy": {"rounds": 1}})
    assert run(job, **{failpoint.VARIABLE: place}).returncode == -signal.SIGKILL
    vsphere.power(NAME, "on")
    vsphere.write(NAME, 0, 5 * BLOCK + 77, b"written after the last round")
    vsphere.power(NAME, "off")

    assert run(job).returncode == 0
    judge(vsphere, job)


def test_a_source_that_is_started_while_its_last_round_is_copied_spoils_it(world):
    vsphere, job = world(latency_us=30_000, spec={"precopy": {"rounds": 1}})
    with started_job(job) as running:
        wait_until(lambda: len(rounds_of(job)) == 2)
        wait_until(lambda: rounds_of(job)[-1]["snapshot"])
        vsphere.power(NAME, "on")
        refused(ended(running), 4, "powered on")
    assert vsphere.power_state(NAME) == "on"
    assert vsphere.snapshots(NAME) == []
    assert run(job).returncode == 0
    judge(vsphere, job)


@pytest.mark.parametrize("place", [None, "retreat.recorded", "retreat.restored"])
def test_when_the_last_round_fails_the_source_runs_again_and_what_it_writes_arrives(world, place):
    """Also if the process is killed while it gives the source its power back."""
    vsphere, job = world(spec={"cutover": "signal", "precopy": {"rounds": 1}})
    with started_job(job, **({failpoint.VARIABLE: place} if place else {})) as running:
        wait_until(lambda: rounds_of(job) and rounds_of(job)[0]["removal_s"])
        running.send_signal(signal.SIGUSR1)
        wait_until(lambda: len(rounds_of(job)) == 2 and rounds_of(job)[1]["snapshot"])
        vsphere.snapshot_delay(NAME, fail=1)
        ended(running)
    assert running.returncode == (-signal.SIGKILL if place else 4)
    assert vsphere.power_state(NAME) == ("off" if place == "retreat.recorded" else "on")
    if place == "retreat.recorded":
        vsphere.power(NAME, "on")
    vsphere.write(NAME, 0, 2 * BLOCK, b"written since")

    job = warm(job, vsphere)
    assert run(job).returncode == 0
    judge(vsphere, job)
