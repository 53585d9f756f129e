"""The whole conversion on a real guest: planned, rehearsed, applied, stopped, refused."""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from convert import accel
from convert.guest import Guest
from convert.lifeline import children
from tests.convert.memory import nic, source
from tests.guests import debian12
from transferd.errors import RetriesExhausted
from transferd.model import ConversionResult

pytestmark = pytest.mark.guestfs

# Four times what a conversion takes without KVM on two busy cores.
PATIENCE = 400.0
SBIN = {"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin"}


def fingerprints(*disks) -> list[str]:
    found = []
    for disk in disks:
        with disk.open("rb") as file:
            found.append(hashlib.file_digest(file, "blake2b").hexdigest())
    return found


def argv(command: str, *arguments) -> list[str]:
    return [sys.executable, "-m", "convert", command, *map(str, arguments)]


def convert(command: str, *arguments) -> subprocess.CompletedProcess:
    return subprocess.run(
        argv(command, *arguments), capture_output=True, text=True, timeout=PATIENCE, check=False
    )


class Case:
    """A throw-away guest with its source document."""

    def __init__(self, guest, folder):
        self.guest = debian12.clone(guest, folder)
        self.disks = self.guest.disks
        self.result_file = folder / "result.json"
        self.state = folder / "state"
        self.source = folder / "source.json"
        self.describe(self.disks)

    def describe(self, disks) -> None:
        vm = source(
            nic(self.guest.mac, slot=self.guest.slot), capacities=tuple(d.stat().st_size for d in disks)
        )
        self.source.write_text(vm.to_json())

    @property
    def apply_arguments(self) -> list:
        return ["--source", self.source, "--result", self.result_file, "--state", self.state]

    @property
    def result(self) -> ConversionResult:
        return ConversionResult.model_validate_json(self.result_file.read_text())


@pytest.fixture
def case(debian, tmp_path):
    return Case(debian, tmp_path)


def test_a_plan_shows_every_change_and_writes_nothing(case):
    before = fingerprints(*case.disks)
    done = convert("plan", *case.disks, "--source", case.source, "--json")

    assert done.returncode == 0, done.stderr
    plan = json.loads(done.stdout)
    assert {change["path"] for change in plan["changes"]} == {
        "/etc/fstab",
        "/etc/default/grub",
        "/boot/grub/grub.cfg",
        "/etc/initramfs-tools/conf.d/resume",
        "/etc/initramfs-tools/modules",
        f"/boot/initrd.img-{case.guest.kernel}",
        f"/etc/systemd/network/10-transferd-{case.guest.nic_name}.link",
        "/etc/udev/rules.d/70-transferd-net.rules",
        "/etc/systemd/system/open-vm-tools.service",
        "/etc/systemd/system/vgauth.service",
    }
    assert plan["guest"]["root"] == case.guest.root_uuid
    assert fingerprints(*case.disks) == before


def test_a_converted_guest_passes_its_checks_and_has_nothing_left_to_convert(case):
    data_disk = fingerprints(case.guest.data_disk)
    began = time.monotonic()
    done = convert("apply", *case.disks, *case.apply_arguments)
    elapsed = time.monotonic() - began

    assert done.returncode == 0, done.stderr
    result = case.result
    assert result.outcome == "ok"
    assert all(check.ok for check in result.checks)
    assert [(kernel.version, kernel.virtio) for kernel in result.guest.kernels] == [
        (case.guest.kernel, "appended")
    ]
    assert [(found.mac, found.name) for found in result.nics] == [(case.guest.mac, case.guest.nic_name)]
    assert (result.caps.block, result.caps.net, result.caps.boot_disk) == ("virtio", "virtio", 0)
    assert {found.disk for found in result.written} == {0}
    assert sum(found.length for found in result.written) < 64 << 20
    assert fingerprints(case.guest.data_disk) == data_disk
    assert elapsed < PATIENCE / 2

    again = convert("plan", *case.disks, "--source", case.source, "--json")

    assert json.loads(again.stdout)["changes"] == []


