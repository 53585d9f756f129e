"""`transferd migrate` of VMs without an operating system: what happens to the source, whatever happens.

The whole line on a real guest is tests/test_end_to_end.py.
"""

import json
import shutil
import signal
import subprocess
import time
from pathlib import Path

import pytest
import yaml

from tests import dsl, schema
from tests.cli import ended, refused, started, wait_until
from tests.doubles.inventory import find_vm
from tests.doubles.vsphere import VM, Disk, Nic, VSphere
from tests.line import MANIFEST, NAME, Job
from tests.nbd import our_nbdkits
from transferd.units import MiB


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return dsl.write("A0-B" * 2, tmp_path / "disk.img", tail=512)


@pytest.fixture
def world(tmp_path: Path, image):
    """Start a vCenter with one VM of two such disks; returns it and a job that does not convert."""
    started = []

    def start(*, latency_us: int = 0, disks: int = 2, **vm):
        vm = {"powered_on": True, "nics": [Nic("00:50:56:01:02:03")]} | vm
        machine = VM(NAME, disks=[Disk(image)] * disks, **vm)
        vsphere = VSphere(tmp_path, [machine], latency_us=latency_us)
        vsphere.start()
        started.append(vsphere)
        return vsphere, Job(tmp_path / "job").write(
            vsphere, convert="none", manifest=MANIFEST | {"claims": MANIFEST["claims"][:disks]}
        )

    yield start
    for vsphere in started:
        vsphere.stop()


def run(job: Job) -> subprocess.CompletedProcess[str]:
    return job.run(capture_output=True)


def test_a_running_vm_is_shut_down_copied_and_left_off(world, image):
    vsphere, job = world()
    done = run(job)
    result = json.loads(job.result.read_text())

    assert done.returncode == 0, done.stderr
    assert [image.read_bytes()] * 2 == [target.read_bytes() for target in job.targets]
    assert result["disks"][0]["digest"] == result["digest_converted"][0]
    assert result["untouched"] == {"checked": 6, "mismatched": 0}
    assert vsphere.power_state(NAME) == "off"
    assert vsphere.snapshots(NAME) == []
    manifest = yaml.safe_load((job.state / "manifest.yaml").read_text())
    assert schema.validate(manifest) == []
    assert json.loads((job.state / "result.json").read_text()) == result


def test_a_finished_migration_is_not_done_again(world, image):
    """The target VM may be running on these disks by now."""
    _, job = world(powered_on=False)
    assert run(job).returncode == 0
    first = job.result.read_text()
    job.targets[0].write_bytes(b"\xa5" * image.stat().st_size)
    again = run(job)

    assert again.returncode == 0
    assert "was migrated already" in again.stderr
    assert job.result.read_text() == first
    assert job.targets[0].read_bytes() == b"\xa5" * image.stat().st_size


def test_without_its_state_a_migration_begins_anew(world, image):
    _, job = world(powered_on=False)
    assert run(job).returncode == 0
    job.targets[0].write_bytes(b"\xa5" * image.stat().st_size)
    shutil.rmtree(job.state)
    assert run(job).returncode == 0

    assert image.read_bytes() == job.targets[0].read_bytes()


def test_a_guest_without_tools_is_not_switched_off(world):
    vsphere, job = world(tools_running=False)

    refused(run(job), 4, NAME, "ToolsUnavailable", "policy: hard")
    assert vsphere.power_state(NAME) == "on"


def test_a_guest_without_tools_is_switched_off_where_the_policy_says_so(world, image):
    vsphere, job = world(tools_running=False)
    job.write(vsphere, convert="none", shutdown={"policy": "hard", "timeout": "2s"})

    assert run(job).returncode == 0
    assert image.read_bytes() == job.targets[0].read_bytes()
    assert vsphere.power_state(NAME) == "off"


@pytest.mark.parametrize(
    ("change", "words"),
    [
        ({"manifest": MANIFEST | {"networkMap": {}}}, ["VM Network"]),
        ({"manifest": MANIFEST | {"claims": ["one"]}}, ["claim"]),
        ({"manifest": MANIFEST | {"name": "Not DNS"}}, ["Not DNS"]),
        ({"vm": {"name": "nobody"}}, ["'nobody'"]),
        ({"targetDir": None, "targets": {2000: "a.img", 7: "b.img"}}, ["2001", "7"]),
        ({"targetDir": "nowhere"}, ["no such folder"]),
        ({"shutdown": {"timeout": "5"}}, ["duration"]),
    ],
    ids=["network", "claims", "name", "vm", "targets", "folder", "timeout"],
)
def test_what_would_fail_at_the_end_is_found_before_the_source_is_touched(world, change, words):
    vsphere, job = world()
    job.write(vsphere, convert="none", **change)

    refused(run(job), 2, *words)
    assert vsphere.power_state(NAME) == "on"
    assert not any(target.exists() for target in job.targets)


def test_a_target_that_is_too_small_leaves_the_source_running(world, loop_device, tmp_path: Path):
    vsphere, job = world()
    targets = {2000: str(tmp_path / "a.img"), 2001: str(loop_device(MiB))}
    job.write(vsphere, convert="none", targetDir=None, targets=targets)

    refused(run(job), 5, "too small")
    assert vsphere.power_state(NAME) == "on"


@pytest.mark.parametrize(("before", "after"), [(True, "on"), (False, "off")])
def test_after_a_signal_the_source_is_as_it_was(world, before, after):
    vsphere, job = world(powered_on=before, latency_us=500_000)
    with started("migrate", job.spec, "--result", job.result) as running:
        wait_until(lambda: job.targets[0].exists() and job.targets[0].stat().st_blocks, 60)
        assert running.poll() is None
        running.send_signal(signal.SIGTERM)
        done = ended(running)

    refused(done, 8, "signal")
    assert json.loads(job.result.read_text())["error"]["exit_code"] == 8
    assert vsphere.power_state(NAME) == after


def test_a_source_that_is_started_during_the_copy_spoils_it(world):
    """Somebody, or HA, switches it on: what was read is no moment in the life of its disks."""
    vsphere, job = world(powered_on=False, latency_us=2_000_000, disks=1)
    with started("migrate", job.spec) as running:
        wait_until(our_nbdkits, 60)
        time.sleep(0.7)  # it has opened the disk, and the first read takes two seconds
        with vsphere.connect() as service:
            find_vm(service, NAME).PowerOnVM_Task()
        done = ended(running)

    refused(done, 4, "was powered on during")
    assert vsphere.power_state(NAME) == "on"
