"""The main job on a real guest: from a running VM in vCenter to a boot on VirtIO hardware.

That conversion is what does it, the negative controls in tests/test_guests.py show: unconverted, this guest
does not find its root there, and with VirtIO alone in its initramfs it loses its network name and mounts.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
from pathlib import Path

import pytest
import yaml

from tests import line, schema
from tests.boot import Hardware, boot
from tests.cli import argv, wait_until
from tests.doubles.vsphere import VM, Disk, VSphere
from tests.guests import debian12, disk
from transferd.units import MiB

BOOT_DEADLINE = 300.0

pytestmark = [pytest.mark.guestfs, pytest.mark.boot]


@pytest.fixture(scope="module")
def migrated(guest, tmp_path_factory):
    """One cold migration of the running guest; what it left, and what vCenter looks like afterwards."""
    folder = tmp_path_factory.mktemp("migration")
    job = line.Job(folder / "job")
    with VSphere(folder, [line.machine(guest)]) as vsphere:
        run = job.write(vsphere).run(capture_output=True)
        yield job, run, vsphere


@pytest.fixture(scope="module")
def facts(migrated, guest):
    """What the converted guest says on the target hardware."""
    job, run, _ = migrated
    assert run.returncode == 0, run.stderr
    return line.boot_facts(guest, boot(job.targets, Hardware.VIRTIO, mac=guest.mac, deadline=BOOT_DEADLINE))


def test_the_migration_succeeds_and_says_so(migrated):
    job, run, _ = migrated
    result = json.loads(job.result.read_text())

    assert run.returncode == 0, run.stderr
    assert (result["schema"], result["outcome"], result["error"]) == (1, "ok", None)
    assert [disk["verify"]["mismatched"] for disk in result["disks"]] == [0, 0]
    assert all(disk["digest"].startswith("blake3-4m:") for disk in result["disks"])
    assert result["caps"]["block"] == result["caps"]["net"] == "virtio"
    assert result["checks"]
    assert all(check["ok"] for check in result["checks"])


def test_only_what_conversion_lists_differs_from_the_source(migrated, guest):
    job, _, _ = migrated
    result = json.loads(job.result.read_text())
    for number, (source, target) in enumerate(zip(guest.disks, job.targets, strict=True)):
        written = [each for each in result["written"] if each["disk"] == number]
        before, after = bytearray(source.read_bytes()), target.read_bytes()
        for each in written:
            place = slice(each["start"], each["start"] + each["length"])
            before[place] = after[place]

        assert before == after
    assert result["untouched"]["checked"] > 0
    assert result["untouched"]["mismatched"] == 0


def test_the_source_is_off_and_has_no_snapshot(migrated):
    _, _, vsphere = migrated

    assert vsphere.power_state(line.NAME) == "off"
    assert vsphere.snapshots(line.NAME) == []


def test_the_guest_comes_up_on_virtio_hardware_as_it_was(facts):
    assert line.proven(facts), facts


def test_the_manifest_is_what_kubevirt_accepts(migrated, guest):
    job, _, _ = migrated
    manifest = yaml.safe_load((job.state / "manifest.yaml").read_text())
    domain = manifest["spec"]["template"]["spec"]["domain"]

    assert schema.validate(manifest) == []
    assert manifest["spec"]["runStrategy"] == "Halted"
    assert [disk["disk"]["bus"] for disk in domain["devices"]["disks"]] == ["virtio", "virtio"]
    assert [nic["macAddress"] for nic in domain["devices"]["interfaces"]] == [guest.mac]


@pytest.fixture
def data_vm(tmp_path: Path):
    """A running VM whose only disk holds no operating system."""
    image = tmp_path / "data.img"
    image.write_bytes(b"no file system at all" * 1000 + bytes(3 * MiB))
    os.truncate(image, 4 * MiB)
    with VSphere(tmp_path, [VM(line.NAME, disks=[Disk(image)], powered_on=True)]) as vsphere:
        yield image, vsphere, line.Job(tmp_path / "job")


def test_a_vm_without_an_os_is_copied_and_verified_with_a_warning(data_vm):
    image, vsphere, job = data_vm
    run = job.write(vsphere, convert="auto", manifest=None).run(capture_output=True)
    result = json.loads(job.result.read_text())

    assert run.returncode == 0, run.stderr
    assert image.read_bytes() == job.targets[0].read_bytes()
    assert result["disks"][0]["verify"]["blocks"] == 1
    assert [warning["code"] for warning in result["warnings"]] == ["no-guest"]
    assert result["caps"]["block"] == "sata"
    assert vsphere.power_state(line.NAME) == "off"


def test_where_conversion_is_required_it_is_exit_7_and_the_source_runs_again(data_vm):
    image, vsphere, job = data_vm
    run = job.write(vsphere, convert="required", manifest=None).run(capture_output=True)
    complaint = [text for text in run.stderr.splitlines() if "error:" in text]

    assert run.returncode == 7, run.stderr
    assert len(complaint) == 1
    assert "no operating system" in complaint[0]
    assert image.read_bytes() == job.targets[0].read_bytes()
    assert json.loads(job.result.read_text())["outcome"] == "failed"
    assert vsphere.power_state(line.NAME) == "on"
    assert vsphere.snapshots(line.NAME) == []


def test_a_killed_migration_leaves_no_converter_behind(guest, tmp_path: Path):
    """Left alone, the converter goes on until it finds nobody to tell its progress: 11 seconds here."""
    job = line.Job(tmp_path / "job")
    with VSphere(tmp_path, [line.machine(guest)]) as vsphere:
        job.write(vsphere)
        with subprocess.Popen(argv("migrate", job.spec), stderr=subprocess.DEVNULL) as running:
            wait_until(lambda: converters(job), 120)
            running.kill()
        wait_until(lambda: not converters(job), 8)


def converters(job) -> list[Path]:
    """Processes that have this job's conversion folder on their command line: the converter, its QEMU."""
    folder = str(job.state / "conversion").encode()
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if folder in (process / "cmdline").read_bytes():
                found.append(process)
    return found


def test_a_guest_whose_virtio_cannot_be_proven_keeps_its_old_kind_of_hardware(guest, tmp_path: Path):
    """Its initramfs is no initramfs: copied, proven, left as it is, and a manifest with SATA and e1000e."""
    broken = debian12.clone(guest, tmp_path)
    disk.replace(broken.root_disk, debian12.ROOT, f"/boot/initrd.img-{guest.kernel}", b"no archive at all")
    job = line.Job(tmp_path / "job")
    with VSphere(tmp_path, [line.machine(broken)]) as vsphere:
        run = job.write(vsphere, convert="auto").run(capture_output=True)
        power = vsphere.power_state(line.NAME)
    result = json.loads(job.result.read_text())
    manifest = yaml.safe_load((job.state / "manifest.yaml").read_text())
    devices = manifest["spec"]["template"]["spec"]["domain"]["devices"]

    assert run.returncode == 0, run.stderr
    assert "not-converted" in [warning["code"] for warning in result["warnings"]]
    assert result["guest"]["distro"] == "debian"
    assert [each["disk"]["bus"] for each in devices["disks"]] == ["sata", "sata"]
    assert [nic["model"] for nic in devices["interfaces"]] == ["e1000e"]
    assert broken.root_disk.read_bytes() == job.targets[0].read_bytes()
    assert power == "off"