def test_a_rehearsal_proves_the_conversion_and_leaves_the_disks_alone(case):
    before = fingerprints(*case.disks)
    done = convert("apply", *case.disks, *case.apply_arguments, "--overlay-only")

    assert done.returncode == 0, done.stderr
    assert all(check.ok for check in case.result.checks)
    assert case.result.checks
    assert case.result.written == []
    assert [path.name for path in (case.state / "convert").iterdir()] == ["lock"]
    assert fingerprints(*case.disks) == before


def test_disks_without_an_operating_system_are_refused_with_what_was_seen(case):
    case.describe([case.guest.data_disk])
    before = fingerprints(case.guest.data_disk)
    done = convert("apply", case.guest.data_disk, *case.apply_arguments)

    assert done.returncode == 7
    last = done.stderr.splitlines()[-1]
    assert "no operating system found" in last
    assert f"{case.guest.data_disk.name}: partition 1 ext4" in last
    assert case.result.outcome == "failed"
    assert not case.result.guest.found
    assert fingerprints(case.guest.data_disk) == before


def test_a_signal_ends_the_conversion_in_order(case):
    before = fingerprints(*case.disks)
    running = subprocess.Popen(
        argv("apply", *case.disks, *case.apply_arguments), stderr=subprocess.PIPE, text=True
    )
    deadline = time.monotonic() + PATIENCE
    while not any(b"qemu-system" in name_of(pid) for pid in children(running.pid)):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    appliance = children(running.pid)
    running.send_signal(signal.SIGTERM)
    _, said = running.communicate(timeout=30)

    assert running.returncode == 8, said
    assert case.result.error["exit_code"] == 8
    assert not list((case.state / "convert").glob("overlay-*"))
    assert not any(b"qemu-system" in name_of(pid) for pid in appliance)
    assert fingerprints(*case.disks) == before


def name_of(pid: int) -> bytes:
    try:
        return Path(f"/proc/{pid}/comm").read_bytes()
    except OSError:
        return b""


def test_damage_that_a_repairing_checker_would_hide_is_seen(debian, tmp_path):
    broken, whole = tmp_path / "broken.img", tmp_path / "whole.img"
    for copy in (broken, whole):
        subprocess.run(["cp", "--sparse=always", debian.data_disk, copy], check=True)
    table = json.loads(subprocess.check_output(["sfdisk", "-J", broken], env=SBIN))
    start = table["partitiontable"]["partitions"][0]["start"] * 512
    subprocess.run(
        ["debugfs", "-w", "-R", "clri /known.bin", f"{broken}?offset={start}"],
        env=SBIN,
        check=True,
        capture_output=True,
    )

    with Guest(
        [broken, whole],
        tmp_path,
        disk_format="raw",
        read_only=True,
        backend_settings=accel.backend_settings(),
    ) as guest:
        found = guest.check(guest.filesystems())

    assert [finding.filesystem.disk for finding in found] == [0]
    assert "deleted/unused inode" in found[0].problem


@pytest.mark.usefixtures("appliance")
def test_an_appliance_that_never_answers_is_ended_at_its_deadline(tmp_path, monkeypatch):
    hypervisor = tmp_path / "hypervisor"
    hypervisor.write_text("#!/bin/sh\nexec sleep 600\n")
    hypervisor.chmod(0o755)
    monkeypatch.setenv("LIBGUESTFS_HV", str(hypervisor))
    disk = tmp_path / "disk.raw"
    disk.write_bytes(bytes(1 << 20))
    began = time.monotonic()

    with (
        pytest.raises(RetriesExhausted, match="did not start in time"),
        Guest([disk], tmp_path, disk_format="raw", read_only=True, launch_deadline=2.0),
    ):
        pytest.fail("the appliance started")

    assert time.monotonic() - began < 20
    assert not any(name_of(pid) == b"sleep\n" for pid in children(os.getpid()))
