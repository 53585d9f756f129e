"""Faults of the machine while a guest is converted: rows F67 to F71 of the fault table.

Whatever stops a conversion, its disks are as they were, or hold all of it after the next run.
"""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import pytest

from convert import accel, commit, pipeline
from convert.devices import FileSystem
from convert.health import judge
from convert.lifeline import children
from convert.report import Report
from tests.conftest import require
from tests.convert import committing, phony
from tests.convert.memory import Memory, inspection, wishes
from tests.convert.test_pipeline import fingerprints
from tests.convert.watched import PATIENCE, convert, emulator, is_gone, started, until_it_says
from tests.torture import commits
from transferd.errors import ConversionError, UsageError
from transferd.model import ConversionResult, Firmware


@pytest.fixture
def case(appliance, tmp_path):  # noqa: ARG001 (each case needs one)
    return Case(tmp_path)


class Case:
    """A phony guest that was copied, and the command that converts it."""

    def __init__(self, folder: Path):
        self.disk = phony.make(folder / "disk.raw", phony.debian())
        self.state = folder / "state"
        self.result_file = folder / "result.json"
        document = phony.document(folder / "source.json", self.disk)
        self.command = ("apply", self.disk, "--source", document, "--result", self.result_file)
        self.command += ("--state", self.state)

    @property
    def result(self) -> ConversionResult:
        return ConversionResult.model_validate_json(self.result_file.read_text())

    def left_behind(self) -> set[str]:
        return {path.name for path in (self.state / "convert").iterdir()}


def test_f67_a_kvm_that_hangs_is_not_believed(tmp_path, monkeypatch):
    hung = tmp_path / "qemu"
    hung.write_text("#!/bin/sh\nexec sleep 600\n")
    hung.chmod(0o755)
    monkeypatch.setattr(accel, "DEADLINE", 1.0)
    before = children(os.getpid())
    began = time.monotonic()

    assert not accel.speaks(str(hung), tmp_path / "vmlinuz")
    assert time.monotonic() - began < 10
    assert children(os.getpid()) == before


@pytest.mark.guestfs
def test_f68_a_conversion_killed_while_it_writes_starts_again_from_clean_disks(case):
    before = fingerprints(case.disk)
    with started(*case.command) as run:
        appliance = emulator(run)
        until_it_says(run, "apply")
        run.kill()
    assert run.wait(PATIENCE) == -signal.SIGKILL
    assert is_gone(appliance)
    assert fingerprints(case.disk) == before
    assert commit.read(case.state / "convert") is None

    again = convert(*case.command)

    assert again.returncode == 0, again.stderr
    assert case.result.outcome == "ok"
    assert all(check.ok for check in case.result.checks)
    assert case.left_behind() == {"commit.json", "lock"}
    assert fingerprints(case.disk) != before


@pytest.mark.guestfs
def test_f68_an_appliance_killed_while_it_writes_is_exit_7_and_the_disks_are_unchanged(case):
    before = fingerprints(case.disk)
    with started(*case.command) as run:
        appliance = emulator(run)
        until_it_says(run, "apply")
        os.kill(appliance, signal.SIGKILL)
        _, said = run.communicate(timeout=PATIENCE)

    assert run.returncode == ConversionError.exit_code, said
    assert said.splitlines()[-1].startswith("transferd-convert: error: ")
    assert "Traceback" not in said
    assert case.result.error["exit_code"] == ConversionError.exit_code
    assert (case.result.caps.block, case.result.caps.net) == ("sata", "e1000e")
    assert case.left_behind() == {"lock"}
    assert fingerprints(case.disk) == before


@pytest.mark.usefixtures("qemu_tools")
@pytest.mark.parametrize("call", ["pwrite64", "fsync", "rename", "unlink"])
def test_f68_a_commit_can_be_killed_at_any_call_and_is_made_whole_by_the_next_run(call):
    require("strace", "qemu-io")

    assert commits.every(call) > 1


@pytest.mark.usefixtures("qemu_tools")
def test_f68_a_rehearsal_does_not_finish_the_commit_of_an_earlier_run(tmp_path):
    committing.make(tmp_path)
    disks, work = committing.disks(tmp_path), committing.work(tmp_path)
    work.mkdir(parents=True)
    report = Report(Firmware.BIOS, lambda _: None)
    told = pipeline.Request(disks, wishes(capacities=committing.SIZES), work, overlay_only=True)
    committing.prepared(told, report)

    with pytest.raises(UsageError, match="not finished"):
        pipeline.apply(told, report)
    assert {*b"".join(disk.read_bytes() for disk in disks)} == {*committing.OLD}


XFS = FileSystem("/dev/sda1", "xfs", 0, 1)
OF_RHEL7 = "versionnum [0xb4b5+0x18a] = V5,NLINK,DIRV2,ATTR,ALIGN,LOGV2,EXTFLG,MOREBITS,ATTR2,LAZYSBCOUNT"


def test_f69_a_false_alarm_of_a_new_xfs_repair_over_an_old_file_system_is_no_refusal():
    """What it finds there, the kernel of that guest corrects at mount; virt-v2v does not look."""
    finding = judge(XFS, f"sb_fdblocks 12, counted 13\n{OF_RHEL7},CRC,FTYPE\nstatus 1")

    assert finding.excused
    assert not finding.harmful
    assert "counted 13" in str(finding)


def test_f69_the_same_alarm_over_a_new_file_system_is_damage():
    assert judge(XFS, f"sb_fdblocks 12, counted 13\n{OF_RHEL7},CRC,FTYPE,REFLINK\nstatus 1").harmful


def test_f70_a_guest_without_free_space_is_refused_before_any_change():
    report = Report(Firmware.BIOS, lambda _: None)
    plan = pipeline.draw(
        Memory(phony.plain(), space=0), inspection(kernels=(phony.kernel(),)), wishes(), report
    )

    assert not [change for change in plan.changes if change.action == "append"]
    with pytest.raises(ConversionError, match="/boot has 0 MiB free and its initramfs needs 9 MiB"):
        pipeline._demand_virtio(report)


@pytest.mark.guestfs
def test_f71_a_conversion_that_is_run_again_answers_the_same_and_writes_nothing(moved):
    before, told = fingerprints(*moved.disks), moved.result
    again = convert(*moved.command)

    assert again.returncode == 0, again.stderr
    assert again.stderr.splitlines()[0] == "already converted"
    assert moved.result == told
    assert fingerprints(*moved.disks) == before


@pytest.mark.guestfs
def test_f71_a_conversion_of_a_converted_guest_has_nothing_to_do(moved, tmp_path):
    """The same disks, and no memory of the first run."""
    before = fingerprints(*moved.disks)
    result, state = tmp_path / "result.json", tmp_path / "state"
    document = moved.folder / "source.json"
    again = convert("apply", *moved.disks, "--source", document, "--result", result, "--state", state)

    assert again.returncode == 0, again.stderr
    assert ConversionResult.model_validate_json(result.read_text()).written == []
    assert [path.name for path in (state / "convert").iterdir()] == ["lock"]
    assert fingerprints(*moved.disks) == before
