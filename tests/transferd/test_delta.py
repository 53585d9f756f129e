"""`transferd delta`: a copy of a vSphere disk is brought up to date; what is read, and what is refused."""

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests import dsl
from tests.cli import refused, started, transferd, wait_until
from tests.doubles.vsphere import VM, Disk, VSphere
from transferd.plan import BLOCK
from transferd.units import KiB

NAME = "web"


@pytest.fixture
def image(tmp_path: Path) -> Path:
    return dsl.write("ABC-DE--F0GH", tmp_path / "disk.img", tail=512)


@pytest.fixture
def vsphere(tmp_path: Path, image: Path) -> Iterator[VSphere]:
    vm = VM(NAME, disks=[Disk(image)], powered_on=True, change_tracking=True)
    with VSphere(tmp_path, [vm]) as running:
        yield running


class Copies:
    """The commands of one disk, onto one target."""

    def __init__(self, folder: Path, vsphere: VSphere) -> None:
        self.target = folder / "copy.img"
        self.result = folder / "result.json"
        self.where = ("--vcenter", vsphere.write_vcenter_yaml(folder / "vcenter.yaml"), "--vm", NAME)

    def run(self, command: str, *options: object) -> dict:
        done = transferd(command, self.target, *self.where, "--result", self.result, *options)
        assert done.returncode == 0, done.stderr
        return json.loads(self.result.read_text())["disks"][0]


@pytest.fixture
def copies(tmp_path: Path, vsphere: VSphere) -> Copies:
    return Copies(tmp_path, vsphere)


def test_a_delta_reads_what_changed_since_the_copy_and_names_where_to_go_on(copies, vsphere):
    copy = copies.run("copy")
    vsphere.write(NAME, 0, 2 * BLOCK + 1000, os.urandom(100 * KiB))
    delta = copies.run("delta", "--since", copy["change_id"])

    assert vsphere.flat_file(NAME).read_bytes() == copies.target.read_bytes()
    assert delta["read_bytes"] == 2 * 64 * KiB
    assert delta["change_id"] != copy["change_id"]
    assert vsphere.snapshots(NAME) == []

    vsphere.power(NAME, "off")
    again = copies.run("delta", "--since", delta["change_id"], "--verify", "full")
    assert again["read_bytes"] >= copy["size"]
    assert vsphere.flat_file(NAME).read_bytes() == copies.target.read_bytes()


def test_a_delta_onto_another_state_than_was_said_is_refused(copies, vsphere):
    copies.run("copy")
    before = copies.target.read_bytes()
    other = "52 de c0 d9 b9 43 9d 10-61 d5 4c 1b e9 7b 65 63/81"
    vsphere.write(NAME, 0, 0, b"changed")

    refused(transferd("delta", copies.target, *copies.where, "--since", other), 2, "is of changeId", other)
    refused(transferd("delta", copies.target, *copies.where, "--since", "nonsense"), 2, "nonsense")
    assert copies.target.read_bytes() == before
    assert vsphere.snapshots(NAME) == []


def test_a_delta_never_writes_its_result_over_the_target(copies):
    done = copies.run("copy")
    before = copies.target.read_bytes()
    command = ("delta", copies.target, *copies.where, "--since", done["change_id"], "--result", copies.target)

    refused(transferd(*command), 2, "--result", "the same file as the target")
    assert copies.target.read_bytes() == before


def test_a_delta_without_a_copy_is_refused(copies):
    refused(transferd("delta", copies.target, *copies.where, "--since", "52/1"), 2)
    assert not copies.target.exists()


def test_a_copy_that_was_killed_goes_on_from_its_own_snapshot_and_removes_it(tmp_path, image):
    vm = VM(NAME, disks=[Disk(image)], powered_on=True, change_tracking=True)
    with VSphere(tmp_path, [vm], latency_us=100_000) as vsphere:
        copies = Copies(tmp_path, vsphere)
        slowly = ("--connections", 1, "--queue-depth", 1)
        with started("copy", copies.target, *copies.where, *slowly) as running:
            wait_until(lambda: copies.target.exists() and copies.target.stat().st_blocks * 512 >= 2 * BLOCK)
            running.send_signal(signal.SIGKILL)
        assert len(vsphere.snapshots(NAME)) == 1
        copies.run("copy")

        assert vsphere.flat_file(NAME).read_bytes() == copies.target.read_bytes()
        assert vsphere.snapshots(NAME) == []
